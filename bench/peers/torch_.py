"""PyTorch, eager, with its fused optimizers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from workloads import NORM_EPSILON, Real, Stage, Workload

from peers.side import Side, Work

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}
LOSSES: dict[str, Any] = {
    "softmax_cross_entropy": nn.functional.cross_entropy,
    "sigmoid_cross_entropy": nn.functional.binary_cross_entropy_with_logits,
    "mse": nn.functional.mse_loss,
}


class Noise(nn.Module):
    """Adds Gaussian noise."""

    def __init__(self, stddev: float) -> None:
        super().__init__()
        self.stddev = stddev

    def forward(self, x: Tensor) -> Tensor:
        """Return x with noise."""
        return torch.add(x, torch.randn_like(x), alpha=self.stddev)


class Torch(Side):
    """Trains `nn.Sequential` batch by batch."""

    def __init__(self, work: Work, threads: int) -> None:
        torch.set_num_threads(threads)
        self.work = work
        self.x, self.y = torch.from_numpy(work.x), torch.from_numpy(work.y)
        if work.workload.convolutions:
            images = self.x.reshape(-1, *work.workload.image)
            self.x = images.permute(0, 3, 1, 2).contiguous()
        self.batches = torch.from_numpy(work.batches)
        self.loss = LOSSES[work.workload.loss]
        self.reset()

    def reset(self) -> None:
        """Make model and optimizer anew."""
        workload = self.work.workload
        modules: list[nn.Module] = []
        self.views: list[tuple[Tensor, Tensor]] = []
        pairs = iter(workload.split(self.work.initial))
        grid: tuple[int, ...] = ()
        for stage in workload.stages:
            module = _module(stage, workload, images=bool(workload.convolutions) and not grid)
            modules.append(module)
            if stage.kind == "flatten":
                grid = stage.shape
            if stage.kind in ("convolution", "dense", "normalize"):
                views = _views(module, grid if stage.shape[0] == math.prod(grid) else ())
                with torch.no_grad():
                    for view, values in zip(views, next(pairs), strict=True):
                        view.copy_(torch.from_numpy(values).reshape(view.shape))
                self.views.append(views)
        self.model = nn.Sequential(*modules)
        parameters, rate = self.model.parameters(), workload.learning_rate
        self.optimizer: torch.optim.Optimizer
        if workload.optimizer == "adam":
            self.optimizer = torch.optim.Adam(parameters, rate, fused=True)
        else:
            self.optimizer = torch.optim.SGD(parameters, rate, workload.momentum, fused=True)

    def train(self, epochs: int) -> None:
        """Gather, forward, backward and update, a batch at a time."""
        for epoch in range(epochs):
            if self.work.whole:
                self._step(self.x, self.y)
                continue
            for rows in self.batches[epoch % len(self.batches)]:
                self._step(self.x.index_select(0, rows), self.y.index_select(0, rows))

    def _step(self, x: Tensor, y: Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        self.loss(self.model(x), y).backward()
        self.optimizer.step()

    def parameters(self) -> Real:
        """Return the weights in the order and the layout of the workload."""
        return np.concatenate(
            [view.detach().numpy().ravel() for pair in self.views for view in pair]
        )

    @staticmethod
    def version() -> str:
        """Return PyTorch's version."""
        return str(torch.__version__)


def _module(stage: Stage, workload: Workload, *, images: bool) -> nn.Module:
    if stage.kind == "noise":
        return Noise(stage.stddev)
    if stage.kind == "activate":
        return ACTIVATIONS[workload.activation]()
    if stage.kind == "pool":
        return nn.MaxPool2d(2) if workload.pooling == "max" else nn.AvgPool2d(2)
    if stage.kind == "flatten":
        return nn.Flatten()
    if stage.kind == "dense":
        return nn.Linear(*stage.shape)
    if stage.kind == "convolution":
        size, _, channels, filters = stage.shape
        return nn.Conv2d(channels, filters, size, padding=stage.padding)
    norm = nn.BatchNorm2d if images else nn.BatchNorm1d
    return norm(stage.shape[0], NORM_EPSILON, momentum=0.01)


def _views(module: Any, grid: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Return weight and bias with the axes of the workload, which has channels last.

    `grid` is (height, width, channels) of what was flattened in front of a dense layer: PyTorch has
    the channels first there too.
    """
    weight = module.weight.detach()
    if weight.ndim == 4:
        weight = weight.permute(2, 3, 1, 0)
    elif grid:
        height, width, channels = grid
        weight = weight.reshape(-1, channels, height, width).permute(2, 3, 1, 0)
    elif weight.ndim == 2:
        weight = weight.T
    return weight, module.bias.detach()


SIDE = Torch
