"""What progress, callbacks and the guard against NaN cost beside the epochs that they watch.

``python bench/callbacks.py`` trains two networks with a progress bar, early stopping that keeps the
best weights, a callback that looks at the parameters twenty times a second, and a function after
each epoch, and prints the time spent in all of them, and copying parameters out for them, as a
share of the whole. The guard looks at sums that are there anyway, so it has a line of its own:
epochs with it beside epochs without, in turns.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mlcore import SGD, Dense, Sequential
from mlcore.callbacks import Callback, EarlyStopping, NaNGuard
from mlcore.engine import NativeExecutor
from mlcore.plan import table
from mlcore.trainer import Trainer

NETWORKS = {
    "784-512-64-32-10, batch 50": ((784, 512, 64, 32, 10), 50, 20_000),
    "784-128-10, batch 100": ((784, 128, 10), 100, 60_000),
}
EPOCHS, ROUNDS = 4, 5


class Norms(Callback):
    """Looks at the parameters while they are trained."""

    def on_progress(self, model: Sequential, *_: Any) -> None:
        """Take the norm of the weights."""
        self.norm = float(np.linalg.norm(model.parameters))


@contextlib.contextmanager
def timed(kind: type, name: str, spent: list[float]) -> Any:
    """Put down the seconds of every call of a method."""
    method: Callable[..., Any] = getattr(kind, name)

    def measured(*arguments: Any, **settings: Any) -> Any:
        began = time.perf_counter()
        try:
            return method(*arguments, **settings)
        finally:
            spent.append(time.perf_counter() - began)

    setattr(kind, name, measured)
    try:
        yield
    finally:
        setattr(kind, name, method)


def fit(widths: tuple[int, ...], batch: int, samples: int, **settings: Any) -> float:
    """Return the seconds of a training."""
    features, *hidden, outputs = widths
    rng = np.random.default_rng(0)
    x = rng.random((samples, features), dtype=np.float32)
    y = rng.integers(0, outputs, samples)
    model = Sequential([*(Dense(width, "relu") for width in hidden), Dense(outputs)], seed=0)
    began = time.perf_counter()
    model.fit(
        x, y, optimizer=SGD(0.01), epochs=EPOCHS, batch_size=batch, evaluate_train=False, **settings
    )
    return time.perf_counter() - began


def share(*network: Any) -> float:
    """Return the part of a training that is spent telling others of it."""
    told: list[float] = []
    copied: list[float] = []
    with (
        Path(os.devnull).open("w") as nowhere,
        contextlib.redirect_stderr(nowhere),
        contextlib.redirect_stdout(nowhere),
        timed(Trainer, "_tell", told),
        timed(NativeExecutor, "sync", copied),
    ):
        watching = [
            EarlyStopping("running_loss", patience=EPOCHS, restore_best_weights=True),
            Norms(),
            lambda *_: None,
        ]
        whole = fit(*network, verbose=1, callbacks=watching)
    return (sum(told) + sum(copied)) / whole


def guarded(*network: Any) -> float:
    """Return the time of epochs with the guard over that of epochs that let NaN pass."""
    ignoring = NaNGuard("ignore")
    sides: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        sides[0].append(fit(*network, verbose=0))
        sides[1].append(fit(*network, verbose=0, callbacks=[ignoring]))
    return min(sides[0]) / min(sides[1])


def main() -> None:
    """Print the table."""
    lines = []
    for name, network in NETWORKS.items():
        shares = [share(*network) for _ in range(ROUNDS)]
        lines.append((name, f"{statistics.median(shares):.2%}", f"{guarded(*network) - 1:+.2%}"))
    print(table(("network", "callbacks", "guard"), lines, right=(1, 2)))


if __name__ == "__main__":
    main()
