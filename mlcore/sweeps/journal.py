"""The CSV file of a sweep: a row as soon as a setting is done, whole whenever it is looked at.

Rows are appended, each by one write; where a row brings a new column the file is replaced as a
whole. A kill can leave half a line at the end, which the next sweep drops. While a sweep runs, it
holds a lock on the file.
"""

from __future__ import annotations

import contextlib
import csv
import glob
import io
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from mlcore.data.files import atomic_write, require_place
from mlcore.kernels.errors import InputError

try:
    import fcntl
except ImportError:  # Windows has none, and there nobody is kept from a second sweep.
    fcntl = None  # type: ignore[assignment]

SECONDS, ERROR = "seconds", "error"
Cells = dict[str, str]
Key = tuple[str, ...]


def to_text(columns: Sequence[str], rows: Iterable[Mapping[str, str]], head: bool = True) -> str:
    """Return rows as lines of CSV; a cell that a row lacks is empty."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, restval="", lineterminator="\n")
    if head:
        writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def parse(text: str, path: str | os.PathLike[str]) -> tuple[list[str], list[Cells]]:
    """Return the columns and the rows of a sweep's file; empty cells are left out.

    Raises
    ------
    InputError
        For a row of another length than the head, with its line.
    """
    lines = csv.reader(io.StringIO(text))
    # A history of many epochs in one cell is longer than the module's limit.
    limit = csv.field_size_limit(max(len(text), csv.field_size_limit()))
    try:
        columns = next(lines, [])
        rows = []
        for line in lines:
            if len(line) != len(columns):
                raise InputError(
                    f"{path}: line {lines.line_num} has {len(line)} cells and the head "
                    f"{len(columns)}: mend or remove it"
                )
            rows.append({name: cell for name, cell in zip(columns, line, strict=True) if cell})
    except csv.Error as error:
        raise InputError(f"{path} is not a CSV file: {error}") from None
    finally:
        csv.field_size_limit(limit)
    if len(set(columns)) != len(columns):
        raise InputError(f"{path} names a column twice in its first line")
    return columns, rows


def read_file(path: Path) -> tuple[str, int]:
    """Return the whole lines of a file, and how many bytes they are."""
    content = path.read_bytes()
    end = content.rfind(b"\n") + 1
    try:
        return content[:end].decode("utf-8-sig"), end
    except UnicodeDecodeError:
        raise InputError(f"{path} is not a text file: name another one") from None


class Journal:
    """The file of one sweep, locked while it is open.

    Parameters
    ----------
    path : str or path
        A file that an earlier run of the same sweep has left, or a new one.
    settings : sequence of str
        The columns that say which row is which; they come first.
    known : collection of key
        The rows that there may be; a key is the cells of the columns `settings`.

    Attributes
    ----------
    rows : dict of key to cells
        What is in the file.

    Raises
    ------
    InputError
        If nothing can be written there, another sweep is writing there, or it holds something
        else. It is left as it was.
    """

    def __init__(
        self, path: str | os.PathLike[str], settings: Sequence[str], known: Collection[Key]
    ) -> None:
        self.path = require_place(path)
        if self.path.exists() and not self.path.is_file():
            raise InputError(f"cannot write {path}: it is not a file, name one")
        self.settings = list(settings)
        self.columns: list[str] = []
        self.rows: dict[Key, Cells] = {}
        self._file = self._opened()
        try:
            self._read(known)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the file; one without a row is removed."""
        with contextlib.suppress(OSError):
            if os.fstat(self._file).st_size == 0:
                self.path.unlink()
        os.close(self._file)

    def key(self, cells: Mapping[str, str]) -> Key:
        """Return what tells a row from the others."""
        return tuple(cells.get(name, "") for name in self.settings)

    def append(self, cells: Cells) -> None:
        """Write a row.

        Raises
        ------
        OSError
            When the disk is full or fails; the rows before stay whole.
        """
        self.rows[self.key(cells)] = cells
        try:
            if set(cells) <= set(self.columns):
                self._write(to_text(self.columns, [cells], head=False).encode())
            else:
                self.rewrite()
        except OSError as error:
            told = (
                f"cannot write a row to {self.path}: {error.strerror or error}; the rows before it "
                "are whole, and the same call goes on from there"
            )
            raise OSError(error.errno, told) from error

    def _write(self, line: bytes) -> None:
        size = os.fstat(self._file).st_size
        try:
            while line:
                line = line[os.write(self._file, line) :]
        except BaseException:
            os.ftruncate(self._file, size)
            raise

    def drop(self, unwanted: Callable[[Cells], bool]) -> None:
        """Remove rows; the file is replaced as a whole."""
        kept = {key: cells for key, cells in self.rows.items() if not unwanted(cells)}
        if len(kept) < len(self.rows):
            self.rows = kept
            self.rewrite()

    def rewrite(self) -> None:
        """Write all rows anew, with the columns that they have."""
        found = dict.fromkeys(name for cells in self.rows.values() for name in cells)
        ends = (*self.settings, SECONDS, ERROR)
        inner = dict.fromkeys((*self.columns, *found))
        figures = [name for name in inner if name in found and name not in ends]
        columns = [*self.settings, *figures, SECONDS, ERROR]
        with atomic_write(self.path) as temporary:
            temporary.write_text(to_text(columns, self.rows.values()), encoding="utf-8")
            # Locked before it has the name, so that nobody comes between.
            fresh_file = self._opened(temporary)
        os.close(self._file)
        self._file, self.columns = fresh_file, columns

    def _opened(self, path: Path | None = None) -> int:
        place = path or self.path
        while True:
            try:
                descriptor = os.open(place, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            except OSError as error:
                raise InputError(f"cannot write {place}: {error.strerror}") from error
            try:
                if fcntl is not None:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                raise InputError(
                    f"another sweep is writing {place}: wait for it, or name another file"
                ) from None
            except OSError:
                # Some network file systems have no locks.
                pass
            # Whoever held the lock before may have put another file in the place of this one.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), place.stat()):
                    return descriptor
            os.close(descriptor)

    def _read(self, known: Collection[Key]) -> None:
        text, whole = read_file(self.path)
        if os.fstat(self._file).st_size and not text:
            # The first line is written whole, so this is a file of something else.
            text = self.path.read_text(encoding="utf-8", errors="replace")
        columns, rows = parse(text, self.path)
        count = len(self.settings)
        fits = set(columns[:count]) == set(self.settings) and columns[-2:] == [SECONDS, ERROR]
        if columns and not fits:
            raise InputError(
                f"{self.path} holds something else: a file of this sweep begins with the columns "
                f"{', '.join(self.settings)}, this one with {', '.join(columns[:count])}; name "
                "another file"
            )
        self.columns = columns
        self.rows = {self.key(cells): cells for cells in rows}
        for key in self.rows:
            if key not in known:
                told = ", ".join(f"{n}={cell}" for n, cell in zip(self.settings, key, strict=True))
                raise InputError(
                    f"{self.path} is of other settings: it has a row for {told}, which is not "
                    "among those of this sweep; name another file"
                )
        os.ftruncate(self._file, whole)
        # What a kill in the middle of `rewrite` left; nobody else writes while this has the lock.
        left = f".{glob.escape(self.path.stem)}-{'[0-9a-f]' * 8}.tmp{glob.escape(self.path.suffix)}"
        for temporary in self.path.parent.glob(left):
            temporary.unlink(missing_ok=True)
