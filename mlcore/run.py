"""A training run with everything it leaves behind: the work of `mlcore train`."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mlcore import schedules
from mlcore.callbacks import Callback, CSVLogger, ModelCheckpoint
from mlcore.config import RunConfig
from mlcore.data import Dataset, Splits, load, split
from mlcore.data.catalog import CATALOG
from mlcore.data.files import atomic_write
from mlcore.executor import NonFiniteLossError
from mlcore.history import History
from mlcore.kernels.errors import InputError, MissingExtraError
from mlcore.metrics import ClassificationReport, confusion_matrix
from mlcore.model import Sequential

PLOTS_BYTES = 2_000_000


class Interrupted(Exception):
    """Ctrl-C stopped the run; the message says what was saved."""


@dataclass(frozen=True)
class Result:
    """What a run measured.

    Attributes
    ----------
    folder : Path
    files : list of str
        What stands in the folder.
    part : str
        What was measured: "test", or "validation" where the data has no test part.
    measured : dict
        Loss and accuracy of the last epoch.
    report : ClassificationReport or None
        None in a regression.
    """

    folder: Path
    files: list[str]
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
        For bad data, settings or folders, before training starts.
    Interrupted
        On Ctrl-C, after the last checkpoint was written.
    NonFiniteLossError
        When the loss becomes NaN; the checkpoints so far are kept.
    """
    if plots:
        _require_matplotlib()
    parts = _load(config)
    targets = parts.train.targets
    model = config.make_model(_outputs(parts.train)).build(parts.train.inputs.shape[1])
    config = replace(
        config,
        backend=model.backend.name,
        data=_absolute(config.data),
        learning_rate=config.make_optimizer().learning_rate,
    )
    folder = _prepare(out, config, model, plots)
    _write_text(folder / "config.toml", config.to_toml())
    loss = "softmax_cross_entropy" if targets.dtype.kind in "iu" else "mse"
    monitor = "val_accuracy" if loss != "mse" else "val_loss"
    keep: list[Callback] = [
        CSVLogger(folder / "history.csv"),
        ModelCheckpoint(folder / "last.h5", save_best_only=False),
    ]
    if parts.validation is not None:
        keep.append(ModelCheckpoint(folder / "best.h5", monitor))
    with _threads(config):
        try:
            history = model.fit(
                parts.train,
                loss=loss,
                optimizer=config.make_optimizer(),
                epochs=config.epochs,
                batch_size=config.batch_size,
                validation_data=parts.validation,
                schedule=schedules.get(config.schedule),
                callbacks=keep,
                verbose=0 if quiet else 1,
            )
        except KeyboardInterrupt:
            raise Interrupted(_save_interrupted(model, folder)) from None
        except NonFiniteLossError as error:
            _save_unfinished(model, folder)
            raise NonFiniteLossError(
                error.step, error.layer, error.tensor,
                f"{error}; {folder / 'last.h5'} holds the parameters before that step",
            ) from error  # fmt: skip
        part = next(name for name in ("test", "validation", "train") if name in parts.parts())
        measured, report = evaluate(model, parts.parts()[part])
    _write_results(folder, history, part, measured, report)
    if plots:
        _draw(folder, history, report)
    files = sorted(path.name for path in folder.iterdir())
    return Result(folder, files, part, measured, report)


def evaluate(
    model: Sequential, data: Dataset
) -> tuple[dict[str, float], ClassificationReport | None]:
    """Return loss and accuracy on `data`, and the report by class where there are classes."""
    measured = model.evaluate(data)
    if data.targets.dtype.kind not in "iu":
        return measured, None
    matrix = confusion_matrix(data.targets, model.predict_classes(data), max(2, model.outputs))
    names = data.class_names
    fits = names is not None and len(names) == len(matrix)
    return measured, ClassificationReport(matrix, names if fits else None)


def _load(config: RunConfig) -> Splits:
    parts = load(config.data)
    if parts.validation is None and config.validation_split:
        held = split(parts.train, validation=config.validation_split)
        parts = replace(parts, train=held.train, validation=held.validation)
    return parts


def _absolute(data: str) -> str:
    return data if data in CATALOG else str(Path(data).expanduser().resolve())


def _outputs(data: Dataset) -> int:
    if data.class_names is not None:
        return len(data.class_names)
    if data.targets.dtype.kind in "iu":
        return max(2, int(data.targets.max(initial=0)) + 1)
    return 1 if data.targets.ndim == 1 else int(data.targets.shape[1])


def _prepare(
    out: str | os.PathLike[str] | None, config: RunConfig, model: Sequential, plots: bool
) -> Path:
    """Make the run folder, and find out before training whether it can hold the results."""
    if out is None:
        name = Path(config.data).stem
        stamp = time.strftime("%Y%m%d-%H%M%S")
        folder = Path("runs") / f"{name}-{stamp}-{secrets.token_hex(2)}"
    else:
        folder = Path(out).expanduser()
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"{folder} already holds files: name a new folder with --out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{secrets.token_hex(4)}"
        probe.write_bytes(b"mlcore")
        probe.unlink()
    except OSError as error:
        raise InputError(f"cannot write to the run folder {folder}: {error.strerror}") from error
    vectors = 1 + len(config.make_optimizer().state)
    # Two checkpoints stand there at once with the temporary one that replaces either.
    needed = 3 * vectors * model.parameters.nbytes + 1000 * config.epochs
    needed += PLOTS_BYTES if plots else 0
    free = shutil.disk_usage(folder).free
    if free < needed:
        with contextlib.suppress(OSError):
            folder.rmdir()
        raise InputError(
            f"the disk of {folder} has {free / 1e6:.1f} MB free, the run needs about "
            f"{needed / 1e6:.1f} MB: make room, or name another disk with --out"
        )
    return folder


def _save_unfinished(model: Sequential, folder: Path) -> None:
    model.save(folder / "last.h5")
    if model.history is not None:
        model.history.to_json(folder / "history.json")


def _save_interrupted(model: Sequential, folder: Path) -> str:
    _save_unfinished(model, folder)
    done = model.progress
    epochs = model.training.epochs if model.training else 0
    where = f"epoch {done.epoch + 1} of {epochs}, after {done.step} steps of it"
    return f"stopped by Ctrl-C in {where}: saved {folder / 'last.h5'} and the history beside it"


def _write_results(
    folder: Path,
    history: History,
    part: str,
    measured: dict[str, float],
    report: ClassificationReport | None,
) -> None:
    history.to_csv(folder / "history.csv")
    history.to_json(folder / "history.json")
    result: dict[str, Any] = {"part": part, **measured}
    if report is not None:
        result["report"] = report.as_dict()
    _write_text(folder / "result.json", json.dumps(result, indent=2) + "\n")


def _draw(folder: Path, history: History, report: ClassificationReport | None) -> None:
    from mlcore import plots

    if report is not None:
        plots.save_all(history, report.matrix, folder, report.class_names)
    else:
        plots.save(plots.plot_curves(history), folder / "curves.png")
        plots.save(plots.plot_learning_rate(history), folder / "learning_rate.png")


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


def _threads(config: RunConfig) -> Any:
    """Return the context in which NumPy's BLAS uses the threads asked for."""
    if config.threads is None:
        return contextlib.nullcontext()
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        raise MissingExtraError(
            '--threads needs threadpoolctl: pip install "mlcore[threads]", or leave it out'
        ) from None
    if config.backend == "native" and config.threads > 1:
        print("note: the native kernels of this version use one thread", file=sys.stderr)
    return threadpool_limits(config.threads)
