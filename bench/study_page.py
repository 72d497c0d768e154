"""Record full runs of the studies, and make of them what `docs/studies.md` says was found.

    mlcore study run all --out FOLDER
    python bench/study_page.py FOLDER [ANOTHER ...]

takes each run's table over into `bench/studies/`, and its pictures, made smaller, into
`docs/images/studies/`; then it writes the second part of the page anew from all that is recorded
there. Of a study that several folders have, the last one counts. Without a folder it only writes
the page. Quick runs are left alone.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from mlcore import studies
from mlcore.studies.result import Result
from mlcore.studies.study import Study

ROOT = Path(__file__).resolve().parent.parent
TABLES, IMAGES = ROOT / "bench" / "studies", ROOT / "docs" / "images" / "studies"
PAGE = ROOT / "docs" / "studies.md"
# What stands before it on the page is written by hand.
MARK = "<!-- From here on written by bench/study_page.py. -->\n"

# What the page shows of each study's figures, and what a reader sees in them.
PICTURES = {
    "noise-mlp": {"relu-accuracy": "accuracy over the epochs, relu"},
    "fashion-confusion": {"confusion-by-class": "the share of each class that is missed"},
    "weight-shrinkage": {"weights": "weights of both networks as histograms"},
    "coin-flips": {"first-layer": "weights of the first layer"},
    "sequence-models": {"accuracy": "validation accuracy over the epochs"},
    "lambda-cv": {"loss": "loss over the steps"},
    "two-hidden": {"accuracy": "accuracy over the steps"},
    "lr-sweep": {"loss": "loss over the steps for five rates"},
    "slope-sweep": {"loss": "loss over the steps for five slopes"},
    "init-sweep": {"accuracy": "accuracy by first weights"},
    "activation-zoo": {
        "accuracy-curves": "accuracy over the steps",
        "lost-classes": "accuracies of relus with many seeds, over the classes that they lost",
    },
    "cosine": {"accuracy": "accuracy over the steps"},
    "dashboard": {"panels": "twelve panels: activations, weights and updates of every layer"},
    "perceptron-hinge": {
        "accuracy": "test accuracies of all draws as violins",
        "lines": "one draw, and the lines that both criteria find",
    },
    "vanishing": {"activations": "activations of six layers as violins, ten networks"},
    "dying-relu": {
        "outputs": "what some networks give, from a dead one to the liveliest",
        "flatness": "the share of dead networks over the tolerance",
    },
    "lenet-norm": {"batch-norm-BN-on-the-input-too": "what batch normalization learned"},
    "eggholder": {"sizes": "error and time against units and parameters"},
    "init-lr": {"cost": "cost over the steps, a panel for each run"},
    "adam-activations": {"loss": "loss over the epochs, with the range over the seeds"},
}
# Of the pictures: the least width in pixels, the share that is kept of wide ones with small panels,
# and colours; with fewer, lines take the colours of others.
WIDTH, SHARE, COLOURS = 900, 0.6, 256


def record(folder: Path) -> None:
    """Take over tables and pictures of the runs below a folder."""
    TABLES.mkdir(exist_ok=True)
    IMAGES.mkdir(exist_ok=True)
    for name in studies.names():
        table = folder / name / "table.json"
        # The page of a run is its last file: where there is none, it is still going on.
        if not (folder / name / "index.html").is_file():
            print(f"{name}: no run in {folder}")
            continue
        read = json.loads(table.read_text(encoding="utf-8"))
        if read["settings"]["quick"]:
            print(f"{name}: a quick run, left alone")
            continue
        (TABLES / f"{name}.json").write_text(json.dumps(read, indent=1) + "\n", encoding="utf-8")
        for figure in PICTURES[name]:
            source, target = folder / name / f"{figure}.png", IMAGES / f"{name}-{figure}.png"
            if source.is_file():
                shrink(source, target)
            else:
                # That of another run would not belong to this one's table.
                target.unlink(missing_ok=True)
                print(f"{name}: has no {source.name}")
        print(f"{name}: recorded")


def shrink(source: Path, target: Path) -> None:
    """Write a picture with fewer pixels and colours."""
    # Pillow comes with matplotlib, without which there are no pictures.
    from PIL import Image

    with Image.open(source) as opened:
        picture = opened.convert("RGB")
    width = max(WIDTH, round(SHARE * picture.width))
    if picture.width > width:
        height = round(picture.height * width / picture.width)
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    few = picture.quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(target, optimize=True)


def recorded(name: str) -> Result | None:
    """Return a recorded run, without its figures and networks; None where there is none."""
    path = TABLES / f"{name}.json"
    if not path.is_file():
        return None
    read: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    study = studies.find(name)
    columns = {column.removeprefix("reported_") for row in read["table"] for column in row}
    return Result(
        **{**read, "notes": tuple(read["notes"])},
        explanation=study.explanation,
        percent=tuple(filter(study.is_percent, columns)),
        figures={}, networks={}, formats={}, histories={},
    )  # fmt: skip


def section(study: Study, result: Result | None) -> str:
    """Return what the page says of one study."""
    parts = [f"### {study.label} {study.name}", marked(study.explanation)]
    if result is None:
        return "\n\n".join([*parts, f"    mlcore study run {study.name}", "No full run yet."])
    parts += [f"    {result.command}", result.to_markdown()]
    parts += [
        f"![{words}](images/studies/{study.name}-{figure}.png)"
        for figure, words in PICTURES[study.name].items()
        if (IMAGES / f"{study.name}-{figure}.png").is_file()
    ]
    parts.append(f"**Found.** {marked(result.conclusion)}")
    parts += [f"Note: {marked(note)}" for note in result.notes]
    parts.append(f"It took {result.seconds:,.0f} s.")
    return "\n\n".join(parts)


def marked(text: str) -> str:
    """Return a text in Markdown: what would be markup there is escaped outside of code."""
    pieces = re.split(r"(``?[^`]+``?)", text)
    return "".join(
        piece if piece.startswith("`") else re.sub(r"([*_<|])", r"\\\1", piece) for piece in pieces
    )


def page() -> str:
    """Return the second part of the page."""
    found = [(studies.find(name), recorded(name)) for name in studies.names()]
    runs = [result for _, result in found if result is not None]
    machines = dict.fromkeys(result.machine.get("processor", "") for result in runs)
    dates = sorted(result.machine["date"][:10] for result in runs)
    between = " to ".join(dict.fromkeys((dates[0], dates[-1]))) if dates else "no run yet"
    head = f"""\
## What they found

Full runs on the whole of MNIST and Fashion-MNIST, {between}, {" and ".join(machines)}. "Then" is
what the notebook reported, "now" what came out. **The machine was shared while they ran, so the
seconds are no measure of speed**; [bench/studies.txt](../bench/studies.txt) is. All that follows
is written by

    mlcore study run all --out FOLDER && python bench/study_page.py FOLDER

which keeps tables and settings in [bench/studies](../bench/studies)."""
    contents = "\n".join(
        f"- [{each.label} {each.name}](#{each.label.lower()}-{each.name}): {each.title}"
        for each, _ in found
    )
    return "\n\n".join([head, contents, *(section(*each) for each in found)]) + "\n"


def main(folders: list[str]) -> None:
    """Record the runs in the folders, and write the page."""
    for folder in folders:
        record(Path(folder))
    by_hand = PAGE.read_text(encoding="utf-8").partition(MARK)[0]
    PAGE.write_text(by_hand + MARK + "\n" + page(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
