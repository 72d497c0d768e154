"""Many tiny networks side by side: microseconds a network, beside PyTorch eager.

``python bench/many.py`` trains networks of study D3, 1-2-(2)x10-1 with relu, by Adam on
y = |x|, each on data of its own: mlcore a thousand at once, PyTorch the first few of them one after
another, from the same weights and with the same batches. The two take turns, and the losses of the
last epoch are printed beside the times. What a network costs is its whole training, the data, their
checks and the history included, but not the making of the model. PyTorch has one thread: no
operation is large enough for two, which only wait for each other.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

import mlcore
from mlcore.plan import table

HIDDEN, BATCH, SAMPLES, RATE = 11, 64, 3000, 1e-3
Real = NDArray[np.float32]


def network(seed: int) -> mlcore.Sequential:
    """Return a network of D3; its first layer is linear, as the notebook's was."""
    hidden = [mlcore.Dense(2, "relu", kernel_initializer="he_normal") for _ in range(HIDDEN - 1)]
    layers = [mlcore.Dense(2, kernel_initializer="he_normal"), *hidden, mlcore.Dense(1)]
    return mlcore.Sequential(layers, seed=seed).build(1)


def samples(networks: int, seed: int) -> tuple[Real, Real]:
    """Return x and y, (networks, samples, 1)."""
    limit = np.sqrt(7)
    shape = (networks, SAMPLES, 1)
    x = np.random.default_rng(seed).uniform(-limit, limit, shape).astype(np.float32)
    return x, np.abs(x)


def train_many(
    models: list[mlcore.Sequential], x: Real, y: Real, epochs: int, workers: int
) -> tuple[float, list[float]]:
    """Return seconds a network, and the losses of the last epoch."""
    began = time.perf_counter()
    histories = mlcore.fit_many(
        models, x, y, loss="mse", optimizer=mlcore.Adam(RATE), epochs=epochs, batch_size=BATCH,
        workers=workers,
    )  # fmt: skip
    seconds = (time.perf_counter() - began) / len(models)
    return seconds, [history["running_loss"][-1] for history in histories]


def train_alone(model: mlcore.Sequential, x: Real, y: Real, epochs: int) -> float:
    """Return the seconds of `fit`."""
    began = time.perf_counter()
    model.fit(
        x, y, loss="mse", optimizer=mlcore.Adam(RATE), epochs=epochs, batch_size=BATCH, verbose=0,
        evaluate_train=False,
    )  # fmt: skip
    return time.perf_counter() - began


def train_torch(model: mlcore.Sequential, x: Real, y: Real, epochs: int) -> tuple[float, float]:
    """Return the seconds of the training loop, and the loss of the last epoch."""
    import torch
    from torch import nn

    layers: list[nn.Module] = []
    for number, dense in enumerate(model.layers):
        weight, bias = dense.parameters["weight"], dense.parameters["bias"]
        linear = nn.Linear(*weight.shape)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(weight.T.copy()))
            linear.bias.copy_(torch.from_numpy(bias.copy()))
        layers += [linear, nn.ReLU()] if 0 < number < HIDDEN else [linear]
    net, loss_of = nn.Sequential(*layers), nn.MSELoss()
    orders = np.empty((epochs, len(x)), np.int64)
    for epoch, order in enumerate(orders):
        model.backend.call("permutation", seed=model.seed, epoch=epoch, out=order)
    data, targets, shuffled = torch.from_numpy(x), torch.from_numpy(y), torch.from_numpy(orders)
    optimizer = torch.optim.Adam(net.parameters(), RATE)
    total = 0.0
    began = time.perf_counter()
    for order in shuffled:
        total = 0.0
        for rows in order.split(BATCH):
            optimizer.zero_grad()
            loss = loss_of(net(data[rows]), targets[rows])
            loss.backward()
            optimizer.step()
            total += float(loss.detach()) * len(rows)
    return time.perf_counter() - began, total / len(x)


def main() -> None:
    """Take turns, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", type=int, default=1000)
    parser.add_argument("--against", type=int, default=3, help="networks that PyTorch trains")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=mlcore.get_num_threads())
    chosen = parser.parse_args()
    x, y = samples(chosen.networks, seed=0)
    times: dict[str, list[float]] = {}
    making: list[float] = []

    def note(side: str, seconds: float) -> None:
        times.setdefault(side, []).append(seconds)

    losses: list[list[Any]] = []
    alone_threads = sorted({1, chosen.threads})
    for _ in range(chosen.rounds):
        for workers in alone_threads:
            began = time.perf_counter()
            models = [network(seed) for seed in range(chosen.networks)]
            making.append((time.perf_counter() - began) / len(models))
            seconds, ours = train_many(models, x, y, chosen.epochs, workers)
            note(f"mlcore side by side, threads: {workers}", seconds)
        note("mlcore alone", train_alone(network(0), x[0], y[0], chosen.epochs))
        losses = []
        for number in range(chosen.against):
            import torch

            torch.set_num_threads(1)
            seconds, theirs = train_torch(network(number), x[number], y[number], chosen.epochs)
            note("PyTorch eager", seconds)
            losses.append([number, ours[number], theirs])
    steps = chosen.epochs * -(-SAMPLES // BATCH)
    best = min(min(taken) for side, taken in times.items() if side.startswith("PyTorch"))
    rows = [
        (
            side, f"{min(taken) * 1e6:,.0f}", f"{statistics.median(taken) * 1e6:,.0f}",
            f"{min(taken) / steps * 1e6:.3f}", f"{best / min(taken):,.1f}",
        )
        for side, taken in times.items()
    ]  # fmt: skip
    head = ("side", "us a network", "median", "us a step", "times as fast as PyTorch")
    print(f"{chosen.networks:,} networks, {chosen.epochs} epochs of {SAMPLES} samples")
    print(table(head, rows, right=(1, 2, 3, 4)))
    print(f"making a model, which is not in it: {min(making) * 1e6:,.0f} us\n")
    lines = [(str(number), f"{ours:.6f}", f"{theirs:.6f}") for number, ours, theirs in losses]
    print(table(("network", "mlcore: last loss", "PyTorch"), lines, right=(0, 1, 2)))


if __name__ == "__main__":
    main()
