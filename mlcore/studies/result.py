"""What a study found: for the terminal, for files, and as one page that can be mailed."""

from __future__ import annotations

import base64
import csv
import html
import io
import json
import math
import os
import re
import secrets
import tempfile
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlcore import system
from mlcore.data.files import atomic_write
from mlcore.kernels.errors import InputError
from mlcore.plan import table

if TYPE_CHECKING:
    from mlcore.history import History
    from mlcore.model import Sequential

REPORTED = "reported_"
WIDTH = 100
# Files of a result's folder whose names are always the same, in the order to show them.
PAGE, CSV, JSON = "index.html", "table.csv", "table.json"
# What a study may use beside NumPy; named on the page where it is installed.
PACKAGES = ("h5py", "matplotlib", "scikit-learn", "joblib")

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 64rem; margin: 2rem auto;
       padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: 0; } h2 { font-size: 1.15rem; margin-top: 2rem; }
.under { color: #666; margin-top: 0; } .conclusion { font-size: 1.1rem; }
.note { border-left: 4px solid #E69F00; padding-left: .8rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .9rem; }
th, td { padding: .3rem .8rem; border-bottom: 1px solid #ddd; text-align: right;
         white-space: nowrap; vertical-align: top; }
th { border-bottom: 2px solid #222; } th:first-child, td:first-child { text-align: left; }
.then { color: #666; } .facts td { text-align: left; white-space: normal; }
.overview td:nth-child(3) { text-align: left; white-space: normal; }
.overview td:nth-child(2), .overview th:nth-child(-n+3) { text-align: left; }
figure { margin: 1.5rem 0; } img { max-width: 100%; } figcaption { color: #666; font-size: .9rem; }
pre { background: #f4f4f4; padding: .6rem; overflow-x: auto; }
"""


@dataclass(frozen=True)
class Result:
    """What a study found.

    ``print(result)`` shows table, notes and conclusion; `save` writes everything.

    Attributes
    ----------
    name, label, title, source, explanation : str
        What the study is.
    command : str
        What repeats the run on a command line.
    conclusion : str
        A sentence or two, with the figures of this run.
    notes : tuple of str
        What a reader must know of this run, such as data that were not there.
    table : list of dict
        One row a setting: "setting", then every column, ``reported_X`` before ``X`` where
        something was reported. What was not reported, or not measured, is None; accuracies are
        fractions, times seconds.
    percent : tuple of str
        The columns shown as percentages.
    settings : dict
        The exact settings, with "quick", "seeds", "workers" and where the data come from.
    machine : dict of str to str
        Versions, processor, threads and date.
    figures : dict of str to matplotlib.figure.Figure
    networks : dict of str to Sequential
    formats : dict of str to str
        How each network is saved, "mlcore" or "notebook".
    histories : dict of str to History
    seconds : float
        How long the study took.
    """

    name: str
    label: str
    title: str
    source: str
    explanation: str
    command: str
    conclusion: str
    notes: tuple[str, ...]
    table: list[dict[str, Any]]
    percent: tuple[str, ...]
    settings: dict[str, Any]
    machine: dict[str, str]
    figures: dict[str, Any]
    networks: dict[str, Sequential]
    formats: dict[str, str]
    histories: dict[str, History]
    seconds: float

    @property
    def columns(self) -> list[str]:
        """The names of the table's columns, "setting" first."""
        return list(self.table[0]) if self.table else ["setting"]

    def __str__(self) -> str:
        return self.to_text()

    def to_text(self) -> str:
        """Return table, notes and conclusion for a terminal."""
        head = self._heads()
        lines = [self._cells(row) for row in self.table]
        parts = [
            f"{self.label} {self.name}: {self.title}",
            table(head, lines, right=tuple(range(1, len(head)))),
            *(textwrap.fill(f"Note: {note}", WIDTH) for note in self.notes),
            textwrap.fill(self.conclusion, WIDTH),
            f"{self.seconds:.1f} s in all.",
        ]
        return "\n\n".join(part for part in parts if part)

    def to_markdown(self) -> str:
        """Return the table in Markdown, as GitHub shows it, with numbers to the right."""
        head = self._heads()
        rule = ("---", *("---:" for _ in head[1:]))
        lines = (head, rule, *map(self._cells, self.table))
        return "\n".join(
            "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
        )

    def to_csv(self) -> str:
        """Return the table as CSV with a header line; floats keep every bit, None is empty."""
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(self.columns)
        for row in self.table:
            writer.writerow(
                "" if value is None else repr(value) if type(value) is float else value
                for value in map(_plain, row.values())
            )
        return file.getvalue()

    def to_json(self) -> str:
        """Return everything but figures and networks as strict JSON; NaN becomes null."""
        described = {
            "name": self.name,
            "label": self.label,
            "title": self.title,
            "source": self.source,
            "command": self.command,
            "conclusion": self.conclusion,
            "notes": self.notes,
            "seconds": self.seconds,
            "settings": self.settings,
            "machine": self.machine,
            "table": self.table,
        }
        return json.dumps(_portable(described), indent=1, allow_nan=False) + "\n"

    def to_html(self) -> str:
        """Return one page with everything in it, the plots too: it needs no other file."""
        return self._page(self._images())

    def save(self, folder: str | os.PathLike[str], *, svg: bool = False) -> dict[str, str]:
        """Write the result into a folder, which is made where there is none.

        ``index.html``, ``table.csv`` and ``table.json``, a ``.png`` for each figure (and an
        ``.svg``), an ``.h5`` for each network and ``history-NAME.csv`` for each history.

        Parameters
        ----------
        folder : path
        svg : bool
            Whether to write the figures as SVG too.

        Returns
        -------
        dict of str to str
            The files written, in the order to show them, and what each is.

        Raises
        ------
        InputError
            If the folder cannot be made or written.
        OSError
            When the disk becomes full or fails. Each file is there whole or not at all.
        """
        place = _made(Path(folder).expanduser())
        images = self._images()
        files = {
            PAGE: "everything on one page, to be opened in a browser or mailed",
            CSV: "the table",
            JSON: "the table, the settings and the machine",
        }
        write(place / CSV, self.to_csv().encode())
        write(place / JSON, self.to_json().encode())
        for name, image in images.items():
            write(place / f"{_file(name)}.png", image)
            files[f"{_file(name)}.png"] = "plot"
        if svg and self.figures:
            from mlcore.plots import save

            for name, figure in self.figures.items():
                save(figure, place / f"{_file(name)}.svg")
                files[f"{_file(name)}.svg"] = "the same as a drawing"
        for name, history in self.histories.items():
            history.to_csv(place / f"history-{_file(name)}.csv")
            files[f"history-{_file(name)}.csv"] = "every epoch in numbers"
        for name, model in self.networks.items():
            model.save(place / f"{_file(name)}.h5", format=self.formats[name])
            files[f"{_file(name)}.h5"] = "network, for mlcore.load"
        # The page comes last: where it is, the rest is.
        write(place / PAGE, self._page(images).encode())
        return files

    def _heads(self) -> tuple[str, ...]:
        """Return what stands over the columns: "accuracy then", "now" where it was reported."""
        names = self.columns
        return tuple(
            f"{_title(name.removeprefix(REPORTED))} then"
            if name.startswith(REPORTED)
            else "now"
            if REPORTED + name in names
            else _title(name)
            for name in names
        )

    def _cells(self, row: dict[str, Any]) -> tuple[str, ...]:
        return tuple(
            shown(column, row[column], column.removeprefix(REPORTED) in self.percent)
            for column in self.columns
        )

    def _images(self) -> dict[str, bytes]:
        """Return every figure as PNG."""
        images = {}
        for name, figure in self.figures.items():
            from mlcore.plots._figure import DPI

            image = io.BytesIO()
            figure.savefig(image, format="png", dpi=DPI, bbox_inches="tight")
            images[name] = image.getvalue()
        return images

    def _page(self, images: dict[str, bytes]) -> str:
        title = f"{self.label} {self.name}: {self.title}"
        parts = [
            f"<h1>{html.escape(self.title)}</h1>",
            f'<p class="under">{html.escape(f"{self.label} {self.name}. {self.source}")}</p>',
            f'<p class="conclusion">{html.escape(self.conclusion)}</p>',
            *(f'<p class="note">{html.escape(note)}</p>' for note in self.notes),
            "<h2>Table</h2>",
            self._html_table(),
            "<h2>Plots</h2>" if images else "",
            *(_html_image(name, image) for name, image in images.items()),
            "<h2>The experiment</h2>",
            *(f"<p>{html.escape(text)}</p>" for text in self.explanation.split("\n\n")),
            "<h2>Settings</h2>",
            f"<p>The same again:</p><pre>{html.escape(self.command)}</pre>",
            facts_table({name.replace("_", " "): _words(v) for name, v in self.settings.items()}),
            "<h2>Versions and machine</h2>",
            facts_table({"took": f"{self.seconds:.1f} s", **self.machine}),
        ]
        return document(title, "\n".join(part for part in parts if part))

    def _html_table(self) -> str:
        def row(tag: str, cells: list[str]) -> str:
            kinds = [' class="then"' if c.startswith(REPORTED) else "" for c in self.columns]
            inner = "".join(
                f"<{tag}{kind}>{html.escape(cell)}</{tag}>"
                for kind, cell in zip(kinds, cells, strict=True)
            )
            return f"<tr>{inner}</tr>"

        lines = [row("th", list(self._heads()))]
        lines += [row("td", list(self._cells(each))) for each in self.table]
        return '<div class="wide"><table>\n' + "\n".join(lines) + "\n</table></div>"


def shown(column: str, value: Any, percent: bool) -> str:
    """Return a cell of the table that people read; nothing for None."""
    value = _plain(value)
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not math.isfinite(value):
        return str(value)
    if percent:
        return f"{100 * value:.2f} %"
    if isinstance(value, int):
        return f"{value:,}"
    if "seconds" in column:
        return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    if value == 0 or 1e-2 <= abs(value) < 10:
        return f"{value:.4f}"
    return f"{value:.4g}" if 10 <= abs(value) < 1e4 else f"{value:.3g}"


@contextmanager
def new_folder(out: str | os.PathLike[str] | None, stem: str = "study") -> Iterator[Path]:
    """Make the folder for a result before there is one; it goes again if nothing comes of it.

    Parameters
    ----------
    out : path or None
        A new or empty folder; by default a new one below ``runs``, whose name begins with `stem`.
    stem : str

    Yields
    ------
    pathlib.Path

    Raises
    ------
    InputError
        If it holds files already, or cannot be written.
    """
    if out is None:
        out = Path("runs") / f"{stem}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    folder = Path(out).expanduser()
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"{folder} already holds files: name a new folder with --out")
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        yield _made(folder)
    except BaseException:
        for place in made:
            # Whatever was written into it stays.
            with suppress(OSError):
                place.rmdir()
        raise


def facts() -> dict[str, str]:
    """Return what a reader of the figures must know of software and machine."""
    found = {"date": time.strftime("%Y-%m-%d %H:%M")}
    lines = system.report()
    found |= {
        name: text
        for name, text in lines.items()
        if name != "installed in" and not text.startswith("missing")
    }
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def document(title: str, body: str) -> str:
    """Return a page of HTML in the look of all pages here."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def facts_table(lines: dict[str, str]) -> str:
    """Return names and what is to be said of them as a table of HTML."""
    rows = "\n".join(
        f"<tr><td>{html.escape(name)}</td><td>{html.escape(text)}</td></tr>"
        for name, text in lines.items()
    )
    return f'<table class="facts">\n{rows}\n</table>'


def write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        reason = "it is a file" if folder.is_file() else error.strerror
        raise InputError(f"cannot write to the folder {folder}: {reason}") from error
    return folder


def _file(name: str) -> str:
    """Return a figure's or network's name as it can stand in the name of a file."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-.") or "unnamed"


def _title(column: str) -> str:
    return column.replace("_", " ")


def _plain(value: Any) -> Any:
    """Return a number of NumPy as one of Python."""
    return value.item() if hasattr(value, "item") else value


def _portable(value: Any) -> Any:
    """Return a value of types that strict JSON can hold."""
    value = _plain(value)
    if isinstance(value, dict):
        return {str(name): _portable(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_portable(each) for each in value]
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value)


def _words(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_words, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _html_image(name: str, image: bytes) -> str:
    content = base64.b64encode(image).decode("ascii")
    text = html.escape(name.replace("_", " ").replace("-", " "), quote=True)
    return (
        f'<figure><img alt="{text}" src="data:image/png;base64,{content}">'
        f"<figcaption>{text}</figcaption></figure>"
    )
