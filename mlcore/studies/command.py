"""What `mlcore study run` does with its arguments."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any

import click

from mlcore import studies
from mlcore.kernels.errors import InputError, unknown
from mlcore.studies.result import new_folder

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
        The folder; with "all" each study has its own in it.
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
    failed = []
    with new_folder(out, "studies") as folder:
        for each in studies.names():
            try:
                _run(each, str(folder / each), svg, options, {})
            except Exception as error:
                failed.append(each)
                click.echo(f"mlcore: {each} failed: {type(error).__name__}: {error}", err=True)
            click.echo()
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


def _run(
    name: str, out: str | None, svg: bool, options: dict[str, Any], settings: dict[str, Any]
) -> None:
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
