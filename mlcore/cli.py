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
CLASSES_SHOWN = 26
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
@click.version_option(package_name="mlcore", prog_name="mlcore")
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
    ("--loss", "NAME", "softmax_cross_entropy, sigmoid_cross_entropy, mse, mae, huber:1, hinge:1, "
     "squared_hinge:1 or perceptron. [by the targets]"),
    ("--optimizer", "NAME", "sgd, adam, adamw, rmsprop or adagrad. [sgd]"),
    ("--learning-rate", "NUMBER", "Base of the schedule. [0.1 for sgd, else the optimizer's own]"),
    ("--momentum", "NUMBER", "Of sgd and rmsprop. [0]"),
    ("--weight-decay", "NUMBER", "Added to the gradient, decoupled in adamw. [0; 0.01 for adamw]"),
    ("--global-clipnorm", "NUMBER", "Largest norm of the gradient. [none]"),
    ("--l2", "NUMBER", "Strength of the L2 penalty, which is part of the loss. [0]"),
    ("--schedule", "NAME", "constant, step:0.5,0.78, exponential:0.95 or "
     "cosine:warmup=0.1,cycles=2. [step:0.5,0.78]"),
    ("--batch-size", "INT", "Samples a step. [50]"),
    ("--epochs", "INT", "Passes over the data. [50]"),
    ("--validation-split", "NUMBER", "Last part of the training data, where the data has no "
     "validation part. [1/6]"),
    ("--seed", "INT", "Of weights, noise, dropout and shuffling. [0]"),
    ("--dtype", "NAME", "float32 or float64. [float32]"),
    ("--backend", "NAME", "native, numba, numpy or cupy. [the first one there]"),
    ("--threads", "INT", "Threads of the engine; with numpy, of its BLAS. [all processors]"),
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

    config = RunConfig() if config_file is None else from_toml(config_file)
    config = config.changed(
        **{name: value for name, value in settings.items() if value is not None}
    )
    result = run.train(config, out, plots=not no_plots, quiet=quiet)
    click.echo(_headline(result.part, result.measured, result.report))
    if quiet:
        click.echo(str(result.folder))
        return
    width = max(map(len, result.files))
    click.echo(f"\nrun folder {result.folder}")
    for name, text in result.files.items():
        click.echo(f"  {name:<{width}}  {text}")


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
        raise unknown("part", chosen, parts)
    return parts[chosen]


@commands.command(short_help="Measure a checkpoint, class by class.")
@click.argument("checkpoint")
@click.option("--data", metavar="SET", required=True, help="As for `mlcore train`.")
@click.option("--part", metavar="NAME", help="train, validation or test. [test if there is one]")
@click.option(
    "--backend", metavar="NAME", help="native, numba, numpy or cupy. [the first one there]"
)
def evaluate(checkpoint: str, data: str, part: str | None, backend: str | None) -> None:
    """Measure a checkpoint: accuracy, loss, precision and recall, and what is taken for what."""
    from mlcore import run

    model = mlcore.load(checkpoint, backend=backend)
    samples = _part(data, part)
    measured, report = run.evaluate(model, samples)
    click.echo(_headline(samples.name, measured, report))
    if report is not None:
        click.echo(f"\n{report}\n\n{_confusion(report)}")


def _confusion(report: ClassificationReport) -> str:
    """Return the matrix as a table; columns have the classes' numbers, so that it stays narrow."""
    from mlcore.plan import table

    count = len(report.names)
    if count > CLASSES_SHOWN:
        return f"the confusion matrix of {count} classes is too wide to show"
    numbers = [str(number) for number in range(count)]
    lines = [
        (number if name == number else f"{number} {name}", *(f"{n:,}" if n else "." for n in row))
        for number, name, row in zip(numbers, report.names, report.matrix.tolist(), strict=True)
    ]
    return table(("true \\ predicted", *numbers), lines, right=tuple(range(1, count + 1)))


@commands.command(short_help="Write a checkpoint's predictions to a file.")
@click.argument("checkpoint")
@click.option("--data", metavar="SET", required=True, help="As for `mlcore train`.")
@click.option("--out", metavar="FILE", required=True, help="A new .csv, .npz or .h5 file.")
@click.option("--part", metavar="NAME", help="train, validation or test. [test if there is one]")
@click.option(
    "--backend", metavar="NAME", help="native, numba, numpy or cupy. [the first one there]"
)
def predict(checkpoint: str, data: str, out: str, part: str | None, backend: str | None) -> None:
    """Write a checkpoint's predictions: the class of each sample and its probabilities.

    A model of a regression gives its outputs instead, one of a hinge loss outputs beside classes.
    """
    from mlcore import predictions

    target = predictions.check_target(out)
    model = mlcore.load(checkpoint, backend=backend)
    samples = _part(data, part)
    predictions.write(model, samples, target)
    click.echo(f"{len(samples):,} predictions written to {out}")


@commands.command(short_help="Train with many settings, on all cores.")
@click.argument("config", metavar="FILE.toml")
@_options(
    ("--seeds", "INT", "Runs of each setting, with seeds from 0 on. [1]"),
    ("--workers", "INT", "Processes, with one core each. [as many as there are cores]"),
    ("--out", "FILE.csv", "Gets each row as it comes; what it holds is not run again. [sweep.csv]"),
)  # fmt: skip
@click.option("--retry", is_flag=True, help="Run again what failed.")
@click.option("--quiet", "-q", is_flag=True, help="No progress bar.")
def sweep(
    config: str, seeds: int | None, workers: int | None, out: str | None, retry: bool, quiet: bool
) -> int:
    """Train with every combination of the lists in the table [sweep] of a file of settings.

    The file is otherwise as that of `mlcore train --config`. The rows are measured on training
    and validation data; the table printed holds the means over the seeds. A sweep that was
    stopped goes on when it is called again. The exit code is 1 where a run failed.
    """
    from mlcore.sweeps import command

    results = command.run(
        config, seeds=1 if seeds is None else seeds, workers=workers, out=out or "sweep.csv",
        retry=retry, progress=not quiet,
    )  # fmt: skip
    click.echo(str(results.mean_over_seeds()))
    return FAILED if results.failed else 0


@commands.command(short_help="Show version, backends, processor and threads.")
def info() -> None:
    """Say what is installed, which backends there are, and why others are not."""
    from mlcore import system

    lines = system.report()
    width = max(map(len, lines))
    for name, text in lines.items():
        click.echo(f"{name:<{width}}  {text}")


@commands.command(short_help="Measure the kernels beside this machine's limits.")
@_options(
    ("--kernel", "NAME,...", "Rows of the kernel table: linear, adam, ... [all]"),
    ("--backend", "NAME,...", "As in `mlcore info`. [native, numba and numpy, as far as there]"),
    ("--dtype", "NAME,...", "float32 or float64. [both]"),
    ("--seconds", "NUMBER", "To time each row. [0.05]"),
    ("--against", "NAME,...", "torch or jax, for the kernels that they have. [none]"),
    ("--plot", "FILE.png", "Draw the roofline plot; needs matplotlib."),
    ("--json", "FILE", "Write the raw figures and the machine's description."),
)  # fmt: skip
def bench(
    kernel: str | None,
    backend: str | None,
    dtype: str | None,
    seconds: float | None,
    against: str | None,
    plot: str | None,
    json: str | None,
) -> int:
    """Measure every kernel on one core: time, GFLOP/s or GB/s, share of the machine's peak.

    Each kernel is first held against the NumPy reference on random inputs. One that gives wrong
    results is named and not timed, and the exit code is 1. The others take turns with the
    reference; "~" marks times that the machine disturbed.

    A kernel named by --kernel is measured with every activation that it has.
    """
    from mlcore.bench import check_targets, run

    def listed(text: str | None) -> list[str] | None:
        return None if text is None else [name.strip() for name in text.split(",")]

    check_targets(plot, json)
    result = run(
        listed(kernel),
        listed(backend),
        listed(dtype),
        seconds=0.05 if seconds is None else seconds,
        against=listed(against),
        progress=True,
    )
    click.echo(str(result))
    if json is not None:
        result.to_json(json)
    if plot is not None:
        result.plot(plot)
    return FAILED if result.failures else 0


@commands.command(short_help="Check a backward pass, and name what is wrong with it.")
@click.argument("target", metavar="FILE.py:NAME")
@_options(
    ("--inputs", "TEXT", "x=20x4,y=20:3 (shapes; y whole numbers below 3), a .npz file, or a name "
     "in FILE.py. [inputs of FILE.py]"),
    ("--params", "TEXT", "The parameters, likewise. [params of FILE.py]"),
    ("--backward", "NAME", "The backward function. [NAME with backward for forward]"),
    ("--seed", "INT", "Of random inputs. [0]"),
    ("--rtol", "NUMBER", "Relative difference allowed. [1e-6]"),
    ("--json", "FILE", "Write the report for machines."),
    ("--plot", "FILE.png", "Draw the heat map of the error; needs matplotlib."),
)  # fmt: skip
def gradcheck(
    target: str,
    inputs: str | None,
    params: str | None,
    backward: str | None,
    seed: int | None,
    rtol: float | None,
    json: str | None,
    plot: str | None,
) -> int:
    """Compare gradients with measured slopes, and name the fault where they differ.

    NAME is a forward function, a function that returns (loss, gradients), an object or a class
    with forward and backward, or a model. The exit code is 1 where there is a fault.
    """
    from mlcore.gradcheck import command

    report = command.run(
        target, inputs, params, backward, seed or 0, rtol=1e-6 if rtol is None else rtol
    )
    click.echo(str(report))
    if json is not None:
        command.write_json(report, json)
    if plot is not None:
        from mlcore.plots import save

        save(report.figure(), plot)
    return 0 if report else FAILED


@commands.group(cls=Group)
def study() -> None:
    """List and run studies: experiments from one command.

    Each prints a table and a conclusion, and leaves plots and a page to mail.
    """


@study.command("list")
def list_studies() -> None:
    """Say which studies there are."""
    from mlcore import studies
    from mlcore.plan import table

    found = map(studies.find, studies.names())
    lines = [
        (each.label, each.name, "" if each.seeds is None else f"{each.seeds:,}", each.title)
        for each in found
    ]
    click.echo(table(("", "study", "seeds", "what it shows"), lines, right=(2,)))
    click.echo("\nmlcore study run NAME runs one; with --quick it takes seconds.")
    click.echo("Where no seeds stand, each network is trained once, and --seeds is refused.")


@study.command("run", short_help="Run a study, or all of them.")
@click.argument("name")
@_options(
    ("--data", "DIR", "Folder that holds mnist/ or fashion-mnist/, or the set itself. "
     "[$MLCORE_DATA, the cache, or the bundled sample]"),
    ("--seeds", "INT", "How many seeds to repeat with. [the study's own number]"),
    ("--workers", "INT", "Processor cores to use. [all]"),
    ("--out", "DIR", "Folder for the results, new or empty. [runs/NAME-TIME]"),
)  # fmt: skip
@click.option("--quick", is_flag=True, help="Less data, fewer epochs, seeds and networks: seconds.")
@click.option("--svg", is_flag=True, help="Write the plots as SVG too.")
@click.option(
    "--set", "changed", metavar="KEY=VALUE", multiple=True,
    help="A setting of the study, such as networks=1000 or rates=0.1,0.05; may be repeated.",
)  # fmt: skip
@click.option("--no-plots", is_flag=True, help="Draw nothing; works without matplotlib.")
@click.option("--quiet", "-q", is_flag=True, help="Print the result only, not what is being done.")
def run_study(
    name: str,
    data: str | None,
    seeds: int | None,
    workers: int | None,
    out: str | None,
    quick: bool,
    svg: bool,
    changed: tuple[str, ...],
    no_plots: bool,
    quiet: bool,
) -> int:
    """Run a study: print its table and conclusion, and write them with the plots and networks.

    NAME is one of `mlcore study list`, or "all". Where one of all fails, the others go on, and
    the exit code is 1.
    """
    from mlcore.studies import command

    return command.run(
        name, changed, out, svg=svg, quick=quick, seeds=seeds, workers=workers, data=data,
        plots=not no_plots, progress=not quiet,
    )  # fmt: skip


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
        return _complain(_unknown_option(error))
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
    except MemoryError as error:
        return _complain(f"out of memory: {error}", FAILED)
    except OSError as error:
        place = f" ({error.filename})" if error.filename else ""
        return _complain(f"{error.strerror or error}{place}", FAILED)


def _unknown_option(error: click.NoSuchOption) -> str:
    """Return the message with the nearest option, or with where they are listed."""
    flags: list[str] = []
    place = "mlcore"
    if error.ctx is not None:
        place = error.ctx.command_path
        flags = [flag for option in error.ctx.command.params for flag in option.opts]
    hint = nearest(error.option_name, [flag for flag in flags if flag.startswith("--")])
    return f"unknown option {error.option_name!r}.{hint or f' See `{place} --help`.'}"


def _complain(message: str, code: int = BAD_INPUT) -> int:
    click.echo(f"mlcore: {' '.join(message.split())}", err=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
