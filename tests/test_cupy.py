"""The CuPy backend: its CUDA sources, how they are launched, and the executor above them.

Three kinds of tests, of which the first two need no GPU and are no test on one:

- every kernel compiles with NVIDIA's own compiler, for several generations of devices;
- every kernel, compiled by g++ and run thread by thread on a processor by the stand-in for CuPy
  of `cuda/stand_in.py`, agrees with the reference, and the executor with `PythonExecutor`;
- on a machine with a CUDA device and CuPy the same agreement is asked of the device. The tests
  that iterate the backends (parity, gradients, random numbers, trajectories) then include it too.
"""

import os
import shutil
import subprocess
import sys
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest

import mlcore
from mlcore import (
    SGD,
    Adam,
    BatchNorm,
    Dense,
    Dropout,
    GaussianNoise,
    NonFiniteLossError,
    Sequential,
    kernels,
)
from mlcore.engine import DeviceExecutor
from mlcore.kernels import cuda
from mlcore.kernels.errors import InputError
from mlcore.kernels.table import ROWS, TABLE

HERE = Path(__file__).parent
NOT_ON_A_GPU = "the stand-in needs g++, which is not here"
DEVICE = next(entry for entry in kernels.status() if entry.name == "cupy")


def load(path):
    """Return a module of this folder, a copy of its own."""
    spec = spec_from_file_location(f"{path.stem}_for_cupy", path)
    module = module_from_spec(spec)
    # Dataclasses look their module up.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


parity = load(HERE / "test_parity.py")
engine = load(HERE / "test_engine.py")
draws = load(HERE / "test_random.py")
nvrtc = load(HERE / "cuda" / "nvrtc.py")
# What those tests ask of the native executor is asked of this one here.
engine.NativeExecutor = DeviceExecutor


@pytest.fixture(scope="module")
def stand_in():
    """The backend over the stand-in for CuPy, in the place of the one over CuPy."""
    if shutil.which("g++") is None:
        pytest.skip(NOT_ON_A_GPU)
    stand_in = load(HERE / "cuda" / "stand_in.py")
    cupy = stand_in.module()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("mlcore.kernels.cupy_", "mlcore.kernels.cuda.launch"):
            patch.delitem(sys.modules, name, raising=False)
        patch.setitem(sys.modules, "cupy", cupy)
        patch.setitem(sys.modules, "cupy.cublas", cupy.cublas)
        patch.delitem(kernels._loaded, "cupy", raising=False)
        stand_in.backend = kernels.get("cupy")
        yield stand_in
        for name in ("mlcore.kernels.cupy_", "mlcore.kernels.cuda.launch"):
            sys.modules.pop(name, None)


@pytest.fixture(scope="module", params=["stand-in", "device"])
def backend(request):
    """The backend, over the stand-in, and over CuPy where there is a device."""
    if request.param == "stand-in":
        return request.getfixturevalue("stand_in").backend
    if not DEVICE.available:
        pytest.skip(f"untested on a GPU: {DEVICE.reason}")
    return kernels.get("cupy")


ARCHITECTURES = ("sm_70", "sm_75", "sm_80", "sm_86", "sm_90")


@pytest.mark.parametrize("real", cuda.TYPES.values())
@pytest.mark.parametrize("file", cuda.FILES)
def test_every_kernel_compiles_with_nvrtc(file, real):
    compiler = nvrtc.library()
    if compiler is None:
        pytest.skip("not compiled for a GPU: pip install nvidia-cuda-nvrtc-cu12")
    for architecture in ARCHITECTURES:
        options = [*cuda.OPTIONS, f"-DREAL={real}", f"--gpu-architecture={architecture}"]
        size, log = nvrtc.compile(compiler, cuda.source(file), options)
        assert size, log
        assert "error" not in log
        assert "warning" not in log.replace("nvrtc: warning: Architectures prior", "")


def test_every_kernel_is_found_in_the_sources():
    found = {name: takes for file in cuda.FILES for name, takes in cuda.kernels(file).items()}
    declared = sum(cuda.source(file).count("\nKERNEL(") for file in cuda.FILES)
    assert len(found) == declared
    rate, momentum = (
        next(entry for entry in found["sgd"] if entry.name == name)
        for name in ("learning_rate", "momentum")
    )
    assert rate == cuda.Parameter("learning_rate", "double", given=True)
    assert momentum == cuda.Parameter("momentum", "real")


@pytest.mark.parametrize("dtype", parity.DTYPES, ids=parity.label)
@pytest.mark.parametrize(("row", "case"), parity.rows_and_cases(), ids=parity.label)
def test_every_row_agrees_with_the_reference(backend, row, case, dtype):
    parity.test_every_size_agrees_with_the_reference(backend, row, case, dtype)
    parity.test_nan_and_infinity_go_through_as_in_the_reference(backend, row, case, dtype)


@pytest.mark.parametrize("row", ROWS, ids=parity.label)
def test_no_result_depends_on_the_order_of_the_threads(stand_in, row, monkeypatch):
    for case in row.cases:
        for dims in row.sizes:
            found = []
            for backwards in (False, True):
                monkeypatch.setattr(stand_in.order, "backwards", backwards)
                arguments = parity.draw(row, case, dims, np.float32)
                stand_in.backend.call(row.name, **arguments)
                found.append([arguments[name] for name in row.outputs()])
            for forwards, backwards in zip(*found, strict=True):
                np.testing.assert_array_equal(forwards, backwards)


def test_sums_over_many_samples_stay_precise(backend):
    parity.test_sums_over_many_samples_stay_precise(backend)


@pytest.mark.parametrize("beta_2", [0.999, 0.99999])
@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_small_moments_keep_their_relative_precision(backend, name, beta_2):
    parity.test_small_moments_keep_their_relative_precision(backend, name, beta_2)


def test_the_variance_of_features_far_from_zero_stays_precise(backend):
    parity.test_the_variance_of_features_far_from_zero_stays_precise(backend)


@pytest.mark.parametrize(("counter", "key", "answer"), draws.KNOWN_ANSWERS)
def test_philox_gives_the_published_answers(backend, counter, key, answer):
    draws.test_philox_gives_the_published_answers(backend, counter, key, answer)


class TestWhatTheLauncherRefuses:
    def test_an_array_of_another_type(self, stand_in):
        module = stand_in.backend.module
        wide = module.to_device(np.zeros((2, 3)))
        narrow = module.to_device(np.zeros((2, 3), np.float32))
        with pytest.raises(TypeError, match=r"name='out'.* cannot be an array of float64"):
            module.activation(narrow, "relu", 0.0, wide)

    def test_a_setting_on_the_device_that_the_kernel_does_not_look_up(self, stand_in):
        module = stand_in.backend.module
        one = module.to_device(np.ones(1))
        with pytest.raises(TypeError, match=r"name='a'.* cannot be an array"):
            module.activation(one.reshape(1, 1), "relu", one, one.reshape(1, 1))

    def test_too_few_arguments(self, stand_in):
        launch = stand_in.backend.module.launch
        with pytest.raises(ValueError, match="shorter"):
            launch.each("activate", np.dtype(float), 1, None)


@pytest.mark.parametrize("dtype", engine.CLOSE)
class TestTheExecutorAgreesWithPython:
    # Small networks whose paths do not part: where a rounding grows step by step, 200 steps make
    # it a difference.
    @pytest.mark.parametrize("seed", [1, 3, 4, 6, 7, 8])
    def test_random_networks(self, backend, seed, dtype):
        engine.test_random_networks(seed, backend.name, dtype)

    # Others take the stand-in half a minute.
    @pytest.mark.parametrize("seed", [1, 2, 3, 5])
    def test_random_spatial_networks(self, backend, seed, dtype):
        engine.test_random_spatial_networks(seed, backend.name, dtype)

    @pytest.mark.parametrize("loss", engine.losses.LOSSES)
    def test_weights_with_every_loss(self, backend, loss, dtype):
        engine.test_weights_with_every_loss(loss, 3, 19, backend.name, dtype)

    @pytest.mark.parametrize("at", range(len(engine.OPTIMIZERS)))
    def test_every_optimizer(self, backend, at, dtype):
        engine.test_every_optimizer(at, backend.name, dtype)

    @pytest.mark.parametrize("name", [name for name in engine.EDGES if name != "large batch"])
    def test_edges(self, backend, name, dtype):
        engine.test_edges(name, backend.name, dtype)

    @pytest.mark.parametrize("seed", range(3))
    def test_outputs_of_a_prediction(self, backend, seed, dtype):
        engine.test_outputs_of_a_prediction(seed, backend.name, dtype)

    @pytest.mark.parametrize("seed", range(3))
    def test_gradients_and_evaluation(self, backend, seed, dtype):
        engine.test_gradients_and_evaluation(seed, backend.name, dtype)


@pytest.mark.parametrize("offset", [2**32 - 3, 2**40])
def test_noise_counts_on_from_any_step(backend, offset):
    engine.test_noise_counts_on_from_any_step(offset, backend.name)


def test_penalties_and_limits(backend):
    def layers():
        limited = Dense(9, "tanh", kernel_regularizer="l2", kernel_constraint="max_norm")
        return [limited, Dense(3, bias_regularizer="l1")]

    optimizer = SGD(0.05, 0.9, global_clipnorm=0.1, gradient_accumulation_steps=3)
    engine.assert_agreement(engine.Case(layers, optimizer), backend.name, "float64")


@pytest.mark.parametrize("dtype", engine.CLOSE)
@pytest.mark.parametrize(("fault", "rate", "loss"), engine.FAULTS)
def test_a_loss_that_is_not_finite(backend, fault, rate, loss, dtype):
    engine.test_a_loss_that_is_not_finite(fault, rate, loss, backend.name, dtype)


def test_training_goes_on_after_a_loss_that_was_not_finite(backend):
    case = engine.EDGES["short last batch of one"]
    side, clean = (engine.Side(case, DeviceExecutor, backend.name, "float32") for _ in range(2))
    side.advance(0, 2)
    held = side.model.parameters.copy()
    side.model.parameters[3] = np.nan
    with pytest.raises(NonFiniteLossError):
        side.advance(2, 3)
    side.model.parameters[...] = held
    side.advance(2, 3)
    clean.advance(0, 3)
    assert side.bits == clean.bits


def test_without_the_guard_nan_goes_on(backend):
    engine.test_without_the_guard_nan_goes_on(backend.name)


CASE = engine.Case(
    lambda: [GaussianNoise(0.1), Dense(40, "tanh"), Dropout(0.2), Dense(3)],
    Adam(0.003),
    samples=203,
)


def trained(steps, chunk):
    side = engine.Side(CASE, DeviceExecutor, "cupy", "float32")
    totals = side.advance(0, steps, chunk=chunk)
    return side, totals


def test_the_same_bits_in_any_chunks_recorded_or_not(backend):
    assert backend.name == "cupy"
    whole, totals = trained(100, 10**9)
    for chunk in (1, 7, 20):
        side, found = trained(100, chunk)
        assert side.bits == whole.bits
        assert found == totals


def test_steps_are_recorded_and_repeated(stand_in):
    assert stand_in.backend.name == "cupy"
    side, _ = trained(2 * CASE.steps, 10**9)
    launches = {key[0::2]: graph.launches for key, graph in side.executor._graphs.items()}
    # 33 whole batches an epoch, of which the very first is not recorded, and a short one.
    assert launches == {(6, 16): 4, (6, 1): 1, (5, 1): 1}


def test_a_whole_run_through_the_model(backend):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((203, 5)).astype(np.float32)
    y = (x[:, 0] > x[:, 1]).astype(int) + (x[:, 2] > 1)
    found = {}
    for name in (backend.name, "numpy"):
        layers = [GaussianNoise(0.05), Dense(16, "relu"), Dense(3)]
        model = Sequential(layers, seed=1, dtype="float64", backend=name)
        history = model.fit(
            x, y, epochs=3, batch_size=16, verbose=0, optimizer=Adam(0.01), validation_split=0.2
        )
        gradients = model.loss_and_gradients(x, y)[1]
        found[name] = [
            model.parameters, gradients, model.predict(x), model.predict_proba(x),
            *(history[key] for key in ("loss", "accuracy", "val_loss", "val_accuracy")),
        ]  # fmt: skip
    for ours, right in zip(found[backend.name], found["numpy"], strict=True):
        np.testing.assert_allclose(ours, right, rtol=1e-9, atol=1e-11)


def test_changes_between_runs_are_seen(backend):
    assert backend.name == "cupy"
    side = engine.Side(CASE, DeviceExecutor, "cupy", "float64")
    twin = engine.python(CASE, "float64")
    for one in (side, twin):
        one.advance(0, 5)
        one.model.parameters *= 0.5
        one.advance(5, 10)
    engine.assert_close(side.tensors, twin.tensors, 1e-9, "after the change")


def test_the_last_whole_step_is_kept_in_the_middle_of_a_graph(backend):
    """The flag stops the steps behind it that stand in the same graph, noise counters and all."""
    assert backend.name == "cupy"
    row = CASE.order(0)[6 * 20 + 2]

    def break_it(side):
        side.inputs[row, 1] = np.nan

    side = engine.Side(CASE, DeviceExecutor, "cupy", "float64", change=break_it)
    twin = engine.Side(CASE, DeviceExecutor, "cupy", "float64")
    totals = mlcore.executor.Totals()
    with pytest.raises(NonFiniteLossError, match=r"at step 21: .* inputs") as caught:
        side.advance(0, CASE.steps, totals)
    assert caught.value.step == 20
    assert totals == twin.advance(0, 20)
    assert side.bits == twin.bits


def test_running_statistics_are_those_of_the_last_whole_step(backend):
    case = engine.Case(lambda: [BatchNorm(), Dense(8, "relu"), Dense(3)], SGD(0.01), samples=200)
    row = case.order(0)[6 * 20 + 2]

    def break_it(side):
        side.inputs[row, 1] = np.nan

    side = engine.Side(case, DeviceExecutor, backend.name, "float64", change=break_it)
    twin = engine.Side(case, DeviceExecutor, backend.name, "float64")
    with pytest.raises(NonFiniteLossError) as caught:
        side.advance(0, case.steps)
    assert caught.value.step == 20
    twin.advance(0, 20)
    assert side.bits == twin.bits


class TestWhereItCannotBeUsed:
    @pytest.fixture(autouse=True)
    def forgotten(self, monkeypatch):
        for name in ("mlcore.kernels.cupy_", "mlcore.kernels.cuda.launch"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        monkeypatch.delitem(kernels._loaded, "cupy", raising=False)

    def status(self):
        return next(entry for entry in kernels.status() if entry.name == "cupy")

    def test_without_cupy(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "cupy", None)
        how = 'CuPy is not installed: pip install "mlcore[gpu]"'
        assert self.status() == kernels.Status("cupy", False, how)
        with pytest.raises(InputError, match="the cupy backend cannot be used: CuPy is not"):
            kernels.get("cupy")

    def test_without_a_device(self, monkeypatch):
        stand_in = load(HERE / "cuda" / "stand_in.py")
        cupy = stand_in.module()

        def refuse():
            raise stand_in.CUDARuntimeError("cudaErrorNoDevice: no CUDA-capable device")

        cupy.cuda.runtime.getDevice = refuse
        monkeypatch.setitem(sys.modules, "cupy", cupy)
        reason = "CuPy stand-in finds no CUDA device: cudaErrorNoDevice: no CUDA-capable device"
        assert self.status() == kernels.Status("cupy", False, reason)

    def test_without_cublas(self, monkeypatch):
        cupy = load(HERE / "cuda" / "stand_in.py").module()
        del cupy.cublas
        monkeypatch.setitem(sys.modules, "cupy", cupy)
        monkeypatch.setitem(sys.modules, "cupy.cublas", None)
        assert "lacks a library of CUDA" in self.status().reason

    @pytest.mark.skipif(find_spec("cupy") is None, reason="CuPy is not installed")
    @pytest.mark.skipif(DEVICE.available, reason="there is a device")
    def test_cupy_itself_says_that_there_is_no_device(self):
        assert "finds no CUDA device" in self.status().reason


def test_it_is_never_chosen_unasked():
    assert list(kernels.BACKENDS).index("cupy") > list(kernels.BACKENDS).index("numpy")


def test_every_row_has_a_function(stand_in):
    assert list(stand_in.backend.kernels) == list(TABLE)


@pytest.mark.parametrize("made", ["a folder", "a file"])
def test_what_is_called_cupy_and_is_not_is_told(made, tmp_path):
    if made == "a folder":
        if PathFinder.find_spec("cupy"):
            pytest.skip("an installed package is found before a folder without one")
        (tmp_path / "cupy").mkdir()
    else:
        (tmp_path / "cupy.py").touch()
    code = "from mlcore import kernels; print({s.name: s.reason for s in kernels.status()}['cupy'])"
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert "what is imported as cupy is not CuPy: rename or remove" in said.stdout
    assert str(tmp_path / "cupy") in said.stdout
