"""Sweeps: every setting once, in a file that survives, on workers with one core each."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import numpy as np
import pytest

import mlcore
from mlcore import Dense, Sequential, Standardize, run, sweeps
from mlcore.cli import main
from mlcore.config import RunConfig
from mlcore.kernels import threads
from mlcore.kernels.errors import InputError, MissingExtraError
from mlcore.sweeps import cells

several = pytest.mark.skipif(threads.usable_processors() < 2, reason="one processor only")
PAGE = Path(__file__).parent.parent / "docs" / "sweeps.md"


def square(seed, x):
    return {"loss": x**2 + seed}


def picky(seed, x):
    if x == 2:
        raise ZeroDivisionError("no two,\nplease")
    return {"loss": x / 3, "note": 'a "b", ü'}


def without(row, *names):
    return {name: value for name, value in row.items() if name not in names}


def timeless(results):
    """Return the rows without what differs from run to run, in a form that NaN equals itself."""
    return [repr(without(row, "seconds")) for row in results]


# Settings


def test_grid_is_every_combination_the_last_name_fastest():
    assert sweeps.grid(a=[1, 2], b=(None, "x,y")) == [
        {"a": 1, "b": None}, {"a": 1, "b": "x,y"}, {"a": 2, "b": None}, {"a": 2, "b": "x,y"},
    ]  # fmt: skip
    assert sweeps.grid() == [{}]
    assert sweeps.grid(a=(i for i in range(2))) == [{"a": 0}, {"a": 1}]
    values = [setting["a"] for setting in sweeps.grid(a=np.array([0.5, 2], np.float32))]
    assert values == [0.5, 2.0]
    assert {type(value) for value in values} == {float}


@pytest.mark.parametrize("values", ["relu", 3, {"a": 1}, {1, 2}, [], None])
def test_grid_takes_lists_of_values_only(values):
    with pytest.raises(InputError, match="setting 'a'"):
        sweeps.grid(a=values)


def test_draws_depend_on_seed_and_name_alone():
    kinds = {
        "rate": sweeps.log_uniform(1e-4, 1e-1),
        "dropout": sweeps.uniform(0, 0.5),
        "width": sweeps.whole(16, 512, log=True),
        "activation": ["relu", "tanh"],
    }
    ten = sweeps.draws(10, seed=3, **kinds)
    assert ten == sweeps.draws(20, seed=3, **kinds)[:10]
    assert ten != sweeps.draws(10, seed=4, **kinds)
    alone = sweeps.draws(10, seed=3, rate=kinds["rate"])
    assert [setting["rate"] for setting in ten] == [setting["rate"] for setting in alone]
    # Pinned, so that a change of generator does not go unseen.
    assert sweeps.draws(3, 0, width=sweeps.whole(0, 99)) == [
        {"width": width} for width in (88, 58, 84)
    ]


def test_draws_are_distributed_as_they_say():
    found = sweeps.draws(
        4000, 0, log=sweeps.log_uniform(1e-4, 1), even=sweeps.uniform(-1, 3),
        whole=sweeps.whole(1, 4), small=sweeps.whole(1, 999, log=True), choice=["a", "b"],
    )  # fmt: skip
    columns = {name: np.array([setting[name] for setting in found]) for name in found[0]}
    assert columns["log"].min() >= 1e-4
    assert columns["log"].max() <= 1
    assert abs(np.median(columns["log"]) - 1e-2) < 2e-3
    assert abs(columns["even"].mean() - 1) < 0.1
    assert np.bincount(columns["whole"], minlength=6).tolist()[0::5] == [0, 0]
    assert np.bincount(columns["whole"])[1:].min() > 900
    assert abs((columns["small"] < 32).mean() - 0.5) < 0.05
    assert columns["small"].max() <= 999
    assert abs((columns["choice"] == "a").mean() - 0.5) < 0.05


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: sweeps.log_uniform(0, 1),
        lambda: sweeps.uniform(2, 1),
        lambda: sweeps.uniform(0, math.nan),
        lambda: sweeps.whole(1, 2.5),
        lambda: sweeps.draws(0, a=[1]),
        lambda: sweeps.draws(2, -1, a=[1]),
        lambda: sweeps.draws(2, a="relu"),
    ],
)
def test_draws_refuse_what_cannot_be(wrong):
    with pytest.raises(InputError):
        wrong()


# Cells


@pytest.mark.parametrize(
    "value",
    [
        0.1, 1 / 3, 5e-324, -0.0, math.inf, -math.inf, 7, 10**30, True, False, None, "", "relu",
        "1", "nan", "NaN", "true", "null", "a,b", 'say "x"', '"x"', " x", "[1]", "ü → 数",
        "two\nlines", "\ud800", "\u2028", [1, [2.5, None]], {"name": "sgd", "momentum": 0.9},
    ],
)  # fmt: skip
def test_cells_are_one_line_and_read_back(value):
    cell = cells.setting_cell("a", value)
    assert cell
    assert len(cell.splitlines()) == 1
    cell.encode()
    assert repr(cells.read(cell)) == repr(value)
    assert cells.figure_cell("a", value) == cell


def test_cells_of_what_json_has_no_word_for():
    assert cells.setting_cell("a", (64, 32)) == "[64, 32]"
    assert cells.setting_cell("a", np.float64(0.1)) == "0.1"
    assert cells.setting_cell("a", np.arange(3)) == "[0, 1, 2]"
    assert cells.setting_cell("a", mlcore.L2(0.1)) == "L2(l2=0.1)"
    assert cells.setting_cell("a", np.tanh) == "numpy.tanh"
    assert cells.setting_cell("a", Path("x") / "y") == "x/y"
    first, second = np.zeros(1000), np.zeros(1000)
    assert cells.setting_cell("a", first) == cells.setting_cell("a", second)
    second[999] = 1
    assert cells.setting_cell("a", first) != cells.setting_cell("a", second)
    assert math.isnan(cells.read(cells.setting_cell("a", math.nan)))
    one, other = (mlcore.Dataset(np.full((3, 2), v), [0, 1, 0]) for v in (0.0, 1.0))
    assert repr(one) == repr(other)
    assert cells.setting_cell("a", one) != cells.setting_cell("a", other)
    for value in (object(), threading.Lock(), {(1, 2): 3}, (i for i in ())):
        with pytest.raises(InputError):
            cells.setting_cell("a", value)


# Runs in this process


def test_every_setting_is_run_with_every_seed():
    found = sweeps.sweep(square, sweeps.grid(x=[3, 1]), seeds=[5, 0], workers=1)
    assert [without(row, "seconds") for row in found] == [
        {"x": 3, "seed": 5, "loss": 14, "error": None},
        {"x": 3, "seed": 0, "loss": 9, "error": None},
        {"x": 1, "seed": 5, "loss": 6, "error": None},
        {"x": 1, "seed": 0, "loss": 1, "error": None},
    ]
    assert found["seconds"] == [row["seconds"] for row in found]
    assert min(found["seconds"]) >= 0
    assert found.settings == ("x",)
    assert found.figures == ("loss",)


def test_the_same_setting_twice_is_run_once():
    calls = []

    def counted(seed, x):
        calls.append(x)
        return {"loss": x}

    found = sweeps.sweep(counted, [{"x": 1}, {"x": 2}, {"x": 1}], seeds=[0, 0], workers=1)
    assert calls == found["loss"] == [1, 2]


def test_an_exception_is_its_row_and_the_rest_go_on(tmp_path):
    out = tmp_path / "rows.csv"
    for _ in range(2):
        found = sweeps.sweep(picky, sweeps.grid(x=[1, 2, 3]), workers=1, out=out)
        assert found["error"] == [None, "ZeroDivisionError: no two, please", None]
        assert found["note"][0::2] == ['a "b", ü'] * 2
        assert math.isnan(found["loss"][1])
        assert [row["x"] for row in found.failed] == [2]


class Unspeakable(Exception):
    def __str__(self):
        raise ValueError


def test_whatever_a_run_raises_or_returns():
    def odd(seed, what):
        if isinstance(what, str):
            raise {"exit": SystemExit(3), "mute": Unspeakable(), "\ud800": OSError("\ud800")}[what]
        return [None, {"x": object()}, {"what": 1}, {"seconds": 1}, {3: 4}, {}][what]

    settings = sweeps.grid(what=[0, 1, 2, 3, 4, 5, "exit", "mute", "\ud800"])
    errors = sweeps.sweep(odd, settings, workers=1)["error"]
    assert [error and error.split(":")[0] for error in errors] == [
        *["InputError"] * 5, None, "SystemExit", "Unspeakable", "OSError",
    ]  # fmt: skip


def test_equal_objects_are_one_setting():
    settings = [{"x": 2, "optimizer": mlcore.SGD(0.1)} for _ in range(3)]
    found = sweeps.sweep(lambda seed, x, optimizer: {"loss": x}, settings, workers=1)
    assert found["loss"] == [2]


def test_settings_may_differ_in_their_names():
    def either(seed, a=0, b=0):
        return {"sum": a + b}

    found = sweeps.sweep(either, [{"a": 1}, {"b": 2}, {"a": None, "b": 1}], workers=1)
    assert found["a"] == [1, None, None]
    assert found["sum"][:2] == [1, 2]
    clash = sweeps.sweep(lambda seed, **setting: {"b": 1}, [{"a": 1}, {"b": 2}], workers=1)
    assert ["name of another column" in error for error in clash["error"]] == [True, True]


class Taciturn:
    def __init__(self, value):
        self.value = value

    def __repr__(self):
        return "something"


@pytest.mark.parametrize(
    ("settings", "arguments", "message"),
    [
        ([], {}, "no settings"),
        ({"x": [1]}, {}, "list of dicts"),
        ([3], {}, "a setting must be a dict"),
        ([{"seed": 1}], {}, "seeds are chosen by"),
        ([{"error": 1}], {}, "cannot be the name"),
        ([{"a\nb": 1}], {}, "cannot be the name"),
        ([{"": 1}], {}, "cannot be the name"),
        ([{3: 1}], {}, "cannot be the name"),
        ([{"y": 1}], {}, r"square cannot be called with \(seed, y\)"),
        ([{"x": object()}], {}, "cannot be told from others"),
        ([{"x": lambda: 1}, {"x": lambda: 2}], {}, "both called"),
        ([{"x": Taciturn(1)}, {"x": Taciturn(2)}], {}, "both called something"),
        ([{"x": Path("y")}, {"x": "y"}], {}, "both called y"),
        ([{"x": np.array([object()])}], {}, "cannot be told from others"),
        ([{"x": 1}], {"seeds": 0}, "seeds must be"),
        ([{"x": 1}], {"seeds": [1.5]}, "seeds must be"),
        ([{"x": 1}], {"seeds": True}, "seeds must be"),
        ([{"x": 1}], {"workers": 0}, "workers must be"),
        ([{"x": 1}], {"workers": True}, "workers must be"),
        ([{"x": 1}], {"out": "/nowhere/rows.csv"}, "does not exist"),
        ([{"x": 1}], {"out": "/"}, "is a folder"),
        ([{"x": 1}], {"out": os.devnull}, "not a file"),
    ],
)
def test_bad_input_is_refused_before_anything_runs(settings, arguments, message):
    with pytest.raises(InputError, match=message):
        sweeps.sweep(square, settings, **{"workers": 1, **arguments})
    with pytest.raises(InputError, match="cannot be called"):
        sweeps.sweep(None, [{"x": 1}], workers=1)


# The file


def test_what_is_in_the_file_is_not_run_again(tmp_path):
    out, calls = tmp_path / "rows.csv", []

    def counted(seed, x):
        calls.append((x, seed))
        if x == 2 and len(calls) < 3:
            raise ValueError("not yet")
        return {"loss": x / 7}

    first = sweeps.sweep(counted, sweeps.grid(x=[1, 2]), workers=1, out=out)
    assert calls == [(1, 0), (2, 0)]
    assert timeless(sweeps.sweep(counted, sweeps.grid(x=[1, 2]), workers=1, out=out)) == timeless(
        first
    )
    assert len(calls) == 2
    grown = sweeps.sweep(counted, sweeps.grid(x=[1, 2, 3]), seeds=2, workers=1, out=out)
    assert calls[2:] == [(1, 1), (2, 1), (3, 0), (3, 1)]
    assert len(grown.failed) == 1
    again = sweeps.sweep(counted, sweeps.grid(x=[1, 2, 3]), seeds=2, workers=1, out=out, retry=True)
    assert calls[6:] == [(2, 0)]
    assert again["loss"] == [x / 7 for x in (1, 1, 2, 2, 3, 3)]
    assert sorted(timeless(sweeps.Results.from_csv(out))) == sorted(timeless(again))
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]


def test_the_order_of_the_settings_does_not_matter(tmp_path):
    calls = []

    def counted(seed, a, b):
        calls.append((a, b))
        return {"loss": a - b}

    out = tmp_path / "rows.csv"
    sweeps.sweep(counted, sweeps.grid(a=[1, 2], b=[3]), workers=1, out=out)
    found = sweeps.sweep(counted, sweeps.grid(b=[3, 4], a=[1, 2]), workers=1, out=out)
    assert calls == [(1, 3), (2, 3), (1, 4), (2, 4)]
    assert found["loss"] == [-2, -1, -3, -2]
    assert sorted(sweeps.Results.from_csv(out)["loss"]) == [-3, -2, -2, -1]


def test_half_a_last_line_is_mended(tmp_path):
    out, calls = tmp_path / "rows.csv", []

    def counted(seed, x):
        calls.append(x)
        return {"loss": 0.123456789}

    whole = sweeps.sweep(counted, sweeps.grid(x=[1, 2, 3]), workers=1, out=out)
    content = out.read_bytes()
    last = content.rstrip().rfind(b"\n") + 1
    for cut in range(last, len(content)):
        out.write_bytes(content[:cut])
        calls.clear()
        found = sweeps.sweep(counted, sweeps.grid(x=[1, 2, 3]), workers=1, out=out)
        assert calls == [3]
        assert timeless(found) == timeless(whole)
        assert timeless(sweeps.Results.from_csv(out)) == timeless(whole)


def test_what_a_kill_left_beside_the_file_is_removed(tmp_path):
    left = tmp_path / ".rows[1]-0123abcd.tmp.csv"
    other = tmp_path / ".rows1-0123abcd.tmp.csv"
    for path in (left, other):
        path.touch()
    sweeps.sweep(square, sweeps.grid(x=[1]), workers=1, out=tmp_path / "rows[1].csv")
    assert not left.exists()
    assert other.exists()


def test_a_new_figure_gets_its_column(tmp_path):
    def growing(seed, x):
        return {"loss": 0.5} | ({f"extra{x}": x} if x > 1 else {})

    out = tmp_path / "rows.csv"
    found = sweeps.sweep(growing, sweeps.grid(x=[1, 2, 3]), workers=1, out=out)
    assert out.read_text().splitlines()[0] == "x,seed,loss,extra2,extra3,seconds,error"
    assert timeless(sweeps.Results.from_csv(out)) == timeless(found)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,seed,loss,seconds,error\n1,0,2,3,\n", "holds something else"),
        ("x,seed,loss\n1,0,2\n", "holds something else"),
        ("x,seed,loss,seconds,error\n7,0,2,3,\n", "row for x=7, seed=0"),
        ("x,seed,loss,seconds,error\n1,9,2,3,\n", "row for x=1, seed=9"),
        ("x,seed,loss,seconds,error\n1,0,2\n1,1,2,3,\n", "line 2 has 3 cells"),
        ("x,seed,x,seconds,error\n", "column twice"),
        ("x,seed,loss,seconds,error\n7,0,2,3,\nhalf a li", "row for x=7"),
        ("Notes, without a line's end", "holds something else"),
        (b"\xff\xfe\x00", "holds something else"),
        (b"\xff\xfe\x00\n", "not a text file"),
    ],
)
def test_a_file_of_something_else_is_refused_and_left_alone(tmp_path, content, message):
    out = tmp_path / "rows.csv"
    content = content if isinstance(content, bytes) else content.encode()
    out.write_bytes(content)
    with pytest.raises(InputError, match=message):
        sweeps.sweep(square, sweeps.grid(x=[1, 2]), seeds=2, workers=1, out=out)
    assert out.read_bytes() == content


def test_one_sweep_at_a_time_has_the_file(tmp_path):
    out = tmp_path / "rows.csv"

    def nested(seed, x):
        with pytest.raises(InputError, match="another sweep is writing"):
            sweeps.sweep(square, sweeps.grid(x=[1]), workers=1, out=out)
        return {f"loss{x}": x}

    found = sweeps.sweep(nested, sweeps.grid(x=[1, 2, 3]), workers=1, out=out)
    assert found["error"] == [None] * 3
    assert len(sweeps.sweep(nested, sweeps.grid(x=[1, 2, 3]), workers=1, out=out)) == 3


def test_a_sweep_that_cannot_start_leaves_no_file(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        sweeps.sweep(interrupted, [{"x": 1}], workers=1, out=tmp_path / "rows.csv")
    assert list(tmp_path.iterdir()) == []


def interrupted(seed, x):
    raise KeyboardInterrupt


def script(text, *arguments, **options):
    """Start Python on a script of a sweep, elsewhere than in a checkout."""
    environment = {**os.environ, **options.pop("env", {})}
    return subprocess.Popen(
        [sys.executable, "-c", text, *map(str, arguments)], env=environment, text=True,
        cwd=Path(__file__).parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True, **options,
    )  # fmt: skip


SLOW = """
import sys, time
from mlcore import sweeps
out, log, workers, seconds = sys.argv[1:]
def slow(seed, x):
    with open(log, "a") as file:
        file.write(f"{x}\\n")
    time.sleep(float(seconds))
    return {"loss": x / 7, "note": "n" * 40}
found = sweeps.sweep(slow, sweeps.grid(x=range(12)), workers=int(workers), out=out)
print(*found["loss"])
"""


def rows_in(path):
    return path.read_text().count("\n") - 1 if path.exists() else 0


def wait_for(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=several)])
def test_a_killed_sweep_goes_on(tmp_path, workers):
    out, logs = tmp_path / "rows.csv", [tmp_path / "first", tmp_path / "second"]
    first = script(SLOW, out, logs[0], workers, 0.2)
    wait_for(lambda: rows_in(out) >= 3)
    first.kill()
    # The workers would finish what they have begun, and wait for more.
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    saved = {row["x"] for row in sweeps.Results.from_csv(out)}
    assert 3 <= len(saved) < 12
    second = script(SLOW, out, logs[1], workers, 0)
    printed, complaints = second.communicate()
    assert not complaints
    assert printed.split() == [repr(x / 7) for x in range(12)]
    run_again = [int(x) for x in logs[1].read_text().split()]
    assert sorted(run_again) == sorted(set(range(12)) - saved)
    assert rows_in(out) == 12


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=several)])
def test_ctrl_c_leaves_whole_rows(tmp_path, workers):
    out = tmp_path / "rows.csv"
    stopped = script(SLOW, out, tmp_path / "log", workers, 0.2)
    wait_for(lambda: rows_in(out) >= 2)
    # A terminal sends it to all processes of the group.
    os.killpg(stopped.pid, signal.SIGINT)
    _, complaints = stopped.communicate(timeout=60)
    told = re.search(r"KeyboardInterrupt: .* (\d+) of 12 runs; they are in .*rows.csv", complaints)
    assert out.read_bytes().endswith(b"\n")
    assert 2 <= len(sweeps.Results.from_csv(out)) == int(told[1]) < 12


FULL = """
import sys
from mlcore import sweeps
sweeps.sweep(lambda seed, x: {"loss": x / 7}, sweeps.grid(x=range(40)), workers=1, out=sys.argv[1])
"""


def test_a_full_disk_leaves_whole_rows(tmp_path):
    out = tmp_path / "rows.csv"
    full = script(
        FULL, out, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))
    )
    _, complaints = full.communicate()
    assert re.search(r"OSError: \[Errno 27\] cannot write a row to .*rows.csv", complaints)
    kept = out.read_bytes()
    assert kept.endswith(b"\n")
    assert 400 < len(kept) <= 500
    again = script(FULL, out)
    assert again.communicate()[1] == ""
    assert rows_in(out) == 40
    assert out.read_bytes().startswith(kept)


# Workers

CORES = """
import json, os, sys, time
import numpy as np
import mlcore
from mlcore import sweeps
def cores(seed, x):
    from threadpoolctl import threadpool_info
    a = np.ones((700, 700))
    wall, cpu = time.perf_counter(), time.process_time()
    while time.perf_counter() - wall < 0.3:
        a @ a
    share = (time.process_time() - cpu) / (time.perf_counter() - wall)
    blas = max((pool["num_threads"] for pool in threadpool_info()), default=1)
    engine = mlcore.get_num_threads()
    return {"engine": engine, "blas": blas, "share": share, "process": os.getpid()}
found = sweeps.sweep(cores, sweeps.grid(x=range(4)), workers=2)
print(json.dumps(found.rows), mlcore.get_num_threads(), sep="\\n")
"""


@several
def test_each_worker_has_one_core():
    pytest.importorskip("joblib")
    names = ("MLCORE_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    run = script(CORES, env=dict.fromkeys(names, "2"))
    printed, complaints = run.communicate()
    assert not complaints
    rows = json.loads(printed.splitlines()[0])
    assert {row["engine"] for row in rows} == {1}
    assert {row["blas"] for row in rows} == {1}
    assert max(row["share"] for row in rows) < 1.2
    assert len({row["process"] for row in rows} | {run.pid}) >= 2
    assert printed.splitlines()[1] == "2"


def test_threads_of_one_process_share_the_limit_and_give_it_back(monkeypatch):
    joblib = pytest.importorskip("joblib")
    # A cluster has workers of its own, however few processors there are here.
    monkeypatch.setattr(threads, "usable_processors", lambda: 1)

    both = threading.Barrier(2, timeout=30)

    def look(seed, x):
        both.wait()
        # The second run goes on after the first one has ended.
        time.sleep(0.3 * x)
        return {"engine": mlcore.get_num_threads(), "thread": threading.get_ident()}

    before = threads._chosen
    try:
        mlcore.set_num_threads(3)
        with joblib.parallel_config(backend="threading", n_jobs=2):
            found = sweeps.sweep(look, sweeps.grid(x=[0, 1]))
        assert found["error"] == [None, None]
        assert found["engine"] == [1, 1]
        assert len(set(found["thread"])) == 2
        assert mlcore.get_num_threads() == 3
    finally:
        threads._chosen = before


@several
def test_workers_give_what_one_process_gives():
    pytest.importorskip("joblib")

    # A function of this module would be imported by the workers, which do not find it.
    def picky(seed, x):
        if x == 2:
            raise ZeroDivisionError("no two")
        return {"loss": x / 3, "note": "n"}

    settings = sweeps.grid(x=range(7))
    here = sweeps.sweep(picky, settings, seeds=2, workers=1)
    there = sweeps.sweep(picky, settings, seeds=2, workers=2)
    assert timeless(here) == timeless(there)


@several
def test_there_are_no_more_workers_than_processors():
    pytest.importorskip("joblib")

    def process(seed, x):
        time.sleep(0.02)
        return {"process": os.getpid()}

    many = 4 * threads.usable_processors()
    found = sweeps.sweep(process, sweeps.grid(x=range(many)), workers=1000)
    assert len(set(found["process"])) <= threads.usable_processors()


@several
def test_what_cannot_be_sent_to_a_worker_is_said(monkeypatch):
    pytest.importorskip("joblib")
    lock = threading.Lock()
    with pytest.raises(InputError, match=r"cannot be sent to a worker: .*lock.*workers=1"):
        sweeps.sweep(lambda seed, x: {"a": lock}, sweeps.grid(x=[1, 2]), workers=2)
    module = types.ModuleType("only_here")
    exec("def function(seed, x): return {}", module.__dict__)
    monkeypatch.setitem(sys.modules, "only_here", module)
    with pytest.raises(InputError, match="cannot be sent to a worker: ModuleNotFoundError"):
        sweeps.sweep(module.function, sweeps.grid(x=[1, 2]), workers=2)


@several
def test_a_worker_that_is_killed_is_told_and_the_rows_are_kept(tmp_path):
    pytest.importorskip("joblib")
    out, deadly = tmp_path / "rows.csv", tmp_path / "deadly"
    deadly.touch()

    def dying(seed, x):
        if x == 5 and deadly.exists():
            time.sleep(0.5)
            os.kill(os.getpid(), signal.SIGKILL)
        return {"loss": x}

    with pytest.raises(sweeps.WorkerError, match=r"ended without an answer.*of 6 runs"):
        sweeps.sweep(dying, sweeps.grid(x=range(6)), workers=2, out=out)
    assert len(sweeps.Results.from_csv(out)) >= 1
    deadly.unlink()
    assert sweeps.sweep(dying, sweeps.grid(x=range(6)), workers=2, out=out)["loss"] == [*range(6)]


def test_without_joblib_one_process_does_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "joblib", None)
    settings = sweeps.grid(x=[1, 2])
    assert sweeps.sweep(square, settings, workers=1)["loss"] == [1, 4]
    assert sweeps.sweep(square, settings)["loss"] == [1, 4]
    with pytest.raises(MissingExtraError, match=r'pip install "mlcore\[sweeps\]"'):
        sweeps.sweep(square, settings, workers=2)


@pytest.mark.filterwarnings("ignore")
def test_a_dask_cluster_is_one_line_away(tmp_path):
    distributed = pytest.importorskip("distributed")
    joblib = pytest.importorskip("joblib")

    def where(seed, x):
        if x == 3:
            raise ValueError("three")
        return {
            "worker": distributed.get_worker().name, "process": os.getpid(),
            "engine": mlcore.get_num_threads(), "loss": x / 7,
        }  # fmt: skip

    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, local_directory=str(tmp_path)
    )
    with cluster, distributed.Client(cluster), joblib.parallel_config(backend="dask"):
        out = tmp_path / "rows.csv"
        found = sweeps.sweep(where, sweeps.grid(x=range(8)), out=out)
    assert [error and error.split(":")[0] for error in found["error"]] == [
        "ValueError" if x == 3 else None for x in range(8)
    ]
    done = [row for row in found if row["error"] is None]
    assert [row["loss"] for row in done] == [x / 7 for x in range(8) if x != 3]
    assert {row["engine"] for row in done} == {1}
    assert os.getpid() not in {row["process"] for row in done}
    assert len(sweeps.Results.from_csv(out)) == 8


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_is_shown_on_a_terminal_only(monkeypatch):
    for shown, progress, stream in [
        (True, True, Terminal()),
        (False, False, Terminal()),
        (False, True, io.StringIO()),
    ]:
        monkeypatch.setattr(sys, "stderr", stream)
        sweeps.sweep(picky, sweeps.grid(x=[1, 2]), workers=1, progress=progress)
        assert bool(stream.getvalue()) == shown
        assert ("failed=1" in stream.getvalue()) == shown


# Results


def test_best_knows_what_is_good():
    def measured(seed, x):
        if x == 9:
            raise ValueError("nine")
        return {"val_accuracy": [0.5, 0.9, 0.9, math.nan][x], "val_loss": x, "area": x, "note": "n"}

    found = sweeps.sweep(measured, sweeps.grid(x=[0, 1, 2, 3, 9]), workers=1)
    assert found.best("val_accuracy")["x"] == 1
    assert found.best("val_loss")["x"] == 0
    assert found.best("area", mode="max")["x"] == 3
    with pytest.raises(InputError, match="greatest or the least 'area'"):
        found.best("area")
    with pytest.raises(InputError, match=r"unknown column 'val_acuracy'.*val_accuracy"):
        found.best("val_acuracy")
    with pytest.raises(InputError, match="unknown mode"):
        found.best("area", mode="most")
    with pytest.raises(InputError, match=r"no row has a number for 'note'.*1 of 5 failed"):
        found.best("note", mode="max")


def test_means_are_over_the_rows_that_did_not_fail():
    def measured(seed, x):
        if (x, seed) in [(1, 1), (2, 0), (2, 1), (2, 2)]:
            raise ValueError(seed)
        return {"loss": x + seed, "note": "n", "curve": [1.0, 2.0]}

    found = sweeps.sweep(measured, sweeps.grid(x=[0, 1, 2]), seeds=3, workers=1)
    means = found.mean_over_seeds()
    assert means.settings == ("x",)
    assert means.figures == ("runs", "loss", "loss_std")
    assert means["runs"] == [3, 2, 0]
    assert means["loss"][:2] == [1.0, 2.0]
    assert means["loss_std"][:2] == [1.0, np.std([1, 3], ddof=1)]
    assert math.isnan(means["loss"][2])
    assert means["error"] == [None, "ValueError: 1", "ValueError: 0"]
    assert means.best("loss")["x"] == 0
    assert found.mean_over("x")["seed"] == [0, 1, 2]
    assert len(found.mean_over("x", "seed")) == 1
    with pytest.raises(InputError, match="unknown setting 'y'"):
        found.mean_over("y")


def test_the_table_is_for_people():
    def measured(seed, rate, layers):
        if rate == 2:
            raise ValueError("two")
        return {"loss": rate * 1e-5, "right": 3, "curve": [1.0, 2.0, 3.0]}

    settings = sweeps.grid(rate=[0.1, 2.0], layers=[(64, 32)])
    lines = sweeps.sweep(measured, settings, workers=1).table().splitlines()
    assert re.sub(r"\d+\.\d\d  ", "", "\n".join(lines)) == "\n".join(
        [
            "rate  layers    seed       loss  right  curve       seconds  error",
            "----  --------  ----  ---------  -----  ----------  -------  ---------------",
            " 0.1  [64, 32]     0  1.000e-06      3  (3 values)     -",
            "   2  [64, 32]     0          -      -  -              ValueError: two",
        ]
    )


def test_results_keep_every_bit_in_csv(tmp_path):
    out = tmp_path / "rows.csv"
    found = sweeps.sweep(picky, sweeps.grid(x=[1, 2, 3]), seeds=2, workers=1)
    found.to_csv(out)
    again = sweeps.Results.from_csv(out)
    assert repr(again.rows) == repr(found.rows)
    assert repr(sweeps.sweep(picky, sweeps.grid(x=[1, 2, 3]), seeds=2, out=out).rows) == repr(
        found.rows
    )
    means = tmp_path / "means.csv"
    found.mean_over_seeds().to_csv(means)
    assert means.read_text().splitlines()[0] == "x,runs,loss,loss_std,seconds,error"
    with pytest.raises(InputError, match="not a file of a sweep"):
        sweeps.Results.from_csv(means)


# Folds


@pytest.mark.parametrize("folds", [2, 4, 7])
def test_stratified_folds_hold_every_sample_out_once(folds):
    y = np.repeat([3, 0, 7], [50, 29, 14])
    np.random.default_rng(0).shuffle(y)
    parts = sweeps.stratified_folds(y, folds, seed=1)
    held = np.concatenate([part.validation for part in parts])
    assert sorted(held) == list(range(len(y)))
    for train, validation in parts:
        assert sorted([*train, *validation]) == list(range(len(y)))
        assert (np.diff(train) > 0).all()
        assert (np.diff(validation) > 0).all()
    for label in (3, 0, 7):
        counts = [int((y[part.validation] == label).sum()) for part in parts]
        assert max(counts) - min(counts) <= 1
    sizes = [len(part.validation) for part in parts]
    assert max(sizes) - min(sizes) <= 1


def test_folds_depend_on_the_seed_and_are_shuffled():
    y = np.arange(40) % 4

    def held(divided, seed):
        return [part.validation.tolist() for part in divided(y, 4, seed)]

    for divided in (sweeps.stratified_folds, sweeps.plain_folds):
        assert held(divided, 1) == held(divided, 1)
        assert held(divided, 1) != held(divided, 2)
    # Pinned, so that a change of generator does not go unseen.
    assert held(sweeps.stratified_folds, 0)[0] == [7, 12, 13, 16, 22, 30, 31, 32, 33, 34]


def test_labels_may_come_in_any_form():
    y = np.arange(40) % 4
    expected = [part.validation.tolist() for part in sweeps.stratified_folds(y)]
    for form in (y.tolist(), y[:, None], np.eye(4)[y], y.astype(float), np.array(list("abcd"))[y]):
        assert [part.validation.tolist() for part in sweeps.stratified_folds(form)] == expected


@pytest.mark.parametrize(
    ("y", "folds", "message"),
    [
        ([0, 0, 0, 1], 2, "class 1 has 1 samples, fewer than 2 folds"),
        ([0.5, 1.5], 2, "no classes"),
        (np.zeros((4, 3)), 2, "no classes"),
        ([0, 1], 1, "folds must be"),
        ([0, 1], 3, "2 samples cannot make 3 folds"),
        ([], 2, "0 samples"),
    ],
)
def test_folds_refuse_what_cannot_be(y, folds, message):
    with pytest.raises(InputError, match=message):
        sweeps.stratified_folds(y, folds)


# Training


def blobs(samples=120, classes=3):
    generator = np.random.default_rng(0)
    y = np.arange(samples) % classes
    return generator.normal(size=(samples, 4)) + 3 * np.eye(4)[y], y


def build(seed, width=8, rate=0.05):
    model = Sequential([Standardize(), Dense(width, "tanh"), Dense(3)], seed=seed)
    return model, {"optimizer": mlcore.Adam(rate)}


def test_train_and_score_is_a_fit_and_an_evaluation():
    x, y = blobs()
    train, validation = (x[:80], y[:80]), (x[80:], y[80:])
    function = sweeps.train_and_score(build, train, validation, batch_size=20, history=True)
    found = sweeps.sweep(function, sweeps.grid(width=[4, 8], epochs=[1, 6]), workers=1)
    assert found["error"] == [None] * 4
    row = found.rows[3]
    model, extra = build(0, 8)
    history = model.fit(
        *train, validation_data=validation, batch_size=20, epochs=6, verbose=0, **extra
    )
    assert (row["loss"], row["accuracy"]) == tuple(model.evaluate(*train).values())
    assert (row["val_loss"], row["val_accuracy"]) == tuple(model.evaluate(*validation).values())
    assert row["parameters"] == 4 * 8 + 8 + 8 * 3 + 3
    kept = mlcore.History.from_dict(row["history"])
    assert kept["val_loss"] == history["val_loss"]
    assert found.best("val_loss")["epochs"] == 6


@several
def test_workers_train_to_the_same_bits():
    pytest.importorskip("joblib")
    x, y = blobs(40_000)
    data = mlcore.Dataset(x, y)  # large enough for joblib to map it into the workers' memory

    def build(seed, width):
        return mlcore.Sequential([mlcore.Dense(width, "tanh"), mlcore.Dense(3)], seed=seed)

    function = sweeps.train_and_score(build, data, data, batch_size=2000)
    here, there = (
        sweeps.sweep(function, sweeps.grid(width=[4, 8]), workers=workers) for workers in (1, 2)
    )
    assert here["error"] == [None] * 2
    assert timeless(here) == timeless(there)


def test_names_that_neither_build_nor_fit_takes_are_refused():
    function = sweeps.train_and_score(build, blobs())
    with pytest.raises(InputError, match=r"cannot be called with .*'widht'"):
        sweeps.sweep(function, sweeps.grid(widht=[1]), workers=1)
    with pytest.raises(InputError, match=r"unknown setting of fit 'epoch'.*epochs"):
        sweeps.train_and_score(build, blobs(), epoch=3)
    with pytest.raises(InputError, match=r"Dataset or .x, y., not a Splits"):
        sweeps.train_and_score(build, mlcore.data.Splits(mlcore.Dataset(*blobs())))
    with pytest.raises(InputError, match="must take the seed"):
        sweeps.train_and_score(lambda width: build(0, width), blobs())


def test_a_model_that_has_seen_data_is_refused():
    x, y = blobs()
    once, extra = build(0)
    found = sweeps.cross_validate(lambda seed: (once, extra), (x, y), workers=1)
    assert found["error"][0] is None
    assert all("trained before" in error for error in found["error"][1:])

    def leaking(seed):
        return Sequential([Standardize().adapt(x), Dense(3)], seed=seed)

    found = sweeps.cross_validate(leaking, (x, y), workers=1)
    assert all("Standardize has seen data" in error for error in found["error"])


def test_a_fold_sees_its_training_part_only():
    x, y = blobs()
    models = []

    def kept(seed):
        models.append(build(seed))
        return models[-1]

    found = sweeps.cross_validate(kept, (x, y), folds=3, seed=5, workers=1, epochs=2)
    assert found["fold"] == [0, 1, 2]
    for (model, _), part in zip(models, sweeps.stratified_folds(y, 3, 5), strict=True):
        np.testing.assert_allclose(model.layers[0].mean, x[part.train].mean(axis=0), rtol=1e-5)
        assert model.progress.steps == 2 * math.ceil(len(part.train) / 32)
    # What is held out may hold anything, the training does not see it.
    spoilt = x.copy()
    spoilt[sweeps.stratified_folds(y, 3, 5)[0].validation] = 1e3
    again = sweeps.cross_validate(build, (spoilt, y), folds=3, seed=5, workers=1, epochs=2)
    assert again["loss"][0] == found["loss"][0]
    assert again["val_loss"][0] != found["val_loss"][0]


def test_cross_validation_of_settings_seeds_and_regressions(tmp_path):
    x, y = blobs()
    found = sweeps.cross_validate(
        build, mlcore.Dataset(x, y), sweeps.grid(rate=[0.01, 0.1]), seeds=2, workers=1, epochs=3,
        out=tmp_path / "rows.csv",
    )  # fmt: skip
    assert len(found) == 2 * 4 * 2
    means = found.mean_over("fold", "seed")
    assert means["rate"] == [0.01, 0.1]
    assert means["runs"] == [8, 8]
    assert means.best("val_accuracy")["rate"] == 0.1

    def line(seed):
        return Sequential([Dense(1)], seed=seed)

    target = x @ [1.0, 2, 3, 4]
    fits = sweeps.cross_validate(line, (x, target), folds=5, workers=1, loss="mse", epochs=20)
    assert fits["error"] == [None] * 5
    assert "val_accuracy" not in fits.figures
    with pytest.raises(InputError, match="no classes"):
        sweeps.cross_validate(line, (x, target), stratified=True, workers=1)
    with pytest.raises(InputError, match="'fold' cannot be the name"):
        sweeps.cross_validate(line, (x, target), [{"fold": 1}], workers=1)


# The command

CONFIG = """
data = "digits.npz"
epochs = 2
noise = 0
batch-size = 20

[sweep]
layers = [[4], [8, 4]]
learning-rate = [0.01, 0.1]
"""


@pytest.fixture
def digits(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    x, y = blobs()
    np.savez("digits.npz", xdata=x, ydata=y)
    Path("sweep.toml").write_text(CONFIG)


def test_the_command_sweeps_a_file_of_settings(digits, capsys):
    arguments = ["sweep", "sweep.toml", "--seeds", "2", "--workers", "1"]
    assert main(arguments) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert shown.out.split("\n")[0].split()[:7] == [
        "data", "epochs", "noise", "batch_size", "layers", "learning_rate", "runs",
    ]  # fmt: skip
    assert main(arguments) == 0
    assert capsys.readouterr().out == shown.out
    rows = sweeps.Results.from_csv("sweep.csv")
    assert len(rows) == 8
    config = RunConfig().changed(
        data="digits.npz", epochs=2, noise=0, batch_size=20, layers=[8, 4], learning_rate=0.1,
        seed=1,
    )  # fmt: skip
    trained = run.train(config, "run", plots=False, quiet=True)
    row = next(r for r in rows if (r["layers"], r["learning_rate"], r["seed"]) == ([8, 4], 0.1, 1))
    assert row["val_loss"] == trained.history["val_loss"][-1]
    assert row["accuracy"] == trained.history["accuracy"][-1]
    # Other settings outside the table are other settings.
    Path("sweep.toml").write_text(CONFIG.replace("epochs = 2", "epochs = 3"))
    assert main(arguments) == 2
    assert "is of other settings" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("epochs = 3", r"no table \[sweep\]"),
        ("[sweep]", r"no table \[sweep\]"),
        ("sweep = 3", r"no table \[sweep\]"),
        ("[sweep]\nepoch = [1]", "unknown setting 'epoch'.*epochs"),
        ("epoch = 1\n[sweep]\nnoise = [1]", "unknown setting 'epoch'.*epochs"),
        ("[sweep]\nepochs = 3", r"give a list of values, as \[3\]"),
        ("[sweep]\nepochs = []", "has no values"),
        ("[sweep]\nlayers = [8, 4]", "layers must be a list"),
        ("[sweep]\nseed = [1, 2]", "chosen by --seeds"),
        ("[sweep]\ndata = ['mnist-samplo']", "mnist-sample"),
        ("[sweep", "not a TOML file"),
    ],
)
def test_the_command_says_what_is_wrong_with_the_file(digits, capsys, content, message):
    Path("sweep.toml").write_text(content)
    assert main(["sweep", "sweep.toml"]) == 2
    assert re.search(f"^mlcore: .*sweep.toml.*{message}", capsys.readouterr().err)
    assert not Path("sweep.csv").exists()


def test_the_command_says_when_a_run_failed(digits, capsys):
    Path("sweep.toml").write_text(CONFIG.replace("0.1]", "1e30]"))
    assert main(["sweep", "sweep.toml", "--workers", "1", "--out", "rows.csv"]) == 1
    assert capsys.readouterr().out.count("NonFiniteLossError") == 2


# The page

BLOCK = re.compile(r"^```(python|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def same_everywhere(text):
    """Leave out times, and the dashes that are as many as the longest time has digits."""
    return re.sub(r" +\d+\.\d\d(?=  |$)", " time", text, flags=re.MULTILINE)


@pytest.mark.skipif(not PAGE.is_file(), reason="the page is not here, only the package")
def test_the_page_prints_what_it_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    scope = {}
    for at, (kind, code) in enumerate(found):
        if kind != "python":
            continue
        follower = found[at + 1] if at + 1 < len(found) else ("", "")
        expected = follower[1] if follower[0] == "text" else ""
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, scope)
        assert same_everywhere(printed.getvalue()) == same_everywhere(expected), code
