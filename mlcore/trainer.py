"""The epoch loop: what happens, in order, while a model trains."""

from __future__ import annotations

import json
import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlcore import callbacks as hooks
from mlcore.door import Inputs, Targets
from mlcore.engine import Executor, executor_for
from mlcore.executor import NonFiniteLossError, Totals
from mlcore.history import History
from mlcore.kernels.errors import InputError
from mlcore.losses import Loss
from mlcore.plan import Plan, aligned_zeros, lower
from mlcore.regularizers import Regularizer
from mlcore.schedules import Schedule

if TYPE_CHECKING:
    from mlcore.model import Sequential
    from mlcore.optimizers import Optimizer

EVALUATION_BATCH = 256
# Ctrl-C, progress and callbacks are served this often.
SECONDS_BETWEEN_LOOKS = 0.05
# An evaluation looks for Ctrl-C after so much work.
FLOPS_BETWEEN_LOOKS = 5e8


@dataclass(frozen=True)
class Training:
    """How a model is trained, beside its loss and optimizer."""

    epochs: int
    batch_size: int
    schedule: Schedule
    shuffle: bool
    seed: int
    evaluate_train: bool
    regularizer: Regularizer | None = None

    def config(self) -> dict[str, Any]:
        """Return the settings, as JSON knows them."""
        penalty = self.regularizer and self.regularizer.config()
        return {**vars(self), "schedule": self.schedule.config(), "regularizer": penalty}


@dataclass
class Progress:
    """How far a model has been trained.

    Attributes
    ----------
    epoch, step : int
        Whole epochs of this fit, and steps of the epoch after them.
    epochs, steps : int
        Whole epochs and steps since the model was made: shuffling and noise count with them.
    updates : int
        Steps since the optimizer was chosen, also those that only add up gradients.
    totals : Totals
        Sums over the steps of the unfinished epoch.
    settings : dict
        How the fit trains that these counts belong to; what goes on must train likewise.
    """

    epoch: int = 0
    step: int = 0
    epochs: int = 0
    steps: int = 0
    updates: int = 0
    totals: Totals = field(default_factory=Totals)
    settings: dict[str, Any] = field(default_factory=dict)

    def config(self) -> dict[str, Any]:
        """Return the counts, as JSON knows them."""
        return asdict(self)

    @classmethod
    def from_config(cls, counts: dict[str, Any]) -> Progress:
        """Return the progress that `config` gave."""
        totals = counts["totals"]
        # Before there were weights, every sample had a weight of one.
        totals = Totals(**{"weight": float(totals["samples"]), **totals})
        return cls(**{**counts, "totals": totals})


class Interrupts:
    """Turns Ctrl-C into a flag while it is entered, so that no step is left half done.

    A second Ctrl-C is not held back. Outside the main thread, where signals cannot be caught,
    nothing changes.
    """

    def __init__(self) -> None:
        self.seen = False
        self._previous: Any = None

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.getsignal(signal.SIGINT)
            if self._previous is signal.default_int_handler:
                signal.signal(signal.SIGINT, self._remember)
            else:
                self._previous = None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
        if kind is None:
            self.check()

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self.seen:
            raise KeyboardInterrupt
        self.seen = True

    def check(self) -> None:
        """Raise KeyboardInterrupt if there was one."""
        if self.seen:
            raise KeyboardInterrupt


class Trainer:
    """One call of `Sequential.fit`.

    Parameters
    ----------
    model : Sequential
        Built.
    loss : Loss
    optimizer : Optimizer
        The model's own, whose state goes on, or another one.
    settings : Training
    inputs, targets : Inputs, Targets
    validation : (Inputs, Targets) or None
    callbacks : list of Callback
    resume : bool

    Raises
    ------
    InputError
        Where a callback or the run to resume does not fit; the model is left as it was.
    """

    def __init__(
        self,
        model: Sequential,
        loss: Loss,
        optimizer: Optimizer,
        settings: Training,
        inputs: Inputs,
        targets: Targets,
        validation: tuple[Inputs, Targets] | None,
        callbacks: list[hooks.Callback],
        resume: bool,
    ) -> None:
        self.model, self.settings = model, settings
        self.loss, self.optimizer = loss, optimizer
        self.inputs, self.targets, self.validation = inputs, targets, validation
        self.callbacks = callbacks
        self.guard = any(
            isinstance(callback, hooks.NaNGuard) and callback.action != "ignore"
            for callback in self.callbacks
        )
        measured = self._columns()
        for callback in self.callbacks:
            callback.check(measured)
        self.resume = resume
        self.batch_size = min(self.settings.batch_size, len(inputs))
        self.steps = -(-len(inputs) // self.batch_size)
        self.order: NDArray[np.int64] = np.arange(len(inputs))
        self.chunk = 1
        # Asked for now, so that a schedule that cannot be is refused before anything changes.
        epochs = settings.epochs
        self.factors = [settings.schedule.factor(epoch, epochs) for epoch in range(epochs)]
        if resume:
            self._check_resumable()

    def _described(self) -> dict[str, Any]:
        return described(self.model, self.loss, self.settings, self.inputs, self.targets)

    def _check_resumable(self) -> None:
        progress = self.model.progress
        now = self._described()
        for name, before in progress.settings.items():
            if now.get(name) != before:
                raise InputError(
                    f"cannot resume with {name} {now.get(name)!r}: the run was made with {before!r}"
                )
        if progress.totals.samples != min(progress.step * self.batch_size, len(self.inputs)):
            raise InputError(
                f"cannot resume: the interrupted epoch had seen {progress.totals.samples} samples "
                f"in {progress.step} steps; give the same data and batch_size again"
            )

    def _columns(self) -> set[str]:
        """Return the history columns that this run will fill."""
        parts = {"running_": self.targets}
        if self.settings.evaluate_train:
            parts[""] = self.targets
        if self.validation is not None:
            parts["val_"] = self.validation[1]
        judged = {prefix: targets.judge is not None for prefix, targets in parts.items()}
        return {f"{prefix}loss" for prefix in parts} | {
            f"{prefix}accuracy" for prefix, right in judged.items() if right
        }

    def run(self) -> History:
        """Train, and return the history."""
        model, settings = self.model, self.settings
        progress = model.progress
        history = begin(
            model, self.loss, self.optimizer, settings, self._described(), resume=self.resume
        )
        executor = self._executor()
        evaluations = self._evaluations(executor)
        with Interrupts() as interrupts, self._telling_of_exceptions(executor):
            self._tell("on_train_begin")
            for epoch in range(progress.epoch, settings.epochs):
                rate = self.optimizer.learning_rate * self.factors[epoch]
                self._tell("on_epoch_begin", epoch)
                began = time.perf_counter()
                samples = -progress.totals.samples
                try:
                    self._train_epoch(executor, rate, interrupts)
                    samples += progress.totals.samples
                    seconds = time.perf_counter() - began
                    record = {
                        "epoch": float(epoch + 1),
                        **self._measured(progress.totals, "running_", self.targets),
                        **self._evaluated(evaluations, interrupts),
                        "learning_rate": rate,
                        "seconds": seconds,
                        "samples_per_second": _rate(samples, seconds),
                    }
                    executor.sync()
                    if self.guard:
                        self._check_epoch(record)
                except NonFiniteLossError as error:
                    self._stop_at(error, epoch)
                    break
                progress.epoch, progress.step = epoch + 1, 0
                progress.epochs += 1
                progress.totals = Totals()
                history.append(record)
                self._tell("on_epoch_end", epoch, record)
                interrupts.check()
                if model.stop_training:
                    break
            self._tell("on_train_end")
        return history

    def _executor(self) -> Executor:
        model = self.model
        plan = lower(
            model, batch_size=self.batch_size, loss=self.loss, optimizer=self.optimizer,
            regularizer=self.settings.regularizer, noise=True,
            source_dtype=self.inputs.array.dtype, labelled=self.targets.labelled,
            weighted=self.targets.weights is not None,
        )  # fmt: skip
        vectors = {"parameters": model.parameters, **model.optimizer_state}
        return executor_for(
            plan, vectors, self.inputs.array, self.targets,
            scale=self.inputs.scale, seed=self.settings.seed, guard=self.guard,
        )  # fmt: skip

    def _evaluations(self, executor: Executor) -> dict[str, Evaluation]:
        """Return what is measured after each epoch, by the prefix of its columns."""
        data = {"": (self.inputs, self.targets)} if self.settings.evaluate_train else {}
        if self.validation is not None:
            data["val_"] = self.validation
        return {
            prefix: Evaluation(self.model, self.loss, *pair, EVALUATION_BATCH, executor)
            for prefix, pair in data.items()
        }

    def _train_epoch(self, executor: Executor, rate: float, interrupts: Interrupts) -> None:
        progress = self.model.progress
        looked_at = any(
            getattr(callback.on_progress, "__func__", None) is not hooks.Callback.on_progress
            and callback.progress_needs_parameters
            for callback in self.callbacks
        )
        began, before = time.perf_counter(), progress.totals.samples
        if self.settings.shuffle:
            self.model.backend.call(
                "permutation", seed=self.settings.seed, epoch=progress.epochs, out=self.order
            )
        while progress.step < self.steps:
            interrupts.check()
            last = min(progress.step + self.chunk, self.steps)
            started = time.perf_counter()
            executor.run(
                self.order, progress.step, last,
                step=progress.steps, update=progress.updates, learning_rate=rate,
                totals=progress.totals,
            )  # fmt: skip
            now = time.perf_counter()
            self._adapt_chunk(last - progress.step, now - started)
            progress.steps += last - progress.step
            progress.updates += last - progress.step
            progress.step = last
            logs = {
                **self._measured(progress.totals, "running_", self.targets),
                "learning_rate": rate,
                "samples_per_second": _rate(progress.totals.samples - before, now - began),
            }
            if looked_at:
                executor.sync()
            self._tell("on_progress", progress.step / self.steps, logs)

    def _check_epoch(self, record: dict[str, float]) -> None:
        """Find what the epoch's last update broke, which no training loss has seen."""
        if not np.isfinite(self.model.parameters).all():
            layer, tensor = next(
                (layer.name, f"{layer.name}.{name}")
                for layer in self.model.layers
                for name, value in layer.parameters.items()
                if not np.isfinite(value).all()
            )
            raise NonFiniteLossError(
                self.steps, layer, tensor, f"the last update made {tensor} not finite"
            )
        for column in ("loss", "val_loss"):
            if not math.isfinite(record.get(column, 0.0)):
                raise NonFiniteLossError(
                    self.steps, "", column, f"{column} is {record[column]} after the last update"
                )

    def _adapt_chunk(self, steps: int, seconds: float) -> None:
        if any(callback.progress_every_step for callback in self.callbacks):
            return
        wanted = SECONDS_BETWEEN_LOOKS / max(seconds / steps, 1e-9)
        self.chunk = int(min(max(1.0, wanted), 2.0 * self.chunk))

    def _evaluated(
        self, evaluations: dict[str, Evaluation], interrupts: Interrupts
    ) -> dict[str, float]:
        measured: dict[str, float] = {}
        for prefix, evaluation in evaluations.items():
            totals = evaluation.run(interrupts)
            measured |= self._measured(totals, prefix, evaluation.targets)
        return measured

    def _measured(self, totals: Totals, prefix: str, targets: Targets) -> dict[str, float]:
        measured = {f"{prefix}loss": totals.mean_loss}
        if targets.judge is not None:
            measured[f"{prefix}accuracy"] = totals.correct / max(1, totals.samples)
        return measured

    def _stop_at(self, error: NonFiniteLossError, epoch: int) -> None:
        """Count the whole steps that were made, then let the guard decide."""
        progress = self.model.progress
        progress.steps += error.step - progress.step
        progress.updates += error.step - progress.step
        progress.step = error.step
        self._tell("on_non_finite", epoch, error)

    @contextmanager
    def _telling_of_exceptions(self, executor: Executor) -> Iterator[None]:
        try:
            yield
        except BaseException:
            executor.sync()
            self._tell("on_exception")
            raise

    def _tell(self, event: str, *arguments: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(self.model, *arguments)


def described(
    model: Sequential, loss: Loss, settings: Training, inputs: Inputs, targets: Targets
) -> dict[str, Any]:
    """Return what decides the bits of the steps to come, as JSON knows it."""
    chosen = settings.config()
    deciding = ("batch_size", "schedule", "shuffle", "seed", "regularizer")
    kept = {name: chosen[name] for name in deciding}
    kept["loss"] = loss.config()
    kept["samples"] = len(inputs)
    kept["weighted"] = targets.weights is not None
    kept["trainable"] = [layer.trainable for layer in model.layers]
    known: dict[str, Any] = json.loads(json.dumps(kept))
    return known


def begin(
    model: Sequential,
    loss: Loss,
    optimizer: Optimizer,
    settings: Training,
    description: dict[str, Any],
    *,
    resume: bool = False,
) -> History:
    """Hand a model what a fit brings, and return the history to fill.

    `description` is what `described` says of the fit.
    """
    progress, state = model.progress, model.optimizer_state
    model.loss, model.training, model.stop_training = loss, settings, False
    model.regularizer = settings.regularizer
    if model.optimizer is not optimizer or tuple(state) != optimizer.state:
        size = model.parameters.size
        model.optimizer = optimizer
        model.optimizer_state = {name: aligned_zeros(size, model.dtype) for name in optimizer.state}
        for name, value in optimizer.initial.items():
            model.optimizer_state[name][...] = value
        progress.updates = 0
    if not resume:
        progress.epoch, progress.step, progress.totals = 0, 0, Totals()
    progress.settings = description
    history = model.history if resume and model.history is not None else History()
    model.history = history
    return history


def _rate(samples: int, seconds: float) -> float:
    """Return samples a second."""
    return samples / seconds if seconds > 0 else math.inf


def steps_between_looks(plan: Plan) -> int:
    """Return how many steps of a plan without updates are run before Ctrl-C is looked for."""
    return max(1, int(FLOPS_BETWEEN_LOOKS / max(plan.flops, 1.0)))


class Evaluation:
    """A pass over data without noise and without updates, to be made again and again.

    Parameters
    ----------
    model : Sequential
        Built; each run takes its parameters as they are then.
    loss : Loss
    inputs, targets : Inputs, Targets
    batch_size : int
    lender : Executor, optional
        What trains the model, and has its newest weights.
    """

    def __init__(
        self,
        model: Sequential,
        loss: Loss,
        inputs: Inputs,
        targets: Targets,
        batch_size: int,
        lender: Executor | None = None,
    ) -> None:
        self.targets = targets
        self.batch_size = min(batch_size, len(inputs))
        self.order: NDArray[np.int64] = np.arange(len(inputs))
        plan = lower(
            model, batch_size=self.batch_size, loss=loss, regularizer=model.regularizer,
            source_dtype=inputs.array.dtype, labelled=targets.labelled,
            weighted=targets.weights is not None,
        )  # fmt: skip
        self.executor = executor_for(
            plan, {"parameters": model.parameters}, inputs.array, targets, scale=inputs.scale,
            lender=lender,
        )  # fmt: skip
        self.chunk = steps_between_looks(plan)

    def run(self, interrupts: Interrupts | None = None) -> Totals:
        """Return the sums of loss, right answers, samples and weights."""
        totals = Totals()
        steps = -(-len(self.order) // self.batch_size)
        for step in range(0, steps, self.chunk):
            if interrupts is not None:
                interrupts.check()
            last = min(step + self.chunk, steps)
            self.executor.run(self.order, step, last, totals=totals)
        return totals
