"""Layers of one or two units: the functions of tiny.h beside the reference, step by step."""

from __future__ import annotations

import numpy as np
import pytest

import mlcore
from mlcore import kernels

# By instruction set: plain "native" is one of them.
NATIVE = [s.name for s in kernels.status() if s.available and s.name.startswith("native-")]
ACTIVATIONS = [None, "relu", {"name": "leaky_relu", "alpha": 0.2}, "relu6", "tanh", "silu"]
TOLERANCES = {"float32": 2e-5, "float64": 1e-12}


def trained(backend, dtype, units, activation, bias, *, frozen=(), inputs=2):
    """Return the parameters after two epochs with a short last batch."""
    rng = np.random.default_rng(1)
    x = rng.uniform(-2, 2, (37, inputs))
    y = np.abs(x[:, :1])
    model = mlcore.Sequential(
        [mlcore.Dense(size, activation, use_bias=bias) for size in units] + [mlcore.Dense(1)],
        seed=3, dtype=dtype, backend=backend,
    ).build(inputs)  # fmt: skip
    model.parameters[...] = rng.uniform(-0.8, 0.8, model.parameters.size)
    for number in frozen:
        model.layers[number].trainable = False
    model.fit(
        x, y, loss="mse", optimizer=mlcore.SGD(0.05, momentum=0.5), epochs=2, batch_size=20,
        verbose=0,
    )  # fmt: skip
    return model.parameters


@pytest.mark.parametrize("backend", NATIVE)
@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("units", [(1, 1), (2, 2), (1, 2), (2, 1)])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("bias", [True, False])
def test_as_the_reference(backend, dtype, units, activation, bias):
    given = dtype, units, activation, bias
    ours, wanted = trained(backend, *given), trained("numpy", *given)
    assert np.abs(ours - wanted).max() < TOLERANCES[dtype]


@pytest.mark.parametrize("backend", NATIVE)
@pytest.mark.parametrize("frozen", [(0,), (1,), (0, 1), (2,), (0, 1, 2)])
def test_frozen_layers(backend, frozen):
    given = "float64", (2, 2), "relu", True
    ours = trained(backend, *given, frozen=frozen)
    wanted = trained("numpy", *given, frozen=frozen)
    assert np.abs(ours - wanted).max() < 1e-12


@pytest.mark.parametrize("backend", NATIVE)
@pytest.mark.parametrize("units", [(3, 2), (2, 3, 1), (8, 2, 8)])
def test_beside_wider_layers(backend, units):
    given = "float64", units, "relu", True
    ours, wanted = trained(backend, *given, inputs=3), trained("numpy", *given, inputs=3)
    assert np.abs(ours - wanted).max() < 1e-12
