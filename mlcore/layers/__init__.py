"""The layers, one file each."""

from __future__ import annotations

from typing import Any

from mlcore.kernels.errors import InputError, unknown
from mlcore.layers.activation import Activation, ActivationFunction
from mlcore.layers.base import Layer
from mlcore.layers.dense import Dense
from mlcore.layers.dropout import Dropout
from mlcore.layers.gaussian_noise import GaussianNoise

__all__ = [
    "LAYERS",
    "Activation",
    "ActivationFunction",
    "Dense",
    "Dropout",
    "GaussianNoise",
    "Layer",
    "from_config",
]

LAYERS: dict[str, type[Layer]] = {
    layer.kind: layer for layer in (Dense, Activation, Dropout, GaussianNoise)
}


def from_config(kind: str, settings: dict[str, Any]) -> Layer:
    """Return the layer that `Layer.config` described.

    Raises
    ------
    InputError
        For an unknown kind, or settings that the layer does not take.
    """
    layer = LAYERS.get(kind)
    if layer is None:
        raise unknown("layer", kind, LAYERS)
    try:
        return layer(**settings)
    except TypeError as error:
        raise InputError(f"layer {kind}: {error}") from error
