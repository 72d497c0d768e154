"""mlcore: small neural networks, trained from scratch on a CPU by compiled kernels."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

if find_spec("mlcore.kernels") is None:
    raise ImportError(
        "this is the source checkout of mlcore, which has no kernels in it: start Python from "
        "another folder to use an installed mlcore, or run `pip install -e .` to use the checkout"
    )

if TYPE_CHECKING:
    from mlcore import (
        callbacks,
        constraints,
        data,
        gradcheck,
        initializers,
        inspection,
        kernels,
        layers,
        losses,
        metrics,
        optimizers,
        plots,
        regularizers,
        schedules,
        studies,
    )
    from mlcore.checkpoint import load
    from mlcore.constraints import MaxNorm
    from mlcore.data.dataset import Dataset
    from mlcore.executor import NonFiniteLossError
    from mlcore.history import History
    from mlcore.kernels.errors import InputError
    from mlcore.kernels.threads import get_num_threads, set_num_threads
    from mlcore.layers import (
        Activation,
        AvgPool,
        BatchNorm,
        Conv1D,
        Conv2D,
        Dense,
        Dropout,
        Embedding,
        Flatten,
        GaussianNoise,
        GlobalAvgPool,
        LayerNorm,
        MaxPool,
        Reshape,
        Standardize,
    )
    from mlcore.many import fit_many
    from mlcore.model import Sequential
    from mlcore.optimizers import SGD, Adagrad, Adam, AdamW, RMSprop
    from mlcore.regularizers import L1, L1L2, L2, Norm
    from mlcore.version import __version__
else:
    from mlcore.lazy import attach

    __getattr__, __dir__ = attach(
        __name__,
        names={
            "checkpoint": ["load"],
            "constraints": ["MaxNorm"],
            "data.dataset": ["Dataset"],
            "executor": ["NonFiniteLossError"],
            "history": ["History"],
            "kernels.errors": ["InputError"],
            "kernels.threads": ["get_num_threads", "set_num_threads"],
            "layers": [
                "Activation",
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
                "LayerNorm",
                "MaxPool",
                "Reshape",
                "Standardize",
            ],
            "many": ["fit_many"],
            "model": ["Sequential"],
            "optimizers": ["SGD", "Adagrad", "Adam", "AdamW", "RMSprop"],
            "regularizers": ["L1", "L1L2", "L2", "Norm"],
            "version": ["__version__"],
        },
        modules=[
            "callbacks",
            "constraints",
            "data",
            "gradcheck",
            "initializers",
            "inspection",
            "kernels",
            "layers",
            "losses",
            "metrics",
            "optimizers",
            "plots",
            "regularizers",
            "schedules",
            "studies",
        ],
    )

__all__ = [
    "L1",
    "L1L2",
    "L2",
    "SGD",
    "Activation",
    "Adagrad",
    "Adam",
    "AdamW",
    "AvgPool",
    "BatchNorm",
    "Conv1D",
    "Conv2D",
    "Dataset",
    "Dense",
    "Dropout",
    "Embedding",
    "Flatten",
    "GaussianNoise",
    "GlobalAvgPool",
    "History",
    "InputError",
    "LayerNorm",
    "MaxNorm",
    "MaxPool",
    "NonFiniteLossError",
    "Norm",
    "RMSprop",
    "Reshape",
    "Sequential",
    "Standardize",
    "__version__",
    "callbacks",
    "constraints",
    "data",
    "fit_many",
    "get_num_threads",
    "gradcheck",
    "initializers",
    "inspection",
    "kernels",
    "layers",
    "load",
    "losses",
    "metrics",
    "optimizers",
    "plots",
    "regularizers",
    "schedules",
    "set_num_threads",
    "studies",
]
