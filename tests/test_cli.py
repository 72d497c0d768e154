"""The `mlcore` command as a user meets it: what it prints, what it writes, how it says no."""

import builtins
import csv
import errno
import fcntl
import json
import os
import pty
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

import mlcore
from mlcore import kernels
from mlcore.callbacks import CSVLogger, ModelCheckpoint
from mlcore.cli import _confusion, main
from mlcore.history import History
from mlcore.metrics import ClassificationReport

SMALL = ["--layers", "4", "--epochs", "2", "--batch-size", "8", "--no-plots"]
RUN_FILES = {
    "best.h5", "last.h5", "history.csv", "history.json", "result.json", "config.toml",
    "curves.png", "learning_rate.png", "confusion.png",
}  # fmt: skip
TIMES = ("seconds", "samples_per_second")


def samples(count=60, features=4):
    rng = np.random.default_rng(0)
    x = rng.random((count, features)).astype("float32")
    return x, (x[:, 0] > 0.5).astype("int32")


def write(path, x, y):
    with h5py.File(path, "w") as file:
        file["xdata"], file["ydata"] = x, y


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A working directory with a small data set, ok.h5."""
    monkeypatch.chdir(tmp_path)
    write("ok.h5", *samples())
    return tmp_path


def fails(capsys, arguments, *words, code=2):
    """Run, and require the exit code, one line on standard error, and the words in it."""
    assert main([str(argument) for argument in arguments]) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    assert shown.err.startswith("mlcore: ")
    for word in words:
        assert word in shown.err
    return shown.err


def trained(*arguments, out="run"):
    assert main(["train", "--data", "ok.h5", *SMALL, "--quiet", "--out", out, *arguments]) == 0
    return Path(out)


def contents(folder):
    """What a run computed: every bit but the times."""
    found = {}
    for name in ("best.h5", "last.h5"):
        model = mlcore.load(folder / name)
        found[name] = model.parameters.tobytes(), model.parameters.dtype
    columns = History.from_json(folder / "history.json").to_dict()
    found["history"] = {name: column for name, column in columns.items() if name not in TIMES}
    return found


def test_training_leaves_a_whole_run_folder(place, capsys):
    assert main(["train", "--epochs", "2", "--layers", "16", "--out", "run"]) == 0
    shown = capsys.readouterr()
    folder = place / "run"
    assert {path.name for path in folder.iterdir()} == RUN_FILES
    for name in RUN_FILES:
        assert f"  {name}" in shown.out
    result = json.loads((folder / "result.json").read_text())
    assert result["part"] == "test"
    assert result["accuracy"] > 0.8
    assert f"test accuracy {result['accuracy']:.2%}" in shown.out
    assert "2,000 test samples" in shown.err
    with (folder / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    for name in ("curves.png", "learning_rate.png", "confusion.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")


def test_quiet_prints_the_result_and_the_folder_only(capsys):
    trained()
    shown = capsys.readouterr()
    assert shown.err == ""
    assert shown.out.splitlines()[1:] == ["run"]


def test_best_checkpoint_is_of_the_best_validation_accuracy():
    settings = ["--learning-rate", "2", "--schedule", "constant", "--epochs", "12", "--seed", "3"]
    folder = trained(*settings)
    history = History.from_json(folder / "history.json")
    epoch, value = history.best("val_accuracy")
    assert epoch < 12
    assert mlcore.load(folder / "best.h5").progress.epoch == epoch
    assert mlcore.load(folder / "last.h5").progress.epoch == 12
    x, y = samples()
    assert mlcore.load(folder / "best.h5").evaluate(x[50:], y[50:])["accuracy"] == value


@pytest.mark.parametrize(
    "settings",
    [
        [],
        ["--dtype", "float64", "--optimizer", "adam", "--dropout", "0.3", "--noise", "0",
         "--schedule", "cosine:warmup=0.2,cycles=2", "--epochs", "5", "--activation", "tanh"],
        ["--optimizer", "adamw", "--weight-decay", "0.1", "--seed", str(2**64 - 1),
         "--schedule", "exponential:0.9", "--backend", "numpy", "--validation-split", "0.3"],
        ["--optimizer", "sgd", "--momentum", "0.9", "--weight-decay", "1e-7", "--layers", "none",
         "--initializer", "glorot_uniform", "--learning-rate", "1e-05"],
        ["--optimizer", "adagrad", "--global-clipnorm", "0.5", "--l2", "1e-4"],
    ],
)  # fmt: skip
def test_config_repeats_the_run_from_another_folder(place, monkeypatch, settings):
    first = contents(trained(*settings))
    (place / "elsewhere").mkdir()
    monkeypatch.chdir(place / "elsewhere")
    assert main(["train", "--config", "../run/config.toml", "--no-plots", "-q", "--out", "b"]) == 0
    assert contents(Path("b")) == first
    assert Path("b/config.toml").read_text() == Path("../run/config.toml").read_text()


def test_options_go_before_the_config():
    first = trained("--seed", "1")
    again = ["--config", "run/config.toml", "--no-plots", "-q"]
    assert main(["train", *again, "--out", "same"]) == 0
    assert main(["train", *again, "--seed", "2", "--out", "other"]) == 0
    assert contents(Path("same")) == contents(first) != contents(Path("other"))
    assert "seed = 2" in Path("other/config.toml").read_text()


def test_another_optimizer_beside_a_config_brings_its_own_rate():
    trained()
    config = ["--config", "run/config.toml", "--no-plots", "-q", "--out", "adam"]
    assert main(["train", *config, "--optimizer", "adam"]) == 0
    assert "learning_rate = 0.001\n" in Path("adam/config.toml").read_text()


BAD_OPTIONS = [
    ("--epochs 0", "epochs"), ("--epochs 1.5", "--epochs"), ("--batch-size -1", "batch_size"),
    ("--seed -1", "seed"), ("--seed 1e3", "--seed"), ("--seed 18446744073709551616", "2**64"),
    ("--layers 0", "layers"), ("--layers 8,,x", "512,64,32"), ("--layers 1.5", "512,64,32"),
    ("--layers 99999999999", "not fit into memory"), ("--dropout 1", "below 1"),
    ("--dropout nan", "nan"), ("--noise -1", "-1"), ("--noise nan", "nan"),
    ("--learning-rate nan", "nan"), ("--learning-rate -1", "learning_rate"),
    ("--schedule stpe", "Did you mean 'step'?"), ("--schedule step:2", "below 1"),
    ("--dtype float16", "float32, float64"), ("--backend cuda", "numba, numpy"),
    ("--threads 0", "threads"), ("--validation-split 1.5", "validation_split"),
    ("--validation-split nan", "nan"), ("--optimizer adm", "Did you mean 'adam'?"),
    ("--activation rellu", "Did you mean 'relu'?"), ("--initializer he_nomal", "'he_normal'"),
    ("--optimizer adam --momentum 0.5", "momentum is no setting of the optimizer adam"),
    ("--momentum 1", "below 1"), ("--weight-decay nan", "nan"), ("--l2 -1", "l2 of L2"),
    ("--global-clipnorm 0", "above 0"),
    ("--data mnist-sampel", "Did you mean 'mnist-sample'?"),
    ("--data okk.h5", "Did you mean 'ok.h5'?"), ("--data no/such.h5", "folder no"),
    ("--config nope.toml", "nope.toml"), ("--config .", "not a file"),
    ("--config ok.h5", "not a TOML file"), ("--epoch 3", "Did you mean '--epochs'?"),
    ("--qqqqqqqq", "mlcore train --help"), ("--seed", "--seed"), ("extra", "extra"),
    ("--out ok.h5", "it is a file"), ("--out ok.h5/below", "Not a directory"),
    ("--out .", "already holds files"), ("--out /proc/run", "/proc/run"),
    ("--out /sys/run", "/sys/run"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "word"), BAD_OPTIONS)
def test_bad_options_give_one_line_and_leave_nothing(place, capsys, options, word):
    if "--out /" in options and not Path("/proc/self").exists():
        pytest.skip("needs Linux's /proc and /sys")
    fails(capsys, ["train", "--data", "ok.h5", *SMALL, *options.split()], word)
    assert [path.name for path in place.iterdir()] == ["ok.h5"]


@pytest.mark.parametrize("option", ["--layers", "--data", "--activation", "--config", "--schedule"])
def test_empty_options_are_refused(place, capsys, option):
    fails(capsys, ["train", "--data", "ok.h5", *SMALL, option, ""])
    assert [path.name for path in place.iterdir()] == ["ok.h5"]


def bad_data():
    x, y = samples()
    at = np.arange(len(y))
    one_hot = np.eye(2, dtype="uint8")[y]
    with_nan, twice = x.copy(), one_hot.copy()
    with_nan[5, 2], twice[4] = np.nan, 1
    soft = one_hot.astype("float32")
    soft[4] = 0.7
    return {
        "a NaN among the inputs": (with_nan, y, "nan at [5, 2]"),
        "a NaN among numbers to fit": (x, np.where(at == 3, np.nan, x[:, 0]), "nan at [3, 0]"),
        "a one-hot row with two ones": (x, twice, "row 4 sums to 2"),
        "a row that sums to 1.4": (x, soft, "y[4] sums to 1.4"),
        "a negative label": (x, np.where(at == 3, -1, y), "y[3] is -1"),
        "a label of billions": (x, np.where(at == 3, 2**31 - 1, y), "not fit into memory"),
        "one sample": (x[:1], y[:1], "none to train on"),
        "no samples": (x[:0], y[:0], "is empty"),
    }


@pytest.mark.parametrize("case", bad_data())
def test_bad_data_give_one_line_and_leave_nothing(place, capsys, case):
    x, y, word = bad_data()[case]
    write("bad.h5", x, y)
    fails(capsys, ["train", "--data", "bad.h5", *SMALL], word)
    assert {path.name for path in place.iterdir()} == {"ok.h5", "bad.h5"}


@pytest.mark.parametrize(
    ("name", "content"),
    [("empty.h5", b""), ("text.h5", b"hello\n"), ("empty.npz", b""), ("x.txt", b"x")],
)
def test_files_that_are_no_data(capsys, name, content):
    Path(name).write_bytes(content)
    fails(capsys, ["train", "--data", name, *SMALL], name)


def test_a_bad_test_part_is_found_before_training(capsys):
    x, y = samples()
    for name, (test_x, test_y), word in [
        ("label", (x, np.where(np.arange(60) == 3, 9, y)), "y[3] is 9"),
        ("features", samples(features=5), "5 features"),
    ]:
        np.savez(f"{name}.npz", x_train=x, y_train=y, x_test=test_x, y_test=test_y)
        fails(capsys, ["train", "--data", f"{name}.npz", *SMALL], f"{name}.npz test", word)
    assert not Path("runs").exists()


def unusual_targets():
    x, y = samples()
    return {
        "one class": (0 * y, "validation accuracy"),
        "regression": (x[:, 0], "validation loss"),
        "regression of two": (x[:, :2], "validation loss"),
        "soft targets": (np.stack([1 - x[:, 0], x[:, 0]], axis=1), "validation accuracy"),
    }


@pytest.mark.parametrize("case", unusual_targets())
def test_unusual_targets(capsys, case):
    targets, line = unusual_targets()[case]
    write("data.h5", samples()[0], targets)
    assert main(["train", "--data", "data.h5", *SMALL[:-1], "-q", "--out", "run"]) == 0
    assert capsys.readouterr().out.startswith(line)
    assert Path("run/confusion.png").exists() == ("accuracy" in line)
    for name in ("best.h5", "last.h5"):
        assert main(["evaluate", f"run/{name}", "--data", "data.h5"]) == 0
        assert main(["predict", f"run/{name}", "--data", "data.h5", "--out", f"{name}.csv"]) == 0


@pytest.mark.parametrize("loss", ["hinge:0.5", "mae", "softmax_cross_entropy:0.1"])
def test_the_loss_may_be_chosen(capsys, loss):
    write("data.h5", *samples())
    assert main(["train", "--data", "data.h5", "--loss", loss, *SMALL, "-q", "--out", "run"]) == 0
    assert f'loss = "{loss}"' in Path("run/config.toml").read_text()
    shown = capsys.readouterr().out
    assert shown.startswith("validation accuracy")
    assert main(["train", "--config", "run/config.toml", "-q", "--no-plots", "--out", "b"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == shown.splitlines()[0]
    assert main(["evaluate", "run/best.h5", "--data", "data.h5"]) == 0
    assert main(["predict", "run/best.h5", "--data", "data.h5", "--out", "p.csv"]) == 0
    capsys.readouterr()
    fails(capsys, ["train", "--data", "data.h5", "--loss", "hinj", *SMALL], "mean 'hinge'")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["trian"], "Did you mean 'train'?"),
        (["data", "lst"], "Did you mean 'list'?"),
        (["data", "fetch", "mnits"], "Did you mean 'mnist'?"),
        (["data", "convert", "okk.h5", "x.npz"], "Did you mean 'ok.h5'?"),
        (["data", "convert", "ok.h5", "x", "--format", "hdf"], "Did you mean 'hdf5'?"),
        (["evaluate", "run/best.h5"], "--data"),
        (["evaluate", "run/bset.h5", "--data", "ok.h5"], "Did you mean 'best.h5'?"),
        (["evaluate", "text.h5", "--data", "ok.h5"], "not an HDF5 file"),
        (["evaluate", "empty.h5", "--data", "ok.h5"], "not an HDF5 file"),
        (["evaluate", "ok.h5", "--data", "ok.h5"], "no model"),
        (["evaluate", "run", "--data", "ok.h5"], "not a file"),
        (["evaluate", "run/best.h5", "--data", "five.h5"], "5 features"),
        (["evaluate", "run/best.h5", "--data", "label.h5"], "label.h5: y[3] is 9"),
        (["evaluate", "run/best.h5", "--data", "ok.h5", "--part", "tset"], "'tset'"),
        (["evaluate", "run/best.h5", "--data", "ok.h5", "--part", "trian"], "'train'"),
        (["predict", "run/best.h5", "--data", "five.h5", "--out", "p.csv"], "5 features"),
        (["predict", "text.h5", "--data", "ok.h5", "--out", "p.csv"], "not an HDF5 file"),
        (["predict", "run/best.h5", "--data", "ok.h5", "--out", "ok.h5"], "already exists"),
        (["predict", "run/best.h5", "--data", "ok.h5", "--out", "p.txt"], ".csv"),
    ],
)
def test_bad_input_of_the_other_commands(place, capsys, arguments, word):
    trained()
    Path("text.h5").write_text("hello\n")
    Path("empty.h5").write_bytes(b"")
    x, y = samples()
    write("five.h5", *samples(features=5))
    write("label.h5", x, np.where(np.arange(60) == 3, 9, y))
    capsys.readouterr()
    before = sorted(place.rglob("*"))
    fails(capsys, arguments, word)
    assert sorted(place.rglob("*")) == before


def test_evaluate_shows_every_class_and_the_confusions(capsys):
    trained()
    model = mlcore.load("run/best.h5")
    x, y = samples()
    wrong = int((model.predict_classes(x) != y).sum())
    capsys.readouterr()
    assert main(["evaluate", "run/best.h5", "--data", "ok.h5"]) == 0
    shown = capsys.readouterr().out
    loss = model.evaluate(x, y)["loss"]
    assert f"({60 - wrong} of 60 right), loss {loss:.4f}" in shown
    for word in ("precision", "recall", "true \\ predicted", "most confused:", "taken for"):
        assert shown.count(word) >= 1
    assert max(map(len, shown.splitlines())) <= 80


def test_evaluate_keeps_long_class_names_out_of_the_columns():
    names = ["a class with a long name", "b", "2"]
    shown = _confusion(ClassificationReport(np.array([[1, 2, 0], [0, 3, 0], [0, 0, 4]]), names))
    assert "0 a class with a long name  1  2  ." in shown
    assert "\n2 " in shown
    assert "2 2" not in shown
    assert "too wide" in _confusion(ClassificationReport(np.eye(27, dtype=int)))


def test_a_notebook_file_is_measured_like_the_model_it_was(capsys):
    trained()
    mlcore.load("run/last.h5").save("notebook.h5", format="notebook")
    outputs = []
    for number, name in enumerate(("run/last.h5", "notebook.h5")):
        capsys.readouterr()
        assert main(["evaluate", name, "--data", "ok.h5"]) == 0
        outputs.append(capsys.readouterr().out)
        assert main(["predict", name, "--data", "ok.h5", "--out", f"{number}.csv"]) == 0
    assert outputs[0] == outputs[1]
    assert Path("0.csv").read_bytes() == Path("1.csv").read_bytes()


def test_without_matplotlib_training_says_how_to_get_it(capsys, monkeypatch):
    real = builtins.__import__

    def without(name, *rest, **options):
        if name.partition(".")[0] == "matplotlib":
            raise ImportError(name)
        return real(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    command = ["train", "--data", "ok.h5", *SMALL[:-1], "-q", "--out", "run"]
    fails(capsys, command, 'pip install "mlcore[plots]"', "--no-plots")
    assert not Path("run").exists()
    assert main([*command, "--no-plots"]) == 0


def test_without_threadpoolctl_nothing_is_left_behind(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    command = ["train", "--data", "ok.h5", *SMALL, "--out", "new/run"]
    command += ["--threads", "1", "--backend", "numpy"]
    fails(capsys, command, 'pip install "mlcore[threads]"')
    assert not Path("new").exists()


def test_a_disk_that_is_too_small_is_found_before_training(capsys, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**6, 10**6, 999))
    fails(capsys, ["train", "--data", "ok.h5", *SMALL, "--out", "new/run"], "make room")
    assert not Path("new").exists()


def test_an_empty_folder_of_the_user_stays(capsys, monkeypatch):
    Path("mine").mkdir()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**6, 10**6, 999))
    fails(capsys, ["train", "--data", "ok.h5", *SMALL, "--out", "mine"], "make room")
    assert list(Path("mine").iterdir()) == []


def test_a_disk_that_fills_while_training_leaves_whole_files(capsys, monkeypatch):
    save = ModelCheckpoint.on_epoch_end

    def full(self, model, epoch, logs):
        if epoch == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(self, model, epoch, logs)

    monkeypatch.setattr(ModelCheckpoint, "on_epoch_end", full)
    command = ["train", "--data", "ok.h5", *SMALL, "-q", "--epochs", "9", "--out", "run"]
    fails(capsys, command, "No space left", "epoch 3 of 9", code=1)
    assert mlcore.load("run/last.h5").progress.epoch == 2
    assert {path.name for path in Path("run").iterdir()} <= RUN_FILES


def test_a_loss_that_becomes_nan_in_the_first_epoch(capsys):
    command = ["train", "--layers", "8,8", "--epochs", "3", "--no-plots", "-q", "--out", "run"]
    line = fails(capsys, [*command, "--learning-rate", "1e30"], "epoch 1", code=1)
    assert all(word in line for word in ("at step ", " in linear of dense_", "run/last.h5"))
    assert np.isfinite(mlcore.load("run/last.h5").parameters).all()
    assert json.loads(Path("run/history.json").read_text())["epoch"] == []


def test_a_loss_that_becomes_nan_later_keeps_the_last_checkpoint(capsys, monkeypatch):
    log = CSVLogger.on_epoch_end

    def poisoned(self, model, epoch, logs):
        log(self, model, epoch, logs)
        monkeypatch.setattr(CSVLogger, "on_epoch_begin", poison)

    def poison(*arguments):
        arguments[1].parameters[0] = np.nan

    monkeypatch.setattr(CSVLogger, "on_epoch_end", poisoned)
    command = ["train", "--data", "ok.h5", *SMALL, "-q", "--out", "run"]
    fails(capsys, command, "epoch 2", "dense_1.weight", "is of the epoch before", code=1)
    model = mlcore.load("run/last.h5")
    assert model.progress.epoch == 1
    assert np.isfinite(model.parameters).all()


def command_line(*arguments):
    return [sys.executable, "-m", "mlcore", *arguments]


def wait_for(path):
    for _ in range(400):
        if path.exists():
            return
        time.sleep(0.05)
    raise AssertionError(f"{path} was not written")


def test_exit_codes_and_no_traceback_in_a_process():
    for arguments, code in [
        (["train", "--data", "nope.h5"], 2),
        (["train", "--learning-rate", "1e30", "--layers", "4", "--no-plots"], 1),
        (["--version"], 0),
    ]:
        ended = subprocess.run(command_line(*arguments), capture_output=True, text=True, timeout=60)
        assert ended.returncode == code
        assert "Traceback" not in ended.stderr


def test_ctrl_c_saves_the_last_checkpoint(place):
    command = command_line("train", "--epochs", "1000", "--layers", "32", "--no-plots", "-q")
    with subprocess.Popen([*command, "--out", "run"], stderr=subprocess.PIPE, text=True) as process:
        wait_for(place / "run/best.h5")
        process.send_signal(signal.SIGINT)
        message = process.communicate(timeout=30)[1]
    assert process.returncode == 130
    assert message.count("\n") == 1
    assert message.startswith("mlcore: stopped by Ctrl-C in epoch ")
    assert "run/last.h5" in message
    model = mlcore.load("run/last.h5")
    history = History.from_json("run/history.json")
    assert f"epoch {model.progress.epoch + 1} of 1000, after {model.progress.step} " in message
    assert model.progress.epoch == len(history) >= 1
    assert not Path("run/result.json").exists()


@pytest.mark.parametrize("columns", [80, 120])
def test_the_bar_stays_on_one_line_and_ends_before_the_message(columns):
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    command = command_line("train", "--epochs", "1000", "--layers", "64", "--no-plots")
    process = subprocess.Popen([*command, "--out", "run"], stderr=theirs, stdout=theirs)
    os.close(theirs)
    received, stopped = b"", False
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # how Linux says that the other side is closed
            break
        if not part:
            break
        received += part
        if not stopped and b"val " in received:
            process.send_signal(signal.SIGINT)
            stopped = True
    assert process.wait(timeout=30) == 130
    os.close(ours)
    lines = received.decode().replace("\r\n", "\n").rstrip("\n").split("\n")
    bars = [state for line in lines for state in line.split("\r") if state.startswith("epoch ")]
    assert max(map(len, bars)) < columns
    for word in ("loss ", "acc ", "val ", "lr 0.1", "/s ", " left"):
        assert word in bars[-1]
    assert lines[-1].startswith("mlcore: stopped by Ctrl-C")
    assert len(lines) == 4


@pytest.mark.parametrize("columns", ["80", "120"])
def test_help_is_whole(capsys, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    for command in ([], ["data"]):
        assert main([*command, "--help"]) == 0
        shown = capsys.readouterr().out
        assert "..." not in shown.replace("[ARGS]...", "")
    for command in (
        "train",
        "evaluate",
        "predict",
        "info",
        "data list",
        "data fetch",
        "data convert",
    ):
        assert main([*command.split(), "--help"]) == 0
        shown = capsys.readouterr().out
        assert shown.startswith(f"Usage: mlcore {command}")
        assert max(map(len, shown.splitlines())) <= int(columns)


def test_a_bare_command_shows_its_help(capsys):
    assert main([]) == 2
    assert "Usage: mlcore" in capsys.readouterr().err


def test_info_says_what_is_missing_and_why(capsys, monkeypatch):
    missing = kernels.Status("native", False, "not compiled here")
    there = kernels.Status("numpy", True, "")
    monkeypatch.setattr(kernels, "status", lambda: [missing, there])
    assert main(["info"]) == 0
    shown = capsys.readouterr().out
    assert "not compiled here" in shown
    for word in (mlcore.__version__, "BLAS", "features", "threads", "processor"):
        assert word in shown


def test_data_commands(capsys):
    assert main(["data", "list"]) == 0
    shown = capsys.readouterr().out
    for name in ("mnist-sample", "mnist", "fashion-mnist"):
        assert name in shown
    assert main(["data", "convert", "ok.h5", "new.npz"]) == 0
    assert capsys.readouterr().out == "written: new.npz\n"
    with np.load("new.npz") as arrays:
        np.testing.assert_array_equal(arrays["x"], samples()[0])
    fails(capsys, ["data", "convert", "ok.h5", "new.npz"], "overwrite")


def test_a_schedule_that_cannot_be_leaves_no_folder(tmp_path, capsys):
    out = tmp_path / "run"
    options = ["--schedule", "cosine:cycles=5", "--epochs", "2", "--no-plots", "--out", str(out)]
    assert main(["train", *options]) == 2
    assert "cannot share 2 epochs among 5 cycles" in capsys.readouterr().err
    assert not out.exists()
