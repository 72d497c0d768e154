"""Can a network tell coin flips that people made up from those of a machine?

Binary sequences of length 20; a network 20-20-1 with relu, a sigmoid output and binary
cross-entropy; Adam with rate 0.01, batches of 16, 100 epochs, an L2 penalty of 1e-6; three quarters
to train on. People switch sides too often: where there is no file of real sequences (HDF5 with the
datasets `human` and `machine`), they are a Markov chain that switches with probability 0.6.

Everything that tells the two apart is then the number of switches, so that counting them is the
best that can be done: the first row. The notebook stepped through its data by 1 instead of 16, so
that it saw the first 493 sequences only, and its loss compared each of a batch's 16 outputs with
each of the 16 targets. The mean over these 256 terms is the cross-entropy with the batch's mean
target: the row "as run" trains with exactly that, and learns nothing.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from mlcore import L2, Adam, Dataset, Dense, History, Sequential, plots
from mlcore.studies._flips import by_switches, flips
from mlcore.studies.study import Run, study

BATCH = 16


def network(seed: int) -> Sequential:
    """Return 20-20-1."""
    return Sequential([Dense(20, "relu"), Dense(1, "sigmoid")], seed=seed)


def as_run(train: Dataset) -> Dataset:
    """Return the notebook's batches: overlapping, all targets the mean of their batch."""
    starts = np.arange(len(train) // BATCH)
    rows = (starts[:, None] + np.arange(BATCH)).reshape(-1)
    means = train.y[rows].reshape(-1, BATCH).mean(axis=1)
    return Dataset(train.x[rows], np.repeat(means, BATCH)[:, None], name="the notebook's batches")


@study(
    "coin-flips",
    label="A4",
    title="Telling people's coin flips from a machine's",
    source="student notebook A",
    seeds=5,
    repeats="everything, the draw of the sequences too; medians count",
    quick={"sequences": 3_000, "epochs": 30, "seeds": 2},
)
def coin_flips(run: Run, *, sequences: int = 5_100, epochs: int = 100) -> str:
    """Count switches, train as it was meant, and train as it was run."""

    def trained(change: Callable[[Dataset], Dataset], **settings: Any) -> tuple[Any, ...]:
        """Return the median validation accuracy over the seeds, and the last of what made it."""
        found = []
        for seed in range(run.seeds):
            train, held = flips(run, sequences, seed)
            model = network(seed)
            history: History = model.fit(
                change(train), loss="sigmoid_cross_entropy", optimizer=Adam(0.01),
                batch_size=BATCH, epochs=epochs, regularizer=L2(1e-6), validation_data=held,
                verbose=0, **settings,
            )  # fmt: skip
            found.append(history["val_accuracy"][-1])
        return statistics.median(found), history, model

    counted = statistics.median(
        by_switches(*flips(run, sequences, seed)) for seed in range(run.seeds)
    )
    run.row("counting switches", val_accuracy=counted)
    accuracies = {}
    for name, change, shuffle in (
        ("20-20-1", lambda train: train, True),
        ("20-20-1, as run", as_run, False),
    ):
        begun = time.perf_counter()
        accuracies[name], history, model = trained(change, shuffle=shuffle)
        run.row(
            name, val_accuracy=accuracies[name],
            seconds=(time.perf_counter() - begun) / run.seeds,
        )  # fmt: skip
        run.history(name, history)
        run.network(name, model)
        if change is not as_run:
            columns = ("accuracy", "val_accuracy")
            run.figure("accuracy", plots.curves, history, columns)
            run.figure("first layer", plots.first_layer_weights, model)
            run.figure("weights", plots.weight_histograms, model)
    meant, faulty = accuracies.values()
    return (
        f"The network tells people from machines with {meant:.1%} of unseen sequences right; "
        f"counting switches gives {counted:.1%}. With the notebook's batches and loss it is "
        f"{faulty:.1%}: it guesses."
    )
