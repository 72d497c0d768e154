"""What a study is made of: the decorator that makes one, and the `Run` that it is handed."""

from __future__ import annotations

import inspect
import os
import re
import shlex
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlcore.data import Dataset, Splits, load, split
from mlcore.data.catalog import entry, locate
from mlcore.data.files import missing
from mlcore.kernels import threads
from mlcore.kernels.errors import InputError, MissingExtraError, is_number, unknown
from mlcore.layers.base import check_size
from mlcore.studies.result import Result, facts

if TYPE_CHECKING:
    from mlcore.history import History
    from mlcore.model import Sequential

Function = Callable[..., str]

# Samples of the training and of the test data in quick form, unless a study asks for others.
QUICK_SIZES = (5_000, 1_000)
# Arguments of `mlcore.studies.run`, which no study's own setting may be called.
RESERVED = ("name", "quick", "seeds", "workers", "data", "out", "plots", "progress")


@dataclass(frozen=True)
class Study:
    """One experiment: what it is called, what it may be told, and the function that runs it.

    Made by the decorator `study`.

    Attributes
    ----------
    name, label, title, source : str
        As given to `study`.
    seeds : int or None
        How many seeds it repeats with unless it is told; None where it cannot repeat.
    repeats : str
        What is repeated with the seeds; where nothing is, why, and what to do instead.
    quick : dict
        The settings that differ in quick form; "seeds" may be among them.
    percent : tuple of str
        Columns that are fractions, shown as percentages.
    function : callable
        Takes a `Run` and the settings, and returns the conclusion.
    """

    name: str
    label: str
    title: str
    source: str
    seeds: int | None
    repeats: str
    quick: dict[str, Any]
    percent: tuple[str, ...]
    function: Function

    @property
    def order(self) -> tuple[str, int, str]:
        """What studies are sorted by: A2 stands before A10."""
        letters, digits = re.match(r"(\D*)(\d*)", self.label).groups()  # type: ignore[union-attr]
        return letters, int(digits or 0), self.name

    @property
    def settings(self) -> dict[str, Any]:
        """The study's own settings with their defaults."""
        parameters = inspect.signature(self.function).parameters.values()
        return {each.name: each.default for each in parameters if each.kind is each.KEYWORD_ONLY}

    @property
    def explanation(self) -> str:
        """What the study's file says of the experiment."""
        module = inspect.getmodule(self.function)
        return (inspect.getdoc(module) if module else None) or ""

    def is_percent(self, column: str) -> bool:
        """Whether a column is a fraction that is shown as a percentage."""
        return column in self.percent or "accuracy" in column or "share" in column

    def start(
        self,
        quick: bool,
        seeds: int | None,
        workers: int | None,
        data: str | os.PathLike[str] | None,
        plots: bool,
        progress: bool,
        settings: Mapping[str, Any],
    ) -> Run:
        """Check everything that can be wrong before anything runs; see `mlcore.studies.run`."""
        given = self._checked(settings)
        usual = self.quick if quick else {}
        count = usual.get("seeds", self.seeds) if seeds is None else check_size(seeds, "seeds")
        if count is not None and self.seeds is None:
            raise InputError(f"{self.name} cannot repeat with seeds: {self.repeats}")
        place = None if data is None else Path(data).expanduser()
        if place is not None and not place.exists():
            raise missing(place)
        return Run(
            study=self,
            settings={**self.settings, **{n: v for n, v in usual.items() if n != "seeds"}, **given},
            quick=bool(quick),
            seeds=count,
            workers=threads.chosen().number if workers is None else check_size(workers, "workers"),
            data=place,
            plots=bool(plots),
            progress=bool(progress),
        )

    def finish(self, run: Run) -> Result:
        """Run the study that `start` has prepared."""
        begun = time.perf_counter()
        conclusion = self.function(run, **run.settings)
        return run.result(conclusion, time.perf_counter() - begun)

    def _checked(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        known = self.settings
        for name in settings:
            if not known:
                raise InputError(f"{self.name} has no settings of its own: leave out {name!r}")
            if name not in known:
                raise unknown(f"setting of {self.name}:", name, known)
        return {
            name: _like(known[name], value, f"{self.name}: {name}")
            for name, value in settings.items()
        }


def study(
    name: str,
    *,
    label: str,
    title: str,
    source: str = "",
    seeds: int | None = None,
    repeats: str = "it trains each network once",
    quick: Mapping[str, Any] | None = None,
    percent: tuple[str, ...] = (),
) -> Callable[[Function], Study]:
    """Make a study of a function ``f(run, *, setting=default, ...) -> conclusion``.

    Parameters
    ----------
    name : str
        What it is run by; its file has the same name with underscores.
    label : str
        Where it stands in the list, such as "D3".
    title : str
        One line, what it shows.
    source : str
        Where the experiment comes from.
    seeds : int, optional
        How many seeds it repeats with by default; the function reads `Run.seeds`. Where it is
        left out, asking for seeds is an error, which says `repeats`.
    repeats : str
        With `seeds`, what is repeated and what the table has of it; else why nothing is.
    quick : mapping, optional
        Settings in quick form: only data, epochs, counts, and "seeds".
    percent : tuple of str
        Columns of the table that are fractions and shown as percentages, beside those whose names
        contain "accuracy" or "share".

    Raises
    ------
    InputError
        If `quick` names no setting of the function, or a setting has no default or a name that
        `mlcore.studies.run` needs itself.

    Examples
    --------
    >>> @study("coin", label="Z1", title="A fair coin", quick={"throws": 10})
    ... def coin(run: Run, *, throws: int = 100) -> str:
    ...     run.row("fair", throws=throws)
    ...     return f"{throws} throws."
    >>> coin.settings
    {'throws': 100}
    """

    def made(function: Function) -> Study:
        found = Study(
            name, label, title, source, seeds, repeats, dict(quick or {}), percent, function
        )
        for setting, default in found.settings.items():
            if setting in RESERVED or default is inspect.Parameter.empty:
                raise InputError(
                    f"the setting {setting} of {name} needs a default, and a name other than "
                    f"{', '.join(RESERVED)}"
                )
        found._checked({key: value for key, value in found.quick.items() if key != "seeds"})
        return found

    return made


class Run:
    """One run of a study: what it may use, and where it puts what it finds.

    Attributes
    ----------
    quick : bool
        Whether it is to be done in seconds.
    seeds : int
        How many seeds to repeat with, for a study that can.
    workers : int
        How many processor cores to use.
    data : pathlib.Path or None
        The file or folder that was given.
    plots : bool
        Whether `figure` draws: it was not forbidden, and matplotlib is there.
    """

    def __init__(
        self,
        study: Study,
        settings: dict[str, Any],
        quick: bool,
        seeds: int | None,
        workers: int,
        data: Path | None,
        plots: bool,
        progress: bool,
    ) -> None:
        self.study, self.settings = study, settings
        self.quick, self._seeds, self.workers, self.data = quick, seeds, workers, data
        self.progress = progress
        self._rows: list[tuple[str, dict[str, Any], dict[str, Any]]] = []
        self._figures: dict[str, Any] = {}
        self._networks: dict[str, Sequential] = {}
        self._formats: dict[str, str] = {}
        self._histories: dict[str, History] = {}
        self._notes: list[str] = []
        self._sources: dict[str, str] = {}
        self.plots = plots and self._can_draw()

    @property
    def seeds(self) -> int:
        """How many seeds to repeat with."""
        assert self._seeds is not None, f"{self.study.name} reads seeds, but declares none"
        return self._seeds

    def row(
        self,
        setting: str,
        *,
        reported: Mapping[str, float | str | None] | None = None,
        **measured: float | str | None,
    ) -> None:
        """Add a line to the table.

        Parameters
        ----------
        setting : str
            What was run, in words.
        reported : mapping, optional
            What was reported then, by column; None, or left out, for what was not.
        **measured
            What comes out now, by column; None for what was not measured. Accuracies are
            fractions, times are in ``seconds``.
        """
        self._rows.append((setting, dict(reported or {}), measured))
        words = (
            f"{key.replace('_', ' ')} {self._shown(key, value)}"
            for key, value in measured.items()
            if value is not None
        )
        self.say(f"{setting}: {', '.join(words)}")

    def figure(self, name: str, drawn: Any, *arguments: Any, **settings: Any) -> None:
        """Keep a plot; nothing happens where `plots` is false.

        Parameters
        ----------
        name : str
            Of the file, without a suffix.
        drawn : matplotlib Figure or Axes, or a function that returns one
            A function, called as ``drawn(*arguments, **settings)``, is not called where nothing
            is drawn, so that the study runs without matplotlib too.
        """
        if not self.plots:
            return
        made = drawn(*arguments, **settings) if callable(drawn) else drawn
        # A figure's `figure` is itself, that of axes the one that they stand in.
        self._figures[name] = made.figure

    def network(self, name: str, model: Sequential, *, format: str = "mlcore") -> None:
        """Keep a trained network, to be saved as HDF5 as it is when the study ends.

        `format` is that of `mlcore.checkpoint.save`, "mlcore" or "notebook".
        """
        self._networks[name] = model
        self._formats[name] = format

    def history(self, name: str, history: History) -> None:
        """Keep what a training run measured in every epoch."""
        self._histories[name] = history

    def say(self, text: str) -> None:
        """Tell what is being done, on standard error, where that was asked for."""
        if self.progress:
            print(f"{self.study.name}: {text}", file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        """Add a remark that the reader of the result must know of."""
        if text not in self._notes:
            self._notes.append(text)

    def uses(self, text: str) -> None:
        """Put down which data are used, among the settings."""
        self._sources["data"] = text

    def mnist(self, quick: tuple[int, int] = QUICK_SIZES) -> tuple[Dataset, Dataset]:
        """Return training and test data of MNIST, or of the bundled sample where it is not there.

        In quick form they are stratified parts of `quick` samples each, or all where there are
        no more.
        """
        return self._set("mnist", quick)

    def fashion_mnist(self, quick: tuple[int, int] = QUICK_SIZES) -> tuple[Dataset, Dataset]:
        """Return training and test data of Fashion-MNIST, likewise.

        The bundled sample is of digits: a note says then that the figures are of other images.
        """
        return self._set("fashion-mnist", quick)

    def result(self, conclusion: str, seconds: float) -> Result:
        """Return what was found."""
        study = self.study
        if self.quick and any(then for _, then, _ in self._rows):
            self.note(
                "This is the quick form: less data, fewer epochs or fewer runs, so that what was "
                "reported is no measure for what comes out."
            )
        lines = [{"setting": name, **self._line(then, now)} for name, then, now in self._rows]
        return Result(
            name=study.name,
            label=study.label,
            title=study.title,
            source=study.source,
            explanation=study.explanation,
            command=self._command(),
            conclusion=" ".join(conclusion.split()),
            notes=tuple(self._notes),
            table=lines,
            percent=tuple(name for name in self._columns() if self.study.is_percent(name)),
            settings=self.settings
            | {"quick": self.quick}
            | ({} if self._seeds is None else {"seeds": self._seeds})
            | {"workers": self.workers}
            | self._sources,
            machine=facts(),
            figures=self._figures,
            networks=self._networks,
            formats=self._formats,
            histories=self._histories,
            seconds=seconds,
        )

    def _command(self) -> str:
        """Return the command that repeats this run."""
        usual = {**self.study.settings, **(self.study.quick if self.quick else {})}
        words = ["mlcore study run", self.study.name, *(["--quick"] if self.quick else [])]
        if self._seeds != usual.get("seeds", self.study.seeds):
            words.append(f"--seeds {self._seeds}")
        for name, value in self.settings.items():
            if value != usual[name]:
                several = isinstance(value, (tuple, list))
                text = ",".join(map(str, value)) if several else str(value)
                words.append(f"--set {shlex.quote(f'{name}={text}')}")
        return " ".join(words)

    def _columns(self) -> list[str]:
        """Return the columns in the order in which they were first given; the time stands last."""
        given = dict.fromkeys(name for _, then, now in self._rows for name in (*now, *then))
        return sorted(given, key=lambda name: name == "seconds")

    def _line(self, then: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
        """Return a row with all columns; what anybody reported stands before what is measured."""
        line: dict[str, Any] = {}
        for name in self._columns():
            if any(name in reported for _, reported, _ in self._rows):
                line[f"reported_{name}"] = then.get(name)
            if any(name in measured for _, _, measured in self._rows):
                line[name] = now.get(name)
        return line

    def _shown(self, column: str, value: Any) -> str:
        from mlcore.studies.result import shown

        return shown(column, value, self.study.is_percent(column))

    def _can_draw(self) -> bool:
        from mlcore.plots._figure import new_figure

        try:
            new_figure(1, 1)
        except MissingExtraError as error:
            self.note(f"There are no plots: {error}")
            return False
        return True

    def _set(self, name: str, quick: tuple[int, int]) -> tuple[Dataset, Dataset]:
        found = self._found(name)
        train, test = found
        if self.quick:
            train, test = _part(train, quick[0]), _part(test, quick[1])
        self.uses(f"{found.name}: {len(train):,} samples to train, {len(test):,} to test")
        return train, test

    def _found(self, name: str) -> Splits:
        if self.data is not None:
            inner = self.data / name
            return _named(load(inner if inner.is_dir() else self.data), name)
        if locate(name) is not None:
            return load(name)
        what = "" if name == "mnist" else ", which is of digits, so that no figure compares"
        self.note(
            f"{name} is not on this machine: this is the bundled sample of MNIST{what}. For the "
            f"study itself run `mlcore data fetch {name}`, or name the data with --data."
        )
        return load("mnist-sample")


def _named(splits: Splits, name: str) -> Splits:
    """Return the sets with the names of the classes, which files of images do not hold."""
    classes = entry(name).class_names
    parts: dict[str, Any] = {
        part: data if data.class_names else replace(data, class_names=classes)
        for part, data in splits.parts().items()
    }
    return replace(splits, **parts)


def _part(data: Dataset, samples: int) -> Dataset:
    """Return a part with as many samples of each class as in the whole, in proportion."""
    if len(data) <= samples:
        return data
    part = split(data, test=samples, stratify=data.labelled).test
    assert part is not None
    return replace(part, name=data.name)


def _like(default: Any, value: Any, where: str) -> Any:
    """Return a setting's value in the type of its default."""
    if default is None or default is inspect.Parameter.empty:
        return value
    if isinstance(default, (tuple, list)):
        several = value if isinstance(value, (tuple, list)) else [value]
        return type(default)(
            _like(default[0], each, where) if default else each for each in several
        )
    if isinstance(default, bool):
        fits = isinstance(value, bool)
    elif isinstance(default, int):
        fits = is_number(value) and value == int(value)
        if fits and default > 0 and value < 1:
            raise InputError(f"{where} is {value!r}: it must be 1 or more")
    elif isinstance(default, float):
        fits = is_number(value)
    else:
        fits = isinstance(value, type(default))
    if not fits:
        kinds = {bool: "True or False", int: "a whole number", float: "a number", str: "a name"}
        raise InputError(
            f"{where} is {value!r}: it must be {kinds.get(type(default), type(default).__name__)}, "
            f"such as {default!r}"
        )
    return type(default)(value)
