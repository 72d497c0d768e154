"""The layers, one file each."""

from __future__ import annotations

from typing import Any

from mlcore.kernels.errors import InputError, unknown
from mlcore.layers.activation import Activation, ActivationFunction
from mlcore.layers.avg_pool import AvgPool
from mlcore.layers.base import Layer
from mlcore.layers.batch_norm import BatchNorm
from mlcore.layers.conv1d import Conv1D
from mlcore.layers.conv2d import Conv2D
from mlcore.layers.dense import Dense
from mlcore.layers.dropout import Dropout
from mlcore.layers.embedding import Embedding
from mlcore.layers.flatten import Flatten
from mlcore.layers.gaussian_noise import GaussianNoise
from mlcore.layers.global_avg_pool import GlobalAvgPool
from mlcore.layers.layer_norm import LayerNorm
from mlcore.layers.max_pool import MaxPool
from mlcore.layers.reshape import Reshape
from mlcore.layers.standardize import Standardize

__all__ = [
    "LAYERS",
    "Activation",
    "ActivationFunction",
    "AvgPool",
    "BatchNorm",
    "Conv1D",
    "Conv2D",
    "Dense",
    "Dropout",
    "Embedding",
    "Flatten",
    "GaussianNoise",
    "GlobalAvgPool",
    "Layer",
    "LayerNorm",
    "MaxPool",
    "Reshape",
    "Standardize",
    "from_config",
]

LAYERS: dict[str, type[Layer]] = {
    layer.kind: layer
    for layer in (
        Dense, Activation, Dropout, GaussianNoise, Conv1D, Conv2D, MaxPool, AvgPool, GlobalAvgPool,
        Flatten, Reshape, Embedding, BatchNorm, LayerNorm, Standardize,
    )
}  # fmt: skip


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
