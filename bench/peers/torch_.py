"""PyTorch, eager, with its fused optimizers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from workloads import Real

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
        self.batches = torch.from_numpy(work.batches)
        self.loss = LOSSES[work.workload.loss]
        self.reset()

    def reset(self) -> None:
        """Make model and optimizer anew."""
        workload = self.work.workload
        modules: list[nn.Module] = []
        pairs = workload.split(self.work.initial)
        for at, (weight, bias) in enumerate(pairs):
            if at < len(workload.noise):
                modules.append(Noise(workload.noise[at]))
            linear = nn.Linear(*weight.shape)
            with torch.no_grad():
                linear.weight.copy_(torch.from_numpy(weight.T.copy()))
                linear.bias.copy_(torch.from_numpy(bias))
            modules.append(linear)
            if at < len(pairs) - 1:
                modules.append(ACTIVATIONS[workload.activation]())
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
        """Return the weights transposed to (fan_in, fan_out)."""
        linears = [module for module in self.model if isinstance(module, nn.Linear)]
        parts = [part for linear in linears for part in (linear.weight.T, linear.bias)]
        return np.concatenate([part.detach().numpy().ravel() for part in parts])

    @staticmethod
    def version() -> str:
        """Return PyTorch's version."""
        return str(torch.__version__)


SIDE = Torch
