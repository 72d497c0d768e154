"""What a good setting gives: chosen on validation data, measured on test data over seeds."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

from mlcore.data import Dataset, split
from mlcore.model import Sequential
from mlcore.studies.study import Run

Make = Callable[[int], Sequential]


def add_best(
    run: Run, train: Dataset, test: Dataset, candidates: Mapping[str, Make], **fit: Any
) -> float:
    """Add a row for the best candidate, keep its network, and return its test accuracy.

    Each candidate is trained once on five sixths of `train` and judged on the last sixth. The
    best one is trained on all of it with `Run.seeds` seeds, and the median test accuracy counts.

    Parameters
    ----------
    run : Run
    train, test : Dataset
    candidates : mapping of str to callable
        By name a function from a seed to a new network.
    **fit
        Of `Sequential.fit`.
    """
    parts = split(train, validation=1 / 6, stratify=True)
    judged = {}
    for name, make in candidates.items():
        history = make(0).fit(
            parts.train, validation_data=parts.validation, evaluate_train=False, verbose=0, **fit
        )
        judged[name] = history["val_accuracy"][-1]
        run.say(f"{name}: validation accuracy {judged[name]:.2%}")
    best = max(judged, key=lambda name: judged[name])
    begun = time.perf_counter()
    measured = []
    for seed in range(run.seeds):
        model = candidates[best](seed)
        model.fit(train, evaluate_train=False, verbose=0, **fit)
        measured.append(model.evaluate(test)["accuracy"])
        run.say(f"{best}, seed {seed}: test accuracy {measured[-1]:.2%}")
    run.network("good setting", model)
    accuracy = statistics.median(measured)
    run.row(
        f"good setting: {best}",
        val_accuracy=judged[best],
        test_accuracy=accuracy,
        seconds=(time.perf_counter() - begun) / run.seeds,
    )
    return accuracy
