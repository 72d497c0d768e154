"""The `mlcore` command."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

import mlcore
from mlcore.executor import NonFiniteLossError
from mlcore.kernels.errors import InputError, nearest, unknown

if TYPE_CHECKING:
    from mlcore.data import Dataset
    from mlcore.metrics import ClassificationReport

BAD_INPUT, FAILED, INTERRUPTED = 2, 1, 130
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class Group(click.Group):
    """A group that answers a mistyped command with the nearest one."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say which was meant."""
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            raise unknown("command", args[0], self.list_commands(ctx))
        return super().resolve_command(ctx, args)


@click.group(cls=Group, context_settings=CONTEXT)
@click.version_option(mlcore.__version__, prog_name="mlcore")
def commands() -> None:
    """Train small neural networks on a CPU, from scratch.

    Start with `mlcore train`: it trains a network on a bundled sample of MNIST and shows what a
    run leaves behind.
    """


def _options(*declared: tuple[str, str, str]) -> Callable[[Any], Any]:
    def add(command: Any) -> Any:
        for flag, metavar, text in reversed(declared):
            kind = {"INT": int, "NUMBER": float}.get(metavar, str)
            command = click.option(flag, metavar=metavar, type=kind, help=text)(command)
        return command

    return add


@commands.command()
@_options(
    ("--data", "SET", "mnist-sample, mnist, fashion-mnist, a FILE (.h5, .npz) or a FOLDER. "
     "[mnist-sample]"),
    ("--layers", "N,N,...", "Units of the hidden layers, or none. [512,64,32]"),
    ("--activation", "NAME", "Of the hidden layers: relu, tanh, sigmoid, gelu, ... [relu]"),
    ("--initializer", "NAME", "Of the weights: he_normal, glorot_uniform, ... [he_normal]"),
    ("--dropout", "NUMBER", "Rate behind every hidden layer. [0]"),
    ("--noise", "NUMBER", "Standard deviation of the noise on the input and on every hidden layer "
     "but the last. [0.05]"),
    ("--optimizer", "NAME", "sgd, adam, adamw or rmsprop. [sgd]"),
    ("--learning-rate", "NUMBER", "[0.1 for sgd, else the optimizer's own]"),
    ("--momentum", "NUMBER", "Of sgd and rmsprop. [0]"),
    ("--weight-decay", "NUMBER", "[0; 0.01 for adamw]"),
    ("--schedule", "NAME", "constant, step:0.5,0.78, exponential:0.95 or "
     "cosine:warmup=0.1,cycles=2. [step:0.5,0.78]"),
    ("--batch-size", "INT", "Samples a step. [50]"),
    ("--epochs", "INT", "Passes over the data. [50]"),
    ("--validation-split", "NUMBER", "Last part of the training data, where the data has no "
     "validation part. [1/6]"),
    ("--seed", "INT", "Of weights, noise and shuffling. [0]"),
    ("--dtype", "NAME", "float32 or float64. [float32]"),
    ("--backend", "NAME", "native or numpy. [the first one there]"),
    ("--threads", "INT", "Threads of NumPy's BLAS; needs threadpoolctl. [its own setting]"),
)  # fmt: skip
@click.option("--out", metavar="DIR", help="Run folder, new or empty. [runs/DATA-TIME]")
@click.option(
    "--config", "config_file", metavar="FILE.toml",
    help="Settings of an earlier run, as RUN/config.toml; options given beside it go first.",
)  # fmt: skip
@click.option("--quiet", "-q", is_flag=True, help="Print the result only.")
@click.option("--no-plots", is_flag=True, help="Draw nothing; works without matplotlib.")
def train(
    out: str | None, config_file: str | None, quiet: bool, no_plots: bool, **settings: Any
) -> None:
    """Train a network and write a run folder.

    The folder holds the best and the last checkpoint, the history, plots, the result and the
    full configuration: `mlcore train --config RUN/config.toml` repeats the run to the same bits.
    """
    from mlcore import run
    from mlcore.config import RunConfig, from_toml

    config = from_toml(config_file) if config_file else RunConfig()
    config = config.changed(
        **{name: value for name, value in settings.items() if value is not None}
    )
    result = run.train(config, out, plots=not no_plots, quiet=quiet)
    click.echo(_headline(result.part, result.measured, result.report))
    click.echo(f"run folder {result.folder}: {', '.join(result.files)}")


def _headline(part: str, measured: dict[str, float], report: ClassificationReport | None) -> str:
    loss = f"loss {measured['loss']:.4f}"
    if report is None:
        return f"{part} {loss}"
    right = round(report.accuracy * report.samples)
    return f"{part} accuracy {report.accuracy:.2%} ({right:,} of {report.samples:,} right), {loss}"


def _part(data: str, part: str | None) -> Dataset:
    from mlcore.data import load

    parts = load(data).parts()
    chosen = part or ("test" if "test" in parts else "train")
    if chosen not in parts:
        raise unknown(f"part of {data}", chosen, parts)
    return parts[chosen]


@commands.command()
@click.argument("checkpoint")
@click.option("--data", metavar="SET", required=True, help="As for `mlcore train`.")
@click.option("--part", metavar="NAME", help="train, validation or test. [test if there is one]")
@click.option("--backend", metavar="NAME", help="native or numpy. [the first one there]")
def evaluate(checkpoint: str, data: str, part: str | None, backend: str | None) -> None:
    """Measure a checkpoint: accuracy, loss, and what is confused with what."""
    from mlcore import run

    model = mlcore.load(checkpoint, backend=backend)
    samples = _part(data, part)
    measured, report = run.evaluate(model, samples)
    click.echo(_headline(samples.name, measured, report))
    if report is not None:
        click.echo(f"\n{report}\n\n{_confusion(report)}")
        click.echo("\nmost confused: " + ("; ".join(_pairs(report)) or "nothing"))


def _confusion(report: ClassificationReport) -> str:
    from mlcore.plan import table

    names = report.names
    lines = [
        (name, *(str(count) if count else "." for count in row))
        for name, row in zip(names, report.matrix.tolist(), strict=True)
    ]
    head = ("true \\ predicted", *names)
    return table(head, lines, right=tuple(range(1, len(names) + 1)))


def _pairs(report: ClassificationReport) -> list[str]:
    return [
        f"{report.names[pair.true]} taken for {report.names[pair.predicted]} "
        f"({pair.samples}, {pair.rate:.1%})"
        for pair in report.most_confused(5)
    ]


@commands.command()
@click.argument("checkpoint")
@click.option("--data", metavar="SET", required=True, help="As for `mlcore train`.")
@click.option("--out", metavar="FILE", required=True, help="A new .csv, .npz or .h5 file.")
@click.option("--part", metavar="NAME", help="train, validation or test. [test if there is one]")
@click.option("--backend", metavar="NAME", help="native or numpy. [the first one there]")
def predict(checkpoint: str, data: str, out: str, part: str | None, backend: str | None) -> None:
    """Write a checkpoint's predictions: the class of each sample and its probabilities.

    A model that was trained on mse gives its outputs instead.
    """
    from mlcore import predictions

    target = predictions.check_target(out)
    model = mlcore.load(checkpoint, backend=backend)
    samples = _part(data, part)
    predictions.write(model, samples, target)
    click.echo(f"{len(samples):,} predictions written to {out}")


@commands.command()
def info() -> None:
    """Say what is installed, which backends there are, and why others are not."""
    from mlcore import system

    lines = system.report()
    width = max(map(len, lines))
    for name, text in lines.items():
        click.echo(f"{name:<{width}}  {text}")


@commands.group(cls=Group)
def data() -> None:
    """List, download and convert data sets."""


@data.command("list")
def list_sets() -> None:
    """Say which data sets there are, and where on this machine."""
    from mlcore.data import available
    from mlcore.plan import table

    lines = []
    for entry in available():
        known = entry.entry
        images = ", ".join(f"{count:,} {part}" for part, count in known.images.items())
        where = (
            f"{entry.folder} ({entry.bytes / 1e6:.1f} MB)"
            if entry.found
            else (f"not here: mlcore data fetch {known.name}")
        )
        lines.append((known.name, images, known.licence, where))
    click.echo(table(("set", "images", "licence", "where"), lines, right=()))
    click.echo("\nThe download addresses have not been tried from where mlcore is made.")


@data.command()
@click.argument("name")
@click.option("--destination", metavar="DIR", help="[the cache folder]")
@click.option("--force", is_flag=True, help="Download again what is there.")
@click.option("--quiet", "-q", is_flag=True, help="No progress bar.")
def fetch(name: str, destination: str | None, force: bool, quiet: bool) -> None:
    """Download mnist or fashion-mnist, and check every byte."""
    from mlcore.data import fetch as download

    click.echo(str(download(name, destination=destination, force=force, progress=not quiet)))


@data.command()
@click.argument("source")
@click.argument("destination")
@click.option("--format", "form", metavar="NAME", help="idx, hdf5 or npz. [by the suffix]")
@click.option("--one-hot", is_flag=True, help="Write labels as one-hot rows, as the notebooks do.")
@click.option("--overwrite", is_flag=True, help="Replace files that are there.")
def convert(
    source: str, destination: str, form: str | None, one_hot: bool, overwrite: bool
) -> None:
    """Write a data set in another format: IDX, HDF5 or .npz."""
    from mlcore.data import convert as rewrite

    written = rewrite(source, destination, format=form, one_hot_labels=one_hot, overwrite=overwrite)
    click.echo("\n".join(f"written: {path}" for path in written))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns
    -------
    int
        0; 1 where a run failed; 2 where the input was wrong; 130 after Ctrl-C. Every failure is
        one line on standard error.
    """
    from mlcore.run import Interrupted

    try:
        outcome = commands.main(
            args=None if arguments is None else list(arguments),
            prog_name="mlcore",
            standalone_mode=False,
        )
        return outcome if isinstance(outcome, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return BAD_INPUT
    except click.NoSuchOption as error:
        known = (
            [flag for option in error.ctx.command.params for flag in option.opts]
            if (error.ctx)
            else []
        )
        options = [flag for flag in known if flag.startswith("--")]
        return _complain(
            f"unknown option {error.option_name!r}.{nearest(error.option_name, options)}"
        )
    except click.ClickException as error:
        return _complain(error.format_message())
    except InputError as error:
        return _complain(str(error))
    except NonFiniteLossError as error:
        return _complain(str(error), FAILED)
    except Interrupted as stopped:
        return _complain(str(stopped), INTERRUPTED)
    except (KeyboardInterrupt, click.Abort):
        return _complain("stopped by Ctrl-C", INTERRUPTED)
    except BrokenPipeError:
        return FAILED
    except OSError as error:
        place = f" ({error.filename})" if error.filename else ""
        return _complain(f"{error.strerror or error}{place}", FAILED)


def _complain(message: str, code: int = BAD_INPUT) -> int:
    click.echo(f"mlcore: {' '.join(message.split())}", err=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
