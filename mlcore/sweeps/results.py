"""What a sweep measured, one row a run."""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlcore.data.files import atomic_write, require_file
from mlcore.kernels.errors import InputError, unknown
from mlcore.plan import table
from mlcore.sweeps import cells
from mlcore.sweeps.journal import ERROR, SECONDS, parse, read_file, to_text

Row = dict[str, Any]
SEED, RUNS = "seed", "runs"
LEAST_IS_BEST = ("loss", "error", "rmse", "mse", "mae", SECONDS)
MODES = ("auto", "max", "min")


class Results:
    """The rows of a sweep.

    ``len(results)`` is the number of rows, ``for row in results`` gives them,
    ``results["val_accuracy"]`` a column, and ``str(results)`` the table.

    Attributes
    ----------
    rows : list of dict
        In the order of the settings: each setting's value, "seed", the figures that the function
        returned, "seconds" (how long the call took), and "error" (what was raised, as "type:
        message", or None). A figure that a row lacks is NaN, and so are those of a failed row.
    settings : tuple of str
        The names of the settings, without "seed".
    figures : tuple of str
        The names of the figures.

    Examples
    --------
    >>> results = sweep(lambda seed, x: {"loss": (x - 2) ** 2}, grid(x=[1, 2, 4]), workers=1)
    >>> results["loss"]
    [1, 0, 4]
    >>> results.best("loss")["x"]
    2
    """

    def __init__(self, settings: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
        self.settings = tuple(settings)
        own = (*self.settings, SEED, SECONDS, ERROR)
        names = dict.fromkeys(name for row in rows for name in row if name not in own)
        self.figures = tuple(names)
        seeded = (SEED,) if any(SEED in row for row in rows) else ()
        self.rows: list[Row] = [
            {
                **{name: row.get(name) for name in (*self.settings, *seeded)},
                **{name: row.get(name, math.nan) for name in self.figures},
                SECONDS: row.get(SECONDS, math.nan),
                ERROR: row.get(ERROR),
            }
            for row in rows
        ]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __getitem__(self, name: str) -> list[Any]:
        columns = list(self.rows[0]) if self.rows else []
        if name not in columns:
            raise unknown("column", name, columns)
        return [row[name] for row in self.rows]

    @property
    def failed(self) -> list[Row]:
        """The rows of runs that raised something."""
        return [row for row in self.rows if row[ERROR] is not None]

    def best(self, name: str, mode: str = "auto") -> Row:
        """Return the row with the best figure, of equal ones the first.

        Parameters
        ----------
        name : str
            A figure; rows where it is not a number, or NaN, do not count.
        mode : {"auto", "max", "min"}
            "auto" takes the greatest accuracy, and the least of what ends with loss, error, rmse,
            mse, mae or seconds.

        Raises
        ------
        InputError
            For an unknown column, one that "auto" knows nothing of, and where no row has a number.
        """
        values = self[name]
        least = _least(name, mode)
        numbered = [at for at, value in enumerate(values) if _is_figure(value)]
        if not numbered:
            failed = self.failed
            why = f"; {len(failed)} of {len(self)} failed, {failed[0][ERROR]}" if failed else ""
            raise InputError(f"no row has a number for {name!r}{why}")
        chosen = min if least else max
        return self.rows[chosen(numbered, key=lambda at: values[at])]

    def mean_over(self, *names: str) -> Results:
        """Return the means over the rows that differ only in these settings.

        Parameters
        ----------
        *names : str
            Settings, or "seed"; they are no columns of the result.

        Returns
        -------
        Results
            One row for each of the other settings: "runs", the number of rows that did not fail;
            each figure that is a number, and beside it, as "NAME_std", its standard deviation
            (with n - 1; NaN for a single run); the mean of the seconds; and the first error, where
            there was one.

        Raises
        ------
        InputError
            For what is no setting.
        """
        known = (*self.settings, SEED) if self.rows and SEED in self.rows[0] else self.settings
        for name in names:
            if name not in known:
                raise unknown("setting", name, known)
        kept = [name for name in known if name not in names]
        groups: dict[tuple[str, ...], list[Row]] = {}
        for row in self.rows:
            key = tuple(cells.setting_cell(name, row[name]) for name in kept)
            groups.setdefault(key, []).append(row)
        figures = [name for name in self.figures if any(map(_is_number, self[name]))]
        return Results(
            [name for name in kept if name != SEED],
            [_mean(group, kept, figures) for group in groups.values()],
        )

    def mean_over_seeds(self) -> Results:
        """Return the means over the seeds of each setting, see `mean_over`."""
        return self.mean_over(SEED)

    def table(self) -> str:
        """Return the rows as an aligned table; columns that are empty everywhere are left out."""
        if not self.rows:
            return "no rows"
        names = [
            name
            for name in self.rows[0]
            if name in self.settings or not all(map(_is_missing, self[name]))
        ]
        lines = [tuple(_shown(name, row[name], self.settings) for name in names) for row in self]
        right = tuple(
            at
            for at, name in enumerate(names)
            if all(_is_number(value) or _is_missing(value) for value in self[name])
        )
        return table(tuple(names), lines, right=right)

    def __str__(self) -> str:
        return self.table()

    def __repr__(self) -> str:
        return f"<Results of {len(self)} runs, {len(self.failed)} failed>"

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write a head and a line for each row, as `sweep` does; floats keep every bit.

        Raises
        ------
        InputError
            If nothing can be written at `path`.
        """
        columns = list(self.rows[0]) if self.rows else []
        lines = [to_cells(row, self.settings) for row in self.rows]
        with atomic_write(path) as temporary:
            temporary.write_text(to_text(columns, lines), encoding="utf-8")

    @classmethod
    def from_csv(cls, path: str | os.PathLike[str]) -> Results:
        """Read a sweep's file, also while the sweep is running.

        Lists and dicts come back as such; objects, such as optimizers, as their text.

        Raises
        ------
        InputError
            If the file is missing or holds something else.
        """
        text, _ = read_file(require_file(Path(path)))
        columns, lines = parse(text, path)
        if SEED not in columns or columns[-2:] != [SECONDS, ERROR]:
            raise InputError(f"{path} is not a file of a sweep: its columns are {columns}")
        settings = columns[: columns.index(SEED)]
        return cls(settings, [from_cells(line) for line in lines])


def to_cells(row: Mapping[str, Any], settings: Sequence[str]) -> dict[str, str]:
    """Return a row as it stands in a file; NaN figures are left out."""
    written = {}
    for name, value in row.items():
        if name in settings or name == SEED:
            written[name] = cells.setting_cell(name, value)
        elif name == ERROR:
            written[name] = value or ""
        elif not _is_missing(value):
            written[name] = cells.figure_cell(name, value)
    return written


def from_cells(line: Mapping[str, str]) -> Row:
    """Return the row that a line of a file holds."""
    return {
        name: cell if name == ERROR else cells.read(cell) for name, cell in line.items() if cell
    }


def _mean(group: Sequence[Row], kept: Sequence[str], figures: Sequence[str]) -> Row:
    done = [row for row in group if row[ERROR] is None]
    mean: Row = {name: group[0][name] for name in kept}
    mean[RUNS] = len(done)
    for name in figures:
        values = [float(row[name]) for row in done if _is_number(row[name])]
        mean[name] = sum(values) / len(values) if values else math.nan
        finite = len(values) > 1 and all(map(math.isfinite, values))
        mean[f"{name}_std"] = statistics.stdev(values) if finite else math.nan
    seconds = [row[SECONDS] for row in done]
    mean[SECONDS] = sum(seconds) / len(seconds) if seconds else math.nan
    mean[ERROR] = next((row[ERROR] for row in group if row[ERROR] is not None), None)
    return mean


def _least(name: str, mode: str) -> bool:
    if mode not in MODES:
        raise unknown("mode", mode, MODES)
    if mode != "auto":
        return mode == "min"
    if name.endswith("accuracy"):
        return False
    if name.endswith(LEAST_IS_BEST):
        return True
    raise InputError(f'whether the greatest or the least {name!r} is best? Say mode="max" or "min"')


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _is_figure(value: Any) -> bool:
    return _is_number(value) and not math.isnan(value)


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _shown(name: str, value: Any, settings: Sequence[str]) -> str:
    """Return a cell of the table that people read."""
    if name in settings:
        return format(value, ".4g") if isinstance(value, float) else cells.setting_cell(name, value)
    if _is_missing(value):
        return "-"
    if name == SECONDS:
        return f"{value:.2f}"
    if isinstance(value, float):
        return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.3e}"
    return str(value)
