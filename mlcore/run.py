"""A training run with everything it leaves behind: the work of `mlcore train`."""

from __future__ import annotations

import json
import math
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlcore import callbacks, door, kernels, losses, schedules
from mlcore.config import RunConfig
from mlcore.data import Dataset, Splits, load, split
from mlcore.data.files import atomic_write
from mlcore.executor import NonFiniteLossError
from mlcore.history import History
from mlcore.kernels.errors import InputError, MissingExtraError
from mlcore.losses import Loss
from mlcore.metrics import ClassificationReport, confusion_matrix
from mlcore.model import Sequential

# What a run folder holds, in the order to show it.
FILES = {
    "best.h5": "checkpoint of the epoch that was best on the validation data",
    "last.h5": "checkpoint of the last epoch",
    "history.csv": "every epoch in numbers",
    "history.json": "the same",
    "result.json": "the result above, with every class",
    "curves.png": "loss and accuracy by epoch",
    "learning_rate.png": "learning rate by epoch",
    "confusion.png": "what was taken for what",
    "config.toml": "the settings; train --config repeats the run",
}
PLOTS_BYTES = 2_000_000
# Soft targets whose sum is off by more are refused by the loss.
SUM_TOLERANCE = 1e-4


class Interrupted(Exception):
    """Ctrl-C stopped the run; the message says what was saved."""


@dataclass(frozen=True)
class Result:
    """What a run measured.

    Attributes
    ----------
    folder : Path
    files : dict of str to str
        What stands in the folder, and what each file is.
    history : History
    part : str
        What was measured: "test", or "validation" where the data has no test part.
    measured : dict
        Loss and accuracy of the last epoch.
    report : ClassificationReport or None
        None in a regression.
    """

    folder: Path
    files: dict[str, str]
    history: History
    part: str
    measured: dict[str, float]
    report: ClassificationReport | None


def train(
    config: RunConfig,
    out: str | os.PathLike[str] | None = None,
    *,
    plots: bool = True,
    quiet: bool = False,
) -> Result:
    """Train a network and write its run folder.

    Parameters
    ----------
    config : RunConfig
    out : str or path, optional
        The run folder; it must not hold anything yet. By default a new one below ``runs``.
    plots : bool
        Whether to draw PNG files, which needs matplotlib.
    quiet : bool
        Whether to leave out the progress bar.

    Raises
    ------
    InputError
        For bad data, settings or folders, before training starts; nothing is left behind.
    Interrupted
        On Ctrl-C, after the last checkpoint was written.
    NonFiniteLossError
        When the loss becomes NaN; the checkpoints so far are kept.
    OSError
        When the disk becomes full or fails; the files written so far are whole.
    """
    if plots:
        _require_matplotlib()
    config, parts, loss, model = _made(config)
    with _threads(config):
        folder = _prepare(out, config, model, plots)
        if not quiet:
            print(_described(config, model, loss, parts), file=sys.stderr)
        history = _fit(config, model, loss, parts, folder, quiet)
        part = next(name for name in ("test", "validation", "train") if name in parts.parts())
        measured, report = evaluate(model, parts.parts()[part])
    _write_results(folder, part, measured, report)
    if plots:
        _draw(folder, history, report)
    files = {name: text for name, text in FILES.items() if (folder / name).exists()}
    return Result(folder, files, history, part, measured, report)


def score(config: RunConfig) -> dict[str, float]:
    """Train a network as `train` does, and return what it measures instead of writing files.

    Returns
    -------
    dict
        "loss" and, for classes, "accuracy" on the training data, and as "val_loss" and
        "val_accuracy" those on the validation data, where there is some. The test data are left
        alone: settings are not to be chosen by them.

    Raises
    ------
    InputError
        For bad data or settings.
    NonFiniteLossError
        When the loss becomes NaN.
    """
    config, parts, loss, model = _made(config)
    with _threads(config):
        model.fit(parts.train, verbose=0, evaluate_train=False, **_fit_settings(config, loss))
        figures = model.evaluate(parts.train)
        if parts.validation is not None:
            measured = model.evaluate(parts.validation)
            figures |= {f"val_{name}": value for name, value in measured.items()}
    return figures


def evaluate(
    model: Sequential, data: Dataset
) -> tuple[dict[str, float], ClassificationReport | None]:
    """Return loss and accuracy on `data`, and the report by class where there are classes."""
    _check(model, model.loss or losses.SoftmaxCrossEntropy(), data)
    measured = model.evaluate(data)
    if "accuracy" not in measured:
        return measured, None
    classes = max(2, model.outputs)
    matrix = confusion_matrix(_labels(data.targets), model.predict_classes(data), classes)
    names = data.class_names
    fits = names is not None and len(names) == len(matrix)
    return measured, ClassificationReport(matrix, names if fits else None)


def _made(config: RunConfig) -> tuple[RunConfig, Splits, Loss, Sequential]:
    """Return the completed configuration, the data, the loss and the network, which fit."""
    loaded = load(config.data)
    parts = _with_validation(loaded, config.validation_split)
    loss = losses.get(config.loss or _loss(parts.train))
    model = config.make_model(_outputs(loaded.train)).build(parts.train.inputs.shape[1])
    for data in parts.parts().values():
        _check(model, loss, data)
    return config.completed(model.backend.name, loss.kind), parts, loss, model


def _fit_settings(config: RunConfig, loss: Loss) -> dict[str, Any]:
    return {
        "loss": loss,
        "optimizer": config.make_optimizer(),
        "epochs": config.epochs,
        "batch_size": config.batch_size,
        "schedule": schedules.get(config.schedule),
        "regularizer": config.make_regularizer(),
    }


def _labels(targets: NDArray[Any]) -> NDArray[Any]:
    """Return the class of each sample: labels, or the likelier side, or the greatest entry."""
    if targets.dtype.kind in "iu":
        return targets
    if targets.ndim == 1 or targets.shape[1] == 1:
        return (targets.reshape(-1) > 0.5).astype(np.int64)
    classes: NDArray[Any] = targets.argmax(axis=1)
    return classes


def _with_validation(parts: Splits, fraction: float) -> Splits:
    if parts.validation is not None or not fraction:
        return parts
    held = split(parts.train, validation=fraction)
    return replace(parts, train=held.train, validation=held.validation)


def _loss(data: Dataset) -> Loss:
    """Return cross-entropy for labels and for rows most of which sum to one, else mse."""
    targets = data.targets
    if data.labelled:
        return losses.SoftmaxCrossEntropy()
    if targets.ndim == 2 and targets.shape[1] > 1:
        fits = (np.abs(targets.sum(axis=1) - 1) <= SUM_TOLERANCE) & (targets >= 0).all(axis=1)
        if fits.mean() > 0.5:
            return losses.SoftmaxCrossEntropy()
    return losses.MeanSquaredError()


def _outputs(data: Dataset) -> int:
    if data.class_names is not None:
        return len(data.class_names)
    if data.labelled:
        return max(2, int(data.targets.max(initial=0)) + 1)
    return 1 if data.targets.ndim == 1 else int(data.targets.shape[1])


def _check(model: Sequential, loss: Loss, data: Dataset) -> None:
    """Refuse data that the model cannot take, before anything is written."""
    door.as_inputs(data, shape=model.input_shape, dtype=model.dtype)
    try:
        loss.targets(data.targets, model.outputs, model.dtype)
    except InputError as error:
        raise InputError(f"{data.name}: {error}") from error


def _prepare(
    out: str | os.PathLike[str] | None, config: RunConfig, model: Sequential, plots: bool
) -> Path:
    """Make the run folder with its settings in it, or leave everything as it was."""
    if out is None:
        name = Path(config.data).stem
        stamp = time.strftime("%Y%m%d-%H%M%S")
        folder = Path("runs") / f"{name}-{stamp}-{secrets.token_hex(2)}"
    else:
        folder = Path(out).expanduser()
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"{folder} already holds files: name a new folder with --out")
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
        _require_room(folder, config, model, plots)
        _write_text(folder / "config.toml", config.to_toml())
    except (OSError, InputError) as error:
        for place in made:
            with suppress(OSError):
                place.rmdir()
        if isinstance(error, InputError):
            raise
        reason = "it is a file" if folder.is_file() else error.strerror
        raise InputError(f"cannot write to the run folder {folder}: {reason}") from error
    return folder


def _require_room(folder: Path, config: RunConfig, model: Sequential, plots: bool) -> None:
    """Refuse a disk that cannot hold the results."""
    vectors = 1 + len(config.make_optimizer().state)
    # Two checkpoints stand there at once with the temporary one that replaces either.
    needed = 3 * vectors * model.parameters.nbytes + 1000 * config.epochs
    needed += PLOTS_BYTES if plots else 0
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise InputError(
            f"the disk of {folder} has {free / 1e6:,.1f} MB free, the run needs about "
            f"{needed / 1e6:,.1f} MB: make room, or name another disk with --out"
        )


def _described(config: RunConfig, model: Sequential, loss: Loss, parts: Splits) -> str:
    widths = "-".join(map(str, (model.features, *config.layers, model.outputs)))
    sizes = ", ".join(f"{len(data):,} {name}" for name, data in parts.parts().items())
    return (
        f"{widths} {config.activation}, {model.parameters.size:,} parameters, {loss.kind}\n"
        f"{parts.name}: {sizes} samples"
    )


def _fit(
    config: RunConfig, model: Sequential, loss: Loss, parts: Splits, folder: Path, quiet: bool
) -> History:
    """Train; whatever stops it leaves whole files and an error that names them."""
    keep: list[callbacks.Callback] = [
        callbacks.ModelCheckpoint(folder / "last.h5", save_best_only=False)
    ]
    if parts.validation is not None:
        judged = loss.targets(parts.validation.targets, model.outputs, model.dtype).judge
        monitor = "val_loss" if judged is None else "val_accuracy"
        keep.append(callbacks.ModelCheckpoint(folder / "best.h5", monitor))
    keep.append(callbacks.CSVLogger(folder / "history.csv"))
    try:
        history = model.fit(
            parts.train,
            validation_data=parts.validation,
            callbacks=keep,
            verbose=0 if quiet else 1,
            **_fit_settings(config, loss),
        )
    except KeyboardInterrupt:
        raise Interrupted(_save_interrupted(model, folder)) from None
    except NonFiniteLossError as error:
        error.args = (f"{error}; {_save_diverged(model, folder)}",)
        raise
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise OSError(
            error.errno,
            f"cannot write to {folder} after epoch {model.progress.epoch} of {config.epochs}: "
            f"{reason}; the files that are there are whole",
        ) from error
    history.to_csv(folder / "history.csv")
    history.to_json(folder / "history.json")
    return history


def _save_interrupted(model: Sequential, folder: Path) -> str:
    model.save(folder / "last.h5")
    _save_history(model, folder)
    done = model.progress
    epochs = model.training.epochs if model.training else 0
    where = f"epoch {done.epoch + 1} of {epochs}, after {done.step} steps of it"
    return f"stopped by Ctrl-C in {where}: saved {folder / 'last.h5'} and the history beside it"


def _save_diverged(model: Sequential, folder: Path) -> str:
    """Keep the last epoch's checkpoint; without one, save the parameters before the step."""
    _save_history(model, folder)
    last = folder / "last.h5"
    if last.exists():
        return f"{last} is of the epoch before"
    if not np.isfinite(model.parameters).all():
        return "there is no checkpoint, because no parameters before it are left"
    model.save(last)
    return f"{last} holds the parameters before that step"


def _save_history(model: Sequential, folder: Path) -> None:
    if model.history is not None:
        model.history.to_json(folder / "history.json")


def _write_results(
    folder: Path, part: str, measured: dict[str, float], report: ClassificationReport | None
) -> None:
    finite = {name: value if math.isfinite(value) else None for name, value in measured.items()}
    result: dict[str, Any] = {"part": part, **finite}
    if report is not None:
        result["report"] = report.as_dict()
    _write_text(folder / "result.json", json.dumps(result, indent=2, allow_nan=False) + "\n")


def _draw(folder: Path, history: History, report: ClassificationReport | None) -> None:
    from mlcore import plots

    if report is None:
        plots.save_all(history, None, folder)
    else:
        plots.save_all(history, report.matrix, folder, report.class_names)


def _write_text(path: Path, text: str) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _require_matplotlib() -> None:
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise MissingExtraError(
            'plots need matplotlib: pip install "mlcore[plots]", or train with --no-plots'
        ) from None


@contextmanager
def _threads(config: RunConfig) -> Iterator[None]:
    """Let the run use the threads asked for: of the native engine, or else of NumPy's BLAS."""
    if config.threads is None:
        yield
    elif kernels.is_native(config.backend):
        with kernels.threads.limited(config.threads):
            yield
    else:
        try:
            from threadpoolctl import threadpool_limits
        except ImportError:
            raise MissingExtraError(
                f"--threads with the {config.backend} backend needs threadpoolctl: "
                'pip install "mlcore[threads]", or leave it out'
            ) from None
        with threadpool_limits(config.threads):
            yield
