"""A network looked at from within, and a stop as soon as a number is none.

Notebook C's network, 784-256-128-10 without biases, as it was in the end: leaky relus (0.01) and a
softmax cross-entropy, N(0, 1 / fan_in) weights, 200 steps of full-batch gradient descent on MNIST.
The notebook's rate for it, 1e-4 on gradients summed over 60,000 samples, or 6 on their mean, makes
the weights grow without bound: the second row shows where that is noticed, and what is said. The
first row has a tenth of that rate.

The plots: a random test image with its prediction and confidence; loss and accuracy with a target;
twelve panels of activations, weights and updates; the confusion matrix, rows the true classes
(the notebook had them in the columns); and 500 images as the second hidden layer places them, by
t-SNE.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlcore import Dataset, History, plots
from mlcore.initializers import LecunNormal
from mlcore.inspection import LastUpdates
from mlcore.kernels.errors import MissingExtraError
from mlcore.metrics import confusion_matrix
from mlcore.studies import _anatomy as anatomy
from mlcore.studies.study import Run, study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 500


@study(
    "dashboard",
    label="C6",
    title="One network from within: the twelve panels",
    source="notebook C",
    seeds=1,
    repeats="both rows; medians count, and the plots show the last seed",
    quick={"steps": 100},
)
def dashboard(run: Run, *, steps: int = 200, target: float = 0.95, draw: int = 0) -> str:
    """Train, draw all, and train at ten times the rate; `draw` is the seed of the image shown."""
    data = train, test = run.mnist(quick=(500, 500))
    updates = LastUpdates()
    setting: dict[str, Any] = {
        "steps": steps, "activation": "leaky_relu", "output": "identity",
        "loss": "softmax_cross_entropy", "initializer": LecunNormal(),
    }  # fmt: skip
    outcome = anatomy.train(
        run, "rate 1e-5", data, rate=1e-5, callbacks=lambda: [updates], **setting
    )
    broken = anatomy.train(run, "rate 1e-4, as run", data, rate=1e-4, **setting)

    model, history = outcome.model, measured_while_training(outcome.histories[-1])
    number = int(np.random.default_rng(draw).integers(len(test)))
    shown = test.subset([number])
    confidences = model.predict_proba(shown)[0]
    run.figure("sample", draw_sample, shown, confidences, number)
    run.figure("progress", draw_progress, history, target)
    some = train.subset(slice(SHOWN))
    run.figure(
        "panels", plots.dashboard, model, some, updates=updates, history=history, target=target
    )
    matrix = confusion_matrix(test.y, model.predict_classes(test))
    run.figure("confusion", plots.confusion_matrix, matrix, test.class_names)
    try:
        run.figure("tsne", plots.tsne, model, test, layer=model.layers[1].name, samples=SHOWN)
    except MissingExtraError as error:
        run.note(f"There is no t-SNE: {error}")
    run.network("rate 1e-5", model)
    return (
        f"{outcome.accuracy:.1%} of the training data are right after {steps} steps. Test image "
        f"{number} is a {shown.y[0]}, taken for a {confidences.argmax()} with confidence "
        f"{confidences.max():.1%}. At ten times the rate a number is not finite "
        f"any more after {len(broken.histories[0])} steps, and training stops."
    )


def measured_while_training(history: History) -> History:
    """Return a history that has as its loss and accuracy those of each full batch.

    With all samples in one batch they are the training data's own, so none need be measured again.
    """
    return History.from_dict(
        {name: history[f"running_{name}"] for name in ("loss", "accuracy")}
        | {"epoch": history["epoch"]}
    )


def draw_sample(shown: Dataset, confidences: NDArray[np.floating], number: int) -> Figure:
    """Draw an image beside the confidence in every class."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.2), layout="constrained", facecolor="white")
    image, bars = figure.subplots(1, 2)
    image.imshow(shown.inputs[0].reshape(shown.image_shape or (28, 28)), cmap="gray_r")
    image.set_title(f"test image {number}: a {shown.y[0]}", loc="left", fontsize=10)
    image.set_axis_off()
    colours = ["#999999"] * len(confidences)
    colours[confidences.argmax()] = "#0072B2"
    bars.bar(np.arange(len(confidences)), 100 * confidences, color=colours)
    bars.set(xlabel="class", ylabel="confidence [%]", xticks=range(len(confidences)), ylim=(0, 100))
    bars.set_title(
        f"predicted: {confidences.argmax()}, confidence {confidences.max():.1%}",
        loc="left", fontsize=10,
    )  # fmt: skip
    return figure


def draw_progress(history: History, target: float) -> Figure:
    """Draw the loss, on a logarithmic axis, and the accuracy with its target."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.8), layout="constrained", facecolor="white")
    left, right = figure.subplots(1, 2)
    plots.curves(history, "loss", log=True, ax=left)
    plots.curves(history, "accuracy", ax=right)
    right.set_ylim(0, 101)
    right.axhline(100 * target, color="#777777", linestyle=":")
    right.annotate(
        f"target {target:.0%}", (1, 100 * target), xytext=(3, -12), textcoords="offset points"
    )
    return figure
