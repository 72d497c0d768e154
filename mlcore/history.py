"""What a training run measured, one row an epoch."""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlcore.data.files import atomic_write, require_file
from mlcore.kernels.errors import InputError, unknown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = (
    "epoch",
    "running_loss",
    "running_accuracy",
    "loss",
    "accuracy",
    "val_loss",
    "val_accuracy",
    "learning_rate",
    "seconds",
    "samples_per_second",
)

MONITORS: dict[str, Callable[[Iterable[float]], float]] = {
    name: max if name.endswith("accuracy") else min
    for name in COLUMNS
    if name.endswith(("loss", "accuracy"))
}


class History:
    """The measurements of every epoch, in columns.

    ===================== ==================================================================
    ``epoch``             number of the epoch, from 1
    ``running_loss``      mean loss of the batches while they were trained on
    ``running_accuracy``  their accuracy, a fraction
    ``loss``              mean loss over the training data after the epoch
    ``accuracy``          accuracy over the training data after the epoch, a fraction
    ``val_loss``          the same two over the validation data
    ``val_accuracy``
    ``learning_rate``     the rate that the epoch was trained with
    ``seconds``           how long the epoch's training took
    ``samples_per_second``
    ===================== ==================================================================

    What was not measured (no validation data; no accuracy in a regression) is NaN in memory, an
    empty cell in CSV and null in JSON. ``len(history)`` is the number of epochs,
    ``history["val_loss"]`` a column, ``str(history)`` a table, and histories with the same
    numbers are equal.

    Attributes
    ----------
    history : dict of str to list of float
        The columns by name, in the order above, as in Keras.

    Examples
    --------
    >>> history = History()
    >>> history.append({"loss": 0.5, "val_accuracy": 0.9})
    >>> history.append({"loss": 0.25, "val_accuracy": 0.875})
    >>> history["loss"]
    [0.5, 0.25]
    >>> history.best("val_accuracy")
    (1, 0.9)
    >>> print(history)
    epoch    loss  val_accuracy
        1  0.5000        0.9000
        2  0.2500        0.8750
    """

    def __init__(self) -> None:
        self.history: dict[str, list[float]] = {name: [] for name in COLUMNS}

    def append(self, record: Mapping[str, float | None]) -> None:
        """Add the measurements of one epoch.

        Parameters
        ----------
        record : dict of str to float
            Values by column name. A column left out, or None, was not measured; `epoch` left out
            is one more than the last.

        Raises
        ------
        InputError
            If a name is not a column, a value is not a number, or `epoch` is not a whole number
            above the last one. The history is left as it was.
        """
        for name in record:
            if name not in COLUMNS:
                raise unknown("history column", name, COLUMNS)
        row = {name: _number(name, record.get(name)) for name in COLUMNS}
        last = self["epoch"][-1] if len(self) else 0
        epoch = last + 1 if math.isnan(row["epoch"]) else row["epoch"]
        if not (epoch > last and math.isfinite(epoch) and epoch == int(epoch)):
            raise InputError(
                f"epoch {epoch:g} cannot follow epoch {last:g}; epochs are whole numbers from 1 "
                f"on that increase"
            )
        row["epoch"] = int(epoch)
        for name, value in row.items():
            self.history[name].append(value)

    def extend(self, columns: Mapping[str, Sequence[float]]) -> None:
        """Add the measurements of some epochs, which follow each other and the last one.

        Parameters
        ----------
        columns : dict of str to sequence of float
            By column name, without `epoch`; a column left out was not measured.

        Raises
        ------
        InputError
            If a name is not a column that can be given, or the columns differ in length.
        """
        for name in columns:
            if name not in COLUMNS[1:]:
                raise unknown("history column", name, COLUMNS[1:])
        lengths = {name: len(column) for name, column in columns.items()}
        if len(set(lengths.values())) > 1:
            raise InputError(f"the columns of a history differ in length: {lengths}")
        added, last = max(lengths.values(), default=0), int(self["epoch"][-1]) if len(self) else 0
        missing = [math.nan] * added
        for name in COLUMNS[1:]:
            self.history[name].extend(columns.get(name, missing))
        self.history["epoch"].extend(range(last + 1, last + added + 1))

    def __getitem__(self, name: str) -> list[float]:
        if name not in self.history:
            raise unknown("history column", name, COLUMNS)
        return self.history[name]

    def __len__(self) -> int:
        return len(self.history["epoch"])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, History) and other.to_dict() == self.to_dict()

    __hash__ = None  # type: ignore[assignment]

    def best(self, monitor: str = "val_accuracy") -> tuple[int, float]:
        """Return the epoch, counted from 1, with the best value of a column, and that value.

        Parameters
        ----------
        monitor : str
            A loss, of which the least is best, or an accuracy, of which the greatest is.

        Returns
        -------
        epoch : int
            Of equal values the first.
        value : float

        Raises
        ------
        InputError
            If `monitor` is neither a loss nor an accuracy, or was never measured.
        """
        if monitor not in MONITORS:
            raise unknown("monitor", monitor, MONITORS)
        column = self[monitor]
        measured = [value for value in column if not math.isnan(value)]
        if not measured:
            raise InputError(f"no epoch of this history has a {monitor}; monitor another column")
        value = MONITORS[monitor](measured)
        return int(self["epoch"][column.index(value)]), value

    def __str__(self) -> str:
        columns = {
            name: [_display(name, value) for value in column]
            for name, column in self.history.items()
            if name == "epoch" or not all(map(math.isnan, column))
        }
        widths = {name: max(map(len, [name, *cells])) for name, cells in columns.items()}
        rows = [list(columns), *zip(*columns.values(), strict=True)]
        return "\n".join(
            "  ".join(cell.rjust(width) for cell, width in zip(row, widths.values(), strict=True))
            for row in rows
        )

    def __repr__(self) -> str:
        return f"<History of {len(self)} epochs>"

    def to_dict(self) -> dict[str, list[float | str | None]]:
        """Return the columns as values that strict JSON can hold.

        NaN becomes None, and infinities become the strings "inf" and "-inf"; every other float
        is kept to the last bit. `from_dict` reads it back.
        """
        return {
            name: [_portable(value) for value in column] for name, column in self.history.items()
        }

    @classmethod
    def from_dict(cls, columns: Mapping[str, Iterable[Any]]) -> History:
        """Return the history that `to_dict`, or the attribute `history`, was taken from.

        Raises
        ------
        InputError
            If a name is not a column, a value is not a number, or the columns differ in length.
        """
        lists = {name: list(column) for name, column in columns.items()}
        lengths = {name: len(column) for name, column in lists.items()}
        if len(set(lengths.values())) > 1:
            raise InputError(f"the columns of a history differ in length: {lengths}")
        history = cls()
        for number, row in enumerate(zip(*lists.values(), strict=True), start=1):
            try:
                history.append(dict(zip(lists, row, strict=True)))
            except InputError as error:
                raise InputError(f"row {number}: {error}") from None
        return history

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write a header line and one line an epoch; floats keep every bit, NaN is empty.

        Raises
        ------
        InputError
            If nothing can be written at `path`.
        """
        rows = zip(*self.history.values(), strict=True)
        with atomic_write(path) as temporary, temporary.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(["" if math.isnan(v) else repr(v) for v in row] for row in rows)

    @classmethod
    def from_csv(cls, path: str | os.PathLike[str]) -> History:
        """Read what `to_csv` wrote.

        Raises
        ------
        InputError
            If the file is missing or holds something else; the message names file and row.
        """
        header, *rows = [row for row in csv.reader(_read(path).splitlines()) if row] or [[]]
        for number, row in enumerate(rows, start=1):
            if len(row) != len(header):
                raise InputError(
                    f"{path}: row {number} has {len(row)} cells and the header {len(header)}; "
                    f"mend the file"
                )
        cells = ([cell or None for cell in row] for row in rows)
        columns = zip(*cells, strict=True) if rows else ([] for _ in header)
        return cls._from_file(path, dict(zip(header, columns, strict=True)))

    def to_json(self, path: str | os.PathLike[str]) -> None:
        """Write `to_dict` as strict JSON.

        Raises
        ------
        InputError
            If nothing can be written at `path`.
        """
        text = json.dumps(self.to_dict(), indent=1, allow_nan=False)
        with atomic_write(path) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")

    @classmethod
    def from_json(cls, path: str | os.PathLike[str]) -> History:
        """Read what `to_json` wrote.

        Raises
        ------
        InputError
            If the file is missing or holds something else; the message names it.
        """
        try:
            columns = json.loads(_read(path))
        except json.JSONDecodeError as error:
            raise InputError(f"{path} is not JSON: {error}") from None
        if not isinstance(columns, dict) or not all(
            isinstance(column, list) for column in columns.values()
        ):
            raise InputError(f"{path} is not a history: it must be an object of lists")
        return cls._from_file(path, columns)

    @classmethod
    def _from_file(
        cls, path: str | os.PathLike[str], columns: Mapping[str, Iterable[Any]]
    ) -> History:
        if "epoch" not in columns:
            raise InputError(f"{path} is not a history: it has no column 'epoch'")
        try:
            return cls.from_dict(columns)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None

    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """Draw the loss and accuracy curves, and save them if a path is given.

        See `mlcore.plots.plot_curves`.

        Raises
        ------
        MissingExtraError
            If matplotlib is not installed.
        InputError
            If there are no epochs, or the path cannot be written or has an unknown suffix.
        """
        from mlcore.plots import plot_curves, save

        figure = plot_curves(self)
        if path is not None:
            save(figure, path)
        return figure


def _number(name: str, value: object) -> float:
    """Return a cell, in memory or from a file, as a float; None is NaN."""
    if value is None:
        return math.nan
    if isinstance(value, Real | str):
        try:
            return float(value)
        except ValueError:
            pass
    raise InputError(f"the history column {name!r} cannot hold {value!r}; give a number or None")


def _portable(value: float) -> float | str | None:
    """Return a value for JSON, which has neither NaN nor infinities."""
    if math.isnan(value):
        return None
    return value if math.isfinite(value) else str(value)


def _display(name: str, value: float) -> str:
    """Return a cell of the table that people read."""
    if math.isnan(value):
        return "-"
    if name == "epoch":
        return str(value)
    if name == "learning_rate":
        return f"{value:.4g}"
    if name == "seconds":
        return f"{value:.2f}"
    if name == "samples_per_second":
        return f"{value:,.0f}"
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.3e}"


def _read(path: str | os.PathLike[str]) -> str:
    try:
        return require_file(Path(path)).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path} is not a text file; give one that a history wrote") from None
