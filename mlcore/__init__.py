"""mlcore: small neural networks, trained from scratch on a CPU by compiled kernels."""

from __future__ import annotations

try:
    import mlcore.kernels  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "mlcore.kernels":
        raise
    raise ImportError(
        "this is the source checkout of mlcore, which has no kernels in it: start Python from "
        "another folder to use an installed mlcore, or run `pip install -e .` to use the checkout"
    ) from None

from mlcore import callbacks, data, initializers, layers, losses, metrics, optimizers, schedules
from mlcore.checkpoint import load
from mlcore.data.dataset import Dataset
from mlcore.executor import NonFiniteLossError
from mlcore.history import History
from mlcore.kernels.errors import InputError
from mlcore.layers import Activation, Dense, Dropout, GaussianNoise
from mlcore.model import Sequential
from mlcore.optimizers import SGD, Adam, AdamW, RMSprop

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
    "initializers",
    "layers",
    "load",
    "losses",
    "metrics",
    "optimizers",
    "schedules",
]


def __getattr__(name: str) -> str:
    """Look the version up when it is asked for: the look-up costs a third of NumPy's import."""
    if name == "__version__":
        from importlib.metadata import version

        return version("mlcore")
    raise AttributeError(f"module 'mlcore' has no attribute {name!r}")
