"""Gradient descent on all samples at once, without holding all their activations."""

from __future__ import annotations

from typing import Any

from mlcore import SGD
from mlcore.data import Dataset

# The activations of so many samples stay in the processor's cache.
PIECE = 500


def full_batch(data: Dataset, rate: float, steps: int, weight_decay: float = 0.0) -> dict[str, Any]:
    """Return what `Sequential.fit` takes to make every epoch one step on all the samples.

    The gradients of pieces of equal size are added up, and their mean is that of all samples.

    Parameters
    ----------
    data : Dataset
        What will be trained on.
    rate : float
        Learning rate on the mean over the samples.
    steps : int
        Updates, which are epochs too. Loss and accuracy of an epoch's training
        (``running_loss``, ``running_accuracy``) are those of all samples before its update.
    weight_decay : float
        Of `SGD`.
    """
    size = next(size for size in range(PIECE, 0, -1) if len(data) % size == 0)
    return {
        "optimizer": SGD(
            rate, weight_decay=weight_decay, gradient_accumulation_steps=len(data) // size
        ),
        "epochs": steps,
        "batch_size": size,
        "shuffle": False,
        "evaluate_train": False,
        "verbose": 0,
    }
