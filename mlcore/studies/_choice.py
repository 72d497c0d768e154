"""What a good setting gives: chosen on validation data, measured on test data over seeds."""

from __future__ import annotations

import statistics
import time
from typing import Any

from mlcore import Adam, Dense, Dropout, Sequential
from mlcore.data import Dataset, split
from mlcore.studies.study import Run

RATES = (0.2, 0.4)


def with_dropout(rate: float, seed: int) -> Sequential:
    """Return 784-512-256-10 with relu and dropout behind both hidden layers."""
    layers = [
        Dense(512, "relu", kernel_initializer="he_normal"), Dropout(rate),
        Dense(256, "relu", kernel_initializer="he_normal"), Dropout(rate),
        Dense(10),
    ]  # fmt: skip
    return Sequential(layers, seed=seed)


def add_good_setting(run: Run, train: Dataset, test: Dataset, epochs: int) -> float:
    """Add a row for a good multilayer perceptron, keep it, and return its test accuracy.

    784-512-256-10 is trained with Adam along a cosine, once for each rate of dropout, on five
    sixths of `train`, and judged on the last sixth. The best rate is trained on all of `train` with
    `Run.seeds` seeds, of whose test accuracies the median counts.
    """
    settings: dict[str, Any] = {
        "optimizer": Adam(1e-3), "schedule": "cosine", "batch_size": 100, "epochs": epochs,
        "evaluate_train": False, "verbose": 0,
    }  # fmt: skip
    parts = split(train, validation=1 / 6, stratify=True)
    judged = {}
    for rate in RATES:
        history = with_dropout(rate, 0).fit(
            parts.train, validation_data=parts.validation, **settings
        )
        judged[rate] = history["val_accuracy"][-1]
        run.say(f"dropout {rate}: validation accuracy {judged[rate]:.2%}")
    best = max(judged, key=lambda rate: judged[rate])
    begun = time.perf_counter()
    measured = []
    for seed in range(run.seeds):
        model = with_dropout(best, seed)
        model.fit(train, **settings)
        measured.append(model.evaluate(test)["accuracy"])
        run.say(f"dropout {best}, seed {seed}: test accuracy {measured[-1]:.2%}")
    seconds = (time.perf_counter() - begun) / run.seeds
    run.network("good setting", model)
    accuracy = statistics.median(measured)
    run.note(
        f"The good setting: Adam with rate 0.001 along a cosine, {epochs} epochs, batches of 100, "
        f"dropout chosen from {RATES} on validation data; test accuracy is the median of "
        f"{run.seeds} seeds ({min(measured):.2%} to {max(measured):.2%})."
    )
    run.row(
        f"good setting: 784-512-256-10, dropout {best}",
        val_accuracy=judged[best], test_accuracy=accuracy, seconds=seconds,
    )  # fmt: skip
    return accuracy
