"""One door to every data set: a name, a file or a folder."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from mlcore.data.catalog import CATALOG, locate, places
from mlcore.data.compressed import open_plain, without_xz
from mlcore.data.dataset import Splits
from mlcore.data.files import missing, require_file
from mlcore.data.folder import read_folder
from mlcore.data.hdf5 import read_hdf5
from mlcore.data.idx import is_idx_header
from mlcore.data.npz import read_npz
from mlcore.data.split import split
from mlcore.kernels.errors import InputError, MissingFileError, unknown

_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_ZIP_MAGIC = b"PK"


def load(
    name_or_path: str | os.PathLike[str],
    *,
    scale: float | None = None,
    x_name: str = "xdata",
    y_name: str = "ydata",
    validation_split: float | None = None,
    stratify: bool = False,
    shuffle: bool = False,
    seed: int = 0,
) -> Splits:
    """Load a data set by its name, or from a file or folder.

    Parameters
    ----------
    name_or_path
        ``"mnist-sample"`` (bundled), ``"mnist"`` or ``"fashion-mnist"``; an HDF5 or .npz file,
        told by its content; or a folder with train, validation and test files of these kinds, or
        with MNIST's IDX files. A known name goes before a folder of the same name (``./mnist`` is
        the folder).
    scale
        Factor from inputs to network input. Default: the file's own, else 1/255 for uint8, else 1.
    x_name, y_name
        The arrays in an HDF5 or .npz file.
    validation_split
        Part of `train` to set aside for validation, a fraction or a number of samples, as
        `mlcore.data.split` takes it. Without `shuffle` it is the last part.
    stratify, shuffle, seed
        How to set it aside, see `mlcore.data.split`.

    Returns
    -------
    Splits
        ``train, test = load("mnist-sample")`` unpacks it. A single file is all `train`; MNIST and
        Fashion-MNIST have no validation part.

    Raises
    ------
    MissingFileError
        The set is not on this machine, or the path does not exist.
    InputError
        The name is unknown, a file cannot be read, or the set has a validation part already.

    Examples
    --------
    >>> train, test = load("mnist-sample")
    >>> train
    Dataset('mnist-sample train': 10,000 samples of 28x28 uint8 times 1/255, 10 classes)
    """
    if isinstance(name_or_path, str) and name_or_path in CATALOG:
        splits = _load_known(name_or_path, scale, x_name, y_name)
    else:
        splits = _load_path(name_or_path, scale, x_name, y_name)
    if validation_split is None:
        return splits
    if splits.validation is not None:
        raise InputError(
            f"{splits.name} has a validation part of {len(splits.validation):,} samples already; "
            "leave out validation_split"
        )
    divided = split(
        splits.train, validation=validation_split, stratify=stratify, shuffle=shuffle, seed=seed
    )
    return replace(splits, train=divided.train, validation=divided.validation)


def _load_known(name: str, scale: float | None, x_name: str, y_name: str) -> Splits:
    folder = locate(name)
    known = CATALOG[name]
    if folder is None and not known.files:
        raise MissingFileError(
            f"the bundled set {name} is not in {places(name)[0]}: install mlcore again"
        )
    if folder is None:
        looked = ", ".join(str(place) for place in places(name))
        raise MissingFileError(
            f"{name} is not on this machine: run `mlcore data fetch {name}`, or put its files into "
            f"one of the places looked in: {looked}"
        )
    splits = read_folder(
        folder, x_name=x_name, y_name=y_name, scale=scale, name=name, class_names=known.class_names
    )
    return replace(splits, source=f"{known.source}, {known.licence}, from {folder}")


def _load_path(
    given: str | os.PathLike[str], scale: float | None, x_name: str, y_name: str
) -> Splits:
    path = Path(given).expanduser()
    if path.is_dir():
        return read_folder(path, x_name=x_name, y_name=y_name, scale=scale)
    if not path.exists():
        names_a_file = isinstance(given, os.PathLike) or path.suffix or len(path.parts) > 1
        raise missing(path) if names_a_file else unknown("data set", given, CATALOG)
    with require_file(path).open("rb") as file:
        head = file.read(len(_HDF5_MAGIC))
    suffix = without_xz(path).suffix.casefold()
    # A file whose content says nothing goes to the reader its name asks for, which says what is
    # wrong with it.
    if head == _HDF5_MAGIC or (suffix in (".h5", ".hdf5") and not head.startswith(_ZIP_MAGIC)):
        train = read_hdf5(path, x_name=x_name, y_name=y_name, scale=scale)
        return Splits(train, name=path.name, source=str(path))
    if head.startswith(_ZIP_MAGIC) or suffix == ".npz":
        return read_npz(path, x_name=x_name, y_name=y_name, scale=scale)
    if _is_idx(path):
        raise InputError(
            f"{path} is one IDX file: name the folder with its images and labels, {path.parent}"
        )
    raise InputError(f"{path} is neither an HDF5 file, a NumPy archive (.npz) nor an IDX file")


def _is_idx(path: Path) -> bool:
    try:
        with open_plain(path) as file:
            return is_idx_header(file.read(4))
    except (OSError, EOFError):
        return False
