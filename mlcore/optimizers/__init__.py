"""The optimizers, one file each."""

from __future__ import annotations

from typing import Any

from mlcore.kernels.errors import InputError, unknown
from mlcore.optimizers.adagrad import Adagrad
from mlcore.optimizers.adam import Adam, AdamW
from mlcore.optimizers.base import Optimizer
from mlcore.optimizers.rmsprop import RMSprop
from mlcore.optimizers.sgd import SGD

__all__ = ["OPTIMIZERS", "SGD", "Adagrad", "Adam", "AdamW", "Optimizer", "RMSprop", "get"]

OPTIMIZERS: dict[str, type[Optimizer]] = {
    kind.kind: kind for kind in (SGD, Adam, AdamW, RMSprop, Adagrad)
}


def get(optimizer: str | Optimizer | dict[str, Any]) -> Optimizer:
    """Return an optimizer from its name, from itself, or from ``{"name": ..., **settings}``.

    Raises
    ------
    InputError
        For an unknown name or an unknown setting.
    """
    if isinstance(optimizer, Optimizer):
        return optimizer
    settings = dict(optimizer) if isinstance(optimizer, dict) else {"name": optimizer}
    name = settings.pop("name", None)
    kind = OPTIMIZERS.get(str(name).lower())
    if kind is None:
        raise unknown("optimizer", name, OPTIMIZERS)
    try:
        return kind(**settings)
    except TypeError as error:
        raise InputError(f"optimizer {name}: {error}") from error
