"""LeNet with sigmoids: batch normalization, dropout, and both.

Two convolutions (6 and 16 filters, 5x5), each followed by average pooling, then layers of 120, 84
and 10; Adam, batch 128, the last tenth of the training images kept for validation. Batch
normalization stands between each layer and its sigmoid.

The notebook called its first variant "standardised input", but the standardising layer had never
seen data and handed the images on as they were; here is that, and a row with the layer fitted. The
third variant normalizes the input by the batch as well. These ran for 5 epochs, the two with
dropout (0.2 of the input, 0.5 behind each activation) for 15.

After five epochs of sigmoids one seed differs from the next by as much as the variants do from each
other, so no gain is claimed for a normalized input: the worst and the best seed stand beside the
median.

The last row is what these layers can do. Its settings were chosen on the validation images: relu in
place of sigmoid, padding that keeps the images' size, max pooling, dropout of 0.2 between the dense
layers only, running statistics that look back ten steps instead of a hundred (momentum 0.9), and a
rate of 0.003 that falls along a cosine for 20 epochs, whose last one counts.

The seeds of a variant are trained side by side, one on each core: the seconds are those of all
epochs divided by their number.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

import mlcore
from mlcore import (
    Activation,
    AvgPool,
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    MaxPool,
    Sequential,
    Standardize,
)
from mlcore.layers import Layer
from mlcore.plots import batch_norm_violins
from mlcore.studies.study import Run, study


def lenet(*first: Layer, norm: bool = True, dropout: bool = False) -> list[Layer]:
    """Return the notebook's layers, behind those that are given."""

    def active() -> list[Layer]:
        return [
            *([BatchNorm()] if norm else []),
            Activation("sigmoid"),
            *([Dropout(0.5)] if dropout else []),
        ]

    return [
        *first, *([Dropout(0.2)] if dropout else []),
        Conv2D(6, 5), *active(), AvgPool(2),
        Conv2D(16, 5), *active(), AvgPool(2), Flatten(),
        Dense(120), *active(),
        Dense(84), *active(),
        Dense(10, "softmax"),
    ]  # fmt: skip


def good() -> list[Layer]:
    """Return the same layers in a good setting."""

    def active() -> list[Layer]:
        return [BatchNorm(momentum=0.9), Activation("relu")]

    return [
        Conv2D(6, 5, padding="same"), *active(), MaxPool(2),
        Conv2D(16, 5), *active(), MaxPool(2), Flatten(), Dropout(0.2),
        Dense(120), *active(), Dropout(0.2),
        Dense(84), *active(), Dropout(0.2),
        Dense(10),
    ]  # fmt: skip


class Variant(NamedTuple):
    """A row: what is trained, for which of the three numbers of epochs, and what was reported."""

    layers: Callable[[], list[Layer]]
    length: str
    reported: dict[str, float] | None = None
    learning_rate: float = 0.001
    schedule: str | None = None


def then(accuracy: float, seconds: float) -> dict[str, float]:
    """Return what the notebook printed, by the columns of the table."""
    return {"test_accuracy": accuracy, "seconds_an_epoch": seconds}


VARIANTS = {
    "BN, input as it is": Variant(lenet, "epochs", then(0.9511, 30)),
    "BN, input standardised": Variant(lambda: lenet(Standardize()), "epochs"),
    "BN on the input too": Variant(lambda: lenet(BatchNorm()), "epochs", then(0.9772, 34)),
    "dropout": Variant(lambda: lenet(norm=False, dropout=True), "dropout_epochs", then(0.9601, 21)),
    "BN and dropout": Variant(lambda: lenet(dropout=True), "dropout_epochs", then(0.9795, 35)),
    "good setting": Variant(good, "good_epochs", None, 0.003, "cosine"),
}


@study(
    "lenet-norm",
    label="D4",
    title="Batch normalization and dropout in LeNet",
    source="Notebook D, part 4: LeNet on MNIST",
    seeds=5,
    repeats="every variant; medians count",
    quick={"seeds": 2, "epochs": 3, "dropout_epochs": 3, "good_epochs": 3},
)
def lenet_norm(
    run: Run, *, epochs: int = 5, dropout_epochs: int = 15, good_epochs: int = 20
) -> str:
    """Train each variant with some seeds."""
    training, test = run.mnist()
    parts = mlcore.data.split(training, validation=0.1)
    assert parts.validation is not None
    lengths = {"epochs": epochs, "dropout_epochs": dropout_epochs, "good_epochs": good_epochs}
    accuracies = {}
    for name, variant in VARIANTS.items():
        models = [Sequential(variant.layers(), seed=seed) for seed in range(run.seeds)]
        begun = time.perf_counter()
        histories = mlcore.fit_many(
            models, parts.train, optimizer=mlcore.Adam(variant.learning_rate), batch_size=128,
            epochs=lengths[variant.length], schedule=variant.schedule, workers=run.workers,
        )  # fmt: skip
        seconds = time.perf_counter() - begun
        seen = [model.evaluate(parts.validation)["accuracy"] for model in models]
        accuracies[name] = found = np.array([model.evaluate(test)["accuracy"] for model in models])
        run.row(
            f"{name}, {lengths[variant.length]} epochs",
            reported=variant.reported,
            test_accuracy=float(np.median(found)),
            accuracy_of_worst_seed=float(found.min()),
            accuracy_of_best_seed=float(found.max()),
            validation_accuracy=float(np.median(seen)),
            seconds_an_epoch=seconds / lengths[variant.length] / run.seeds,
        )
        middle = int(np.argsort(found)[len(found) // 2])
        run.network(name, models[middle])
        run.history(name, histories[middle])
        if name != "dropout":
            run.figure(f"batch-norm, {name}", batch_norm_violins, models[middle])
    medians = {name: float(np.median(found)) for name, found in accuracies.items()}
    plain, both = (accuracies[name] for name in ("BN, input as it is", "BN on the input too"))
    return f"""
        Medians of {run.seeds} seeds: {medians["BN, input as it is"]:.2%} with BN and
        {medians["BN on the input too"]:.2%} with BN on the input too, whose seeds reach from
        {both.min():.2%} to {both.max():.2%}, the others from {plain.min():.2%} to
        {plain.max():.2%}. Dropout alone comes to {medians["dropout"]:.2%}, with BN to
        {medians["BN and dropout"]:.2%}; the good setting to {medians["good setting"]:.2%}.
    """
