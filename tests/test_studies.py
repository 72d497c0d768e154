"""The frame of the studies: finding, checking, collecting, saving, and the command."""

import csv
import importlib
import inspect
import io
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import mlcore
from mlcore import InputError, studies
from mlcore.cli import main
from mlcore.history import History
from mlcore.studies.command import parsed
from mlcore.studies.result import shown
from mlcore.studies.study import Run, Study, study

PAGE, CSV, JSON = "index.html", "table.csv", "table.json"


@study(
    "toy-study",
    label="Z2",
    title="A toy with <angles>",
    source="this file",
    seeds=3,
    repeats="the toy",
    quick={"epochs": 1, "seeds": 2},
    percent=("dead",),
)
def toy(
    run: Run,
    *,
    epochs: int = 4,
    rate: float = 0.1,
    rates: tuple[float, ...] = (0.5, 0.25),
    activation: str = "relu",
    shuffle: bool = False,
) -> str:
    """Make a row, a figure, a network and a history of everything."""
    model = mlcore.Sequential([mlcore.Dense(2)], seed=0).build(3)
    history = History()
    for epoch in range(epochs):
        history.append({"loss": 1 / (epoch + 1)})
    run.row(
        "first", reported={"accuracy": 0.9, "seconds": 900.0}, accuracy=np.float32(0.75), dead=0.5,
        seconds=0.0123,
    )  # fmt: skip
    run.row("second", accuracy=float("nan"), steps=12_345)
    run.figure("the curve", mlcore.plots.plot_curves, history)
    run.network("the net", model)
    run.history("run 1", history)
    return f"{epochs} epochs,\n    {run.seeds} seeds & {activation}."


@study("other-study", label="Z10", title="Another", source="this file")
def other(run: Run) -> str:
    """Do nothing."""
    return "Nothing."


@study("broken-study", label="Z1", title="One that fails", source="this file")
def broken(run: Run) -> str:
    """Fail."""
    raise RuntimeError("on purpose")


@study("stopped-study", label="Z3", title="One that is stopped", source="this file")
def stopped(run: Run) -> str:
    """Be stopped."""
    raise KeyboardInterrupt


@pytest.fixture
def toys(monkeypatch):
    monkeypatch.setattr(studies, "_studies", lambda: {"toy-study": toy, "other-study": other})


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """A machine without data sets."""
    monkeypatch.delenv("MLCORE_DATA", raising=False)
    monkeypatch.setenv("MLCORE_CACHE", str(tmp_path / "cache"))


def test_every_study_is_found_in_the_file_of_its_name():
    assert studies.names()
    for name in studies.names():
        found = studies.find(name)
        module = importlib.import_module(f"mlcore.studies.{name.replace('-', '_')}")
        assert found in vars(module).values()
        assert re.fullmatch(r"[A-E]\d", found.label)
        assert len(found.explanation.splitlines()) > 3
    labels = [studies.find(name).label for name in studies.names()]
    assert labels == sorted(set(labels))


def test_the_order_is_that_of_the_labels():
    assert sorted([other, toy, broken], key=lambda each: each.order) == [broken, toy, other]


def test_a_wrong_name_is_answered_with_the_nearest(toys):
    with pytest.raises(InputError, match="Did you mean 'toy-study'"):
        studies.run("toy-studdy")
    with pytest.raises(InputError, match=r"toy-study: 'epoch'\. Did you mean 'epochs'"):
        studies.run("toy-study", epoch=3)
    with pytest.raises(InputError, match="other-study has no settings of its own: leave out 'x'"):
        studies.run("other-study", x=3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": "many"}, "epochs is 'many': it must be a whole number, such as 4"),
        ({"epochs": 2.5}, "epochs is 2.5: it must be a whole number"),
        ({"epochs": 0}, "epochs is 0: it must be 1 or more"),
        ({"rate": "fast"}, "rate is 'fast': it must be a number, such as 0.1"),
        ({"rate": float("nan")}, "it must be a number"),
        ({"rates": (0.1, "b")}, "rates is 'b': it must be a number"),
        ({"activation": 3}, "activation is 3: it must be a name, such as 'relu'"),
        ({"shuffle": 1}, "shuffle is 1: it must be True or False"),
        ({"seeds": 0}, "seeds must be a whole number, 1 or more"),
        ({"workers": -1}, "workers must be a whole number, 1 or more"),
        ({"data": "nowhere.h5"}, "nowhere.h5 does not exist"),
    ],
)
def test_a_wrong_value_is_refused_before_anything_runs(toys, tmp_path, settings, message):
    with pytest.raises(InputError, match=re.escape(message)):
        studies.run("toy-study", out=tmp_path / "out", **settings)
    assert not (tmp_path / "out").exists()


def test_settings_take_the_type_of_their_defaults(toys):
    settings = studies.run("toy-study", epochs=2.0, rate=1, rates=0.5, plots=False).settings
    assert settings["epochs"] == 2
    assert isinstance(settings["epochs"], int)
    assert isinstance(settings["rate"], float)
    assert settings["rates"] == (0.5,)


def test_quick_changes_what_it_says_and_no_more(toys):
    usual, quick = studies.run("toy-study"), studies.run("toy-study", quick=True)
    assert (usual.settings["epochs"], usual.settings["seeds"]) == (4, 3)
    assert "This is the quick form" in " ".join(str(quick).split())
    assert "This is the quick form" not in " ".join(str(usual).split())
    assert (quick.settings["epochs"], quick.settings["seeds"]) == (1, 2)
    changed = {name for name in usual.settings if usual.settings[name] != quick.settings[name]}
    assert changed == {"epochs", "seeds", "quick"}
    given = studies.run("toy-study", quick=True, epochs=3, seeds=1).settings
    assert (given["epochs"], given["seeds"]) == (3, 1)


def test_seeds_are_refused_where_nothing_repeats(toys, tmp_path):
    with pytest.raises(InputError, match="other-study cannot repeat with seeds: it trains each"):
        studies.run("other-study", seeds=2, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    result = studies.run("other-study")
    assert "seeds" not in result.settings
    assert result.command == "mlcore study run other-study"


@pytest.mark.parametrize("name", studies.names())
def test_every_study_reads_seeds_if_and_only_if_it_takes_them(name):
    found = studies.find(name)
    assert found.repeats
    assert (found.seeds is not None) == _reads_seeds(found)
    assert found.seeds is not None or "seeds" not in found.quick


def _reads_seeds(found: Study) -> bool:
    """Whether a study, or what it hands its `Run` to, looks at the number of seeds."""
    module = importlib.import_module(f"mlcore.studies.{found.name.replace('-', '_')}")
    shared = [each for each in vars(module).values() if inspect.ismodule(each)]
    shared += [
        inspect.getmodule(each)
        for each in vars(module).values()
        if inspect.isfunction(each) and "studies._" in each.__module__
    ]
    return any("run.seeds" in inspect.getsource(each) for each in (module, *shared) if _own(each))


def _own(module: object) -> bool:
    return getattr(module, "__name__", "").startswith("mlcore.studies.")


def test_the_command_repeats_the_run(toys):
    result = studies.run("toy-study", quick=True, seeds=1, rates=(0.1, 0.2), activation="a b")
    assert result.command == (
        "mlcore study run toy-study --quick --seeds 1 --set rates=0.1,0.2 --set 'activation=a b'"
    )
    assert studies.run("toy-study").command == "mlcore study run toy-study"


@pytest.mark.parametrize(
    ("quick", "message"), [({"epoch": 1}, "Did you mean 'epochs'"), ({"epochs": "x"}, "whole")]
)
def test_a_study_with_a_wrong_quick_form_is_refused(quick, message):
    with pytest.raises(InputError, match=message):
        study("s", label="Z1", title="t", quick=quick)(toy.function)


def test_a_study_with_a_setting_of_a_taken_name_is_refused():
    def taken(run: Run, *, workers: int = 1) -> str:
        return ""

    with pytest.raises(InputError, match="the setting workers of s needs"):
        study("s", label="Z1", title="t")(taken)


def test_what_was_reported_stands_before_what_comes_out(toys):
    result = studies.run("toy-study")
    assert result.columns == [
        "setting", "reported_accuracy", "accuracy", "dead", "steps", "reported_seconds", "seconds",
    ]  # fmt: skip
    first, second = result.table
    assert (first["reported_accuracy"], first["accuracy"], first["steps"]) == (0.9, 0.75, None)
    assert (second["reported_accuracy"], second["steps"]) == (None, 12_345)


def test_the_text_is_for_people(toys):
    text = str(studies.run("toy-study"))
    lines = text.splitlines()
    assert lines[0] == "Z2 toy-study: A toy with <angles>"
    assert re.split(r"  +", lines[2]) == [
        "setting", "accuracy then", "now", "dead", "steps", "seconds then", "now",
    ]  # fmt: skip
    assert " ".join(lines[4].split()) == "first 90.00 % 75.00 % 50.00 % 900 0.0123"
    assert lines[5].split() == ["second", "nan", "12,345"]
    assert "4 epochs, 3 seeds & relu." in text


def test_csv_and_json_hold_every_bit(toys):
    result = studies.run("toy-study")
    rows = list(csv.DictReader(io.StringIO(result.to_csv())))
    assert rows[0]["seconds"] == "0.0123"
    assert rows[0]["steps"] == ""
    assert rows[1]["accuracy"] == "nan"

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    read = json.loads(result.to_json(), parse_constant=refuse)
    assert read["table"][0]["accuracy"] == 0.75
    assert read["table"][1]["accuracy"] is None
    assert read["settings"]["rates"] == [0.5, 0.25]
    assert read["conclusion"] == "4 epochs, 3 seeds & relu."
    assert "NumPy" in read["machine"]


def test_the_table_as_markdown(toys):
    lines = studies.run("toy-study", rates=(0.1,)).to_markdown().splitlines()
    assert lines == [
        "| setting | accuracy then | now | dead | steps | seconds then | now |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| first | 90.00 % | 75.00 % | 50.00 % |  | 900 | 0.0123 |",
        "| second |  | nan |  | 12,345 |  |  |",
    ]


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0.0000"), (0.4793, "0.4793"), (1.07181, "1.0718"),
                        (0.00123, "0.00123"), (29.1212, "29.12"), (23456.7, "2.35e+04")],
)  # fmt: skip
def test_numbers_are_rounded_as_a_reader_wants_them(value, text):
    assert shown("loss", value, percent=False) == text


def test_the_page_needs_no_other_file(toys):
    page = studies.run("toy-study").to_html()
    assert page.startswith("<!DOCTYPE html>")
    assert re.findall(r'src="(?!data:image/png;base64,)', page) == []
    assert "href" not in page
    assert page.count("<img") == 1
    assert 'alt="the curve"' in page
    assert "A toy with &lt;angles&gt;" in page
    assert "3 seeds &amp; relu." in page
    assert "mlcore study run toy-study" in page
    assert "<td>0.5, 0.25</td>" in page
    assert "<td>75.00 %</td>" in page


def test_saving_writes_all_of_it(toys, tmp_path):
    files = studies.run("toy-study").save(tmp_path / "deep" / "er", svg=True)
    found = {path.name for path in (tmp_path / "deep" / "er").iterdir()}
    assert found == set(files)
    assert found == {
        PAGE, CSV, JSON, "the-curve.png", "the-curve.svg", "the-net.h5", "history-run-1.csv",
    }  # fmt: skip
    folder = tmp_path / "deep" / "er"
    assert (folder / "the-curve.png").read_bytes().startswith(b"\x89PNG")
    assert mlcore.load(folder / "the-net.h5").features == 3
    assert len(History.from_csv(folder / "history-run-1.csv")) == 4


def test_a_folder_with_files_is_refused_before_the_study_runs(monkeypatch, tmp_path):
    monkeypatch.setattr(studies, "_studies", lambda: {"broken-study": broken})
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="already holds files"):
        studies.run("broken-study", out=tmp_path)
    with pytest.raises(InputError, match="it is a file"):
        studies.run("broken-study", out=tmp_path / "mine.txt")


def test_a_study_that_fails_leaves_no_folder(monkeypatch, tmp_path):
    monkeypatch.setattr(studies, "_studies", lambda: {"broken-study": broken})
    with pytest.raises(RuntimeError, match="on purpose"):
        studies.run("broken-study", out=tmp_path / "new" / "er")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine").mkdir()
    with pytest.raises(RuntimeError):
        studies.run("broken-study", out=tmp_path / "mine")
    assert (tmp_path / "mine").is_dir()


def test_without_matplotlib_all_but_the_plots_comes(toys, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    result = studies.run("toy-study", out=tmp_path / "out")
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {
        ".html", ".csv", ".json", ".h5",
    }  # fmt: skip
    assert 'There are no plots: plots need matplotlib: pip install "mlcore[plots]"' in " ".join(
        str(result).split()
    )
    assert "There are no plots" in (tmp_path / "out" / PAGE).read_text()


def test_plots_can_be_left_out(toys):
    result = studies.run("toy-study", plots=False)
    assert (result.figures, result.notes) == ({}, ())


@study("digits", label="Z3", title="Sets", source="this file")
def digits(run: Run) -> str:
    """Look at both sets."""
    for find in (run.mnist, run.fashion_mnist):
        train, test = find(quick=(500, 100))
        run.row(find.__name__, train=len(train), test=len(test), least=np.bincount(train.y).min())
    return "Seen."


def test_where_there_is_no_set_the_sample_stands_in_and_says_so(bare, monkeypatch):
    monkeypatch.setattr(studies, "_studies", lambda: {"digits": digits})
    result = studies.run("digits", quick=True)
    assert [(row["train"], row["test"]) for row in result.table] == [(500, 100)] * 2
    # Of each class about a tenth.
    assert result.table[0]["least"] > 40
    assert len(result.notes) == 2
    assert "mlcore data fetch fashion-mnist" in result.notes[1]
    assert "of digits" in result.notes[1]
    assert result.settings["data"] == "mnist-sample: 500 samples to train, 100 to test"
    assert studies.run("digits").table[0]["train"] == 10_000


def test_the_command_lists_and_runs(toys, tmp_path, capsys):
    assert main(["study", "list"]) == 0
    assert "Z2  toy-study" in capsys.readouterr().out.replace("Z2   ", "Z2  ")
    out = tmp_path / "out"
    command = ["study", "run", "toy-study", "--quick", "--out", str(out), "--set", "epochs=2"]
    assert main(command) == 0
    said = capsys.readouterr()
    assert "2 epochs, 2 seeds & relu." in said.out
    assert "index.html" in said.out
    assert "toy-study: first: accuracy 75.00 %" in said.err
    assert (out / "the-curve.png").exists()
    assert not (out / "the-curve.svg").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("toy-studdy", "Did you mean 'toy-study'"),
        ("al", "Did you mean 'all'"),
        ("toy-study --quik", "Did you mean '--quick'"),
        ("toy-study --set epoch=1", "Did you mean 'epochs'"),
        ("toy-study --set epochs", "--set 'epochs' is no setting: write key=value"),
        ("toy-study --set epochs=1 --set epochs=2", "gives epochs twice"),
        ("toy-study --seeds 0", "seeds must be a whole number"),
        ("all --set epochs=1", "settings belong to one study"),
        ("toy-study --data nowhere", "nowhere does not exist"),
    ],
)
def test_a_wrong_command_gets_one_line(toys, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert main(["study", "run", *arguments.split()]) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert said.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_all_goes_on_where_one_fails(monkeypatch, tmp_path, capsys):
    found: dict[str, Study] = {each.name: each for each in (broken, toy, other)}
    monkeypatch.setattr(studies, "_studies", lambda: found)
    assert main(["study", "run", "all", "--quick", "--quiet", "--out", str(tmp_path / "all")]) == 1
    said = capsys.readouterr()
    assert "broken-study failed: RuntimeError: on purpose" in said.err
    assert "1 failed: broken-study" in said.err
    assert sorted(path.name for path in (tmp_path / "all").iterdir()) == [
        PAGE, "other-study", "toy-study",
    ]  # fmt: skip
    assert (tmp_path / "all" / "toy-study" / PAGE).exists()
    page = (tmp_path / "all" / PAGE).read_text()
    assert "Failed: broken-study" in page
    assert "<b>Failed.</b> RuntimeError: on purpose" in page
    assert re.findall(r'href="([^"]*)"', page) == ["toy-study/index.html", "other-study/index.html"]
    assert "A toy with &lt;angles&gt;</span><br>1 epochs, 2 seeds &amp; relu." in page
    assert "<code>mlcore study run all --quick</code>" in page


def test_all_gives_seeds_to_those_that_repeat(toys, tmp_path, capsys):
    out = tmp_path / "all"
    assert main(["study", "run", "all", "--seeds", "4", "--quiet", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "4 epochs, 4 seeds & relu." in said
    assert str(out / PAGE) in said
    rows = re.findall(
        r"<tr><td>(Z\d+)</td>.*<td>(\d*)</td><td>[\d.]+</td></tr>", (out / PAGE).read_text()
    )
    assert rows == [("Z2", "4"), ("Z10", "")]
    assert json.loads((out / "other-study" / JSON).read_text())["settings"].get("seeds") is None


def test_the_overview_is_there_while_studies_run(monkeypatch, tmp_path):
    found = {each.name: each for each in (toy, stopped)}
    monkeypatch.setattr(studies, "_studies", lambda: found)
    main(["study", "run", "all", "--quick", "--quiet", "--out", str(tmp_path / "all")])
    assert 'href="toy-study/index.html"' in (tmp_path / "all" / PAGE).read_text()


def test_settings_on_the_command_line_are_literals():
    assert parsed(["a=1_000", "b=0.1,0.2", "c=relu", "d=relu,tanh", "e=True", "f=1e-3"]) == {
        "a": 1000, "b": (0.1, 0.2), "c": "relu", "d": ("relu", "tanh"), "e": True, "f": 1e-3,
    }  # fmt: skip


def test_importing_mlcore_imports_no_study():
    code = "import sys, mlcore; assert not [m for m in sys.modules if 'studies' in m]"
    import subprocess

    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent)
