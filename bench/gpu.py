"""Training on a GPU: seconds an epoch of mlcore's CuPy backend beside PyTorch.

``python bench/gpu.py [NETWORK ...]`` needs a CUDA device, ``pip install "mlcore[gpu]"``, and
PyTorch for CUDA; without a device it says so and ends. Data have the shape of MNIST and lie on the
device.
Every side starts from the same weights. First each makes the same steps, and the parameters are
compared; then the sides train whole epochs in turn. PyTorch runs eager, and compiled with
``torch.compile(mode="reduce-overhead")``, which records CUDA graphs; both with the fused SGD, and
products in full float32, as mlcore's are.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import mlcore
from mlcore import Conv2D, Dense, Flatten, MaxPool, kernels
from mlcore.engine import executor_for
from mlcore.kernels.errors import InputError
from mlcore.plan import lower, table

DEVICE = "cuda"
SAMPLES, CLASSES, SEED = 60_000, 10, 11
LEARNING_RATE = 0.05
COMPARED_STEPS = 50
# Of the way that the parameters have gone since the start, in float32.
TOLERANCE = 1e-3

Real = NDArray[np.float32]
Order = NDArray[np.int64]


@dataclass(frozen=True)
class Network:
    """What is trained.

    Attributes
    ----------
    layers : callable
        Returns mlcore's layers; PyTorch's modules are made from them.
    batch_size : int
    shape : tuple of int
        Of a sample.
    """

    layers: Callable[[], list[Any]]
    batch_size: int
    shape: tuple[int, ...] = (784,)


def mlp(activation: str, *widths: int) -> Callable[[], list[Any]]:
    """Return a maker of dense layers that end in logits."""
    return lambda: [*(Dense(width, activation) for width in widths), Dense(CLASSES)]


def lenet() -> list[Any]:
    """Return LeNet-5 with rectified units and largest values."""
    return [
        Conv2D(6, 5, padding="same", activation="relu"), MaxPool(2),
        Conv2D(16, 5, activation="relu"), MaxPool(2), Flatten(),
        Dense(120, "relu"), Dense(84, "relu"), Dense(CLASSES),
    ]  # fmt: skip


NETWORKS = {
    "mnist-mlp-50": Network(mlp("relu", 512, 64, 32), 50),
    "mnist-mlp-1000": Network(mlp("relu", 512, 64, 32), 1_000),
    "sigmoid-64": Network(mlp("sigmoid", 500, 250, 100), 64),
    "lenet-50": Network(lenet, 50, (28, 28, 1)),
    "lenet-1000": Network(lenet, 1_000, (28, 28, 1)),
}


def data() -> tuple[Real, NDArray[np.int32]]:
    """Return features that are mostly zero, as ink is, and the largest of some sums of them."""
    rng = np.random.default_rng(SEED)
    ink = rng.random((SAMPLES, 784), dtype=np.float32)
    x = np.where(ink > 0.8, 5 * ink - 4, np.float32(0))
    scores = x @ rng.standard_normal((784, CLASSES), dtype=np.float32)
    return x, scores.argmax(axis=1).astype(np.int32)


class Mlcore:
    """The CuPy backend's executor, fed as the trainer feeds it."""

    name = "mlcore"

    def __init__(self, network: Network, x: Real, y: NDArray[np.int32]) -> None:
        self.model = mlcore.Sequential(network.layers(), seed=SEED, backend="cupy")
        self.model.build(network.shape)
        self.initial = self.model.parameters.copy()
        loss = mlcore.losses.get("softmax_cross_entropy")
        targets = loss.targets(y, CLASSES, np.dtype(np.float32))
        plan = lower(
            self.model, batch_size=network.batch_size, loss=loss, labelled=True, noise=True,
            optimizer=mlcore.SGD(LEARNING_RATE),
        )  # fmt: skip
        self.executor = executor_for(plan, {"parameters": self.model.parameters}, x, targets)
        self.batch_size = network.batch_size

    def train(self, order: Order) -> None:
        """Make a step a batch of `order`; the totals are read at the end, so all is done."""
        steps = -(-len(order) // self.batch_size)
        self.executor.run(order, 0, steps, learning_rate=LEARNING_RATE)

    def parameters(self) -> Real:
        """Return all parameters, flat."""
        self.executor.sync()
        return self.model.parameters.copy()


class Torch:
    """PyTorch on the device, eager."""

    name = "torch eager"

    def __init__(
        self, network: Network, x: Real, y: NDArray[np.int32], model: mlcore.Sequential
    ) -> None:
        import torch

        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = False
        self.torch, self.batch_size = torch, network.batch_size
        self.x = torch.from_numpy(x).to(DEVICE)
        if len(network.shape) == 3:
            self.x = self.x.reshape(-1, *network.shape).permute(0, 3, 1, 2).contiguous()
        self.y = torch.from_numpy(y.astype(np.int64)).to(DEVICE)
        self.module = self._module(model).to(DEVICE)
        self.optimizer = torch.optim.SGD(self.module.parameters(), LEARNING_RATE, fused=True)
        self.loss = self._loss()

    def _loss(self) -> Callable[[Any, Any], Any]:
        function = self.torch.nn.functional.cross_entropy
        return lambda x, y: function(self.module(x), y)

    def _module(self, model: mlcore.Sequential) -> Any:
        """Return the same network with the same weights."""
        nn = self.torch.nn
        modules: list[Any] = []
        activations = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid}
        for layer in model.layers:
            if isinstance(layer, MaxPool):
                modules.append(nn.MaxPool2d(2))
                continue
            if isinstance(layer, Flatten):
                modules.append(channels_last())
                continue
            if isinstance(layer, Conv2D):
                turned = layer.weight.transpose(3, 2, 0, 1)
                filters, channels, size = turned.shape[:3]
                module: Any = nn.Conv2d(channels, filters, size, padding=layer.padding)
            else:
                turned = layer.weight.T
                module = nn.Linear(*layer.weight.shape)
            with self.torch.no_grad():
                module.weight.copy_(self.torch.from_numpy(turned.copy()))
                module.bias.copy_(self.torch.from_numpy(layer.bias.copy()))
            modules.append(module)
            if layer.activation.name in activations:
                modules.append(activations[layer.activation.name]())
        return nn.Sequential(*modules)

    def train(self, order: Order) -> None:
        """Gather, forward, backward and update, a batch at a time."""
        rows = self.torch.from_numpy(order).to(DEVICE)
        for batch in rows.split(self.batch_size):
            self.step(self.x.index_select(0, batch), self.y.index_select(0, batch))
        if DEVICE == "cuda":
            self.torch.cuda.synchronize()

    def step(self, x: Any, y: Any) -> None:
        """Train on a batch."""
        self.optimizer.zero_grad(set_to_none=True)
        self.loss(x, y).backward()
        self.optimizer.step()

    def parameters(self) -> Real:
        """Return all parameters, flat and in mlcore's layout."""
        parts = []
        for parameter in self.module.parameters():
            value = parameter.detach().cpu().numpy()
            turned = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}[value.ndim]
            parts.append(value.transpose(turned).ravel())
        return np.concatenate(parts)


def channels_last() -> Any:
    """Return the module that makes rows of images in mlcore's order."""
    import torch

    class ChannelsLast(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return x.permute(0, 2, 3, 1).flatten(1)

    return ChannelsLast()


class Compiled(Torch):
    """PyTorch with forward and backward compiled and recorded as CUDA graphs."""

    name = "torch.compile"

    def _loss(self) -> Callable[[Any, Any], Any]:
        compiled: Callable[[Any, Any], Any] = self.torch.compile(
            super()._loss(), mode="reduce-overhead"
        )
        return compiled

    def step(self, x: Any, y: Any) -> None:
        """Train on a batch; what the step before gave may be written over."""
        self.torch.compiler.cudagraph_mark_step_begin()
        super().step(x, y)


def check_machine() -> str:
    """Return what device there is, or end the program with the reason why it cannot run here."""
    try:
        device: str = kernels.get("cupy").module.DEVICE
    except InputError as error:
        raise SystemExit(f"bench/gpu.py needs a CUDA device: {error}") from None
    try:
        import torch
    except ImportError:
        raise SystemExit("bench/gpu.py compares with PyTorch: pip install torch") from None
    if DEVICE == "cuda" and not torch.cuda.is_available():
        raise SystemExit(f"this PyTorch ({torch.__version__}) sees no CUDA device")
    return f"{device}, PyTorch {torch.__version__}"


def measure(name: str, rounds: int, sides: tuple[type[Torch], ...]) -> list[tuple[str, ...]]:
    """Compare the sides' parameters, time their epochs in turn, and return a line for each."""
    network = NETWORKS[name]
    x, y = data()
    ours = Mlcore(network, x, y)
    rivals = [side(network, x, y, ours.model) for side in sides]
    order = np.random.default_rng(SEED).permutation(len(x))
    begin = order[: COMPARED_STEPS * network.batch_size]
    found: dict[str, Real] = {}
    for side in (ours, *rivals):
        side.train(begin)
        found[side.name] = side.parameters()
    way = float(np.linalg.norm(found["mlcore"] - ours.initial))
    apart = {
        side: float(np.linalg.norm(values - found["mlcore"])) / way
        for side, values in found.items()
    }
    for side, distance in apart.items():
        if not distance < TOLERANCE:
            raise SystemExit(
                f"{name}: {side} is {distance:.1e} of the way from mlcore's parameters"
            )
    seconds: dict[str, list[float]] = {side.name: [] for side in (ours, *rivals)}
    for turn in range(rounds + 1):
        for side in (ours, *rivals):
            began = time.perf_counter()
            side.train(order)
            # The first turn compiles and records.
            if turn:
                seconds[side.name].append(time.perf_counter() - began)
    steps = -(-len(x) // network.batch_size)
    return [
        (
            name,
            side,
            f"{min(times):.3f}",
            f"{statistics.median(times):.3f}",
            f"{min(times) / steps * 1e6:.1f}",
            f"{min(times) / min(seconds['mlcore']):.2f}",
            f"{apart[side]:.0e}",
        )
        for side, times in seconds.items()
    ]


def main() -> None:
    """Measure the networks that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=", ".join(NETWORKS))
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    for name in given.networks:
        if name not in NETWORKS:
            parser.error(f"unknown network {name!r}; there are {', '.join(NETWORKS)}")
    print(check_machine())
    lines = []
    for name in given.networks or NETWORKS:
        lines += measure(name, given.rounds, (Torch, Compiled))
    head = (
        "network", "side", "s an epoch, least", "median", "us a step", "times mlcore", "apart",
    )  # fmt: skip
    print(table(head, lines, right=(2, 3, 4, 5, 6)))


if __name__ == "__main__":
    sys.exit(main())
