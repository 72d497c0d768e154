"""`mlcore bench`: wrong kernels are caught and not timed, and the figures are what they say."""

import importlib.util
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mlcore import bench, kernels
from mlcore.bench import against, machine
from mlcore.bench.subjects import Subject, subjects
from mlcore.bench.timing import interleaved
from mlcore.cli import main
from mlcore.kernels import TABLE, reference
from mlcore.kernels.errors import InputError, MissingExtraError

QUICK = 1e-4
QUICKLY = ["--seconds", str(QUICK)]
NATIVE = any(entry.name == "native" and entry.available for entry in kernels.status())


@pytest.fixture(autouse=True)
def short_peaks(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in ("PEAK_SECONDS", "BURST_SECONDS", "BANDWIDTH_SECONDS"):
        monkeypatch.setattr(bench, name, QUICK)
    # A busy machine must not make the tests slow.
    monkeypatch.setattr(bench, "TRIES", 1)


@pytest.fixture
def plant(monkeypatch):
    """Put a backend "planted" beside the others: the reference with some kernels replaced."""

    def plant(**changes):
        get, status = kernels.get, kernels.status
        planted = kernels.Backend("planted", get("numpy").kernels | changes, kernels.reference)
        found = [*status(), kernels.Status("planted", True, "")]
        monkeypatch.setattr(kernels, "status", lambda: found)
        monkeypatch.setattr(
            kernels, "get", lambda name=None: planted if name == "planted" else get(name)
        )

    return plant


def fails(capsys, arguments, *words, code=2):
    assert main(["bench", *arguments]) == code
    shown = capsys.readouterr()
    assert shown.err.count("\n") == 1
    for word in words:
        assert word in shown.err


def slightly_off(parameters, gradients, *rest):
    reference.sgd(parameters, gradients, *rest)
    parameters *= 1.001


def unfinished(parameters, gradients, *rest):
    reference.sgd(parameters[:-1], gradients[:-1], *rest)


def overwriting(parameters, gradients, *rest):
    reference.sgd(parameters, gradients, *rest)
    gradients[3] = 0


def broken(*_):
    raise RuntimeError("no such instruction")


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (slightly_off, "the reference gives"),
        (unfinished, "1 of 10,000 elements differ"),
        (overwriting, "gradients is an input, and was changed"),
        (broken, "raised RuntimeError: no such instruction"),
    ],
)
def test_a_wrong_kernel_is_caught_and_not_timed(plant, capsys, kernel, message):
    calls = []

    def counted(*arguments):
        calls.append(arguments)
        kernel(*arguments)

    plant(sgd=counted)
    arguments = ["--kernel", "sgd", "--backend", "planted,numpy", "--dtype", "float32", *QUICKLY]
    assert main(["bench", *arguments, "--json", "figures.json"]) == 1
    shown = capsys.readouterr().out
    assert "wrong: sgd 10000 float32 planted: " in shown
    assert message in shown
    assert len(calls) == len(TABLE["sgd"].bench)
    rows = json.loads(Path("figures.json").read_text())["rows"]
    for row in rows:
        assert (row["seconds"] is None) == bool(row["fault"]) == (row["backend"] == "planted")


def test_a_poison_that_stays_is_caught(plant):
    def idle(x, activation, parameter, out):
        reference.activation(x[:-1], activation, parameter, out[:-1])

    plant(activation=idle)
    result = bench.run("activation", "planted", "float64", seconds=QUICK)
    assert len(result.failures) == len(result.rows) > 0
    assert "is nan, the reference gives" in result.failures[0].fault


def test_whole_numbers_must_be_exact(plant):
    def shifted(seed, epoch, out):
        reference.permutation(seed, epoch, out)
        out[[0, 1]] = out[[1, 0]]

    plant(permutation=shifted)
    (row,) = bench.run("permutation", "planted", seconds=QUICK).rows
    assert (row.dtype, row.seconds) == ("int64", None)
    assert "2 of 60,000 elements differ" in row.fault
    assert "tolerance 0" in row.fault


def test_every_kernel_is_right_and_timed():
    result = bench.run(seconds=QUICK)
    assert not result.failures, str(result)
    measurable = {row.name for row in TABLE.values() if row.bench}
    assert {row.operation for row in result.rows} == measurable
    here = {entry.name for entry in kernels.status() if entry.available}
    assert {row.backend for row in result.rows} == here & {"native", "numba", "numpy"}
    assert {row.dtype for row in result.rows} >= {"float32", "float64"}
    for row in result.rows:
        assert 0 < row.seconds <= row.median
        assert row.share > 0
        assert row.ratio == 1 or row.backend != "numpy"
    table = str(result)
    assert max(map(len, table.splitlines())) <= 104
    assert "float32, peak" in table
    assert "GFLOP/s" in table
    assert "GB/s" in table


def test_the_figures_follow_from_the_time():
    arguments = {"kernel": "linear", "backend": "numpy", "dtype": "float32", "seconds": QUICK}
    result = bench.run(**arguments)
    row = result.rows[0]
    assert (row.kernel, row.shape, row.bound) == ("linear relu", "50x784x512", "compute")
    assert row.flops == 2 * 50 * 784 * 512
    assert row.bytes == 4 * (50 * 784 + 784 * 512 + 512 + 50 * 512)
    assert row.gflops == pytest.approx(row.flops / row.seconds / 1e9)
    assert row.share == pytest.approx(row.gflops / result.peaks["float32"])
    assert f"{row.share:.1%}" in str(result)
    assert row.rate in str(result)


def test_bytes_are_those_that_a_call_touches():
    rng = np.random.default_rng(0)
    gather, sgd = (next(iter(subjects([name], ["float32"]))) for name in ("gather", "sgd"))
    arguments = gather.arguments(rng)
    assert gather.bytes_moved(arguments) == 50 * 784 + 50 * 8 + 50 * 784 * 4
    assert gather.working_set(arguments) == 10_000 * 784 + 50 * 8 + 50 * 784 * 4
    assert sgd.bytes_moved(sgd.arguments(rng)) == 437_000 * 4 * 3


def test_a_named_kernel_has_every_activation():
    def activations(chosen):
        return {
            subject.case["activation"]
            for subject in subjects(chosen, ["float32"])
            if subject.row.name == "activation"
        }

    assert activations(["activation"]) == set(kernels.ACTIVATIONS)
    assert activations([]) == {"relu", "tanh", "softmax"}


def test_contenders_take_turns():
    order = []

    def named(name):
        return lambda: (order.append(name), time.sleep(1e-4))

    first, second = interleaved([named("A"), named("B")], 1e-3)
    assert min(len(first), len(second)) >= 5
    assert min(first + second) >= 1e-4
    turns = "".join(order[4:])
    assert turns.replace("AA", "A") != turns
    while "AA" in turns or "BB" in turns:
        turns = turns.replace("AA", "A").replace("BB", "B")
    assert turns == "AB" * 5


def test_a_core_below_its_peak_is_told(monkeypatch):
    monkeypatch.setattr(bench, "PEAK_SECONDS", 1.0)
    monkeypatch.setattr(machine, "fma_peak", lambda _, seconds: 100.0 if seconds == 1 else 50.0)
    result = bench.run("mse", "numpy", "float32", seconds=QUICK)
    assert not any(row.clean for row in result.rows)
    assert "3 of 3 rows are in doubt" in str(result)
    assert sum("~" in line for line in str(result).splitlines()) == 3 + 1


def test_json_has_the_raw_figures_and_the_machine(capsys):
    arguments = ["--kernel", "mse,sgd", "--backend", "numpy", "--dtype", "float64", *QUICKLY]
    assert main(["bench", *arguments, "--json", "figures.json"]) == 0
    found = json.loads(Path("figures.json").read_text())
    assert {"processor", "Python", "NumPy", "caches", "peaks from"} <= set(found["machine"])
    assert "installed in" not in found["machine"]
    assert found["settings"]["kernel"] == ["mse", "sgd"]
    assert isinstance(found["settings"]["seed"], int)
    assert set(found["peak_gflops"]) == {"float64"}
    assert len(found["read_gbytes_per_second"]) == 4
    rows = found["rows"]
    assert len(rows) == len(TABLE["mse"].bench) + len(TABLE["sgd"].bench)
    assert rows[0]["dims"] == TABLE["mse"].bench[0]
    assert rows[-1]["settings"]["momentum"] == 0
    for row in rows:
        assert row["samples"] >= 5
        assert row["gflops"] == pytest.approx(row["flops"] / row["seconds"] / 1e9)
    assert "mse" in capsys.readouterr().out


def test_the_seed_repeats_the_inputs():
    row = TABLE["mse"]
    subject = Subject(row, row.cases[0], row.bench[0], "float32")
    first, again = (subject.arguments(np.random.default_rng(3))["outputs"] for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert bench.run("mse", "numpy", "float32", seconds=QUICK, seed=3).settings["seed"] == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--kernel", "liner"], ["unknown kernel 'liner'", "Did you mean 'linear'?"]),
        (["--kernel", "mse,adm"], ["unknown kernel 'adm'", "Did you mean 'adam'?"]),
        (["--backend", "nativ"], ["unknown backend 'nativ'", "Did you mean 'native'?"]),
        (["--dtype", "float23"], ["unknown dtype 'float23'", "Did you mean 'float32'?"]),
        (["--against", "troch"], ["unknown peer 'troch'", "Did you mean 'torch'?"]),
        (["--seconds", "0"], ["seconds must be a positive number: 0"]),
        (["--seconds", "soon"], ["'soon' is not a valid float"]),
        (["--json", "nowhere/figures.json"], ["the folder", "does not exist"]),
        (["--sconds", "1"], ["Did you mean '--seconds'?"]),
    ],
)
def test_what_cannot_be_is_said_before_anything_runs(capsys, monkeypatch, arguments, words):
    monkeypatch.setattr(machine, "fma_peak", None)
    fails(capsys, arguments, *words)


@pytest.mark.parametrize("name", against.PEERS)
def test_a_missing_peer_says_how_to_get_it(capsys, monkeypatch, name):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    fails(capsys, ["--against", name], f"--against {name} needs {name}: pip install {name}")


@pytest.mark.parametrize("name", against.PEERS)
def test_peers_compute_the_same(name):
    pytest.importorskip(name, reason=f"{name} is not installed")
    affinity = getattr(os, "sched_getaffinity", lambda _: None)
    allowed = affinity(0)
    result = bench.run(
        ["linear", "linear_backward", "softmax_cross_entropy", "adam", "mse"], "numpy",
        seconds=QUICK, against=name,
    )  # fmt: skip
    assert not result.failures, str(result)
    rows = [row for row in result.rows if row.backend == name]
    assert {row.operation for row in rows} == {row.operation for row in result.rows} - {"mse"}
    assert name in result.machine
    assert affinity(0) == allowed


def test_peaks_are_plausible():
    single, double = machine.fma_peak("float32"), machine.fma_peak("float64")
    assert 0.5 < double < single < 1000
    assert 0.1 < machine.bandwidth(0) < 5000
    with pytest.raises(InputError, match="Did you mean 'float32'"):
        machine.fma_peak("float3")


@pytest.mark.skipif(not NATIVE, reason="there is no native backend here")
def test_native_peaks_are_above_what_kernels_reach():
    assert machine.describe()["peaks from"] == "loops of the native backend"
    assert "vectors of" in machine.describe()["compiler"]
    result = bench.run("linear", "native", "float32", seconds=0.01)
    assert max(row.gflops for row in result.rows) < 1.1 * result.peaks["float32"]


def test_without_native_kernels_the_peaks_are_estimated(monkeypatch):
    def get(name):
        raise InputError(f"no {name} here")

    monkeypatch.setattr(kernels, "get", get)
    assert machine.fma_peak("float32", QUICK) > 0
    assert machine.bandwidth(10_000, QUICK) > 0
    monkeypatch.undo()
    monkeypatch.setattr(machine, "_native", lambda: None)
    facts = machine.describe()
    assert facts["peaks from"] == "NumPy's matmul and dot"
    assert "compiler" not in facts


class TestThePlot:
    def test_axes_roofs_and_dots(self):
        pytest.importorskip("matplotlib", reason="matplotlib is not installed")
        result = bench.run(["linear", "mse", "permutation"], seconds=QUICK)
        figure = result.plot()
        assert [axes.get_title(loc="left") for axes in figure.axes] == [
            "float32, one core",
            "float64, one core",
        ]
        for axes, dtype in zip(figure.axes, ("float32", "float64"), strict=True):
            assert (axes.get_xlabel(), axes.get_ylabel()) == ("operations a byte", "GFLOP/s")
            assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
            lines = {line.get_label(): line for line in axes.lines}
            own = [r for r in result.rows if (r.dtype, r.backend) == (dtype, "numpy")]
            np.testing.assert_allclose(lines["numpy"].get_ydata(), [r.gflops for r in own])
            np.testing.assert_allclose(lines["numpy"].get_xdata(), [r.flops / r.bytes for r in own])
            slopes = [line for name, line in lines.items() if name.startswith("reads ")]
            assert len(slopes) == 4
            for line in slopes:
                assert line.get_ydata()[-1] == pytest.approx(result.peaks[dtype])
            assert "linear relu" in [text.get_text() for text in axes.texts]
        labels = [text.get_text() for text in figure.legends[0].get_texts()]
        assert labels[-4].startswith("reads 16 kB at ")
        marks = {line.get_marker() for line in figure.axes[0].lines if line.get_marker() != "None"}
        assert len(marks) == len({row.backend for row in result.rows})

    def test_into_axes_of_the_caller(self):
        pytest.importorskip("matplotlib", reason="matplotlib is not installed")
        from matplotlib.figure import Figure

        figure = Figure()
        axes = figure.add_subplot()
        assert bench.run("mse", "numpy", "float32", seconds=QUICK).plot(ax=axes) is figure
        assert axes.get_title(loc="left") == "float32, one core"
        with pytest.raises(InputError, match="ax takes one dtype"):
            bench.run("mse", "numpy", seconds=QUICK).plot(ax=axes)

    def test_nothing_to_draw(self):
        with pytest.raises(InputError, match="no kernel that computes was timed"):
            bench.run("permutation", "numpy", seconds=QUICK).plot()

    def test_from_the_command_line(self, capsys, tmp_path):
        pytest.importorskip("matplotlib", reason="matplotlib is not installed")
        arguments = ["--kernel", "mse", "--dtype", "float32", *QUICKLY]
        assert main(["bench", *arguments, "--plot", "roof.png"]) == 0
        assert (tmp_path / "roof.png").read_bytes().startswith(b"\x89PNG")
        fails(capsys, [*arguments, "--plot", "roof.gift"], "cannot draw roof.gift", ".svg")

    def test_without_matplotlib(self, capsys, monkeypatch):
        monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
        monkeypatch.setattr(machine, "fma_peak", None)
        fails(capsys, ["--plot", "roof.png"], 'plots need matplotlib: pip install "mlcore[plots]"')
        with pytest.raises(MissingExtraError):
            bench.check_targets("roof.png", None)
