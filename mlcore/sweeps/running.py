"""Running a function for many settings and seeds."""

from __future__ import annotations

import inspect
import os
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import closing, nullcontext
from dataclasses import dataclass
from numbers import Integral
from typing import Any

from mlcore.kernels.errors import InputError
from mlcore.sweeps import cells, workers
from mlcore.sweeps.journal import ERROR, SECONDS, Cells, Journal, Key
from mlcore.sweeps.results import SEED, Results, from_cells
from mlcore.sweeps.settings import Setting

Function = Callable[..., Mapping[str, Any]]
RESERVED = (SEED, SECONDS, ERROR)


def sweep(
    function: Function,
    settings: Iterable[Mapping[str, Any]],
    *,
    seeds: int | Iterable[int] = 1,
    workers: int | None = None,
    out: str | os.PathLike[str] | None = None,
    retry: bool = False,
    progress: bool = True,
) -> Results:
    """Call a function for every setting and seed, and gather what it measures.

    Parameters
    ----------
    function : callable
        ``function(seed=0, **setting)``, which returns a dict of figures: numbers, texts, None, or
        lists of these. An exception becomes its row's "error", and the rest go on.
    settings : iterable of dict
        Such as those of `grid` and `draws`. The same setting twice is run once.
    seeds : int or iterable of int
        How many, from 0 on, or which; every setting is run with each.
    workers : int, optional
        Processes, each of which is given one core; no more than there are processors. 1 runs
        everything in this process, with the threads of `mlcore.get_num_threads`, and needs no
        joblib. By default as many as those threads, or 1 without joblib. Inside
        ``joblib.parallel_config(...)`` that backend runs it, such as a cluster of Dask or Ray,
        with as many workers as it has.
    out : str or path, optional
        A CSV file that gets each row as it comes. If it is there, the rows in it are not run
        again; so a sweep that was killed goes on, and one with more values or seeds adds to it.
        The file tells settings apart, not functions: use a new file for a changed function.
    retry : bool
        Whether rows of `out` that failed are run again.
    progress : bool
        Whether to show a progress bar, where standard error is a terminal.

    Returns
    -------
    Results

    Raises
    ------
    InputError
        For settings that `function` does not take, and a file that is of other settings, is used
        by another sweep, or cannot be written, before anything runs.
    MissingExtraError
        If joblib is needed and not installed.
    WorkerError
        If a worker process was killed or crashed; the rows before are in `out`.
    OSError
        When the disk is full or fails; the rows before are whole in `out`.
    KeyboardInterrupt
        On Ctrl-C; the rows before are whole in `out`.

    Examples
    --------
    >>> found = sweep(lambda seed, x: {"loss": x**2 + seed}, grid(x=[-1, 2]), seeds=2, workers=1)
    >>> found["loss"]
    [1, 2, 4, 5]
    """
    runs, names = _runs(settings, _seeds(seeds))
    for run in {tuple(run.setting): run for run in runs.values()}.values():
        _check_call(function, run.setting)
    columns = (*names, SEED)
    done: dict[Key, Cells] = {}
    with nullcontext() if out is None else Journal(out, columns, runs) as journal:
        if journal is not None:
            if retry:
                journal.drop(lambda cells: ERROR in cells)
            done.update(journal.rows)
        waiting = [_Task(function, key, run, names) for key, run in runs.items() if key not in done]
        with closing(_watched(waiting, workers, len(runs), progress, out)) as outcomes:
            for key, measured in outcomes:
                written = {**dict(zip(columns, key, strict=True)), **measured}
                done[key] = {name: cell for name, cell in written.items() if cell}
                if journal is not None:
                    journal.append(done[key])
    rows = [{**from_cells(done[key]), **run.row} for key, run in runs.items()]
    return Results(names, rows)


@dataclass(frozen=True)
class _Run:
    setting: Setting
    seed: int

    @property
    def row(self) -> dict[str, Any]:
        return {**self.setting, SEED: self.seed}


@dataclass(frozen=True)
class _Task:
    """A run as a worker gets it; what it returns are texts, which every backend can send back."""

    function: Function
    key: Key
    run: _Run
    names: tuple[str, ...]

    def __call__(self) -> tuple[Key, Cells]:
        start = time.perf_counter()
        try:
            measured = self._measured()
        except (Exception, SystemExit) as error:
            measured = {ERROR: _told(error)}
        return self.key, {**measured, SECONDS: repr(time.perf_counter() - start)}

    def _measured(self) -> Cells:
        figures = self.function(seed=self.run.seed, **self.run.setting)
        if not isinstance(figures, Mapping):
            raise InputError(
                f"the function returned {type(figures).__name__}, not a dict of figures such as "
                "{'accuracy': 0.98}"
            )
        for name in figures:
            if not isinstance(name, str) or not name or not name.isprintable():
                raise InputError(f"a figure is named {name!r}: give it a printable name")
            if name in RESERVED or name in self.names:
                raise InputError(f"the figure {name!r} has the name of another column: rename it")
        return {name: cells.figure_cell(name, value) for name, value in figures.items()}


def _told(error: BaseException) -> str:
    """Return an exception as one line of text that can be written to a file."""
    try:
        message = str(error)
    except Exception:
        message = "(its message cannot be made)"
    line = " ".join(f"{type(error).__name__}: {message}".split())
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)


def _watched(
    tasks: list[_Task], count: int | None, total: int, progress: bool, out: Any
) -> Generator[tuple[Key, Cells]]:
    """Yield the outcome of each task behind a progress bar; say on Ctrl-C what is saved."""
    from tqdm import tqdm

    found = workers.run(tasks, count)
    done, failed = total - len(tasks), 0
    bar = tqdm(total=total, initial=done, unit="run", disable=None if progress else True)
    try:
        with bar:
            for key, measured in found:
                failed += ERROR in measured
                if failed:
                    bar.set_postfix(failed=failed, refresh=False)
                yield key, measured
                done += 1
                bar.update()
    except (KeyboardInterrupt, workers.WorkerError) as error:
        told = str(error) or "stopped by Ctrl-C"
        kept = f"; they are in {out}, and the same call goes on from there" if done and out else ""
        raise type(error)(f"{told}, after {done} of {total} runs{kept}") from error.__cause__


def _runs(
    settings: Iterable[Mapping[str, Any]], seeds: list[int]
) -> tuple[dict[Key, _Run], tuple[str, ...]]:
    """Return the runs by what tells them apart, and the names of all settings."""
    if isinstance(settings, Mapping) or not isinstance(settings, Iterable):
        raise InputError(
            "settings must be a list of dicts, such as sweeps.grid(width=[16, 32]), not "
            f"{type(settings).__name__}"
        )
    given: list[Setting] = []
    for setting in settings:
        if not isinstance(setting, Mapping):
            raise InputError(f"a setting must be a dict, not {setting!r}")
        given.append(dict(setting))
    if not given:
        raise InputError("there are no settings to run: the list is empty")
    names = list(dict.fromkeys(name for setting in given for name in setting))
    for name in names:
        if not isinstance(name, str) or not name or not name.isprintable() or name in RESERVED:
            hint = "; seeds are chosen by sweep(..., seeds=)" if name == SEED else ""
            raise InputError(f"{name!r} cannot be the name of a setting{hint}")
    cell_of = cells.SettingCells()
    firsts: dict[tuple[str, str], Any] = {}
    runs: dict[Key, _Run] = {}
    for setting in given:
        written = {name: cell_of(name, value) for name, value in setting.items()}
        for name, cell in written.items():
            if not cells.are_one(firsts.setdefault((name, cell), setting[name]), setting[name]):
                raise InputError(
                    f"two values of the setting {name!r} are both called {cell}: give each a name "
                    "of its own, such as def gives a function"
                )
        for seed in seeds:
            key = (*(written.get(name, "") for name in names), str(seed))
            runs.setdefault(key, _Run(setting, seed))
    return runs, tuple(names)


def _seeds(seeds: int | Iterable[int]) -> list[int]:
    given = range(seeds) if isinstance(seeds, Integral) and not isinstance(seeds, bool) else seeds
    if isinstance(given, Iterable) and not isinstance(given, str | bytes):
        found = list(given)
        whole = all(isinstance(s, Integral) and not isinstance(s, bool) for s in found)
        if found and whole and min(found) >= 0:
            return [int(seed) for seed in found]
    raise InputError(
        f"seeds must be how many (1 or more), or a list of whole numbers from 0, not {seeds!r}"
    )


def _check_call(function: Function, setting: Setting) -> None:
    """Refuse a function that does not take the setting, before it is called a thousand times."""
    if not callable(function):
        raise InputError(f"the function of a sweep is {function!r}, which cannot be called")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(seed=0, **setting)
    except TypeError as error:
        call = ", ".join(("seed", *setting))
        name = getattr(function, "__name__", type(function).__name__)
        raise InputError(f"{name} cannot be called with ({call}): {error}") from None
