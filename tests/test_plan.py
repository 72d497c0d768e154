"""The plan: what it prints and costs, where its buffers lie, and that nothing is allocated."""

import itertools
import tracemalloc

import numpy as np
import pytest

from mlcore import (
    SGD,
    Activation,
    Adam,
    AdamW,
    Dense,
    Dropout,
    GaussianNoise,
    RMSprop,
    Sequential,
    kernels,
)
from mlcore.callbacks import Callback
from mlcore.kernels import TABLE

BACKENDS = [entry.name for entry in kernels.status() if entry.available]
FEATURES, HIDDEN, CLASSES, BATCH = 12, 7, 3, 5


def net(*layers, **given):
    layers = layers or (
        GaussianNoise(0.1), Dense(HIDDEN, "gelu"), Dropout(0.25), Activation("elu"), Dense(CLASSES),
    )  # fmt: skip
    return Sequential(layers, **{"seed": 5, **given}).build(FEATURES)


def kernels_of(plan, phase=None):
    return [op.kernel for op in plan.operations if phase in (None, op.phase)]


def operations(plan, kernel):
    return [op for op in plan.operations if op.kernel == kernel]


class TestOperations:
    def test_of_a_training_step_in_order(self):
        plan = net().plan(BATCH, optimizer=Adam())
        assert [(op.phase, op.kernel, op.owner) for op in plan.operations] == [
            ("data", "gather", "batch"),
            ("forward", "gaussian_noise", "gaussian_noise_1"),
            ("forward", "linear", "dense_1"),
            ("forward", "dropout", "dropout_1"),
            ("forward", "activation", "activation_1"),
            ("forward", "linear", "dense_2"),
            ("data", "gather_labels", "batch"),
            ("loss", "softmax_cross_entropy", "loss"),
            ("backward", "linear_backward", "dense_2"),
            ("backward", "activation_backward", "activation_1"),
            ("backward", "dropout", "dropout_1"),
            ("backward", "linear_backward", "dense_1"),
            ("update", "adam", "optimizer"),
        ]

    def test_of_a_prediction(self):
        plan = net().plan(BATCH, training=False)
        assert kernels_of(plan) == ["gather", "linear", "activation", "linear"]

    @pytest.mark.parametrize(
        ("loss", "gather"),
        [("mse", "gather"), ("sigmoid_cross_entropy", "gather")],
    )
    def test_of_other_losses(self, loss, gather):
        plan = net().plan(BATCH, loss=loss)
        assert kernels_of(plan, "loss") == [loss]
        assert kernels_of(plan, "data") == ["gather", gather]

    def test_take_the_arguments_of_their_rows(self):
        for op in net().plan(BATCH, optimizer=RMSprop(momentum=0.9, centered=True)).operations:
            assert list(op.arguments) == list(TABLE[op.kernel].arguments)
            for name, spec in TABLE[op.kernel].arrays.items():
                assert spec.optional or op.arguments[name] is not None, (op.kernel, name)

    def test_use_the_last_loss_and_optimizer(self):
        model = net()
        x = np.zeros((4, FEATURES))
        model.fit(x, np.zeros((4, CLASSES)), loss="mse", optimizer=AdamW(), verbose=0)
        assert kernels_of(model.plan(BATCH))[-1] == "adamw"
        assert "mse" in kernels_of(model.plan(BATCH))

    def test_silu_and_gelu_keep_their_input(self):
        for activation, kept in (("silu", True), ("gelu", True), ("relu", False), ("tanh", False)):
            training = net(Dense(4, activation), Dense(3)).plan(BATCH)
            assert ("pre" in operations(training, "linear")[0].buffers) == kept
            predicting = net(Dense(4, activation), Dense(3)).plan(BATCH, training=False)
            assert "pre" not in operations(predicting, "linear")[0].buffers


class TestText:
    @pytest.mark.parametrize("backend", BACKENDS)
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_is_a_table_of_every_operation(self, backend, dtype):
        plan = net(backend=backend, dtype=dtype).plan(BATCH, optimizer=Adam())
        title, head, _, *lines = str(plan).splitlines()
        size = f"{plan.arena_bytes / 1024:.1f} KiB"
        assert title == f"batch 5, {dtype}, backend {backend}, arena {size}"
        assert head.split() == [
            "#",
            "phase",
            "kernel",
            "of",
            "arrays",
            "MFLOP",
            "KiB",
            "runs",
            "on",
        ]
        assert len(lines) == len(plan.operations) + 1
        for number, (op, line) in enumerate(zip(plan.operations, lines, strict=False), start=1):
            words = line.split()
            assert words[:4] == [str(number), op.phase, op.kernel, op.owner]
            assert words[-3] == f"{op.flops / 1e6:.3f}"
            assert words[-2] == f"{op.bytes / 1024:.1f}"
            assert words[-1] == backend
            for name, buffer in op.buffers.items():
                if buffer.place != "data":
                    assert f"{name} {'x'.join(map(str, buffer.shape))}" in line
        assert "a whole step" in lines[-1]
        assert f"{plan.flops / 1e6:.3f}" in lines[-1]

    def test_shows_settings(self):
        text = str(net().plan(BATCH))
        for shown in ("(gelu)", "(0.25)", "(elu)", "(0.1)", "source nx12"):
            assert shown in text


class TestCost:
    @pytest.mark.parametrize(("batch", "fan_in", "units"), [(50, 784, 512), (1, 3, 2), (7, 11, 13)])
    def test_of_dense_layers_is_exact(self, batch, fan_in, units):
        model = Sequential([Dense(units), Dense(units), Dense(2)], seed=1).build(fan_in)
        plan = model.plan(batch)
        forward = operations(plan, "linear")
        assert [op.flops for op in forward] == [
            2 * batch * fan_in * units, 2 * batch * units * units, 2 * batch * units * 2,
        ]  # fmt: skip
        backward = operations(plan, "linear_backward")
        # The weight gradient costs what forward does, the input gradient again as much.
        assert [op.flops for op in backward] == [
            2 * forward[2].flops, 2 * forward[1].flops, forward[0].flops,
        ]  # fmt: skip
        assert plan.flops == sum(op.flops for op in plan.operations)

    @pytest.mark.parametrize(("dtype", "size"), [("float32", 4), ("float64", 8)])
    def test_bytes_are_those_of_the_arrays(self, dtype, size):
        plan = net(Dense(CLASSES), dtype=dtype).plan(BATCH)
        forward = operations(plan, "linear")[0]
        arrays = BATCH * FEATURES + FEATURES * CLASSES + CLASSES + BATCH * CLASSES
        assert forward.bytes == size * arrays
        labels = operations(plan, "gather_labels")[0]
        assert labels.bytes == BATCH * (4 + 8 + 4)
        # Of the data set, the rows gathered: float32 here, whatever the model's dtype.
        gathered = operations(plan, "gather")[0]
        assert gathered.bytes == BATCH * FEATURES * (4 + size) + 8 * BATCH


class TestArena:
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    @pytest.mark.parametrize("loss", ["softmax_cross_entropy", "mse"])
    def test_buffers_are_apart_aligned_and_inside(self, loss, dtype):
        for optimizer in (SGD(0.1, 0.9), Adam()):
            plan = net(dtype=dtype).plan(BATCH, loss=loss, optimizer=optimizer)
            buffers = {
                buffer.name: buffer
                for op in plan.operations
                for buffer in op.buffers.values()
                if buffer.place == "arena"
            }
            spans = sorted(
                (b.offset, b.offset + int(np.prod(b.shape)) * b.dtype.itemsize)
                for b in buffers.values()
            )
            assert len(spans) >= 10
            for (_, stop), (start, _) in itertools.pairwise(spans):
                assert stop <= start
            assert all(start % 64 == 0 for start, _ in spans)
            assert 0 <= spans[-1][1] <= plan.arena_bytes
            assert plan.arena_bytes <= sum(stop - start + 63 for start, stop in spans)

    def test_buffers_of_one_name_are_one_buffer(self):
        plan = net(Dense(4), Dense(4), Dropout(0.1), Dropout(0.1), Dense(3)).plan(BATCH)
        seen = {}
        for op in plan.operations:
            for buffer in op.buffers.values():
                if buffer.place != "data":
                    assert seen.setdefault(buffer.name, buffer) == buffer

    def test_size_is_known_before_and_used(self, monkeypatch):
        from mlcore.executor import PythonExecutor

        made = []
        begin = PythonExecutor.__init__

        def watched(self, plan, *given, **settings):
            begin(self, plan, *given, **settings)
            made.append((plan, self.arena.nbytes))

        monkeypatch.setattr(PythonExecutor, "__init__", watched)
        model = net(backend="numpy")
        wanted = model.plan(BATCH).arena_bytes
        x = np.zeros((20, FEATURES), np.float32)
        model.fit(x, np.zeros(20, int), batch_size=BATCH, verbose=0, evaluate_train=False)
        assert [size for _, size in made] == [wanted]
        assert made[0][0].arena_bytes == wanted

    def test_binding_a_short_batch_takes_the_first_rows(self):
        model = net()
        plan = model.plan(BATCH)
        arena = np.zeros(plan.arena_bytes, np.uint8)
        size = model.parameters.size
        vectors = {"parameters": model.parameters, "gradients": np.zeros(size, np.float32)}
        full, short = (plan.bind(vectors, arena, rows) for rows in (BATCH, 2))
        assert full["dense_1.out"].shape == (BATCH, HIDDEN)
        assert short["dense_1.out"].shape == (2, HIDDEN)
        assert np.shares_memory(full["dense_1.out"][:2], short["dense_1.out"])
        assert np.shares_memory(full["dense_1.weight"], model.layers[1].weight)
        assert full["dense_1.weight.grad"].shape == (FEATURES, HIDDEN)


class TestBackward:
    def test_the_first_layer_computes_no_input_gradient(self):
        backward = operations(net(Dense(6), Dense(5), Dense(3)).plan(BATCH), "linear_backward")
        assert [op.owner for op in backward] == ["dense_3", "dense_2", "dense_1"]
        assert [op.arguments["dx"] is not None for op in backward] == [True, True, False]

    def test_noise_and_activations_before_it_need_none_either(self):
        plan = net(GaussianNoise(1.0), Activation("tanh"), Dropout(0.5), Dense(3)).plan(BATCH)
        assert kernels_of(plan, "backward") == ["linear_backward"]
        assert operations(plan, "linear_backward")[0].arguments["dx"] is None

    def test_stops_where_nothing_below_learns(self):
        layers = [Dense(6, "relu"), Dropout(0.5), Dense(5, "relu"), Dense(3)]
        layers[0].trainable = layers[2].trainable = False
        plan = net(*layers).plan(BATCH)
        assert [op.owner for op in plan.operations if op.phase == "backward"] == ["dense_3"]
        assert operations(plan, "linear_backward")[0].arguments["dx"] is None

    def test_goes_through_a_frozen_layer_to_one_that_learns(self):
        layers = [Dense(6, "relu"), Dense(5, "relu", trainable=False), Dense(3)]
        backward = operations(net(*layers).plan(BATCH), "linear_backward")
        assert [op.owner for op in backward] == ["dense_3", "dense_2", "dense_1"]
        assert [op.arguments["dw"] is not None for op in backward] == [True, False, True]
        assert [op.arguments["db"] is not None for op in backward] == [True, False, True]
        assert [op.arguments["dx"] is not None for op in backward] == [True, True, False]

    def test_is_empty_where_everything_is_frozen(self):
        plan = net(Dense(6, trainable=False), Dense(3, trainable=False)).plan(BATCH)
        assert kernels_of(plan, "backward") == kernels_of(plan, "update") == []

    def test_without_a_bias_asks_for_no_bias_gradient(self):
        plan = net(Dense(3, use_bias=False)).plan(BATCH)
        assert operations(plan, "linear")[0].arguments["b"] is None
        assert operations(plan, "linear_backward")[0].arguments["db"] is None


def updated(plan):
    return [
        (op.arguments["parameters"].offset, op.arguments["parameters"].shape[0],
         op.arguments["weight_decay"])
        for op in plan.operations if op.phase == "update"
    ]  # fmt: skip


class TestSegments:
    first, last = FEATURES * HIDDEN, HIDDEN * CLASSES

    def net(self):
        return net(Dense(HIDDEN, "relu"), Dense(CLASSES))

    @pytest.mark.parametrize("make", [SGD, Adam, AdamW, RMSprop])
    def test_one_update_where_all_is_decayed_alike(self, make):
        size = self.net().parameters.size
        for decay in (0.0, 0.1):
            plan = self.net().plan(BATCH, optimizer=make(weight_decay=decay))
            assert updated(plan) == [(0, size, decay)]
        plan = self.net().plan(BATCH, optimizer=make(weight_decay=0.0, decay_bias=False))
        assert updated(plan) == [(0, size, 0.0)]

    @pytest.mark.parametrize("make", [SGD, Adam, AdamW, RMSprop])
    def test_four_where_biases_are_left_out_of_decay(self, make):
        plan = self.net().plan(BATCH, optimizer=make(weight_decay=0.1, decay_bias=False))
        assert updated(plan) == [
            (0, self.first, 0.1),
            (self.first, HIDDEN, 0.0),
            (self.first + HIDDEN, self.last, 0.1),
            (self.first + HIDDEN + self.last, CLASSES, 0.0),
        ]

    def test_frozen_layers_are_cut_out(self):
        model = net(Dense(4), Dense(5, trainable=False), Dense(6), Dense(3))
        sizes = [sum(v.size for v in layer.parameters.values()) for layer in model.layers]
        assert updated(model.plan(BATCH, optimizer=SGD(weight_decay=0.1))) == [
            (0, sizes[0], 0.1),
            (sizes[0] + sizes[1], sizes[2] + sizes[3], 0.1),
        ]

    def test_state_lies_beside_its_parameters(self):
        plan = self.net().plan(BATCH, optimizer=Adam(weight_decay=0.1, decay_bias=False))
        for op in operations(plan, "adam"):
            spans = {(b.offset, b.shape) for b in op.buffers.values()}
            assert len(spans) == 1
            places = [b.place for b in op.buffers.values()]
            assert places == ["parameters", "gradients", "first_moment", "second_moment"]


class Peaks(Callback):
    """Starts watching memory once everything has been used, and keeps the growth."""

    def __init__(self, after, until):
        self.after, self.until = after, until
        self.growth = None

    def on_progress(self, model, *_):
        if model.progress.steps == self.after:
            tracemalloc.start()
            tracemalloc.reset_peak()
            self.base = tracemalloc.get_traced_memory()[0]
        elif model.progress.steps == self.until:
            self.growth = tracemalloc.get_traced_memory()[1] - self.base
            tracemalloc.stop()


@pytest.mark.skipif("native" not in BACKENDS, reason="the native kernels are not built")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_native_step_allocates_nothing_large(dtype, monkeypatch):
    monkeypatch.setattr("mlcore.trainer.SECONDS_BETWEEN_LOOKS", 0.0)
    batch, width, steps = 64, 256, 60
    layers = [
        GaussianNoise(0.1), Dense(width, "relu"), Dropout(0.2), Dense(width, "gelu"),
        Activation("tanh"), Dense(4),
    ]  # fmt: skip
    model = Sequential(layers, seed=1, dtype=dtype, backend="native")
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (batch * steps, 50), dtype=np.uint8)
    watch = Peaks(after=10, until=60)
    model.fit(
        x, rng.integers(0, 4, len(x)), batch_size=batch, optimizer=Adam(1e-4), verbose=0,
        callbacks=watch, evaluate_train=False,
    )  # fmt: skip
    activation = batch * width * np.dtype(dtype).itemsize
    assert watch.growth is not None
    assert watch.growth < activation / 4
