"""What the studies C1 to C6 share: notebook C's network, and how it was trained.

784-256-128-10 without biases, the output activated as the hidden layers are, 200 steps of gradient
descent on all samples at once, and accuracy on the training data. The notebook summed its gradients
over all 60,000 samples, and its loss over the outputs with a half before the squares; mlcore's
losses are means, so the same steps need other rates: 1e-5 there is 0.6 on the batch's mean of half
the sum of squares, and 3.0 on `mse`.

A step is 60 GFLOP, six sevenths of them in the first layer, forward and backward. The 200 steps of
one setting took 105 s on one busy core, 115 GFLOP/s: next to the products of matrices nothing takes
any time to speak of.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from mlcore import Dense, History, NonFiniteLossError, Sequential
from mlcore.callbacks import Callback
from mlcore.data import Dataset
from mlcore.initializers import Initializer, Uniform
from mlcore.studies._full_batch import full_batch
from mlcore.studies.study import Run

SAMPLES, OUTPUTS = 60_000, 10
# What the notebook's learning rates are multiplied by.
SCALES = {
    "mse": SAMPLES * OUTPUTS / 2,
    "sigmoid_cross_entropy": SAMPLES * OUTPUTS,
    "softmax_cross_entropy": SAMPLES,
}

Activation = str | dict[str, Any]


def network(
    activation: Activation, initializer: Initializer, output: Activation, seed: int
) -> Sequential:
    """Return notebook C's network."""
    units = ((256, activation), (128, activation), (OUTPUTS, output))
    return Sequential(
        [Dense(n, f, kernel_initializer=initializer, use_bias=False) for n, f in units], seed=seed
    )


class Outcome(NamedTuple):
    """What became of one setting: medians over the seeds, and the run of each seed."""

    accuracy: float
    loss: float
    histories: list[History]
    model: Sequential


def train(
    run: Run,
    setting: str,
    data: tuple[Dataset, Dataset],
    *,
    rate: float,
    steps: int,
    loss: str = "mse",
    activation: Activation = "sigmoid",
    output: Activation | None = None,
    initializer: Initializer | None = None,
    schedule: str | None = None,
    reported: Mapping[str, float | None] | None = None,
    callbacks: Callable[[], Iterable[Callback]] = tuple,
) -> Outcome:
    """Train a setting with every seed, and add its row.

    Parameters
    ----------
    run : Run
    setting : str
    data : tuple of Dataset
        Training and test data.
    rate : float
        In the notebook's units: on the sum over 60,000 samples.
    steps : int
    loss : str
        A key of `SCALES`.
    activation, output : str or dict
        Of the hidden layers, and of the last one, by default the same.
    initializer : Initializer, optional
        Uniform in [-1, 1) by default, as in the notebook.
    schedule : str, optional
    reported : mapping, optional
    callbacks : callable
        Makes the callbacks of one fit.

    Returns
    -------
    Outcome
        A run that stopped at a number that is not finite counts with the accuracy of its last
        step, and the row says where it stopped.
    """
    histories, measured, stops = [], [], []
    began = time.perf_counter()
    for seed in range(run.seeds):
        model = network(
            activation, initializer or Uniform(-1, 1), activation if output is None else output,
            seed,
        )  # fmt: skip
        try:
            model.fit(
                data[0], loss=loss, schedule=schedule, callbacks=callbacks(),
                **full_batch(data[0], rate * SCALES[loss], steps),
            )  # fmt: skip
        except NonFiniteLossError as error:
            step = 0 if model.history is None else len(model.history)
            stops.append(f"at step {step + 1}, in {error.tensor}")
            run.note(f"{setting} stopped: {error}")
        assert model.history is not None
        histories.append(model.history)
        measured.append((model.evaluate(data[0]), model.evaluate(data[1])))
    seconds = (time.perf_counter() - began) / run.seeds
    accuracy, value, test = (
        statistics.median(pair[part][column] for pair in measured)
        for part, column in ((0, "accuracy"), (0, "loss"), (1, "accuracy"))
    )
    run.row(
        setting, reported=reported, accuracy=accuracy, loss=value, test_accuracy=test,
        seconds=seconds, **({"stopped": stops[0]} if stops else {}),
    )  # fmt: skip
    run.history(setting, histories[0])
    return Outcome(accuracy, value, histories, model)
