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
        data,
        gradcheck,
        initializers,
        kernels,
        layers,
        losses,
        metrics,
        optimizers,
        schedules,
    )
    from mlcore.checkpoint import load
    from mlcore.data.dataset import Dataset
    from mlcore.executor import NonFiniteLossError
    from mlcore.history import History
    from mlcore.kernels.errors import InputError
    from mlcore.kernels.threads import get_num_threads, set_num_threads
    from mlcore.layers import Activation, Dense, Dropout, GaussianNoise
    from mlcore.model import Sequential
    from mlcore.optimizers import SGD, Adam, AdamW, RMSprop
    from mlcore.version import __version__
else:
    from mlcore.lazy import attach

    __getattr__, __dir__ = attach(
        __name__,
        names={
            "checkpoint": ["load"],
            "data.dataset": ["Dataset"],
            "executor": ["NonFiniteLossError"],
            "history": ["History"],
            "kernels.errors": ["InputError"],
            "kernels.threads": ["get_num_threads", "set_num_threads"],
            "layers": ["Activation", "Dense", "Dropout", "GaussianNoise"],
            "model": ["Sequential"],
            "optimizers": ["SGD", "Adam", "AdamW", "RMSprop"],
            "version": ["__version__"],
        },
        modules=[
            "callbacks",
            "data",
            "gradcheck",
            "initializers",
            "kernels",
            "layers",
            "losses",
            "metrics",
            "optimizers",
            "schedules",
        ],
    )

__all__ = [
    "SGD",
    "Activation",
    "Adam",
    "AdamW",
    "Dataset",
    "Dense",
    "Dropout",
    "GaussianNoise",
    "History",
    "InputError",
    "NonFiniteLossError",
    "RMSprop",
    "Sequential",
    "__version__",
    "callbacks",
    "data",
    "get_num_threads",
    "gradcheck",
    "initializers",
    "kernels",
    "layers",
    "load",
    "losses",
    "metrics",
    "optimizers",
    "schedules",
    "set_num_threads",
]
