"""The page over many studies: one line for each, with a link to its own page."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from mlcore.studies.result import PAGE, document, facts, facts_table
from mlcore.studies.study import Study


@dataclass(frozen=True)
class Line:
    """What became of one study.

    Attributes
    ----------
    study : Study
    seconds : float
    conclusion : str
        What it found, or why it failed.
    failed : bool
    seeds : int or None
        How many it repeated with; None where it cannot repeat, or failed.
    """

    study: Study
    seconds: float
    conclusion: str
    failed: bool = False
    seeds: int | None = None


def page(lines: Sequence[Line], command: str) -> str:
    """Return a page that needs no other file, and whose links lead to the studies' folders.

    Parameters
    ----------
    lines : sequence of Line
        In the order to show them.
    command : str
        What ran them.
    """
    failed = [line.study.name for line in lines if line.failed]
    seconds = sum(line.seconds for line in lines)
    count = f"{len(lines)} studies in {seconds:,.0f} s" if len(lines) > 1 else "One study"
    parts = [
        "<h1>Studies</h1>",
        f'<p class="under">{count}. The same again: <code>{html.escape(command)}</code></p>',
        f'<p class="note">Failed: {html.escape(", ".join(failed))}</p>' if failed else "",
        '<table class="overview">',
        "<tr><th></th><th>study</th><th>what was found</th><th>seeds</th><th>seconds</th></tr>",
        *map(_row, lines),
        "</table>",
        "<h2>Versions and machine</h2>",
        facts_table(facts()),
    ]
    return document("Studies", "\n".join(part for part in parts if part))


def _row(line: Line) -> str:
    study = line.study
    name, found = html.escape(study.name), html.escape(line.conclusion)
    if line.failed:
        found = f"<b>Failed.</b> {found}"
    else:
        name = f'<a href="{quote(study.name)}/{PAGE}">{name}</a>'
    seeds = "" if line.seeds is None else f"{line.seeds:,}"
    return (
        f"<tr><td>{html.escape(study.label)}</td><td>{name}</td>"
        f'<td><span class="under">{html.escape(study.title)}</span><br>{found}</td>'
        f"<td>{seeds}</td><td>{line.seconds:,.1f}</td></tr>"
    )
