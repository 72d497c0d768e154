"""The epoch loop: history, schedules, callbacks, Ctrl-C, and resuming to the same bits."""

import csv
import io
import math
import os
import signal
import threading
import time

import numpy as np
import pytest

import mlcore
from mlcore import (
    SGD,
    Adam,
    Dense,
    Dropout,
    GaussianNoise,
    History,
    InputError,
    NonFiniteLossError,
    Sequential,
    kernels,
)
from mlcore.callbacks import Callback, CSVLogger, EarlyStopping, ModelCheckpoint, NaNGuard
from mlcore.history import COLUMNS

BACKENDS = [entry.name for entry in kernels.status() if entry.available]
TIMES = ("seconds", "samples_per_second")
SAMPLES, FEATURES, CLASSES, BATCH = 40, 5, 3, 16
STEPS = 3


@pytest.fixture(params=BACKENDS)
def backend(request):
    return request.param


@pytest.fixture
def every_step(monkeypatch):
    """Callbacks and Ctrl-C are served after every step."""
    monkeypatch.setattr("mlcore.trainer.SECONDS_BETWEEN_LOOKS", 0.0)


def data(samples=SAMPLES):
    rng = np.random.default_rng(samples)
    x = rng.standard_normal((samples, FEATURES)).astype(np.float32)
    return x, (x[:, 0] > 0) + (x[:, 1] > 0)


def net(**given):
    return Sequential([Dense(8, "tanh"), Dense(CLASSES)], **{"seed": 5, **given})


def noisy_net(**given):
    layers = [GaussianNoise(0.2), Dense(8, "tanh"), Dropout(0.3), Dense(CLASSES)]
    return Sequential(layers, **{"seed": 5, **given})


def fit(model, **given):
    x, y = data()
    settings = {"optimizer": SGD(0.1), "epochs": 3, "batch_size": BATCH, "verbose": 0}
    return model.fit(x, y, **{**settings, **given})


def timeless(history):
    return {name: column for name, column in history.to_dict().items() if name not in TIMES}


class TestHistory:
    def test_columns_and_values(self, backend):
        model = net(backend=backend)
        x, y = data()
        validation = data(25)
        seen = []

        def measure(epoch, logs):
            seen.append((epoch, model.evaluate(x, y), model.evaluate(*validation)))
            assert set(logs) == set(COLUMNS)

        history = fit(model, validation_data=validation, callbacks=measure)
        assert history is model.history
        assert list(history.history) == list(COLUMNS)
        assert len(history) == 3
        assert history["epoch"] == [1, 2, 3]
        assert [epoch for epoch, *_ in seen] == [0, 1, 2]
        for name in ("loss", "accuracy"):
            assert history[name] == [ours[name] for _, ours, _ in seen]
            assert history[f"val_{name}"] == [held[name] for _, _, held in seen]
        assert history["learning_rate"] == [0.1] * 3
        assert all(value > 0 for name in TIMES for value in history[name])
        np.testing.assert_allclose(
            np.multiply(history["seconds"], history["samples_per_second"]), SAMPLES, rtol=1e-9
        )

    def test_running_figures_are_those_of_the_batches(self, backend):
        x, y = data()
        model = net(backend=backend, dtype="float64")
        history = fit(model, epochs=1, shuffle=False)
        again = net(backend=backend, dtype="float64").build(FEATURES)
        loss = right = 0
        for start in range(0, SAMPLES, BATCH):
            part, labels = x[start : start + BATCH], y[start : start + BATCH]
            measured = again.evaluate(part, labels)
            loss += measured["loss"] * len(part)
            right += measured["accuracy"] * len(part)
            again.fit(part, labels, optimizer=SGD(0.1), batch_size=BATCH, verbose=0)
        assert history["running_loss"][0] == pytest.approx(loss / SAMPLES, rel=1e-12)
        assert history["running_accuracy"][0] == pytest.approx(right / SAMPLES)

    def test_what_was_not_measured_is_nan(self):
        history = fit(net(), evaluate_train=False)
        for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
            assert all(map(math.isnan, history[name]))
        assert not any(map(math.isnan, history["running_accuracy"]))
        x, _ = data()
        history = Sequential([Dense(1)], seed=1).fit(x, x[:, 0], loss="mse", verbose=0)
        assert math.isnan(history["accuracy"][0])
        assert not math.isnan(history["loss"][0])

    def test_evaluation_leaves_training_as_it_is(self, backend):
        bits = []
        for given in ({}, {"evaluate_train": False}, {"validation_data": data(25)}):
            model = noisy_net(backend=backend)
            fit(model, **given)
            bits.append(model.parameters.tobytes())
        assert bits[0] == bits[1] == bits[2]

    @pytest.mark.parametrize("seed", [None, 2**50 + 1])
    def test_noise_is_that_of_the_step_since_the_model_was_made(self, backend, seed):
        x = np.zeros((BATCH, FEATURES))
        layers = [GaussianNoise(1.5), Dense(FEATURES, use_bias=False)]
        model = Sequential(layers, seed=5, dtype="float64", backend=backend).build(FEATURES)
        model.layers[1].weight = np.eye(FEATURES)
        settings = {"loss": "mse", "batch_size": BATCH, "seed": seed, "verbose": 0}
        seen = []
        for _ in range(2):
            history = model.fit(x, x, optimizer=SGD(0.0), epochs=3, **settings)
            seen += history["running_loss"]
        for step, loss in enumerate(seen):
            drawn = np.empty(x.shape)
            where = {"seed": 5 if seed is None else seed, "stream": 0, "step": step}
            model.backend.call("normal", **where, out=drawn)
            assert loss == pytest.approx(((1.5 * drawn) ** 2).mean(), rel=1e-12)
        assert history["loss"] == [0] * 3

    def test_a_split_keeps_the_last_samples(self, backend):
        x, y = data()
        split, given = net(backend=backend), net(backend=backend)
        one = split.fit(x, y, validation_split=0.25, epochs=2, verbose=0)
        two = given.fit(x[:30], y[:30], validation_data=(x[30:], y[30:]), epochs=2, verbose=0)
        assert timeless(one) == timeless(two)
        assert split.parameters.tobytes() == given.parameters.tobytes()

    def test_a_new_fit_begins_a_new_one(self):
        model = net()
        first = fit(model)
        assert fit(model, epochs=1) is model.history is not first
        assert len(model.history) == 1
        assert len(first) == 3

    def test_does_not_depend_on_how_often_callbacks_are_served(self, monkeypatch):
        histories = []
        for seconds in (0.0, 1e9):
            monkeypatch.setattr("mlcore.trainer.SECONDS_BETWEEN_LOOKS", seconds)
            model = noisy_net(dtype="float64")
            x, y = data(997)
            model.fit(x, y, batch_size=7, epochs=2, verbose=0)
            histories.append(timeless(model.history))
        assert histories[0] == histories[1]


class TestSchedules:
    def test_scale_the_rate_of_each_epoch(self, backend):
        history = fit(net(backend=backend), schedule=lambda epoch: 1 / (1 + epoch), epochs=4)
        assert history["learning_rate"] == [0.1 * factor for factor in (1, 1 / 2, 1 / 3, 1 / 4)]
        history = fit(net(backend=backend), schedule="exponential:0.5", epochs=3)
        assert history["learning_rate"] == [0.1, 0.05, 0.025]

    def test_are_applied(self, backend):
        model = net(backend=backend)
        weights = []
        fit(
            model, schedule=lambda epoch: float(epoch == 0), epochs=3,
            callbacks=lambda *_: weights.append(model.parameters.copy()),
        )  # fmt: skip
        start = net(backend=backend).build(FEATURES).parameters
        assert not np.array_equal(weights[0], start)
        assert np.array_equal(weights[1], weights[0])
        assert np.array_equal(weights[2], weights[0])

    def test_do_not_change_the_optimizer(self):
        optimizer = SGD(0.1)
        fit(net(), schedule="exponential:0.5", optimizer=optimizer)
        assert optimizer.learning_rate == 0.1

    def test_bad_factors(self):
        with pytest.raises(InputError, match=r"returned nan for epoch 0"):
            fit(net(), schedule=lambda _: math.nan)


class Log(Callback):
    def __init__(self, log, name="log"):
        self.log, self.name = log, name

    def on_train_begin(self, model):
        self.log.append((self.name, "train_begin", model.progress.epoch))

    def on_epoch_begin(self, _, epoch):
        self.log.append((self.name, "epoch_begin", epoch))

    def on_progress(self, _, done, logs):
        assert logs["running_loss"] > 0
        assert logs["samples_per_second"] > 0
        self.log.append((self.name, "progress", done))

    def on_epoch_end(self, model, epoch, logs):
        assert model.history["val_loss"][-1] == logs["val_loss"]
        self.log.append((self.name, "epoch_end", epoch))

    def on_non_finite(self, _, epoch, __):
        self.log.append((self.name, "non_finite", epoch))

    def on_train_end(self, model):
        self.log.append((self.name, "train_end", len(model.history)))


class TestCallbacks:
    @pytest.mark.usefixtures("every_step")
    def test_order_of_events(self):
        log = []
        fit(net(), epochs=2, callbacks=[Log(log)], validation_data=data(25))
        steps = [("log", "progress", done / STEPS) for done in range(1, STEPS + 1)]
        assert log == [
            ("log", "train_begin", 0),
            ("log", "epoch_begin", 0), *steps, ("log", "epoch_end", 0),
            ("log", "epoch_begin", 1), *steps, ("log", "epoch_end", 1),
            ("log", "train_end", 2),
        ]  # fmt: skip

    def test_are_told_in_the_order_given(self):
        log = []
        fit(
            net(), epochs=1, validation_data=data(25),
            callbacks=[Log(log, "a"), lambda *_: log.append(("f", "epoch_end", 0)), Log(log, "b")],
        )  # fmt: skip
        ends = [name for name, event, _ in log if event == "epoch_end"]
        assert ends == ["a", "f", "b"]

    def test_progress_grows_to_the_whole_epoch(self):
        log = []
        fit(net(), epochs=3, callbacks=Log(log), validation_data=data(25))
        parts = [done for _, event, done in log if event == "progress"]
        assert parts.count(1) == 3
        assert all(0 < done <= 1 for done in parts)

    def test_a_function(self):
        calls = []
        fit(net(), callbacks=lambda epoch, logs: calls.append((epoch, logs["loss"])))
        assert [epoch for epoch, _ in calls] == [0, 1, 2]

    def test_stop_training(self):
        model = net()

        def stop(epoch, _):
            model.stop_training = epoch == 1

        history = fit(model, epochs=10, callbacks=stop)
        assert len(history) == 2
        assert model.progress.epoch == 2
        assert len(fit(model, epochs=2)) == 2

    def test_an_exception_passes_through(self):
        def fail(*_):
            raise ZeroDivisionError("mine")

        handler = signal.getsignal(signal.SIGINT)
        with pytest.raises(ZeroDivisionError, match="mine"):
            fit(net(), callbacks=fail)
        assert signal.getsignal(signal.SIGINT) is handler


class Scripted(Callback):
    """Replaces a column of the logs by given values, for the callbacks behind it."""

    def __init__(self, name, values):
        self.name, self.values = name, values

    def on_epoch_end(self, model, epoch, logs):
        logs[self.name] = self.values[epoch]
        self.parameters = [*getattr(self, "parameters", []), model.parameters.copy()]


class TestModelCheckpoint:
    @pytest.mark.parametrize(
        ("monitor", "values", "best"),
        [
            ("val_accuracy", [0.5, 0.9, 0.9, 0.7], 1),
            ("val_loss", [0.5, 0.9, 0.2, 0.7], 2),
            ("loss", [math.nan, 0.9, 1.2, 1.7], 1),
        ],
    )
    def test_keeps_the_best(self, tmp_path, monitor, values, best):
        path = tmp_path / "best.h5"
        script = Scripted(monitor, values)
        callbacks = [script, ModelCheckpoint(path, monitor)]
        fit(net(), epochs=4, callbacks=callbacks, validation_data=data(25))
        saved = mlcore.load(path)
        assert np.array_equal(saved.parameters, script.parameters[best])
        assert len(saved.history) == best + 1
        assert saved.progress.epoch == best + 1
        assert [entry.name for entry in tmp_path.iterdir()] == ["best.h5"]

    def test_or_the_last(self, tmp_path):
        path = tmp_path / "last.h5"
        model = net()
        fit(model, callbacks=ModelCheckpoint(path, save_best_only=False))
        assert np.array_equal(mlcore.load(path).parameters, model.parameters)

    def test_what_is_not_measured(self, tmp_path):
        with pytest.raises(InputError, match=r"val_accuracy.*validation"):
            fit(net(), callbacks=ModelCheckpoint(tmp_path / "best.h5"))
        with pytest.raises(InputError, match=r"'val_acc'. Did you mean 'val_accuracy'"):
            ModelCheckpoint(tmp_path / "best.h5", "val_acc")


class TestEarlyStopping:
    values = (1.0, 0.8, 0.9, 0.85, 0.81, 0.7, 0.6)

    @pytest.mark.parametrize(("patience", "epochs"), [(0, 3), (1, 3), (2, 4), (3, 5)])
    def test_patience(self, patience, epochs):
        callbacks = [Scripted("val_loss", self.values), EarlyStopping(patience=patience)]
        history = fit(net(), epochs=7, callbacks=callbacks, validation_data=data(25))
        assert len(history) == epochs

    def test_min_delta(self):
        callbacks = [Scripted("val_loss", self.values), EarlyStopping(min_delta=0.3)]
        assert len(fit(net(), epochs=7, callbacks=callbacks, validation_data=data(25))) == 2

    @pytest.mark.parametrize("restore", [False, True])
    def test_restores_the_best_weights(self, restore):
        script = Scripted("val_accuracy", [0.1, 0.6, 0.5, 0.4])
        stop = EarlyStopping("val_accuracy", 2, restore_best_weights=restore)
        model = net()
        fit(model, epochs=4, callbacks=[script, stop], validation_data=data(25))
        assert np.array_equal(model.parameters, script.parameters[1 if restore else 3])

    def test_can_be_used_again(self):
        stop = EarlyStopping("running_loss", patience=2)
        for _ in range(2):
            script = Scripted("running_loss", [1, 2, 3, 4])
            assert len(fit(net(), epochs=4, callbacks=[script, stop])) == 3

    def test_bad_settings(self):
        with pytest.raises(InputError, match="patience must be 0 or more"):
            EarlyStopping(patience=-1)
        with pytest.raises(InputError, match="min_delta must be 0 or more"):
            EarlyStopping(min_delta=-1)


class TestCSVLogger:
    def test_writes_a_line_an_epoch(self, tmp_path):
        path = tmp_path / "log.csv"
        lengths = []
        logger = CSVLogger(path)
        count = lambda *_: lengths.append(len(path.read_text().splitlines()))  # noqa: E731
        history = fit(net(), callbacks=[logger, count], evaluate_train=False)
        assert lengths == [2, 3, 4]
        assert History.from_csv(path) == history
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert list(rows[0]) == list(COLUMNS)
        assert rows[0]["val_loss"] == rows[0]["loss"] == ""

    def test_goes_on_in_a_resumed_run(self, tmp_path):
        path = tmp_path / "log.csv"
        model = net()
        fit(model, epochs=2, callbacks=CSVLogger(path))
        fit(model, epochs=4, optimizer=None, resume=True, callbacks=CSVLogger(path))
        assert History.from_csv(path)["epoch"] == [1, 2, 3, 4]


class Poison(Callback):
    """Puts a NaN into a tensor before a step."""

    def __init__(self, layer, tensor, step):
        self.layer, self.tensor, self.step = layer, tensor, step
        self.before = None

    def on_progress(self, model, *_):
        if model.progress.steps == self.step:
            model.layers[self.layer].parameters[self.tensor].flat[1] = np.nan
            self.before = model.parameters.copy()


@pytest.mark.usefixtures("every_step")
class TestNonFiniteLoss:
    def poisoned(self, backend, **given):
        poison = Poison(1, "bias", STEPS + 1)
        model = net(backend=backend)
        guard = given.pop("guard", None)
        callbacks = [poison, *([guard] if guard else []), *given.pop("more", [])]
        history = fit(model, callbacks=callbacks, evaluate_train=False, **given)
        return model, history, poison

    def test_raises_and_names_the_place(self, backend):
        with pytest.raises(NonFiniteLossError) as caught:
            self.poisoned(backend)
        message = str(caught.value)
        assert "epoch 2: the loss became nan at step 2" in message
        assert "dense_2.bias, nan at [1], in linear of dense_2" in message
        assert caught.value.step == 1
        assert caught.value.layer == "dense_2"
        assert caught.value.tensor == "dense_2.bias"

    def test_a_measured_loss_is_looked_at_too(self, backend, tmp_path):
        keep = ModelCheckpoint(tmp_path / "last.h5", save_best_only=False)
        with pytest.raises(NonFiniteLossError, match=r"epoch 1: loss is (nan|inf) after the last"):
            fit(
                net(backend=backend), epochs=1, batch_size=SAMPLES, optimizer=SGD(1e25),
                loss="mse", callbacks=keep,
            )  # fmt: skip
        assert not (tmp_path / "last.h5").exists()

    def test_the_last_update_is_looked_at_too(self, backend, tmp_path):
        path = tmp_path / "last.h5"
        keep = ModelCheckpoint(path, save_best_only=False)
        with pytest.raises(
            NonFiniteLossError, match=r"epoch 1: the last update made dense_1.weight"
        ):
            fit(
                net(backend=backend), epochs=1, batch_size=SAMPLES, optimizer=SGD(1e39),
                callbacks=keep,
            )  # fmt: skip
        assert not path.exists()

    @pytest.mark.parametrize("steps", [1, 2, 4])
    def test_stops_with_the_parameters_of_the_step_before(self, backend, steps):
        x, y = data()
        x = x.copy()
        x[:, 0] = 0.1
        # Sample 33 is in batch 3, the overflow comes of its own square.
        x[33] = 3e38
        model = Sequential([Dense(4), Dense(CLASSES)], seed=5, backend=backend).build(FEATURES)
        model.layers[0].weight[...] = 1
        seen = [model.parameters.copy()]

        class Keep(Callback):
            def on_progress(self, model, *_):
                seen.append(model.parameters.copy())

        settings = {"batch_size": BATCH, "shuffle": False, "verbose": 0, "evaluate_train": False}
        with pytest.warns(RuntimeWarning, match=r"epoch 1: .*step 3.*dense_1.out.* of dense_1"):
            history = model.fit(
                x, y, optimizer=SGD(0.01), epochs=steps,
                callbacks=[Keep(), NaNGuard("stop")], **settings,
            )  # fmt: skip
        assert len(history) == 0
        assert len(seen) == 3
        assert np.array_equal(model.parameters, seen[-1])
        assert np.isfinite(model.parameters).all()
        assert model.progress.steps == model.progress.updates == model.progress.step == 2

    def test_stop_warns_and_ends_the_run(self, backend):
        log = []
        with pytest.warns(RuntimeWarning, match=r"epoch 2: .*dense_2.bias"):
            model, history, poison = self.poisoned(backend, guard=NaNGuard("stop"))
        assert history["epoch"] == [1]
        assert np.array_equal(model.parameters, poison.before, equal_nan=True)
        with pytest.warns(RuntimeWarning):
            self.poisoned(
                backend, guard=NaNGuard("stop"), more=[Log(log)], validation_data=data(25)
            )
        events = [event for _, event, _ in log]
        assert events[-2:] == ["non_finite", "train_end"]

    def test_ignore_goes_on(self, backend):
        model, history, _ = self.poisoned(backend, guard=NaNGuard("ignore"))
        assert history["epoch"] == [1, 2, 3]
        assert np.isnan(model.parameters).all() or np.isnan(model.layers[1].weight).all()
        assert math.isnan(history["running_loss"][2])

    @pytest.mark.parametrize(
        ("layer", "tensor", "named"),
        [(0, "weight", "dense_1.weight"), (0, "bias", "dense_1.bias"), (1, "weight", "dense_2.w")],
    )
    def test_the_first_tensor_is_named(self, backend, layer, tensor, named):
        with pytest.raises(NonFiniteLossError, match=f"first non-finite tensor is {named}"):
            fit(net(backend=backend), callbacks=Poison(layer, tensor, 2))

    def test_unknown_action(self):
        with pytest.raises(InputError, match=r"unknown action of NaNGuard 'rise'.*mean 'raise'"):
            NaNGuard("rise")

    def test_a_checkpoint_of_before_is_kept(self, backend, tmp_path):
        path = tmp_path / "model.h5"
        keep = ModelCheckpoint(path, save_best_only=False)
        with pytest.raises(NonFiniteLossError):
            self.poisoned(backend, more=[keep])
        assert np.isfinite(mlcore.load(path).parameters).all()


class Terminal(io.StringIO):
    def isatty(self):
        return True


class TestVerbose:
    def test_0_is_silent(self, capfd):
        fit(net(), verbose=0)
        assert capfd.readouterr() == ("", "")

    @pytest.mark.parametrize("verbose", [1, 2])
    def test_lines_where_there_is_no_terminal(self, verbose, capsys):
        history = fit(net(), verbose=verbose, validation_data=data(25))
        out, err = capsys.readouterr()
        assert out == ""
        lines = err.splitlines()
        assert len(lines) == 3
        for at, line in enumerate(lines):
            assert line.startswith(f"epoch {at + 1}/3  loss {history['running_loss'][at]:.4f}")
            assert f"val acc {history['val_accuracy'][at]:.4f}" in line
            assert f"val loss {history['val_loss'][at]:.4f}" in line
            assert "lr 0.1" in line
            assert "samples/s" in line

    def test_1_is_a_bar_in_a_terminal(self, monkeypatch):
        terminal = Terminal()
        monkeypatch.setattr("sys.stderr", terminal)
        fit(net(), verbose=1, validation_data=data(25))
        shown = terminal.getvalue()
        assert "\r" in shown
        assert "epoch 3/3" in shown
        for figure in ("loss ", "acc ", "val ", "lr ", "/s"):
            assert figure in shown

    def test_2_is_lines_in_a_terminal_too(self, monkeypatch):
        terminal = Terminal()
        monkeypatch.setattr("sys.stderr", terminal)
        fit(net(), verbose=2)
        assert len(terminal.getvalue().splitlines()) == 3
        assert "\r" not in terminal.getvalue()

    @pytest.mark.parametrize("verbose", [0, 1, 2])
    def test_never_changes_the_result(self, verbose):
        model = noisy_net()
        fit(model, verbose=verbose)
        wanted = noisy_net()
        fit(wanted)
        assert model.parameters.tobytes() == wanted.parameters.tobytes()


def interrupt_after(seconds):
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    return timer


class InterruptAt(Callback):
    """Ctrl-C in the middle of a run, after so many steps."""

    def __init__(self, steps):
        self.steps = steps

    def on_progress(self, model, *_):
        if model.progress.steps == self.steps:
            os.kill(os.getpid(), signal.SIGINT)


class TestCtrlC:
    def test_stops_soon_and_leaves_a_whole_model(self, backend):
        x, y = data(2000)
        model = noisy_net(backend=backend)
        model.fit(x, y, batch_size=10, verbose=0)
        before = model.progress.steps
        sent = []
        handler = signal.getsignal(signal.SIGINT)
        timer = interrupt_after(0.3)
        began = time.perf_counter()
        with pytest.raises(KeyboardInterrupt):
            model.fit(
                x, y, batch_size=10, epochs=2000, verbose=0, evaluate_train=False,
                callbacks=lambda *_: sent.append(1),
            )  # fmt: skip
        took = time.perf_counter() - began
        timer.join()
        assert 0.25 < took < 2
        assert signal.getsignal(signal.SIGINT) is handler
        assert np.isfinite(model.parameters).all()
        progress = model.progress
        assert progress.epoch == len(sent) == len(model.history)
        assert progress.steps - before == 200 * progress.epoch + progress.step
        assert progress.totals.samples == 10 * progress.step

    @pytest.mark.usefixtures("every_step")
    def test_counts_are_right(self, backend):
        model = noisy_net(backend=backend)
        with pytest.raises(KeyboardInterrupt):
            fit(model, callbacks=InterruptAt(STEPS + 2))
        progress = model.progress
        assert (progress.epoch, progress.step) == (1, 2)
        assert (progress.epochs, progress.steps, progress.updates) == (1, STEPS + 2, STEPS + 2)
        assert progress.totals.samples == 2 * BATCH
        assert len(model.history) == 1

    def test_in_an_evaluation(self, backend):
        x, y = data()
        model = net(backend=backend)

        def interrupt(epoch, _):
            if epoch == 1:
                os.kill(os.getpid(), signal.SIGINT)

        with pytest.raises(KeyboardInterrupt):
            model.fit(x, y, epochs=5, verbose=0, callbacks=interrupt)
        assert len(model.history) == model.progress.epoch == 2

    @pytest.mark.parametrize("stopped", [False, True])
    def test_at_the_very_end_is_not_lost(self, stopped):
        model = net()

        def interrupt(epoch, _):
            if epoch == 2:
                model.stop_training = stopped
                os.kill(os.getpid(), signal.SIGINT)

        with pytest.raises(KeyboardInterrupt):
            fit(model, epochs=3, callbacks=interrupt)
        assert len(model.history) == 3

    def test_after_the_last_epoch_is_not_lost(self):
        class Late(Callback):
            def on_train_end(self, *_):
                os.kill(os.getpid(), signal.SIGINT)

        model = net()
        with pytest.raises(KeyboardInterrupt):
            fit(model, epochs=2, callbacks=Late())
        assert model.progress.epoch == 2

    def test_a_handler_of_ones_own_is_left_alone(self):
        seen = []
        before = signal.signal(signal.SIGINT, lambda *_: seen.append(1))
        try:
            fit(net(), callbacks=lambda *_: os.kill(os.getpid(), signal.SIGINT))
        finally:
            signal.signal(signal.SIGINT, before)
        assert len(seen) == 3

    def test_training_in_a_thread(self):
        model, wanted = net(), net()
        thread = threading.Thread(target=fit, args=(model,))
        thread.start()
        thread.join()
        fit(wanted)
        assert model.parameters.tobytes() == wanted.parameters.tobytes()


OPTIMIZERS = {"momentum": lambda: SGD(0.1, 0.9), "adam": lambda: Adam(0.01)}
SETTINGS = {"epochs": 4, "schedule": "cosine", "validation_data": data(25), "seed": 77}


@pytest.mark.usefixtures("every_step")
class TestResumeRefuses:
    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"batch_size": 7}, "batch_size 7: the run was made with 16"),
            ({"schedule": "constant"}, "schedule .*constant"),
            ({"shuffle": False}, "shuffle False: the run was made with True"),
            ({"seed": 77}, "seed 77: the run"),
            ({"loss": "sigmoid_cross_entropy"}, "loss 'sigmoid_cross_entropy': the run was made"),
            ({"optimizer": SGD(0.7)}, "cannot resume with SGD"),
        ],
        ids=str,
    )
    @pytest.mark.parametrize("saved", [False, True])
    def test_other_settings(self, given, message, saved, tmp_path):
        settings = {
            "epochs": 4, "schedule": "step", "optimizer": SGD(0.1), "loss": "softmax_cross_entropy"
        }  # fmt: skip
        model = net()
        with pytest.raises(KeyboardInterrupt):
            fit(model, callbacks=InterruptAt(2 * STEPS), **settings)
        if saved:
            model.save(tmp_path / "model.h5")
            model = mlcore.load(tmp_path / "model.h5")
        before = model.parameters.copy()
        with pytest.raises(InputError, match=f"cannot resume with {message}|{message}"):
            fit(model, resume=True, **{**settings, **given})
        assert np.array_equal(model.parameters, before)


@pytest.mark.usefixtures("every_step")
class TestResumedMonitors:
    values = (0.9, 0.1, 0.2, 0.3, 0.4, 0.5)

    def run(self, model, callbacks, **given):
        script = Scripted("val_accuracy", self.values)
        if model.history:
            model.history.history["val_accuracy"] = list(self.values[: len(model.history)])
        return fit(
            model, epochs=6, callbacks=[script, *callbacks], validation_data=data(25),
            optimizer=SGD(0.1), **given,
        )  # fmt: skip

    def test_the_best_checkpoint_is_not_replaced_by_a_worse_one(self, tmp_path):
        path = tmp_path / "best.h5"
        model = net()
        with pytest.raises(KeyboardInterrupt):
            self.run(model, [ModelCheckpoint(path), InterruptAt(2 * STEPS + 1)])
        before = path.read_bytes()
        self.run(model, [ModelCheckpoint(path)], resume=True)
        assert path.read_bytes() == before

    def test_patience_goes_on(self):
        def stop():
            return EarlyStopping("val_accuracy", 4)

        straight = net()
        self.run(straight, [stop()])
        model = net()
        with pytest.raises(KeyboardInterrupt):
            self.run(model, [stop(), InterruptAt(2 * STEPS + 1)])
        self.run(model, [stop()], resume=True)
        assert len(model.history) == len(straight.history) == 5
        assert np.array_equal(model.parameters, straight.parameters)


@pytest.mark.usefixtures("every_step")
@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
class TestResume:
    def whole(self, backend, make):
        model = noisy_net(backend=backend)
        fit(model, optimizer=make(), **SETTINGS)
        return model

    def interrupted(self, backend, make, steps):
        model = noisy_net(backend=backend)
        with pytest.raises(KeyboardInterrupt):
            fit(model, optimizer=make(), callbacks=InterruptAt(steps), **SETTINGS)
        return model

    def assert_same(self, model, wanted):
        assert model.parameters.tobytes() == wanted.parameters.tobytes()
        assert timeless(model.history) == timeless(wanted.history)
        assert model.progress == wanted.progress
        for name, state in wanted.optimizer_state.items():
            assert model.optimizer_state[name].tobytes() == state.tobytes()

    @pytest.mark.parametrize("steps", [1, 2, STEPS, STEPS + 1, 2 * STEPS + 2, 4 * STEPS])
    def test_after_an_interrupt(self, backend, make, steps):
        model = self.interrupted(backend, make, steps)
        fit(model, optimizer=None, resume=True, **SETTINGS)
        self.assert_same(model, self.whole(backend, make))

    @pytest.mark.parametrize("steps", [1, STEPS, STEPS + 1, 2 * STEPS + 2])
    def test_after_a_save_and_a_load(self, backend, make, steps, tmp_path):
        path = tmp_path / "model.h5"
        self.interrupted(backend, make, steps).save(path)
        model = mlcore.load(path, backend=backend)
        fit(model, optimizer=None, resume=True, **SETTINGS)
        self.assert_same(model, self.whole(backend, make))

    def test_after_another_interrupt(self, backend, make):
        model = self.interrupted(backend, make, 2)
        with pytest.raises(KeyboardInterrupt):
            fit(model, optimizer=None, resume=True, callbacks=InterruptAt(STEPS + 1), **SETTINGS)
        fit(model, optimizer=None, resume=True, **SETTINGS)
        self.assert_same(model, self.whole(backend, make))

    def test_from_a_checkpoint_of_an_epoch(self, backend, make, tmp_path):
        path = tmp_path / "model.h5"
        model = noisy_net(backend=backend)
        keep = ModelCheckpoint(path, save_best_only=False)
        with pytest.raises(KeyboardInterrupt):
            fit(model, optimizer=make(), callbacks=[keep, InterruptAt(2 * STEPS + 1)], **SETTINGS)
        loaded = mlcore.load(path, backend=backend)
        assert loaded.progress.steps == 2 * STEPS
        fit(loaded, optimizer=None, resume=True, **SETTINGS)
        self.assert_same(loaded, self.whole(backend, make))

    def test_by_the_same_call_again(self, backend, make):
        """The script that is run again makes an optimizer with the same settings."""
        model = self.interrupted(backend, make, STEPS + 1)
        fit(model, optimizer=make(), resume=True, **SETTINGS)
        self.assert_same(model, self.whole(backend, make))

    def test_of_a_finished_run_goes_on_to_more_epochs(self, backend, make):
        model = noisy_net(backend=backend)
        fit(model, optimizer=make(), epochs=2)
        fit(model, optimizer=None, epochs=5, resume=True)
        wanted = noisy_net(backend=backend)
        fit(wanted, optimizer=make(), epochs=5)
        self.assert_same(model, wanted)
        bits = model.parameters.tobytes()
        fit(model, optimizer=None, epochs=5, resume=True)
        assert model.parameters.tobytes() == bits
        assert len(model.history) == 5

    @pytest.mark.parametrize(
        "change", [{"batch_size": 8}, {"batch_size": 20}, {"validation_split": 0.5}]
    )
    def test_with_another_batch_size_or_other_data_is_refused(self, backend, make, change):
        model = self.interrupted(backend, make, STEPS + 2)
        before = model.parameters.copy()
        given = {name: value for name, value in SETTINGS.items() if name != "validation_data"}
        with pytest.raises(InputError, match=r"cannot resume.*(batch_size|samples)"):
            fit(model, optimizer=None, resume=True, **{**given, **change})
        assert np.array_equal(model.parameters, before)

    def test_of_a_new_model_is_a_first_fit(self, backend, make):
        model = noisy_net(backend=backend)
        fit(model, optimizer=make(), resume=True, **SETTINGS)
        self.assert_same(model, self.whole(backend, make))


@pytest.mark.usefixtures("every_step")
def test_progress_set_on_the_callback_itself_sees_the_parameters_of_now(backend):
    seen = []
    watching = Callback()
    watching.on_progress = lambda model, *_: seen.append(model.parameters.copy())
    model = net(backend=backend)
    model.fit(*data(), batch_size=BATCH, callbacks=watching, verbose=0)
    assert len(seen) == STEPS
    assert not np.array_equal(seen[0], seen[1])
    assert np.array_equal(seen[-1], model.parameters)
