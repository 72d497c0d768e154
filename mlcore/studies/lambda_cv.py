"""How strong weight decay should be, by cross-validation; and what a wrong sign does.

784-64-10 with relu and softmax on MNIST, weights and biases N(0, 1 / fan_out), full-batch gradient
descent with rate 0.05 and weight decay lambda of weights and biases. Each lambda is tried on four
stratified folds of the training data for 200 steps; the network with the best one is trained on all
of them for 300, and tested.

The notebook added the decay with the wrong sign, so that weights grew by lambda, and gave all
biases of a layer the sum of their gradients. Each setting stands here twice: right, and "as run"
with both faults, which gives the notebook's figures. They show why its lambda mattered at all: the
right decay changes little but at 0.1, where it holds the weights so small that the loss is two
thirds higher, while the wrong one makes them three times as long.

The softmax with one maximum for the whole batch makes no difference to numbers of this size.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlcore import Dataset, Dense, History, Sequential, plots
from mlcore.callbacks import Callback
from mlcore.studies._full_batch import full_batch
from mlcore.studies.study import Run, study
from mlcore.sweeps import stratified_folds

RATE = 0.05
# Lambda: mean loss and accuracy of the folds.
REPORTED = {
    1e-1: (1.0718, 0.8137), 1e-2: (0.4873, 0.8527), 1e-3: (0.4767, 0.8572), 1e-4: (0.4872, 0.8554),
}  # fmt: skip
REPORTED_FINAL = {"loss": 0.4146, "accuracy": 0.8773, "test_accuracy": 0.8839}
RIGHT, AS_RUN = "", ", as run"


@dataclass
class AsRun(Callback):
    """Turns right steps of gradient descent into the notebook's.

    A step has just taken ``rate * gradient`` from the parameters. Each bias gets instead what all
    of its layer together got, and the parameters from before are added times ``rate * decay``.
    """

    rate: float
    decay: float
    before: NDArray[Any] = field(init=False)
    biases: list[NDArray[Any]] = field(init=False)

    def on_epoch_begin(self, model: Sequential, epoch: int) -> None:
        """Keep what the step starts from."""
        self.before = model.parameters.copy()
        self.biases = [layer.parameters["bias"].copy() for layer in model.layers]

    def on_epoch_end(self, model: Sequential, epoch: int, logs: dict[str, float]) -> None:
        """Put the two faults in."""
        for layer, old in zip(model.layers, self.biases, strict=True):
            bias = layer.parameters["bias"]
            bias[...] = old + np.sum(bias - old)
        model.parameters += self.rate * self.decay * self.before


def network(*hidden: int, seed: int = 0) -> Sequential:
    """Return a network of relus whose weights and biases start as N(0, 1 / fan_out)."""
    start: dict[str, Any] = {"name": "lecun_normal", "mode": "fan_out"}
    layers = [
        Dense(units, function, kernel_initializer=start, bias_initializer=start)
        for units, function in (*((units, "relu") for units in hidden), (10, None))
    ]
    return Sequential(layers, seed=seed)


def descend(
    model: Sequential, data: Dataset, rate: float, decay: float, steps: int, faults: str
) -> History:
    """Train a network, in the right way or as the notebook did."""
    wrong = faults == AS_RUN
    return model.fit(
        data, loss="softmax_cross_entropy", callbacks=[AsRun(rate, decay)] if wrong else [],
        **full_batch(data, rate, steps, weight_decay=0.0 if wrong else decay),
    )  # fmt: skip


@study(
    "lambda-cv",
    label="B1",
    title="Weight decay chosen by four-fold cross-validation",
    source="notebook B",
    quick={"steps": 60, "final_steps": 90},
)
def lambda_cv(
    run: Run,
    *,
    decays: tuple[float, ...] = (1e-1, 1e-2, 1e-3, 1e-4),
    folds: int = 4,
    steps: int = 200,
    final_steps: int = 300,
) -> str:
    """Cross-validate every decay, right and as run, and train the best on everything."""
    train, test = run.mnist(quick=(1_000, 1_000))
    parts = [
        (train.subset(learned), train.subset(held))
        for learned, held in stratified_folds(train.y, folds)
    ]
    losses, lengths = {}, {}
    histories: dict[str, list[History]] = {}
    for faults in (RIGHT, AS_RUN):
        for decay in decays:
            name = f"lambda {decay:g}{faults}"
            began = time.perf_counter()
            measured, histories[name] = [], []
            for learned, held in parts:
                model = network(64)
                histories[name].append(descend(model, learned, RATE, decay, steps, faults))
                measured.append(model.evaluate(held))
            losses[faults, decay] = statistics.mean(fold["loss"] for fold in measured)
            lengths[faults, decay] = float(np.linalg.norm(model.parameters))
            run.row(
                name,
                reported=dict(zip(("loss", "accuracy"), REPORTED.get(decay, ()), strict=False)),
                loss=losses[faults, decay],
                accuracy=statistics.mean(fold["accuracy"] for fold in measured),
                folds=" ".join(f"{fold['accuracy']:.2%}" for fold in measured),
                length_of_weights=lengths[faults, decay],
                seconds=time.perf_counter() - began,
            )
    best = {
        faults: min(decays, key=lambda decay: losses[faults, decay]) for faults in (RIGHT, AS_RUN)
    }
    accuracies = {}
    for faults, decay in best.items():
        model, began = network(64), time.perf_counter()
        history = descend(model, train, RATE, decay, final_steps, faults)
        own, accuracies[faults] = model.evaluate(train), model.evaluate(test)["accuracy"]
        run.row(
            f"all training data, lambda {decay:g}{faults}", reported=REPORTED_FINAL,
            loss=own["loss"], accuracy=own["accuracy"], test_accuracy=accuracies[faults],
            length_of_weights=float(np.linalg.norm(model.parameters)),
            seconds=time.perf_counter() - began,
        )  # fmt: skip
        run.history(f"final{faults}", history)
        run.network(f"lambda {decay:g}{faults}", model)
    run.figure("loss", plots.curves, histories, "running_loss", log=True)
    run.figure("accuracy", plots.curves, histories, "running_accuracy")
    strongest = max(decays)
    return f"""
        lambda = {best[RIGHT]:g} has the least mean loss on the held-out folds,
        {losses[RIGHT, best[RIGHT]]:.4f}; with the notebook's faults it is {best[AS_RUN]:g}, with
        {losses[AS_RUN, best[AS_RUN]]:.4f}. Trained on everything these give
        {accuracies[RIGHT]:.1%} and {accuracies[AS_RUN]:.1%} on the test data. With the wrong sign,
        lambda {strongest:g} lengthens the weights from {lengths[RIGHT, strongest]:.0f}, which is
        what the right sign leaves, to {lengths[AS_RUN, strongest]:.0f}.
    """
