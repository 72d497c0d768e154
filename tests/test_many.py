"""Many networks side by side: each as if it were alone, to the bit."""

from __future__ import annotations

import mlcore
import numpy as np
import pytest
from mlcore import kernels

NATIVE = [s.name for s in kernels.status() if s.available and kernels.is_native(s.name)]
BACKENDS = [*NATIVE, "numpy"]
Layers = mlcore.layers


def narrow() -> list[mlcore.layers.Layer]:
    return [mlcore.Dense(2), *(mlcore.Dense(2, "relu") for _ in range(4)), mlcore.Dense(1)]


def noisy() -> list[mlcore.layers.Layer]:
    return [mlcore.GaussianNoise(0.3), mlcore.Dense(5, "tanh"), mlcore.Dropout(0.3), mlcore.Dense(1)]


def wide() -> list[mlcore.layers.Layer]:
    return [mlcore.Dense(40, "relu"), mlcore.BatchNorm(), mlcore.Dense(1)]


def networks(make, count=5, backend=None, dtype="float32"):
    return [
        mlcore.Sequential(make(), seed=seed, backend=backend, dtype=dtype) for seed in range(count)
    ]


def curve(samples=75, sets=None, seed=0):
    shape = (samples, 1) if sets is None else (sets, samples, 1)
    x = np.random.default_rng(seed).uniform(-2, 2, shape).astype(np.float32)
    return x, np.abs(x)


def assert_same(ours, alone):
    """Parameters, optimizer state, counts and history, but for the seconds."""
    assert ours.parameters.tobytes() == alone.parameters.tobytes()
    assert list(ours.optimizer_state) == list(alone.optimizer_state)
    for name, state in ours.optimizer_state.items():
        assert state.tobytes() == alone.optimizer_state[name].tobytes(), name
    assert ours.progress.config() == alone.progress.config()
    for name, column in ours.history.history.items():
        if name not in ("seconds", "samples_per_second"):
            np.testing.assert_array_equal(column, alone.history[name], name)


def check(make, x, y, *, backend=None, workers=2, count=5, own=False, dtype="float32", **settings):
    settings = {"loss": "mse", "epochs": 3, "batch_size": 16, **settings}
    ours, alone = (networks(make, count, backend, dtype) for _ in range(2))
    histories = mlcore.fit_many(ours, x, y, workers=workers, **settings)
    assert [model.history for model in ours] == histories
    for number, (our, model) in enumerate(zip(ours, alone, strict=True)):
        given = (x[number], y[number]) if own else (x, y)
        model.fit(*given, evaluate_train=False, verbose=0, **settings)
        assert_same(our, model)
    return ours


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("make", [narrow, noisy, wide])
def test_each_as_if_alone(make, backend):
    check(make, *curve(), backend=backend, optimizer="adam")


@pytest.mark.parametrize("make", [narrow, wide])
@pytest.mark.parametrize("workers", [1, 2, 3, 4])
def test_own_data(make, workers):
    check(make, *curve(sets=7), own=True, count=7, workers=workers, optimizer="adam")
