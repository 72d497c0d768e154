"""Six hidden layers, not trained at all: what is left of an image at the end?

A network can learn only from what reaches its last layer, and a layer only from the gradient that
comes back to it. Both pass through every layer between. A layer that shrinks them a little makes
six that shrink them a lot; one that stretches them saturates tanh and sigmoid, which then pass no
gradient either. So the scale of the first weights decides before training begins.

The networks are 784-100x6-10. The first hidden layer is linear, as in the notebook; the other five
have the activation. Weights are N(0, s²) with one s for all layers; or Glorot's N(0, 2 / (fan_in +
fan_out)); or He's N(0, 2 / fan_in). From 100 units to 100, Glorot's standard deviation is 0.10 and
He's 0.14, so that what sets Glorot apart from N(0, 0.10²) is the first layer, with its 784 inputs.

Measured on MNIST's test images, as means over seeds, in the second hidden layer, which is the first
with an activation, and in the sixth. Spread is the standard deviation of a layer's activations,
which the violins show. Signal is that of one unit from image to image, averaged over the units: it
may be gone while the spread is still there, where units differ but all images look alike to them.
Saturated are activations in the outer twentieths of tanh's or sigmoid's range, and zeros of relu.
The last column is the norm of the loss's gradient by the second layer's weights, beside that by the
sixth's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlcore import Dataset, Dense, Sequential, inspection
from mlcore.initializers import GlorotNormal, HeNormal, Initializer, Normal
from mlcore.plots import activation_violins
from mlcore.plots._figure import new_figure
from mlcore.studies.study import Run, study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GLOROT, HE = "Glorot", "He"
WEIGHTS: dict[str, Initializer] = {
    **{f"N(0, {stddev:.2f}²)": Normal(stddev=stddev) for stddev in (0.10, 0.14, 0.28)},
    GLOROT: GlorotNormal(),
    HE: HeNormal(),
}
NETWORKS = [
    *(("tanh", weights) for weights in WEIGHTS if weights != HE),
    *(("sigmoid", weights) for weights in WEIGHTS if weights != HE),
    ("relu", GLOROT),
    ("relu", HE),
]
# Of the violins; the linear layer may reach beyond them.
SCALES = {"tanh": (-1.3, 1.3), "sigmoid": (-0.1, 1.1), "relu": (-1.0, 2.5)}


@study(
    "vanishing",
    label="D2",
    title="What is left after six layers",
    source="Notebook D, part 2; Glorot and Bengio 2010; He and others 2015",
    seeds=5,
    repeats="every network; means count",
    quick={"seeds": 2},
)
def vanishing(run: Run) -> str:
    """Build each network for some seeds, and measure what passes through it."""
    _, images = run.mnist()
    kept, flat, returned, shown = {}, {}, {}, {}
    for activation, weights in NETWORKS:
        networks = [untrained(activation, weights, seed) for seed in range(run.seeds)]
        found = np.mean([measured(network, images) for network in networks], axis=0)
        spread, last_spread, signal, last_signal, saturated, gradient = found.tolist()
        kept[activation, weights] = last_spread / spread
        flat[activation, weights] = saturated
        returned[activation, weights] = gradient
        run.row(
            f"{activation}, {weights}",
            spread=spread,
            spread_after_six=last_spread,
            spread_kept=last_spread / spread,
            signal_kept=last_signal / signal,
            share_saturated_after_six=saturated,
            gradient_second_to_sixth=gradient,
        )
        shown[f"{activation}, {weights}"] = networks[0]
    run.figure("activations", plot_violins, shown, images)
    return f"""
        Without training, tanh keeps {kept["tanh", GLOROT]:.0%} of its spread from the second
        hidden layer to the sixth with Glorot's weights, and
        {kept["tanh", "N(0, 0.10²)"]:.0%} with N(0, 0.10²); with N(0, 0.28²) the spread
        stays, but {flat["tanh", "N(0, 0.28²)"]:.0%} of the last layer is saturated. Deep relu keeps
        {kept["relu", HE]:.0%} with He's weights and {kept["relu", GLOROT]:.0%} with Glorot's.
        Sigmoid loses the images whatever the weights: with Glorot's, the gradient that reaches the
        second layer is {returned["sigmoid", GLOROT]:.1e} of that in the sixth.
    """


def untrained(activation: str, weights: str, seed: int) -> Sequential:
    """Return a network 784-100x6-10 whose first hidden layer is linear."""
    hidden = [
        Dense(100, activation if depth else None, kernel_initializer=WEIGHTS[weights])
        for depth in range(6)
    ]
    output = Dense(10, kernel_initializer=WEIGHTS[weights])
    return Sequential([*hidden, output], seed=seed).build(784)


def measured(network: Sequential, images: Dataset) -> list[float]:
    """Return the row's figures: spreads, signals, the saturated share, and the gradients' ratio."""
    second, sixth = "dense_2", "dense_6"
    layers = inspection.activations(network, images, (second, sixth))
    spreads = [float(layers[name].std()) for name in (second, sixth)]
    signals = [float(layers[name].std(axis=0).mean()) for name in (second, sixth)]
    saturated = inspection.saturation(network, images, sixth)[sixth]
    gradients = inspection.gradients(network, images)
    norms = [float(np.linalg.norm(gradients[f"{name}.weight"])) for name in (second, sixth)]
    return [*spreads, *signals, float(saturated.mean()), norms[0] / norms[1]]


def plot_violins(networks: dict[str, Sequential], images: Dataset) -> Figure:
    """Draw the activations of the six hidden layers, network beside network."""
    figure = new_figure(16.0, 9.0)
    for at, (name, network) in enumerate(networks.items()):
        layers = list(inspection.activations(network, images).values())[:6]
        numbered = {str(number): values for number, values in enumerate(layers, start=1)}
        # Ten panels as four, four and two: an activation a row, in one scale.
        place = figure.add_subplot(3, 4, at + 1)
        axes = activation_violins(numbered, title=name, ax=place)
        axes.set(xlabel="hidden layer; the first is linear", ylim=SCALES[name.split(",")[0]])
    return figure
