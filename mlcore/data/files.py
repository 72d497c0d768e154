"""Files that are whole or not there: atomic writes, and the errors for paths that cannot be."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mlcore.kernels.errors import InputError, MissingFileError, nearest


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Write a file under a temporary name, and give it its own name once it is complete.

    The file at `path` is at every moment either the old one or the whole new one, also when the
    process is killed or the machine loses power. Upon any exception, Ctrl-C included, the
    temporary file is removed and the old one is left as it was. A process that is killed outright
    (``kill -9``) leaves it behind, hidden, as ``.NAME-XXXXXXXX.tmp.SUFFIX``: it can be deleted.
    Nothing does so by itself, since another process may be writing it.

    Parameters
    ----------
    path
        Where the file is to stand. Its folder must exist; a symbolic link is followed.

    Yields
    ------
    pathlib.Path
        The temporary name, in the same folder and with the same suffix; the body of the ``with``
        creates and closes a file there.

    Raises
    ------
    MissingFileError
        The folder does not exist.
    InputError
        `path` is a folder, or its folder is not writable.

    Examples
    --------
    >>> with atomic_write("weights.npz") as temporary:  # doctest: +SKIP
    ...     np.savez(temporary, **weights)
    """
    target = require_place(path)
    folder = target.parent
    # The suffix stays last because np.savez and matplotlib decide by it.
    temporary = folder / f".{target.stem}-{os.urandom(4).hex()}.tmp{target.suffix}"
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(folder)


def require_place(path: str | os.PathLike[str]) -> Path:
    """Return the resolved `path` of a file that can be written, else raise what is wrong.

    Raises
    ------
    MissingFileError
        Its folder does not exist.
    InputError
        It is a folder, or its folder is not writable.
    """
    target = Path(path).expanduser().resolve()
    folder = target.parent
    if not folder.is_dir():
        raise MissingFileError(f"cannot write {path}: the folder {folder} does not exist")
    if target.is_dir():
        raise InputError(f"cannot write {path}: it is a folder, name a file in it")
    if not os.access(folder, os.W_OK):
        raise InputError(f"cannot write {path}: the folder {folder} is not writable")
    return target


@contextlib.contextmanager
def atomic_hdf5(
    path: str | os.PathLike[str], pack: Callable[[bytes], bytes] | None = None
) -> Iterator[Any]:
    """Write an HDF5 file whole or not at all: it is made in memory first.

    On a full disk HDF5's own writing fails while it closes, where it can end the process.

    Parameters
    ----------
    path
        Where the file is to stand, as for `atomic_write`.
    pack
        What compresses the whole file, where that is wanted.

    Yields
    ------
    h5py.File
        Open and empty; the body of the ``with`` fills it.

    Raises
    ------
    InputError, OSError
        As `atomic_write`; the old file is left as it was.
    """
    import h5py

    with h5py.File("memory", "w", driver="core", backing_store=False) as file:
        yield file
        file.flush()
        image = file.id.get_file_image()
    with atomic_write(path) as temporary:
        temporary.write_bytes(image if pack is None else pack(image))


def _sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut, where the platform can open folders."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def missing(path: Path) -> MissingFileError:
    """Return the error for a path that does not exist, with the nearest name that does."""
    folder = path.parent
    if not folder.is_dir():
        return MissingFileError(f"{path} does not exist, nor does the folder {folder}.")
    try:
        present = [entry.name for entry in folder.iterdir()]
    except OSError:
        present = []
    return MissingFileError(f"{path} does not exist.{nearest(path.name, present)}")


def require_file(path: Path) -> Path:
    """Return `path` when it is a readable file, else raise what is wrong with it.

    Raises
    ------
    MissingFileError
        Nothing is there.
    InputError
        It is a folder, or may not be read.
    """
    if not path.exists():
        raise missing(path)
    if not path.is_file():
        raise InputError(f"{path} is not a file; name a file")
    if not os.access(path, os.R_OK):
        raise InputError(f"{path} may not be read: check its permissions")
    return path
