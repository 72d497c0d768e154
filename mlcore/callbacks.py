"""What is told of a training run while it goes on."""

from __future__ import annotations

import csv
import math
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from numpy.typing import NDArray

from mlcore.data.files import require_place
from mlcore.history import COLUMNS, MONITORS, History
from mlcore.kernels.errors import InputError, is_number, unknown

if TYPE_CHECKING:
    from mlcore.executor import NonFiniteLossError
    from mlcore.model import Sequential

Logs = dict[str, float]


class Callback:
    """The base of the callbacks: every method does nothing until it is overridden.

    `model` is the model that trains; setting ``model.stop_training = True`` ends the run after
    the epoch. `epoch` counts from 0, as in Keras; `logs` holds the columns of `History`.

    Attributes
    ----------
    progress_needs_parameters : bool
        Whether `on_progress` looks at the model's parameters. Where it looks only at `logs`,
        False saves copying them out of the engine each time.
    progress_every_step : bool
        Whether `on_progress` is called after every single step. The steps are the same to the
        bit, but Python runs between them.
    """

    progress_needs_parameters: bool = True
    progress_every_step: bool = False

    def check(self, columns: set[str]) -> None:
        """Raise InputError where the run will not measure what this callback needs."""

    def on_train_begin(self, model: Sequential) -> None:
        """Before the first epoch."""

    def on_epoch_begin(self, model: Sequential, epoch: int) -> None:
        """Before an epoch."""

    def on_progress(self, model: Sequential, done: float, logs: Logs) -> None:
        """About every 50 ms, or after every step where `progress_every_step` says so.

        `done` is the part of the epoch that is done, from 0 to 1; `logs` has its figures.
        """

    def on_epoch_end(self, model: Sequential, epoch: int, logs: Logs) -> None:
        """After an epoch was trained and measured."""

    def on_non_finite(self, model: Sequential, epoch: int, error: NonFiniteLossError) -> None:
        """When the loss became NaN or infinite, instead of the epoch's end."""

    def on_train_end(self, model: Sequential) -> None:
        """After the last epoch."""

    def on_exception(self, model: Sequential) -> None:
        """Instead of the end, before an exception leaves `fit`; Ctrl-C is one."""


AnyCallback = Callback | Callable[[int, Logs], Any]


class Function(Callback):
    """Calls a function after each epoch, as ``function(epoch, logs)``."""

    def __init__(self, function: Callable[[int, Logs], Any]) -> None:
        self.function = function

    def on_epoch_end(self, model: Sequential, epoch: int, logs: Logs) -> None:
        """Call the function."""
        self.function(epoch, dict(logs))


class _Monitor(Callback):
    """Watches one column for its best value."""

    def __init__(self, monitor: str, min_delta: float = 0.0) -> None:
        if not isinstance(monitor, str) or monitor not in MONITORS:
            raise unknown("column to monitor", monitor, MONITORS)
        if not (is_number(min_delta) and min_delta >= 0):
            raise InputError(f"min_delta must be 0 or more, not {min_delta!r}")
        self.monitor = monitor
        self.min_delta = float(min_delta)
        self.sign = 1.0 if MONITORS[monitor] is max else -1.0
        self.best = math.nan

    def check(self, columns: set[str]) -> None:
        """Refuse a column that the run does not measure."""
        if self.monitor not in columns:
            hint = "; give fit validation data" if self.monitor.startswith("val_") else ""
            raise InputError(
                f"{type(self).__name__} monitors {self.monitor}, which this run does not "
                f"measure{hint}"
            )

    def on_train_begin(self, model: Sequential) -> None:
        """Forget the run before, and take what a resumed run has measured already."""
        self.best = math.nan
        for value in model.history[self.monitor] if model.history else []:
            self.take(value)

    def take(self, value: float) -> bool:
        """Take an epoch's value, and return whether it is the best so far."""
        gain = self.sign * (value - self.best)
        if math.isnan(self.best) or gain > self.min_delta:
            self.best = value
            return not math.isnan(value)
        return False


class ModelCheckpoint(_Monitor):
    """Save the model after an epoch; the file is replaced as a whole or not at all.

    Parameters
    ----------
    path : str or path
        An HDF5 file, see `mlcore.checkpoint`.
    monitor : str
        The column whose best epoch is kept; accuracies are maximised, losses minimised.
    save_best_only : bool
        False saves after every epoch.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        monitor: str = "val_accuracy",
        *,
        save_best_only: bool = True,
    ) -> None:
        super().__init__(monitor)
        self.path = Path(path)
        self.save_best_only = save_best_only

    def check(self, columns: set[str]) -> None:
        """Refuse a path that cannot be written, and a column that is watched and not measured."""
        require_place(self.path)
        if self.save_best_only:
            super().check(columns)

    def on_epoch_end(self, model: Sequential, epoch: int, logs: Logs) -> None:
        """Save where the epoch is the best so far, or always."""
        if not self.save_best_only or self.take(logs[self.monitor]):
            model.save(self.path)


class EarlyStopping(_Monitor):
    """Stop when a column has not improved for some epochs.

    Parameters
    ----------
    monitor : str
    patience : int
        Epochs without improvement after which training stops, one at least; as in Keras.
    min_delta : float
        What counts as improvement.
    restore_best_weights : bool
        Whether to end with the parameters of the best epoch, of those after a resume. Progress,
        history and optimizer state stay those of the last one.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        patience: int = 0,
        *,
        min_delta: float = 0.0,
        restore_best_weights: bool = False,
    ) -> None:
        super().__init__(monitor, min_delta)
        if not (is_number(patience) and patience >= 0):
            raise InputError(f"patience must be 0 or more, not {patience!r}")
        self.patience = patience
        self.restore_best_weights = restore_best_weights
        self.waited = 0
        self._kept: NDArray[Any] | None = None

    def on_train_begin(self, model: Sequential) -> None:
        """Forget the run before; a resumed run goes on counting."""
        self.waited, self._kept = 0, None
        super().on_train_begin(model)

    def take(self, value: float) -> bool:
        """Take an epoch's value, and count the epochs since the best."""
        best = super().take(value)
        self.waited = 0 if best else self.waited + 1
        return best

    def on_epoch_end(self, model: Sequential, epoch: int, logs: Logs) -> None:
        """Keep the best parameters where wanted, and stop when patience has run out."""
        if self.take(logs[self.monitor]) and self.restore_best_weights:
            self._kept = model.parameters.copy()
        if self.waited >= max(1, self.patience):
            model.stop_training = True

    def on_train_end(self, model: Sequential) -> None:
        """Put the best parameters back where that is wanted."""
        if self._kept is not None:
            model.parameters = self._kept


class NaNGuard(Callback):
    """What happens when the loss becomes NaN or infinite.

    Every fit has one with ``"raise"`` unless it is given another.

    Parameters
    ----------
    action : {"raise", "stop", "ignore"}
        Raise `NonFiniteLossError`; or warn and end the run; or go on. In the first two cases
        the model keeps the parameters of the last whole step before the loss.
    """

    def __init__(self, action: str = "raise") -> None:
        if action not in ("raise", "stop", "ignore"):
            raise unknown("action of NaNGuard", action, ("raise", "stop", "ignore"))
        self.action = action

    def on_non_finite(self, model: Sequential, epoch: int, error: NonFiniteLossError) -> None:
        """Raise or warn, naming the epoch."""
        message = f"epoch {epoch + 1}: {error}"
        if self.action == "raise":
            error.args = (message,)
            raise error
        warnings.warn(message, RuntimeWarning, stacklevel=2)


class CSVLogger(Callback):
    """Append a line to a CSV file after every epoch, so that a killed run leaves its history.

    Parameters
    ----------
    path : str or path
        Overwritten when training begins, with the rows so far where a run is resumed.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def check(self, columns: set[str]) -> None:
        """Refuse a path that cannot be written."""
        require_place(self.path)

    def on_train_begin(self, model: Sequential) -> None:
        """Write the head, and the epochs of a run that goes on."""
        (model.history or History()).to_csv(self.path)

    def on_epoch_end(self, model: Sequential, epoch: int, logs: Logs) -> None:
        """Write a line; what was not measured is an empty cell."""
        whole = self.path.stat().st_size
        cells = {name: "" if math.isnan(value) else value for name, value in logs.items()}
        try:
            with self.path.open("a", newline="", encoding="utf-8") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow([cells.get(name, "") for name in COLUMNS])
        except OSError:
            os.truncate(self.path, whole)
            raise


class ProgressBar(Callback):
    """A bar over all epochs with the latest figures, on standard error.

    Loss and accuracy are the running means of the epoch. Below 110 columns the words are shorter.
    """

    WIDE: ClassVar[dict[str, str]] = {
        "loss": "loss {:.4f}  ",
        "accuracy": "acc {:.4f}  ",
        "val_loss": "val loss {:.4f}  ",
        "val_accuracy": "val acc {:.4f}  ",
        "rate": "lr {:.3g}  ",
        "speed": "{:,.0f} samples/s  ",
    }
    NARROW: ClassVar[dict[str, str]] = {
        "loss": "loss {:.4f} ",
        "accuracy": "acc {:.4f} ",
        "val_loss": "val {:.4f} ",
        "val_accuracy": "val {:.4f} ",
        "rate": "lr {:.2g} ",
        "speed": "{}/s ",
    }
    SECONDS_BETWEEN_DRAWINGS = 0.05

    progress_needs_parameters: bool = False

    def __init__(self) -> None:
        self.bar: Any = None
        self.shown: Logs = {}
        self.epoch = 0
        self.drawn = 0.0

    def on_train_begin(self, model: Sequential) -> None:
        """Open the bar."""
        from tqdm import tqdm

        epochs = model.training.epochs if model.training else 0
        self.shown = {}
        self.epoch = model.progress.epoch
        self.bar = tqdm(
            total=epochs,
            initial=self.epoch,
            bar_format=f"epoch {min(self.epoch + 1, epochs)}/{epochs} |{{bar}}|",
            file=sys.stderr,
            dynamic_ncols=True,
        )

    def on_epoch_begin(self, model: Sequential, epoch: int) -> None:
        """Name the epoch."""
        self.epoch = epoch

    def on_progress(self, model: Sequential, done: float, logs: Logs) -> None:
        """Show the running figures."""
        self.shown.update(loss=logs["running_loss"], rate=logs["learning_rate"])
        self.shown["speed"] = logs["samples_per_second"]
        if "running_accuracy" in logs:
            self.shown["accuracy"] = logs["running_accuracy"]
        self.bar.n = self.epoch + done
        self._draw()

    def on_epoch_end(self, model: Sequential, epoch: int, logs: Logs) -> None:
        """Show the measured figures."""
        measured = "val_accuracy" if "val_accuracy" in logs else "val_loss"
        if measured in logs:
            self.shown[measured] = logs[measured]
        self.bar.n = epoch + 1
        self._draw()

    def on_train_end(self, model: Sequential) -> None:
        """Leave the bar on the screen as it stands."""
        self.drawn = 0.0
        self._draw()
        self.bar.close()
        self.bar = None

    def on_exception(self, model: Sequential) -> None:
        """Close the bar before the message."""
        if self.bar is not None:
            self.on_train_end(model)

    def _draw(self) -> None:
        now = time.perf_counter()
        if now - self.drawn < self.SECONDS_BETWEEN_DRAWINGS:
            return
        self.drawn = now
        words, shown = self.WIDE, dict(self.shown)
        if (self.bar.format_dict["ncols"] or 0) < 110:
            words = self.NARROW
            if "speed" in shown:
                shown["speed"] = self.bar.format_sizeof(shown["speed"])
        figures = "".join(text.format(shown[name]) for name, text in words.items() if name in shown)
        self.bar.bar_format = (
            f"epoch {self.epoch + 1}/{self.bar.total} |{{bar}}| {figures}{{remaining}} left"
        )
        self.bar.refresh()


class EpochLines(Callback):
    """A line an epoch on standard error, for logs and where there is no terminal."""

    def on_epoch_end(self, model: Sequential, epoch: int, logs: Logs) -> None:
        """Print the line."""
        epochs = model.training.epochs if model.training else epoch + 1
        parts = [f"epoch {epoch + 1}/{epochs}", f"loss {logs['running_loss']:.4f}"]
        names = {"running_accuracy": "acc", "val_loss": "val loss", "val_accuracy": "val acc"}
        parts += [f"{text} {logs[name]:.4f}" for name, text in names.items() if name in logs]
        parts += [f"lr {logs['learning_rate']:g}", f"{logs['samples_per_second']:,.0f} samples/s"]
        print("  ".join(parts), file=sys.stderr, flush=True)


def collect(callbacks: AnyCallback | Iterable[AnyCallback], verbose: int) -> list[Callback]:
    """Return the callbacks of a run: the caller's, the guard, and what shows progress.

    Raises
    ------
    InputError
        For something that is neither a Callback nor callable.
    """
    alone = isinstance(callbacks, Callback) or not isinstance(callbacks, Iterable)
    given: Any = [callbacks] if alone else callbacks
    found: list[Callback] = []
    for callback in given:
        if isinstance(callback, type) and issubclass(callback, Callback):
            raise InputError(f"give an instance of {callback.__name__}, not the class")
        if isinstance(callback, Callback):
            found.append(callback)
        elif callable(callback):
            found.append(Function(callback))
        else:
            raise InputError(f"a callback is a Callback or a function, not {callback!r}")
    if verbose not in (0, 1, 2):
        raise InputError(f"verbose must be 0 (silent), 1 (bar) or 2 (lines), not {verbose!r}")
    if verbose:
        bar = verbose == 1 and sys.stderr is not None and sys.stderr.isatty()
        found.append(ProgressBar() if bar else EpochLines())
    if not any(isinstance(callback, NaNGuard) for callback in found):
        found.append(NaNGuard())
    return found
