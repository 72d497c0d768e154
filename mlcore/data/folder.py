"""Folders that hold a set in parts: train and test files, or the four IDX files of MNIST."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from mlcore.data.compressed import without_xz
from mlcore.data.dataset import Dataset, Splits
from mlcore.data.files import missing
from mlcore.data.hdf5 import read_hdf5
from mlcore.data.idx import read_idx
from mlcore.data.npz import read_npz
from mlcore.data.targets import as_targets
from mlcore.kernels.errors import InputError

# The names a part's file may have; the first is the one that is written.
PART_STEMS = {
    "train": ("train",),
    "validation": ("validation", "val", "valid"),
    "test": ("test",),
}

# MNIST calls its test part t10k; a validation part has no official name.
IDX_PREFIXES = {"train": "train", "validation": "validation", "test": "t10k"}

_HDF5_SUFFIXES = (".h5", ".hdf5")
_SUFFIXES = (*_HDF5_SUFFIXES, ".npz")
_IDX_NAME = re.compile(r"(?P<prefix>\w+)-(?P<kind>images|labels)[-.]idx\d+-\w+(\.gz)?")


def find_parts(folder: Path) -> dict[str, Path]:
    """Return the .h5, .h5.xz or .npz file of each part that `folder` has.

    Raises
    ------
    InputError
        Two files claim to be the same part.
    """
    parts: dict[str, Path] = {}
    for part, stems in PART_STEMS.items():
        found = sorted(
            path
            for path in folder.iterdir()
            if without_xz(path).stem.casefold() in stems
            and without_xz(path).suffix.casefold() in _SUFFIXES
        )
        if len(found) > 1:
            raise InputError(
                f"{folder} has both {found[0].name} and {found[1].name} as its {part} part; "
                "keep one of them"
            )
        if found:
            parts[part] = found[0]
    return parts


def find_idx(folder: Path) -> dict[str, dict[str, Path]]:
    """Return the IDX files of each part that `folder` has, under "images" and "labels".

    Where a file is there plain and as .gz, the plain one is taken.
    """
    by_prefix = {prefix: part for part, prefix in IDX_PREFIXES.items()}
    parts: dict[str, dict[str, Path]] = {}
    # Shorter names sort first, so the plain file is seen before its .gz.
    for path in sorted(folder.iterdir()):
        match = _IDX_NAME.fullmatch(path.name)
        if match and match["prefix"] in by_prefix:
            parts.setdefault(by_prefix[match["prefix"]], {}).setdefault(match["kind"], path)
    return parts


def read_folder(
    folder: Path,
    *,
    x_name: str = "xdata",
    y_name: str = "ydata",
    scale: float | None = None,
    name: str | None = None,
    class_names: Sequence[str] | None = None,
) -> Splits:
    """Read a folder with train.h5, validation.h5 and test.h5 (.h5.xz, .npz), or with IDX files.

    Parameters
    ----------
    folder
        Only the train part is required. IDX files have MNIST's names, plain or .gz, with a dash or
        a dot before ``idx``.
    x_name, y_name, scale, class_names
        As for `read_hdf5`.
    name
        What messages call the set. Default: the folder's name.

    Raises
    ------
    MissingFileError
        There is no such folder.
    InputError
        It has no train part, half an IDX pair, or a file that cannot be read.
    """
    if not folder.is_dir():
        raise missing(folder)
    name = name if name is not None else folder.resolve().name
    files = find_parts(folder)
    pairs = {} if files else find_idx(folder)
    if "train" not in files and "train" not in pairs:
        raise InputError(
            f"{folder} has no train part: expected train.h5 or train.npz, or "
            "train-images-idx3-ubyte and train-labels-idx1-ubyte, plain or .gz"
        )
    parts: dict[str, Dataset] = {}
    for part, path in files.items():
        label = f"{name} {part}"
        if without_xz(path).suffix.casefold() in _HDF5_SUFFIXES:
            parts[part] = read_hdf5(
                path, x_name=x_name, y_name=y_name, scale=scale, name=label, class_names=class_names
            )
            continue
        held = read_npz(
            path, x_name=x_name, y_name=y_name, scale=scale, name=label, class_names=class_names
        )
        if len(held.parts()) > 1:
            raise InputError(f"{path} holds several parts itself: name the file, not its folder")
        parts[part] = held.train
    for part, pair in pairs.items():
        parts[part] = _read_pair(folder, pair, part, scale, f"{name} {part}", class_names)
    return Splits(**parts, name=name, source=str(folder))


def _read_pair(
    folder: Path,
    pair: Mapping[str, Path],
    part: str,
    scale: float | None,
    name: str,
    class_names: Sequence[str] | None,
) -> Dataset:
    for kind, ending in (("images", "idx3-ubyte"), ("labels", "idx1-ubyte")):
        if kind not in pair:
            there = next(iter(pair.values())).name
            raise InputError(
                f"{folder} has {there} but not {IDX_PREFIXES[part]}-{kind}-{ending}, "
                "plain or .gz; both are needed"
            )
    images, labels = read_idx(pair["images"]), read_idx(pair["labels"])
    if len(images) != len(labels):
        raise InputError(
            f"{pair['images']} holds {len(images):,} images but {pair['labels'].name} "
            f"{len(labels):,} labels; they must be the same"
        )
    targets = as_targets(labels, where=str(pair["labels"]))
    return Dataset(images, targets, scale=scale, name=name, class_names=class_names)
