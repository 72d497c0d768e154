"""What `mlcore study run` does with its arguments."""

from __future__ import annotations

import ast
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from mlcore import studies
from mlcore.kernels.errors import InputError, unknown
from mlcore.studies.overview import Line, page
from mlcore.studies.result import PAGE, Result, new_folder, write
from mlcore.studies.study import Study

ALL = "all"


def run(name: str, changed: Sequence[str], out: str | None, *, svg: bool, **options: Any) -> int:
    """Run one study, or all, print the results and save them.

    Parameters
    ----------
    name : str
        A study, or "all".
    changed : sequence of str
        Settings as ``key=value``.
    out : str or None
        The folder; with "all" each study has its own in it, beside a page over all of them.
    svg : bool
        Whether to write plots as SVG too.
    **options
        Of `mlcore.studies.run`.

    Returns
    -------
    int
        0, or 1 where one of all the studies failed.

    Raises
    ------
    InputError
        As `mlcore.studies.run`, and for settings that are not ``key=value``, or given to "all".
    """
    settings = parsed(changed)
    if name != ALL:
        if name not in studies.names():
            raise unknown("study", name, [ALL, *studies.names()])
        _run(name, out, svg, options, settings)
        return 0
    if settings:
        raise InputError("settings belong to one study: give --set with its name instead of all")
    lines: list[Line] = []
    with new_folder(out, "studies") as folder:
        for each in map(studies.find, studies.names()):
            lines.append(_line(each, folder, svg, options))
            # After each of them: whoever stops here has a page over those that are done.
            write(folder / PAGE, page(lines, _command(options)).encode())
        click.echo(f"{folder / PAGE}  all of them on one page")
    failed = [line.study.name for line in lines if line.failed]
    if failed:
        click.echo(f"mlcore: {len(failed)} failed: {', '.join(failed)}", err=True)
    return 1 if failed else 0


def parsed(changed: Sequence[str]) -> dict[str, Any]:
    """Return settings from ``key=value``: a value is a Python literal, or else a string.

    >>> parsed(["networks=1_000", "rates=0.1,0.05", "activation=relu"])
    {'networks': 1000, 'rates': (0.1, 0.05), 'activation': 'relu'}
    """
    settings = {}
    for text in changed:
        key, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not key or not value:
            raise InputError(f"--set {text!r} is no setting: write key=value")
        if key in settings:
            raise InputError(f"--set gives {key} twice: give it once")
        try:
            settings[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            several = [part.strip() for part in value.split(",")]
            settings[key] = tuple(several) if len(several) > 1 else value
    return settings


def _line(study: Study, folder: Path, svg: bool, options: dict[str, Any]) -> Line:
    """Run one of all the studies, and return what the overview says of it."""
    if study.seeds is None:
        # Asked of all, seeds are for those that can repeat.
        options = options | {"seeds": None}
    begun = time.perf_counter()
    try:
        result = _run(study.name, str(folder / study.name), svg, options, {})
        line = Line(study, result.seconds, result.conclusion, seeds=result.settings.get("seeds"))
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        click.echo(f"mlcore: {study.name} failed: {why}", err=True)
        line = Line(study, time.perf_counter() - begun, why, failed=True)
    click.echo()
    return line


def _command(options: dict[str, Any]) -> str:
    """Return the command that runs all studies again."""
    seeds = options.get("seeds")
    return (
        f"mlcore study run {ALL}"
        + (" --quick" if options.get("quick") else "")
        + ("" if seeds is None else f" --seeds {seeds}")
    )


def _run(
    name: str, out: str | None, svg: bool, options: dict[str, Any], settings: dict[str, Any]
) -> Result:
    study = studies.find(name)
    started = study.start(**options, settings=settings)
    with new_folder(out, name) as folder:
        result = study.finish(started)
        click.echo(str(result))
        files = result.save(folder, svg=svg)
    width = max(map(len, files))
    click.echo(f"\nfolder {folder}")
    for file, text in files.items():
        click.echo(f"  {file:<{width}}  {text}")
    return result
