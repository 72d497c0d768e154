"""What else a small network can be made of: tanh, relu, relu6, leaky relu, and cross-entropy.

A network 784-256-128-10 without biases, the output activated as the hidden layers are, and 200
steps of full-batch gradient descent on MNIST. Rates are those of the notebook, on gradients summed
over 60,000 samples: 1e-5 is 0.6 on their mean. With the squared error the outputs are compared with
0 and 1; cross-entropy is that of each output alone, or, for the leaky relu, of a softmax.

A relu output that gives zero for nearly every image gets no gradient there, and its class is lost:
a tenth of the accuracy. An image that all outputs answer with zero has a confidence of 0 / 0, which
is the notebook's NaN. How many classes are lost is the seed's doing, as the row over many seeds
shows, on a part of the images: most networks lose none, some one or two. So the notebook's 91.51,
85.56 and 71.55 % may well be what single runs of relus came to, and no property of relu6, of
cross-entropy, or of the rate. Relu6 is relu here, since no activation reaches 6; at the rate 2e-5
more outputs die.

Cross-entropy needs probabilities, which a relu does not give; what the notebook computed for "relu
with cross-entropy" is not known. Here the output of that network is a sigmoid. At its rate 2e-5 its
hidden relus die, so the row is followed by one at a fourth of the rate. The leaky relu's rate 1e-4
makes the weights grow until a number is infinite; training stops there and says where.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import mlcore
from mlcore import Dataset, plots
from mlcore.initializers import Initializer, LecunNormal, Normal, Uniform
from mlcore.metrics import confusion_matrix
from mlcore.plots._figure import GREY, new_figure, style
from mlcore.studies import _anatomy as anatomy
from mlcore.studies._full_batch import full_batch
from mlcore.studies.study import Run, study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

THIRD, FAN_IN = Normal(0, 1 / 3), LecunNormal()
# A class counts as lost where a smaller share of its images is found.
LOST = 0.25


class Setting(NamedTuple):
    """One line of the notebook's list."""

    activation: str
    initializer: Initializer
    rate: float = 1e-5
    loss: str = "mse"
    output: str | None = None
    reported: float | None = None


ZOO = {
    "tanh, U(-0.5, 0.5)": Setting("tanh", Uniform(-0.5, 0.5), reported=0.8202),
    "tanh, N(0, 1) / 3": Setting("tanh", THIRD, reported=0.6696),
    "sigmoid, cross-entropy": Setting(
        "sigmoid", THIRD, loss="sigmoid_cross_entropy", reported=0.8989
    ),
    "relu": Setting("relu", FAN_IN, reported=0.9528),
    "relu6": Setting("relu6", FAN_IN, reported=0.9151),
    "relu, rate 2e-5": Setting("relu", FAN_IN, 2e-5, reported=0.7155),
    "relu, cross-entropy, rate 2e-5": Setting(
        "relu", FAN_IN, 2e-5, "sigmoid_cross_entropy", "sigmoid", reported=0.8556
    ),
    "relu, cross-entropy, rate 5e-6": Setting(
        "relu", FAN_IN, 5e-6, "sigmoid_cross_entropy", "sigmoid"
    ),
    "leaky relu, softmax, rate 1e-4": Setting(
        "leaky_relu", FAN_IN, 1e-4, "softmax_cross_entropy", "identity"
    ),
    "leaky relu, softmax, rate 1e-5": Setting(
        "leaky_relu", FAN_IN, 1e-5, "softmax_cross_entropy", "identity"
    ),
}


@study(
    "activation-zoo",
    label="C4",
    title="Activation functions and losses of a small network",
    source="notebook C",
    seeds=1,
    repeats="every setting; medians count",
    quick={"relus": 10, "images": 500},
)
def activation_zoo(run: Run, *, steps: int = 200, relus: int = 20, images: int = 3_000) -> str:
    """Train every setting of the list, and `relus` networks of relu on fewer `images`."""
    data = run.mnist(quick=(500, 500))
    found = {
        name: anatomy.train(
            run, name, data, steps=steps, **_arguments(setting),
            reported={"accuracy": setting.reported},
        )
        for name, setting in ZOO.items()
    }  # fmt: skip
    histories = {name: outcome.histories for name, outcome in found.items()}
    run.figure("accuracy_curves", plots.curves, histories, "running_accuracy")
    run.figure("accuracy", plots.sweep_bars, [
        {"network": name, "training accuracy [%]": 100 * outcome.accuracy}
        for name, outcome in found.items()
    ], "network", "training accuracy [%]")  # fmt: skip
    accuracies, lost = many_relus(run, data[0].subset(slice(images)), relus, steps)
    run.figure("lost_classes", plot_lost, accuracies, lost)
    best = max(found, key=lambda name: found[name].accuracy)
    run.network(best, found[best].model)
    leaky, relu = "leaky relu, softmax, rate", "relu, cross-entropy, rate"
    return f"""
        {best} is the best with {found[best].accuracy:.1%} after {steps} steps. Relus with squared
        error reach {found["relu"].accuracy:.1%}, sigmoids with cross-entropy
        {found["sigmoid, cross-entropy"].accuracy:.1%}. But relus hang on the seed: of {relus}
        networks {int(np.sum(lost > 0))} lost one or more classes, and the accuracy goes from
        {accuracies.min():.1%} to {accuracies.max():.1%}, while the notebook has single runs with
        91.5, 85.6 and 71.6 %. Twice the rate leaves {found["relu, rate 2e-5"].accuracy:.1%}. With
        sigmoid outputs and cross-entropy, relus reach {found[f"{relu} 2e-5"].accuracy:.1%} at the
        notebook's rate and {found[f"{relu} 5e-6"].accuracy:.1%} at a fourth of it. The leaky relus'
        softmax needs a tenth of the notebook's rate, {found[f"{leaky} 1e-5"].accuracy:.1%} against
        {found[f"{leaky} 1e-4"].accuracy:.1%}.
    """


def _arguments(setting: Setting) -> dict[str, Any]:
    return {name: value for name, value in setting._asdict().items() if name != "reported"}


def many_relus(
    run: Run, data: Dataset, count: int, steps: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Add the row over many seeds; return their accuracies and how many classes they lost."""
    relu = ZOO["relu"]
    models = [
        anatomy.network(relu.activation, relu.initializer, relu.activation, seed)
        for seed in range(count)
    ]
    settings = full_batch(data, relu.rate * anatomy.SCALES[relu.loss], steps)
    began = time.perf_counter()
    mlcore.fit_many(
        models, data, loss=relu.loss, workers=run.workers,
        **{name: settings[name] for name in ("optimizer", "epochs", "batch_size", "shuffle")},
    )  # fmt: skip
    seconds = (time.perf_counter() - began) / count
    matrices = [confusion_matrix(data.y, model.predict_classes(data)) for model in models]
    found = np.array([np.diag(each) / each.sum(axis=1) for each in matrices])
    accuracies = np.array([np.trace(each) / each.sum() for each in matrices])
    lost = np.sum(found < LOST, axis=1)
    run.row(
        f"relu, {len(data):,} images, median of {count} seeds",
        accuracy=float(np.median(accuracies)),
        accuracy_of_worst_seed=float(accuracies.min()),
        accuracy_of_best_seed=float(accuracies.max()),
        share_that_lost_classes=float(np.mean(lost > 0)),
        seconds=seconds,
    )
    return accuracies, lost


def plot_lost(accuracies: NDArray[np.float64], lost: NDArray[np.int64]) -> Figure:
    """Draw the accuracy of each seed over the number of classes that it lost."""
    figure = new_figure(7.0, 4.2)
    axes = figure.add_subplot()
    style(
        axes, f"{len(lost)} networks of relus that differ in the seed only",
        f"classes of which fewer than {LOST:.0%} are found", "training accuracy [%]",
    )  # fmt: skip
    # Side by side where several are alike.
    sides = np.array([np.sum(lost[:at] == value) for at, value in enumerate(lost)])
    axes.plot(lost + 0.03 * sides, 100 * accuracies, "o", alpha=0.8)
    for name in ("relu", "relu6", "relu, cross-entropy, rate 2e-5", "relu, rate 2e-5"):
        then = 100 * (ZOO[name].reported or 0.0)
        axes.axhline(then, color=GREY, linewidth=1, linestyle=":")
        axes.annotate(
            f"notebook: {name}", (1, then), xycoords=("axes fraction", "data"), xytext=(0, 2),
            textcoords="offset points", ha="right", fontsize=8, color=GREY,
        )  # fmt: skip
    axes.set_xticks(range(int(lost.max()) + 1))
    axes.set_xlim(-0.3, lost.max() + 1.3)
    return figure
