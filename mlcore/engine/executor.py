"""Runs a plan natively: whole stretches of an epoch in one call, without the GIL."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from mlcore.door import Targets
from mlcore.engine.compiler import FLOPS_A_THREAD
from mlcore.engine.device import DeviceExecutor
from mlcore.engine.diagnosis import diagnose
from mlcore.engine.narrow import NarrowCompiler
from mlcore.engine.wide import Panels, WideCompiler
from mlcore.executor import Index, PythonExecutor, Totals, with_gradients
from mlcore.kernels import native, threads
from mlcore.plan import Plan


class NativeExecutor:
    """Runs a plan with the compiled executor of the plan's backend.

    Takes what `PythonExecutor` takes, and gives the same results to rounding. `vectors` are
    brought up to date by `sync`, after which they may be changed.

    Parameters
    ----------
    lender : NativeExecutor, optional
        An executor that trains the same model, whose weights are used where they are: they need
        not be packed again, nor brought up to date before.
    """

    def __init__(
        self,
        plan: Plan,
        vectors: dict[str, NDArray[Any]],
        inputs: NDArray[Any],
        targets: Targets | None = None,
        *,
        scale: float = 1.0,
        seed: int = 0,
        guard: bool = True,
        lender: NativeExecutor | None = None,
    ) -> None:
        self.plan, self.inputs, self.targets = plan, inputs, targets
        self.lender = lender if lender and lender.panels else None
        self.scale, self.seed, self.guard = scale, seed, guard
        self.ahead = self.fresh = False
        settings: dict[str, Any] = {"scale": scale, "seed": seed}
        self.panels: Panels | None = self.lender.panels if self.lender else None
        narrow_enough = NarrowCompiler.suits(plan, targets) and not self.panels
        # A fused plan on panels is the only one that writes no gradients.
        writes = narrow_enough or not plan.fused
        self.vectors = with_gradients(plan, vectors) if writes else vectors
        useful = max(1, int(plan.flops / FLOPS_A_THREAD))
        if narrow_enough:
            narrow = NarrowCompiler(plan, self.vectors, inputs, targets, **settings)
            self.program, self.memory = narrow.program, narrow.memory
            useful = min(useful, narrow.blocks())
        else:
            wide = WideCompiler(plan, self.vectors, inputs, targets, panels=self.panels, **settings)
            self.program, self.memory = wide.program, wide.memory
            self.panels = wide.packed
        self.useful_threads = useful
        self._predict = native.predictor()
        self.learns = any(op.phase in ("backward", "update") for op in plan.operations)

    def run(
        self,
        order: Index,
        first: int,
        last: int,
        *,
        step: int = 0,
        update: int = 0,
        learning_rate: float = 0.0,
        outputs: NDArray[Any] | None = None,
        totals: Totals | None = None,
    ) -> Totals:
        """Run steps `first` to `last` - 1 of a pass over `order`; see `PythonExecutor.run`.

        `outputs` are written by plans that predict, which are those without a loss.
        """
        totals = Totals() if totals is None else totals
        self.program.point_output(0 if outputs is None else outputs.ctypes.data)
        (self.lender or self).bring_panels()
        batch = self.plan.batch_size
        self.ahead = self.learns
        totals.loss, totals.correct, totals.weight, stopped = self.program.run(
            order, batch, first, last, step=step, update=update, learning_rate=learning_rate,
            guard=self.guard and self.learns, loss=totals.loss, correct=totals.correct,
            weight=totals.weight, threads=min(threads.get_num_threads(), self.useful_threads),
            group=self.plan.accumulation,
        )  # fmt: skip
        totals.samples += max(0, min(stopped * batch, len(order)) - first * batch)
        if stopped < last:
            self.sync()
            raise diagnose(
                self.plan, self.vectors, self.inputs, self.targets, order, stopped,
                scale=self.scale, seed=self.seed,
                step=step + stopped - first, update=update + stopped - first,
            )  # fmt: skip
        return totals

    def sync(self) -> None:
        """Write the weights and the optimizer's state back to the flat vectors."""
        if self.ahead:
            self.program.unpack()
        self.ahead = self.fresh = False

    def bring_panels(self) -> None:
        """Pack the weights, unless nobody can have changed them since they were packed."""
        if not self.fresh:
            self.program.pack()
            self.fresh = True

    def predict(self, x: NDArray[Any], outputs: NDArray[Any]) -> bool:
        """Predict as many samples as the plan's batch has, other ones than at first.

        Returns False, and leaves `outputs`, where a sample is not finite.
        """
        return self._predict(self.program, x, outputs)


Executor = PythonExecutor | NativeExecutor | DeviceExecutor


def executor_for(
    plan: Plan,
    vectors: dict[str, NDArray[Any]],
    inputs: NDArray[Any],
    targets: Targets | None = None,
    *,
    scale: float = 1.0,
    seed: int = 0,
    guard: bool = True,
    lender: Executor | None = None,
) -> Executor:
    """Return the executor of the plan's backend: the compiled one, or that of a device."""
    settings: dict[str, Any] = {"scale": scale, "seed": seed, "guard": guard}
    if hasattr(plan.backend.module, "ENGINE"):
        lent = lender if isinstance(lender, NativeExecutor) else None
        return NativeExecutor(plan, vectors, inputs, targets, lender=lent, **settings)
    if hasattr(plan.backend.module, "DEVICE"):
        lending = lender if isinstance(lender, DeviceExecutor) else None
        return DeviceExecutor(plan, vectors, inputs, targets, lender=lending, **settings)
    return PythonExecutor(plan, vectors, inputs, targets, **settings)
