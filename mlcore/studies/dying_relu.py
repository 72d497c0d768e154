"""Deep and narrow networks of relu units die at birth.

A relu unit whose input is negative for every sample gives zero, and gets no gradient to recover
by. In a layer of two units both are such sooner or later, and all that stands behind them is
constant: the network can learn nothing but its last bias. Lu, Shin, Su and Karniadakis
(arXiv:1903.06733) show that with depth the chance of it goes to one. Leaky relu lets a little
through.

A network 1-2-(2)x10-1, whose first layer of two units is linear, learns y = |x| with relu, or
y = |x sin 5x| with leaky relu, from 3,000 points of U(-√7, √7) of its own: Adam, squared error,
batch 64, 20 epochs. All networks of a row are trained side by side. The notebook drew its weights
by a Keras initializer whose arguments are not known; N(0, 0.05²) is its default. The paper has
He's N(0, 2 / fan_in). Biases begin at zero.

"Dead" needs a definition. A dead relu network gives one output to the last bit. A leaky one never
does so in exact arithmetic, but ten layers at a slope of 0.01 leave a factor of 1e-20, which
rounding swallows. So a network counts as dead where its outputs on 1,000 test points lie within a
thousandth of their own magnitude (`tolerance`), before training ("born dead") and after it. The
column beside it has those that are flat to the last bit, and one figure all other tolerances.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import mlcore
from mlcore import Dense, Sequential
from mlcore.initializers import HeNormal, Initializer, Normal
from mlcore.plots._figure import GREY, look, new_figure, style
from mlcore.studies.study import Run, study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[Any]

EDGE = math.sqrt(7)
LEAKY, LEAKIER = ({"name": "leaky_relu", "alpha": alpha} for alpha in (0.01, 0.3))
NORMAL, HE = Normal(stddev=0.05), HeNormal()


def bent(x: Array) -> Array:
    """Return |x|."""
    return np.asarray(np.abs(x))


def waves(x: Array) -> Array:
    """Return |x sin 5x|."""
    return np.asarray(np.abs(x * np.sin(5 * x)))


class Setting(NamedTuple):
    """The networks of a row, and the share of them that the notebook saw dead."""

    name: str
    activation: str | dict[str, Any]
    weights: Initializer
    target: Callable[[Array], Array]
    reported: float | None = None


SETTINGS = (
    Setting("relu, N(0, 0.05²)", "relu", NORMAL, bent, 0.996),
    Setting("relu, He", "relu", HE, bent),
    Setting("leaky relu 0.01, N(0, 0.05²)", LEAKY, NORMAL, waves, 0.830),
    Setting("leaky relu 0.01, He", LEAKY, HE, waves),
    Setting("leaky relu 0.3, N(0, 0.05²)", LEAKIER, NORMAL, waves),
    Setting("leaky relu 0.3, He", LEAKIER, HE, waves),
)


@study(
    "dying-relu",
    label="D3",
    title="Deep and narrow networks die at birth",
    source="Notebook D, part 3; Lu, Shin, Su and Karniadakis 2019, arXiv:1903.06733",
    repeats="its networks have a seed each: give their number, networks=1000",
    quick={"networks": 100},
)
def dying_relu(
    run: Run,
    *,
    networks: int = 1_000,
    epochs: int = 20,
    samples: int = 3_000,
    tolerance: float = 1e-3,
) -> str:
    """Train many networks of each kind, and count the dead."""
    test = np.linspace(-EDGE, EDGE, 1_000)[:, None]
    flatness, dead, shown = {}, {}, []
    for number, setting in enumerate(SETTINGS):
        models = [narrow(setting, seed) for seed in range(networks)]
        born = np.array([flat(model.predict(test)) for model in models])
        generator = np.random.default_rng(number)
        x = generator.uniform(-EDGE, EDGE, (networks, samples, 1)).astype(np.float32)
        begun = time.perf_counter()
        histories = mlcore.fit_many(
            models, x, setting.target(x), loss="mse", optimizer=mlcore.Adam(), epochs=epochs,
            batch_size=64, workers=run.workers,
        )  # fmt: skip
        seconds = time.perf_counter() - begun
        outputs = [model.predict(test) for model in models]
        flatness[setting.name] = np.array([flat(values) for values in outputs])
        dead[setting.name] = float(np.mean(flatness[setting.name] <= tolerance))
        run.row(
            setting.name,
            reported={"share_dead": setting.reported},
            share_dead=dead[setting.name],
            share_flat_to_the_last_bit=float(np.mean(flatness[setting.name] == 0)),
            share_born_dead=float(np.mean(born <= tolerance)),
            median_loss=float(np.median([history["running_loss"][-1] for history in histories])),
            milliseconds_a_network=1_000 * seconds / networks,
        )
        # From a dead one to the liveliest.
        order = np.argsort(flatness[setting.name])
        chosen = order[np.linspace(0, networks - 1, min(5, networks)).astype(int)]
        shown.append((setting, [outputs[at] for at in chosen]))
        run.network(f"{setting.name}, the liveliest", models[order[-1]])
    run.figure("flatness", plot_flatness, flatness, tolerance)
    run.figure("outputs", plot_outputs, shown, test)
    relu, relu_he, leaky, leaky_he, leakier, leakier_he = dead.values()
    return f"""
        Of {networks:,} relu networks {relu:.1%} are dead after training with N(0, 0.05²) and
        {relu_he:.1%} with He's weights; the paper reports over 90 %. With a leak of 0.01 it is
        {leaky:.1%} and {leaky_he:.1%}, with one of 0.3 {leakier:.1%} and {leakier_he:.1%}. What
        a leak saves, small weights give away again: behind twelve layers of N(0, 0.05²) little of
        the input is left.
    """


def narrow(setting: Setting, seed: int) -> Sequential:
    """Return a network 1-2-(2)x10-1 whose first layer is linear."""
    activations = [None, *[setting.activation] * 10]
    hidden = [Dense(2, each, kernel_initializer=setting.weights) for each in activations]
    output = Dense(1, kernel_initializer=setting.weights)
    return Sequential([*hidden, output], seed=seed).build(1)


def flat(outputs: Array) -> float:
    """Return how far outputs lie apart, in parts of the largest of them; 0 where all are zero."""
    apart, largest = float(np.ptp(outputs)), float(np.abs(outputs).max())
    return apart / largest if largest else 0.0


def plot_flatness(flatness: dict[str, Array], tolerance: float) -> Figure:
    """Draw the share of networks that count as dead over the tolerance that says so."""
    figure = new_figure(8.0, 4.6)
    axes = figure.add_subplot()
    style(
        axes, "Networks that give nearly the same for every input", "tolerance: range of the "
        "outputs over their magnitude", "share of the networks [%]",
    )  # fmt: skip
    tolerances = np.geomspace(1e-8, 1, 400)
    for number, (name, values) in enumerate(flatness.items()):
        shares = [100 * np.mean(values <= each) for each in tolerances]
        axes.plot(tolerances, shares, label=name, linewidth=1.8, **look(number))
    axes.axvline(tolerance, color=GREY, linewidth=1, label="counted as dead")
    axes.set_xscale("log")
    axes.set_ylim(-2, 102)
    figure.legend(loc="outside right center", frameon=False)
    return figure


def plot_outputs(shown: list[tuple[Setting, list[Array]]], test: Array) -> Figure:
    """Draw what some networks of each kind give, from a dead one to the liveliest."""
    figure = new_figure(12.0, 6.4)
    for at, (setting, outputs) in enumerate(shown, start=1):
        axes = figure.add_subplot(2, 3, at)
        style(axes, setting.name, "x", "y")
        axes.plot(test, setting.target(test), color=GREY, linewidth=1, label="target")
        for number, values in enumerate(outputs):
            axes.plot(test, values, linewidth=1.8, **look(number))
    axes.legend(frameon=False, fontsize=9)
    return figure
