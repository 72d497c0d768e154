"""First weights against learning rate: zeros, random numbers and Glorot's in a network of sigmoids.

784-500-250-100-10 on MNIST, sigmoid, softmax and cross-entropy, plain SGD with batches of 64, 15
epochs. The scale of the notebook's random weights is not known; N(0, 1 / fan_in) comes nearest to
its figures.

From zeros all units of a layer get the same gradient and stay alike, so the network is one of width
1, and its first step from zero is a step of the output's biases alone. Otherwise the steps are so
small that more of them, or longer ones, are all that is missing: each higher rate is better.

The notebook's cost had a term (1 - y) log(1 - p) too many for a softmax, so its curves lie higher
than these; its gradient had not. `l2` adds a penalty of ``l2 * sum(w**2)``.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from mlcore import L2, SGD, Dense, Sequential, plots
from mlcore.callbacks import Callback, Logs
from mlcore.metrics import confusion_matrix
from mlcore.studies.study import Run, study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HIDDEN = (500, 250, 100)
# First weights and rate: training and test accuracy. "Better" than 91 % was said of random at 0.1.
RUNS: dict[tuple[str, float], tuple[float | None, float | None]] = {
    ("zeros", 0.01): (0.10, 0.10),
    ("random", 0.01): (0.69, 0.68),
    ("random", 0.05): (None, 0.91),
    ("random", 0.1): (None, 0.91),
    ("random", 0.3): (None, 0.95),
    ("glorot", 0.01): (None, 0.80),
    ("glorot", 0.05): (None, 0.92),
    ("glorot", 0.1): (None, 0.94),
}
INITIALIZERS = {"zeros": "zeros", "random": "lecun_normal", "glorot": "glorot_uniform"}


class Costs(Callback):
    """The mean cost of every `per` steps."""

    def __init__(self, per: int) -> None:
        self.progress_every_step, self.progress_needs_parameters = True, False
        self.per = per
        self.steps: list[int] = []
        self.costs: list[float] = []
        self._recent: list[float] = []
        self._step = 0

    def on_epoch_begin(self, model: Sequential, epoch: int) -> None:
        """Begin a new mean: that of the logs is of the epoch so far."""
        self._sum, self._count = 0.0, 0

    def on_progress(self, model: Sequential, done: float, logs: Logs) -> None:
        """Take the cost of a step out of the mean."""
        self._step, self._count = self._step + 1, self._count + 1
        total = logs["running_loss"] * self._count
        self._recent.append(total - self._sum)
        self._sum = total
        if self._step % self.per == 0:
            self.steps.append(self._step)
            self.costs.append(sum(self._recent) / self.per)
            self._recent.clear()


def network(activation: str, initializer: str, seed: int = 0) -> Sequential:
    """Return a network with the notebook's three hidden layers."""
    hidden = [Dense(units, activation, kernel_initializer=initializer) for units in HIDDEN]
    return Sequential([*hidden, Dense(10, kernel_initializer=initializer)], seed=seed)


@study(
    "init-lr",
    label="E1",
    title="First weights against learning rate in a network of sigmoids",
    source="notebook E",
    quick={"epochs": 10, "per": 20},
)
def init_lr(run: Run, *, epochs: int = 15, l2: float = 0.0, per: int = 200) -> str:
    """Train every pair of first weights and rate."""
    train, test = run.mnist(quick=(4_000, 1_000))
    costs, found, models = {}, {}, {}
    for (start, rate), reported in RUNS.items():
        name = f"{start}, rate {rate:g}"
        models[name], costs[name] = network("sigmoid", INITIALIZERS[start]), Costs(per)
        began = time.perf_counter()
        history = models[name].fit(
            train, optimizer=SGD(rate), regularizer=L2(l2), epochs=epochs, batch_size=64,
            callbacks=costs[name], evaluate_train=False, verbose=0,
        )  # fmt: skip
        seconds = time.perf_counter() - began
        found[start, rate] = models[name].evaluate(test)["accuracy"]
        run.row(
            name,
            reported=dict(zip(("train_accuracy", "test_accuracy"), reported, strict=True)),
            train_accuracy=models[name].evaluate(train)["accuracy"],
            test_accuracy=found[start, rate],
            seconds=seconds,
        )
        run.history(name, history)
    best = max(found, key=lambda pair: found[pair])
    name = f"{best[0]}, rate {best[1]:g}"
    run.network(name, models[name])
    matrix = confusion_matrix(test.y, models[name].predict_classes(test))
    run.figure("confusion", plots.confusion_matrix, matrix, normalize=False)
    run.figure("cost", draw_costs, costs)
    return (
        f"Zeros stay at {found['zeros', 0.01]:.1%}. At rate 0.01 random weights reach "
        f"{found['random', 0.01]:.1%} and Glorot's {found['glorot', 0.01]:.1%}; the higher the "
        f"rate, the better, up to {found[best]:.1%} with {name}."
    )


def draw_costs(costs: dict[str, Costs]) -> Figure:
    """Draw a panel for each run, with all the others in grey behind it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 5.6), layout="constrained", facecolor="white")
    panels = figure.subplots(2, -(-len(costs) // 2), sharex=True, sharey=True, squeeze=False)
    for panel, (name, own) in zip(panels.flat, costs.items(), strict=False):
        for other in costs.values():
            panel.plot(other.steps, other.costs, color="#cccccc", linewidth=0.8)
        panel.plot(own.steps, own.costs, color="#0072B2", linewidth=2)
        panel.set_title(name, loc="left", fontsize=10)
        panel.grid(color="#eeeeee")
        panel.set_axisbelow(True)
    figure.supxlabel("step")
    figure.supylabel(f"mean cost of {next(iter(costs.values())).per} steps")
    return figure
