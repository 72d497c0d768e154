"""The studies D3 and D4 beside the same networks in PyTorch, eager: seconds, and what both came to.

``MLCORE_DATA=FOLDER python bench/studies.py`` gives both sides the same data, first weights and
orders of the samples. They train in turn, A B A B ..., each time from the beginning, and the losses
of the last epoch stand beside the times, so that unequal work would show.

D3: mlcore trains many networks side by side on two cores, PyTorch a few of them one after another,
on one thread, which is quicker for layers of two units than two are. Drawing data and building
networks is timed on neither side.

D4: one epoch of one network, LeNet with batch normalization, on 54,000 images, on two threads.
PyTorch has them as float32, mlcore as uint8 that it converts.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import mlcore
from mlcore import Adam, Sequential, data, kernels, system
from mlcore.plan import table
from mlcore.studies.dying_relu import EDGE, SETTINGS, narrow
from mlcore.studies.lenet_norm import lenet

THREADS = 2
# Long enough for the threads of the side before to have gone to sleep.
PAUSE = 0.3
# How many times as fast as PyTorch is wanted, and how far the losses may be apart.
D3_WANTED, D4_WANTED, TOLERANCE = 1_000, 6, 0.02

# Trains from the beginning; returns seconds a network or epoch, and the networks' last losses.
Side = Callable[[], tuple[float, list[float]]]


def twin(model: Sequential) -> nn.Sequential:
    """Return the same network in PyTorch with the same weights; a last softmax is the loss's."""
    modules: list[nn.Module] = []
    images: tuple[int, ...] = ()
    for layer in model.layers:
        if layer.kind == "dense":
            weight = layer.weight
            if images:
                # PyTorch flattens channels first.
                places = weight.reshape(*images, -1).transpose(2, 0, 1, 3)
                weight, images = places.reshape(weight.shape), ()
            modules.append(filled(nn.Linear(*weight.shape), weight.T, layer.bias))
        elif layer.kind == "conv2d":
            height, width, channels, filters = layer.weight.shape
            convolution = nn.Conv2d(channels, filters, (height, width))
            modules.append(filled(convolution, layer.weight.transpose(3, 2, 0, 1), layer.bias))
        elif layer.kind == "batch_norm":
            kind = nn.BatchNorm2d if len(layer.output_shape) == 3 else nn.BatchNorm1d
            modules.append(kind(layer.output_shape[-1], layer.epsilon, 1 - layer.momentum))
        elif layer.kind == "avg_pool":
            modules.append(nn.AvgPool2d(layer.pool_size))
        elif layer.kind == "flatten":
            images = layer.input_shape
            modules.append(nn.Flatten())
        modules.extend(active(layer.activation))
    return nn.Sequential(*modules)


def active(function: Any) -> Iterator[nn.Module]:
    """Give the module of an activation function, if it needs one."""
    name = "identity" if function is None else function.name
    if name == "leaky_relu":
        yield nn.LeakyReLU(function.parameter)
    elif name not in ("identity", "softmax"):
        yield {"relu": nn.ReLU, "sigmoid": nn.Sigmoid}[name]()


def filled(module: Any, weight: NDArray[Any], bias: NDArray[Any]) -> nn.Module:
    """Copy weight and bias into a module."""
    with torch.no_grad():
        module.weight.copy_(torch.from_numpy(weight.copy()))
        module.bias.copy_(torch.from_numpy(bias.copy()))
    return module  # type: ignore[no-any-return]


def train_eagerly(
    module: nn.Sequential, x: Tensor, y: Tensor, loss: Any, orders: Tensor, batch_size: int
) -> float:
    """Train with Adam, an epoch for each order; return the mean loss of the last one's batches."""
    optimizer = torch.optim.Adam(module.parameters(), 0.001, eps=Adam().epsilon, fused=True)
    total = torch.zeros(())
    for order in orders:
        total = torch.zeros(())
        for rows in order.split(batch_size):
            optimizer.zero_grad(set_to_none=True)
            value = loss(module(x.index_select(0, rows)), y.index_select(0, rows))
            value.backward()
            optimizer.step()
            total += value.detach() * len(rows)
    return float(total) / len(x)


def orders_of(seed: int, samples: int, epochs: int) -> Tensor:
    """Return the order in which mlcore takes the samples in each epoch."""
    orders = np.tile(np.arange(samples), (epochs, 1))
    for epoch, order in enumerate(orders):
        kernels.get().call("permutation", seed=seed, epoch=epoch, out=order)
    return torch.from_numpy(orders)


def narrow_sides(number: int, networks: int, few: int) -> tuple[Side, Side]:
    """Return both sides of D3 for one row of the study; PyTorch trains the first few networks."""
    setting = SETTINGS[number]
    samples, epochs, batch_size = 3_000, 20, 64
    generator = np.random.default_rng(number)
    x = generator.uniform(-EDGE, EDGE, (networks, samples, 1)).astype(np.float32)
    y = setting.target(x)

    def ours() -> tuple[float, list[float]]:
        models = [narrow(setting, seed) for seed in range(networks)]
        begun = time.perf_counter()
        histories = mlcore.fit_many(
            models, x, y, loss="mse", optimizer=Adam(), epochs=epochs, batch_size=batch_size,
            workers=THREADS,
        )  # fmt: skip
        seconds = time.perf_counter() - begun
        return seconds / networks, [history["running_loss"][-1] for history in histories[:few]]

    def theirs() -> tuple[float, list[float]]:
        work = [
            (twin(narrow(setting, seed)), torch.from_numpy(x[seed]), torch.from_numpy(y[seed]),
             nn.functional.mse_loss, orders_of(seed, samples, epochs), batch_size)
            for seed in range(few)
        ]  # fmt: skip
        torch.set_num_threads(1)
        begun = time.perf_counter()
        losses = [train_eagerly(*each) for each in work]
        return (time.perf_counter() - begun) / few, losses

    return ours, theirs


def lenet_sides() -> tuple[Side, Side]:
    """Return both sides of D4: the network with batch normalization and without dropout."""
    train = data.split(data.load("mnist").train, validation=0.1).train
    x = torch.from_numpy(train.x.reshape(-1, 1, 28, 28))
    y = torch.from_numpy(train.targets.astype(np.int64).ravel())
    batch_size = 128

    def built() -> Sequential:
        return Sequential(lenet(), seed=0).build((28, 28, 1))

    def ours() -> tuple[float, list[float]]:
        model = built()
        begun = time.perf_counter()
        history = model.fit(
            train, optimizer=Adam(), batch_size=batch_size, evaluate_train=False, verbose=0
        )
        return time.perf_counter() - begun, history["running_loss"]

    def theirs() -> tuple[float, list[float]]:
        module, orders = twin(built()), orders_of(0, len(x), 1)
        torch.set_num_threads(THREADS)
        begun = time.perf_counter()
        loss = train_eagerly(module, x, y, nn.functional.cross_entropy, orders, batch_size)
        return time.perf_counter() - begun, [loss]

    return ours, theirs


def compare(name: str, sides: tuple[Side, Side], rounds: int, wanted: float) -> tuple[str, ...]:
    """Run both sides in turn, print their losses, and return a line of the table of times."""
    seconds: list[list[float]] = [[], []]
    losses: list[list[float]] = [[], []]
    for at in range(rounds):
        for side, run in enumerate(sides):
            time.sleep(PAUSE)
            taken, losses[side] = run()
            seconds[side].append(taken)
            print(f"{name}, round {at + 1}: {('mlcore', 'PyTorch')[side]} {taken:.4g} s",
                  file=sys.stderr, flush=True)  # fmt: skip
    apart = max(abs(a - b) / b for a, b in zip(*losses, strict=True))
    verdict = "equal" if apart <= TOLERANCE else "UNEQUAL WORK"
    print(f"{name}: losses of the last epoch, {verdict} (at most {apart:.1e} apart)")
    for side, values in zip(("mlcore ", "PyTorch"), losses, strict=True):
        print(f"  {side}  {'  '.join(f'{value:.5f}' for value in values)}")
    (best, middle), (their_best, their_middle) = ((min(s), median(s)) for s in seconds)
    return (
        name, f"{best:.3g} / {middle:.3g}", f"{their_best:.3g} / {their_middle:.3g}",
        f"{their_best / best:,.1f} / {their_middle / middle:,.1f}", f"{wanted:,}",
        "reached" if their_best / best >= wanted else "NOT reached",
    )  # fmt: skip


def main() -> None:
    """Measure both studies, and print what came out."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--networks", type=int, default=1_000, help="of D3 (%(default)s)")
    parser.add_argument("--few", type=int, default=3, help="of them with PyTorch (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side (%(default)s)")
    parser.add_argument("--only", choices=("D3", "D4"), help="one of the two studies")
    given = parser.parse_args()
    mlcore.set_num_threads(THREADS)
    lines = []
    if given.only != "D4":
        for number in (0, len(SETTINGS) - 1):
            sides = narrow_sides(number, given.networks, given.few)
            name = f"D3 {SETTINGS[number].name}, a network"
            lines.append(compare(name, sides, given.rounds, D3_WANTED))
    if given.only != "D3":
        lines.append(compare("D4 LeNet with BN, an epoch", lenet_sides(), given.rounds, D4_WANTED))
    head = ("", "mlcore s", "PyTorch s", "times as fast", "wanted", "by the best")
    print(f"\nBest / median of {given.rounds} rounds.\n")
    print(table(head, lines, right=(1, 2, 3, 4)))
    about = system.report()
    print(f"\n{about['processor']}; {about['instruction set']}; PyTorch {torch.__version__}, "
          f"mlcore {mlcore.__version__}.")  # fmt: skip


if __name__ == "__main__":
    main()
