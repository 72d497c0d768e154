"""The Eggholder function from 100,000 points: how many units, in how many layers?

f(x, y) = -(y + 47) sin √|y + x/2 + 47| - x sin √|x - (y + 47)| on [-512, 512]² is a test of
optimizers, with hills of every size; here it is to be learned. Noise of variance 0.3 lies on the
heights, 80 % of the points are for training and 20 % for testing; squared error, batch 1,000, SGD
with momentum 0.9.

One hidden layer of relu units has 50 epochs at a rate of 1e-7; two or three, with batch
normalization before each relu, have 20 epochs at 1e-4. As in the notebook, neither coordinates nor
heights are scaled, and so the rates must be small: inputs of 300 and errors of 300 make gradients
of 1e5. The loss is a mean over the samples here as it was there, so the rates mean the same.

The notebook tested with batch normalization still in training mode, which takes mean and variance
from the test batch: that is the column of the fault. The right one has the running statistics. The
fault flatters: it hides that running means lag behind weights that move fast. One row shows it with
Keras's momentum of 0.99, which looks back a hundred steps; the others have 0.9, PyTorch's default.

The last row is what a good setting gives: three layers of 128 relu units, coordinates and heights
standardised, Adam, batch 250, and a rate of 0.003 that falls along a cosine for 20 epochs.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import mlcore
from mlcore import SGD, Activation, Adam, BatchNorm, Dense, Sequential, Standardize, inspection
from mlcore.layers import Layer
from mlcore.optimizers import Optimizer
from mlcore.plots import against_parameters, sweep_lines
from mlcore.plots._figure import new_figure
from mlcore.studies.study import Run, study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[np.float32]
Widths = tuple[int, ...]

EDGE = 512.0
SHALLOW: list[Widths] = [(64,), (128,), (256,), (512,)]
DEEP: list[Widths] = [
    (16, 16), (32, 32), (64, 64), (128, 128), (256, 256),
    (16, 16, 16), (32, 32, 32), (64, 64, 64), (64, 128, 64), (128, 256, 128),
]  # fmt: skip
SLOW, GOOD = (64, 64), (128, 128, 128)


@dataclass(frozen=True)
class Recipe:
    """A network of relu units, and how it is trained.

    Attributes
    ----------
    widths : tuple of int
    optimizer : Optimizer
    epochs, batch_size : int
    momentum : float or None
        Of the batch normalization before each relu; None for none.
    standardised : bool
        Whether coordinates and heights are; weights are then He's.
    schedule : str or None
    """

    widths: Widths
    optimizer: Optimizer
    epochs: int
    batch_size: int = 1_000
    momentum: float | None = None
    standardised: bool = False
    schedule: str | None = None

    def network(self, seed: int) -> Sequential:
        """Return the network, not trained yet."""
        weights = "he_normal" if self.standardised else "glorot_uniform"
        layers: list[Layer] = [Standardize()] if self.standardised else []
        for width in self.widths:
            layers.append(Dense(width, kernel_initializer=weights))
            layers += [] if self.momentum is None else [BatchNorm(momentum=self.momentum)]
            layers.append(Activation("relu"))
        return Sequential([*layers, Dense(1)], seed=seed)


@study(
    "eggholder",
    label="D5",
    title="Learning the Eggholder function",
    source="Notebook D, part 5",
    seeds=3,
    repeats="every network; medians count",
    quick={"seeds": 1, "points": 20_000, "epochs": 5, "deep_epochs": 10, "good_epochs": 40},
)
def eggholder(
    run: Run,
    *,
    points: int = 100_000,
    epochs: int = 50,
    deep_epochs: int = 20,
    good_epochs: int = 20,
) -> str:
    """Train networks of all sizes, each with some seeds, and compare their errors."""
    x, y = drawn(points)
    kept = points * 4 // 5
    deviation = float(y[kept:].std())
    run.row("the mean height everywhere", parameters=None, rmse=deviation)
    slowly, faster = SGD(1e-7, momentum=0.9), SGD(1e-4, momentum=0.9)
    recipes = {
        **{words(widths): Recipe(widths, slowly, epochs) for widths in SHALLOW},
        **{words(widths): Recipe(widths, faster, deep_epochs, momentum=0.9) for widths in DEEP},
        "slow means": Recipe(SLOW, faster, deep_epochs, momentum=0.99),
        "good setting": Recipe(
            GOOD, Adam(0.003), good_epochs, batch_size=250, standardised=True, schedule="cosine"
        ),
    }
    medians: dict[str, tuple[float, float]] = {}
    measured: list[dict[str, Any]] = []
    for name, recipe in recipes.items():
        unit = float(y[:kept].std()) if recipe.standardised else 1.0
        networks = [recipe.network(seed) for seed in range(run.seeds)]
        begun = time.perf_counter()
        mlcore.fit_many(
            networks, x[:kept], y[:kept] / unit, loss="mse", optimizer=recipe.optimizer,
            epochs=recipe.epochs, batch_size=recipe.batch_size, schedule=recipe.schedule,
            workers=run.workers,
        )  # fmt: skip
        seconds = (time.perf_counter() - begun) / run.seeds
        right = [rmse(unit * network.predict(x[kept:]), y[kept:]) for network in networks]
        normed = networks if recipe.momentum is not None else []
        faulty = [rmse(by_batch(network, x[kept:]), y[kept:]) for network in normed]
        medians[name] = float(np.median(right)), float(np.median(faulty or math.nan))
        parameters = networks[0].parameters.size
        run.row(
            name,
            parameters=parameters,
            rmse=medians[name][0],
            rmse_with_the_fault=medians[name][1] if faulty else None,
            epochs=recipe.epochs,
            seconds=seconds,
        )
        run.network(name, networks[0])
        if name in map(words, (*SHALLOW, *DEEP)):
            size = {"parameters": parameters, "hidden units": sum(recipe.widths),
                    "hidden layers": len(recipe.widths), "seconds": seconds}  # fmt: skip
            measured += [{**size, "rmse": error} for error in right]
    run.figure("sizes", plot_sizes, measured)
    lag, fault = medians["slow means"]
    best = {
        depth: min((medians[words(widths)][0], words(widths)) for widths in sizes)
        for depth, sizes in {"one": SHALLOW, "deep": DEEP}.items()
    }
    return f"""
        The heights deviate from their mean by {deviation:.0f}. One hidden layer gets to
        {best["one"][0]:.0f} whatever its size: a rate of 1e-7 hardly moves it. The best of the deep
        ones, {best["deep"][1]}, gets to {best["deep"][0]:.0f}. Running means that look back a
        hundred steps lag behind: {words(SLOW)} then has {lag:.0f}, and the fault shows
        {fault:.0f}. With scaled data and Adam, three layers of 128 get to
        {medians["good setting"][0]:.0f}.
    """


def height(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the Eggholder function; its least value on the square is -959.6407."""
    hills: NDArray[np.float64] = -(y + 47) * np.sin(np.sqrt(np.abs(y + x / 2 + 47)))
    hills -= x * np.sin(np.sqrt(np.abs(x - (y + 47))))
    return hills


def drawn(points: int) -> tuple[Array, Array]:
    """Return points (n, 2) of the square, and their heights (n, 1) with noise."""
    generator = np.random.default_rng(0)
    places = generator.uniform(-EDGE, EDGE, (points, 2))
    heights = height(*places.T) + generator.normal(0, np.sqrt(0.3), points)
    return places.astype(np.float32), heights[:, None].astype(np.float32)


def words(widths: Widths) -> str:
    """Return what a network of such hidden layers is called."""
    return "-".join(map(str, widths))


def by_batch(network: Sequential, x: Array) -> Array:
    """Return outputs computed with the mean and variance of each test batch, as the fault does."""
    last = network.layers[-1].name
    return inspection.activations(network, x, last, training=True, batch_size=1_000)[last]


def rmse(outputs: NDArray[Any], heights: Array) -> float:
    """Return the root of the mean squared error."""
    return float(np.sqrt(np.mean((outputs - heights) ** 2)))


def plot_sizes(measured: list[dict[str, Any]]) -> Figure:
    """Draw errors and times of all depths against hidden units and parameters."""
    figure = new_figure(15.0, 4.4)
    units, parameters, seconds = (figure.add_subplot(1, 3, at) for at in (1, 2, 3))
    sweep_lines(measured, "hidden units", "rmse", by="hidden layers", ax=units)
    against_parameters(measured, "rmse", log_y=False, ax=parameters)
    against_parameters(measured, "seconds", ax=seconds)
    for axes in (units, parameters):
        axes.set_ylabel("test RMSE of the height")
    return figure
