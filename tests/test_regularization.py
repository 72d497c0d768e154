"""Penalties, limits on gradients and weights, and gradients added up: against differences, against
PyTorch, and across a stop."""

import itertools

import numpy as np
import pytest

import mlcore
from mlcore import (
    L1,
    L1L2,
    L2,
    SGD,
    Adagrad,
    Adam,
    AdamW,
    Conv1D,
    Conv2D,
    Dense,
    Embedding,
    Flatten,
    InputError,
    MaxNorm,
    Norm,
    Reshape,
    RMSprop,
    Sequential,
    kernels,
    regularizers,
)
from mlcore.callbacks import Callback
from mlcore.plan import lower

BACKENDS = [entry.name for entry in kernels.status() if entry.available]
# The native engine takes the first number of hidden units as a network of a few units.
WIDTHS = [5, 12]
SAMPLES, FEATURES, CLASSES, BATCH = 22, 6, 3, 4
STEPS = 20


def data(seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((SAMPLES, FEATURES)), rng.integers(0, CLASSES, SAMPLES)


def net(backend=None, first=None, second=None, hidden=WIDTHS[1], **given):
    layers = [Dense(hidden, "tanh", **(first or {})), Dense(CLASSES, **(second or {}))]
    settings = {"seed": 3, "dtype": "float64", "backend": backend, **given}
    model = Sequential(layers, **settings).build(FEATURES)
    rng = np.random.default_rng(1)
    for layer in layers:
        layer.bias = 0.3 * rng.standard_normal(layer.bias.shape)
    return model


def penalty_of(vector, l1=0.0, l2=0.0, norm=0.0):
    return l1 * np.abs(vector).sum() + l2 * (vector**2).sum() + norm * np.sqrt((vector**2).sum())


def weights_of(model):
    return np.concatenate([layer.weight.ravel() for layer in model.layers])


# Settings of the layers, of the whole model, and what the penalty then is.
PENALTIES = {
    "none": ({}, {}, None, lambda _: 0.0),
    "l1 of a weight": (
        {"kernel_regularizer": L1(0.02)}, {}, None,
        lambda m: penalty_of(m.layers[0].weight, l1=0.02),
    ),
    "l2 of a bias": (
        {}, {"bias_regularizer": "l2"}, None, lambda m: penalty_of(m.layers[1].bias, l2=0.01),
    ),
    "three of them": (
        {"kernel_regularizer": "l1_l2", "bias_regularizer": {"name": "l1", "l1": 0.1}},
        {"kernel_regularizer": Norm(0.2)}, None,
        lambda m: (
            penalty_of(m.layers[0].weight, l1=0.01, l2=0.01)
            + penalty_of(m.layers[0].bias, l1=0.1)
            + penalty_of(m.layers[1].weight, norm=0.2)
        ),
    ),
    "l2 of the model": ({}, {}, L2(0.03), lambda m: penalty_of(weights_of(m), l2=0.03)),
    "l1 of the model": ({}, {}, L1(0.03), lambda m: penalty_of(weights_of(m), l1=0.03)),
    "norm of the model": ({}, {}, Norm(0.03), lambda m: penalty_of(m.parameters, norm=0.03)),
    "norm of what learns": (
        {"trainable": False, "kernel_regularizer": "l2"}, {}, Norm(0.03),
        lambda m: penalty_of(
            np.concatenate([m.layers[1].weight.ravel(), m.layers[1].bias]), norm=0.03
        ),
    ),
    "both": (
        {"kernel_regularizer": L2(0.1)}, {}, L1L2(0.01, 0.02),
        lambda m: (
            penalty_of(weights_of(m), l1=0.01, l2=0.02) + penalty_of(m.layers[0].weight, l2=0.1)
        ),
    ),
}  # fmt: skip


class TestPenalties:
    @pytest.mark.parametrize("case", PENALTIES)
    @pytest.mark.parametrize("backend", BACKENDS)
    def test_are_part_of_the_loss_and_of_its_gradient(self, backend, case):
        first, second, whole, wanted = PENALTIES[case]
        model, plain = net(backend, first, second), net(backend)
        x, y = data()
        loss, gradients = model.loss_and_gradients(x, y, regularizer=whole)
        assert loss - plain.loss_and_gradients(x, y)[0] == pytest.approx(wanted(model), abs=1e-12)
        for at in range(model.parameters.size):
            ends = []
            for step in (1e-6, -2e-6):
                model.parameters[at] += step
                ends.append(model.loss_and_gradients(x, y, regularizer=whole)[0])
            model.parameters[at] += 1e-6
            frozen = not model.layers[0].trainable and at < (FEATURES + 1) * WIDTHS[1]
            slope = 0.0 if frozen else (ends[0] - ends[1]) / 2e-6
            assert gradients[at] == pytest.approx(slope, rel=1e-6, abs=1e-8), at

    @pytest.mark.parametrize("case", PENALTIES)
    @pytest.mark.parametrize("backend", BACKENDS)
    def test_are_part_of_every_loss_that_is_reported(self, backend, case):
        first, second, whole, wanted = PENALTIES[case]
        model, plain = net(backend, first, second), net(backend)
        x, y = data()
        # Without a rate nothing changes, so all these losses are those of one model.
        history = model.fit(
            x, y, optimizer=SGD(0.0), epochs=1, batch_size=BATCH, verbose=0, regularizer=whole,
            validation_data=(x[:9], y[:9]),
        )  # fmt: skip
        losses = [history[name][0] for name in ("running_loss", "loss", "val_loss")]
        losses.append(model.evaluate(x, y, batch_size=5)["loss"])
        bare = plain.evaluate(x, y)["loss"]
        right = np.array([bare, bare, plain.evaluate(x[:9], y[:9])["loss"], bare]) + wanted(model)
        np.testing.assert_allclose(losses, right, rtol=1e-12)

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_of_zeros_have_no_slope(self, backend):
        model, plain = (net(backend, kernel) for kernel in ({"kernel_regularizer": "norm"}, {}))
        for each in (model, plain):
            each.parameters[...] = 0
        x, y = data()
        np.testing.assert_array_equal(
            model.loss_and_gradients(x, y, regularizer="l1")[1], plain.loss_and_gradients(x, y)[1]
        )

    def test_leave_models_without_them_fused(self):
        for strength in (None, L2(0.0), {"name": "l1", "l1": 0}):
            model = net(first={"kernel_regularizer": strength})
            assert model.plan(BATCH, regularizer=strength).fused
        assert net().plan(BATCH, optimizer=Adam()).unfused == []

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ("l3", "unknown regularizer 'l3'.* Known: l1, l1_l2, l2, norm"),
            ({"name": "l2", "l1": 0.1}, "regularizer l2: .*'l1'"),
            ({"name": "l2", "l2": -1}, "l2 of L2 must be 0 or more, not -1"),
            ({"name": "norm", "norm": "much"}, "norm of Norm must be 0 or more, not 'much'"),
            (3, "unknown regularizer"),
        ],
    )
    def test_that_are_wrong_are_refused(self, given, message):
        with pytest.raises(InputError, match=message):
            Dense(3, kernel_regularizer=given)
        with pytest.raises(InputError, match=message):
            net().fit(*data(), regularizer=given)

    def test_are_what_their_configuration_says(self):
        for given in (L1(0.1), L2(0.2), L1L2(0.1, 0.3), Norm(0.4)):
            assert regularizers.get(given.config()) == given
        assert regularizers.get("l1_l2") == L1L2(0.01, 0.01)
        assert regularizers.get(None) is None

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_that_overflow_are_named(self, backend):
        model = net(backend, {"kernel_regularizer": L2(1.0)})
        model.layers[0].weight[0, 0] = 1e200
        with pytest.raises(mlcore.NonFiniteLossError, match=r"l2 of dense_1\.weight"):
            model.fit(*data(), verbose=0)


# Everything that is trained with below, by what it is in PyTorch.
def torch_optimizer(torch, optimizer, parameters):
    common = {"lr": optimizer.learning_rate, "weight_decay": optimizer.weight_decay}
    if isinstance(optimizer, Adagrad):
        start = optimizer.initial_accumulator_value
        return torch.optim.Adagrad(parameters, initial_accumulator_value=start, **common)
    if isinstance(optimizer, AdamW):
        return torch.optim.AdamW(parameters, **common)
    if isinstance(optimizer, Adam):
        return torch.optim.Adam(parameters, **common)
    return torch.optim.SGD(parameters, momentum=optimizer.momentum, **common)


def torch_penalty(model, layers, whole):
    """The sum of all penalties, by the formulas."""
    terms = []

    def of(regularizer, *tensors):
        flat = [tensor.reshape(-1) for tensor in tensors]
        for name, strength in regularizer.strengths.items():
            squares = sum((t**2).sum() for t in flat)
            value = {
                "l1": sum(t.abs().sum() for t in flat), "l2": squares, "norm": squares**0.5
            }[name]  # fmt: skip
            terms.append(strength * value)

    for layer, (weight, bias) in zip(model.layers, layers, strict=True):
        if layer.kernel_regularizer:
            of(layer.kernel_regularizer, weight)
        if layer.bias_regularizer:
            of(layer.bias_regularizer, bias)
    if whole is not None:
        tensors = [t for pair in layers for t in (pair if whole.of_biases else pair[:1])]
        of(whole, *tensors)
    return sum(terms)


def torch_trajectory(torch, model, optimizer, whole, steps):
    """The parameters after so many steps over the samples in order, batch after batch."""
    layers = [
        [torch.tensor(part.copy(), requires_grad=True) for part in (layer.weight, layer.bias)]
        for layer in model.layers
    ]
    flat = [tensor for pair in layers for tensor in pair]
    stepper = torch_optimizer(torch, optimizer, flat)
    x, y = (torch.tensor(part) for part in data())
    group = optimizer.gradient_accumulation_steps
    starts = itertools.cycle(range(0, SAMPLES, BATCH))
    for step, start in enumerate(itertools.islice(starts, steps), start=1):
        rows = slice(start, start + BATCH)
        hidden = torch.tanh(x[rows] @ layers[0][0] + layers[0][1])
        outputs = hidden @ layers[1][0] + layers[1][1]
        loss = torch.nn.functional.cross_entropy(outputs, y[rows])
        ((loss + torch_penalty(model, layers, whole)) / group).backward()
        if step % group == 0:
            if optimizer.global_clipnorm:
                torch.nn.utils.clip_grad_norm_(flat, optimizer.global_clipnorm)
            if optimizer.clipvalue:
                torch.nn.utils.clip_grad_value_(flat, optimizer.clipvalue)
            stepper.step()
            stepper.zero_grad()
            for layer, (weight, _) in zip(model.layers, layers, strict=True):
                if layer.kernel_constraint:
                    with torch.no_grad():
                        norms = weight.norm(dim=0)
                        limit = layer.kernel_constraint.max_value
                        weight *= torch.where(norms > limit, limit / norms, 1.0)
    return np.concatenate([tensor.detach().numpy().ravel() for tensor in flat])


TRAINED = {
    "adagrad": (Adagrad(0.05), {}, None),
    "adagrad with decay and a start": (Adagrad(0.05, 0.1, weight_decay=0.1), {}, None),
    "clipped norm": (SGD(0.3, 0.9, global_clipnorm=0.05), {}, None),
    "clipped norm, reached sometimes": (SGD(0.3, global_clipnorm=0.5, weight_decay=0.1), {}, None),
    "clipped values": (SGD(0.3, clipvalue=0.02), {}, None),
    "l1 of a layer": (SGD(0.1), {"kernel_regularizer": L1(0.01)}, None),
    "l2 of a layer": (Adam(0.01), {"kernel_regularizer": L2(0.1), "bias_regularizer": "l2"}, None),
    "l2 of the model": (SGD(0.1), {}, L2(0.05)),
    "norm of the model": (SGD(0.1), {}, Norm(0.2)),
    "added up": (SGD(0.3, 0.9, gradient_accumulation_steps=3), {}, None),
    "added up, AdamW": (AdamW(0.01, gradient_accumulation_steps=4), {}, None),
    "limited columns": (SGD(0.3), {"kernel_constraint": MaxNorm(0.8)}, None),
    "all at once": (
        Adam(0.01, global_clipnorm=0.3, gradient_accumulation_steps=2),
        {"kernel_regularizer": L1(0.01), "kernel_constraint": MaxNorm(0.9)}, Norm(0.1),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TRAINED)
@pytest.mark.parametrize("hidden", WIDTHS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_twenty_steps_are_those_of_pytorch(backend, hidden, case):
    torch = pytest.importorskip("torch")
    optimizer, settings, whole = TRAINED[case]
    model = net(backend, settings, settings, hidden)
    # Six steps an epoch: the last group of gradients goes over into the next.
    wanted = torch_trajectory(torch, model, optimizer, whole, STEPS)
    before = model.parameters.copy()
    stop = Stop(STEPS)
    with pytest.raises(KeyboardInterrupt):
        model.fit(
            *data(), optimizer=optimizer, regularizer=whole, batch_size=BATCH, shuffle=False,
            epochs=9, verbose=0, callbacks=stop,
        )  # fmt: skip
    assert np.abs(model.parameters - before).max() > 1e-3
    np.testing.assert_allclose(model.parameters, wanted, rtol=1e-10, atol=1e-10)


class Stop(Callback):
    """Stops in the middle of an epoch, as Ctrl-C does."""

    progress_every_step = True

    def __init__(self, steps):
        self.steps = steps

    def on_progress(self, model, *_):
        if model.progress.steps == self.steps:
            raise KeyboardInterrupt


class TestAddingUp:
    def fit(self, model, **given):
        optimizer = Adam(0.02, gradient_accumulation_steps=4, global_clipnorm=0.2)
        settings = {"batch_size": BATCH, "epochs": 5, "verbose": 0, "regularizer": Norm(0.05)}
        return model.fit(*data(), **{**settings, "optimizer": optimizer, **given})

    @pytest.mark.parametrize("stop", [1, 5, 6, 11, 13])
    @pytest.mark.parametrize("hidden", WIDTHS)
    @pytest.mark.parametrize("backend", BACKENDS)
    def test_goes_on_to_the_same_bits_after_a_stop(self, backend, hidden, stop, tmp_path):
        settings = {"dtype": "float32", "hidden": hidden}
        whole = net(backend, {"kernel_constraint": "max_norm"}, **settings)
        self.fit(whole)
        stopped = net(backend, {"kernel_constraint": "max_norm"}, **settings)
        with pytest.raises(KeyboardInterrupt):
            self.fit(stopped, callbacks=Stop(stop))
        stopped.save(tmp_path / "stopped.h5")
        again = mlcore.load(tmp_path / "stopped.h5", backend=backend)
        assert again.progress.updates == stop
        for model in (stopped, again):
            self.fit(model, resume=True)
            assert model.parameters.tobytes() == whole.parameters.tobytes()
            for name, state in whole.optimizer_state.items():
                assert model.optimizer_state[name].tobytes() == state.tobytes(), name

    def test_is_the_mean_and_one_update(self):
        models = [net("numpy"), net("numpy")]
        x, y = data()
        models[0].fit(
            x[:20], y[:20], optimizer=SGD(0.5, gradient_accumulation_steps=5), batch_size=4,
            shuffle=False, verbose=0,
        )  # fmt: skip
        models[1].fit(
            x[:20], y[:20], optimizer=SGD(0.5), batch_size=20, shuffle=False, verbose=0
        )  # fmt: skip
        np.testing.assert_allclose(models[0].parameters, models[1].parameters, rtol=1e-13)

    def test_changes_nothing_before_the_last_of_a_group(self):
        model = net()
        before = model.parameters.copy()
        with pytest.raises(KeyboardInterrupt):
            self.fit(model, callbacks=Stop(3))
        np.testing.assert_array_equal(model.parameters, before)
        assert model.optimizer_state["gradient_sum"].any()

    def test_another_penalty_is_no_resumption(self):
        model = net()
        self.fit(model, epochs=1)
        with pytest.raises(InputError, match="cannot resume with regularizer None"):
            self.fit(model, regularizer=None, resume=True)

    def test_begins_anew_with_another_optimizer(self):
        models = [net(), net()]
        with pytest.raises(KeyboardInterrupt):
            self.fit(models[0], callbacks=Stop(3))
        for model in models:
            self.fit(model, epochs=2, shuffle=False)
        assert models[0].parameters.tobytes() == models[1].parameters.tobytes()


class TestMaxNorm:
    @pytest.mark.parametrize("hidden", [*WIDTHS, 70])
    @pytest.mark.parametrize("backend", BACKENDS)
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_holds_after_training_for_every_unit(self, dtype, backend, hidden):
        model = net(backend, {"kernel_constraint": MaxNorm(0.7)}, hidden=hidden, dtype=dtype)
        model.fit(*data(), optimizer=SGD(0.5), epochs=3, batch_size=BATCH, verbose=0)
        norms = np.sqrt((model.layers[0].weight.astype(float) ** 2).sum(axis=0))
        assert norms.max() <= 0.7 * (1 + 1e-6)
        assert norms.max() > 0.69
        assert np.sqrt((model.layers[1].weight ** 2).sum(axis=0)).max() > 0.7

    def test_leaves_frozen_layers(self):
        model = net(first={"kernel_constraint": MaxNorm(0.1), "trainable": False})
        before = model.layers[0].weight.copy()
        model.fit(*data(), verbose=0)
        np.testing.assert_array_equal(model.layers[0].weight, before)

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ("max", "unknown constraint 'max'. Did you mean 'max_norm'"),
            ({"name": "max_norm", "max": 3}, "constraint max_norm: .*'max'"),
            ({"name": "max_norm", "max_value": 0}, "max_value of MaxNorm must be above 0, not 0"),
            ({"name": "max_norm", "axis": 0.5}, "axis of MaxNorm must be whole numbers, not 0.5"),
        ],
    )
    def test_that_is_wrong_is_refused(self, given, message):
        with pytest.raises(InputError, match=message):
            Dense(3, kernel_constraint=given)

    @pytest.mark.parametrize("axis", [1, 2, (0, 1), ()])
    def test_over_other_axes_is_refused(self, axis):
        model = Sequential([Dense(3, kernel_constraint=MaxNorm(axis=axis))])
        with pytest.raises(
            InputError, match=r"the weight of dense_1, which is \(6, 3\), must be 0"
        ):
            model.build(6)

    def test_over_all_axes_but_the_last_of_any_weight(self):
        MaxNorm(axis=(0, 1, 2)).check((3, 3, 4, 8), "filters")
        MaxNorm(axis=-2).check((4, 8), "weights")
        with pytest.raises(InputError, match=r"must be \(0, 1, 2\), not 0"):
            MaxNorm().check((3, 3, 4, 8), "filters")


class TestGathering:
    @pytest.mark.parametrize("make", [SGD, Adam, AdamW, RMSprop, Adagrad])
    def test_is_a_setting_of_every_optimizer(self, make):
        optimizer = make(0.01, global_clipnorm=2, gradient_accumulation_steps=3)
        assert optimizer.global_clipnorm == 2.0
        again = mlcore.optimizers.get({"name": optimizer.kind, **optimizer.config()})
        assert repr(again) == repr(optimizer)
        assert again.state == optimizer.state
        assert optimizer.state[-1] == "gradient_sum"
        assert make(0.01).state == optimizer.state[:-1]

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"global_clipnorm": 0}, "global_clipnorm of SGD must be above 0, or None, not 0"),
            ({"clipvalue": -1.0}, "clipvalue of SGD must be above 0, or None"),
            ({"clipvalue": 1.0, "global_clipnorm": 1.0}, "global_clipnorm or clipvalue, not both"),
            ({"gradient_accumulation_steps": 0}, "must be a whole number, 1 or more, not 0"),
            ({"gradient_accumulation_steps": 2.0}, "must be a whole number, 1 or more, not 2.0"),
        ],
    )
    def test_that_is_wrong_is_refused(self, given, message):
        with pytest.raises(InputError, match=message):
            SGD(**given)

    def test_unknown_settings_are_refused(self):
        with pytest.raises(InputError, match="clipnorm"):
            mlcore.optimizers.get({"name": "sgd", "clipnorm": 1.0})
        with pytest.raises(InputError, match="initial_accumulator_value of Adagrad"):
            Adagrad(initial_accumulator_value=-1)


class TestPlans:
    def test_say_why_gradients_are_written(self):
        model = net(first={"kernel_regularizer": "l2", "kernel_constraint": "max_norm"})
        optimizer = Adam(global_clipnorm=1.5, gradient_accumulation_steps=2)
        plan = model.plan(BATCH, optimizer=optimizer, regularizer="norm")
        assert not plan.fused
        assert str(plan).splitlines()[1] == (
            "gradients are written before updates: l2 of dense_1.weight, norm of the model, "
            "gradient_accumulation_steps, global_clipnorm, max_norm of dense_1.weight"
        )
        assert [(op.phase, op.kernel) for op in plan.operations[4:]] == [
            ("loss", "softmax_cross_entropy"),
            ("loss", "block_sums"),
            ("loss", "penalty"),
            ("loss", "block_sums"),
            ("loss", "penalty"),
            ("backward", "linear_backward"),
            ("backward", "linear_backward"),
            ("backward", "penalty_gradient"),
            ("backward", "penalty_gradient"),
            ("backward", "accumulate"),
            ("update", "block_sums"),
            ("update", "clip"),
            ("update", "adam"),
            ("update", "max_norm"),
        ]
        for shown in ("(l2 0.01)", "(norm 0.01)", "(steps 2)", "(limit 1.5)", "(limit 2)"):
            assert shown in str(plan)

    @pytest.mark.parametrize("backend", BACKENDS)
    @pytest.mark.parametrize("width", [5, 40])
    def test_that_are_asked_for_leave_gradients_and_state_in_their_vectors(self, backend, width):
        from mlcore.engine import executor_for
        from mlcore.losses import get
        from mlcore.plan import aligned_zeros

        vectors = []
        for fused in (True, False):
            model = Sequential([Dense(width, "tanh"), Dense(CLASSES)], seed=1, dtype="float64",
                               backend=backend).build(FEATURES)  # fmt: skip
            x, y = data()
            loss, optimizer = get("softmax_cross_entropy"), Adam(0.01)
            targets = loss.targets(y, CLASSES, model.dtype)
            plan = lower(model, batch_size=BATCH, loss=loss, optimizer=optimizer, fused=fused,
                         source_dtype=x.dtype, labelled=True)  # fmt: skip
            assert plan.fused == fused
            assert ("asked for" in str(plan)) != fused
            names = ("gradients", *optimizer.state)
            mine = {name: aligned_zeros(model.parameters.size, "float64") for name in names}
            mine["parameters"] = model.parameters
            wanted = model.loss_and_gradients(x[:BATCH], y[:BATCH])[1]
            executor = executor_for(plan, mine, x, targets)
            executor.run(np.arange(SAMPLES), 0, 1, learning_rate=0.01)
            if not fused:
                np.testing.assert_allclose(mine["gradients"], wanted, rtol=1e-12, atol=1e-15)
                np.testing.assert_allclose(mine["first_moment"], 0.1 * wanted, rtol=1e-9)
            executor.run(np.arange(SAMPLES), 1, 5, update=1, learning_rate=0.01)
            executor.sync()
            vectors.append(mine)
        for name in ("parameters", "first_moment", "second_moment"):
            np.testing.assert_allclose(vectors[0][name], vectors[1][name], rtol=1e-9, atol=1e-14)


class Counts(Callback):
    progress_every_step = True

    def __init__(self):
        self.calls = 0

    def on_progress(self, model, done, _logs):
        self.calls += 1
        assert model.progress.step / 6 == pytest.approx(done)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_callback_may_look_after_every_step(backend):
    models = [net(backend), net(backend)]
    counts = Counts()
    for model, callbacks in zip(models, ([], [counts]), strict=True):
        model.fit(*data(), batch_size=BATCH, epochs=4, verbose=0, callbacks=callbacks)
    assert counts.calls == 24
    assert models[0].parameters.tobytes() == models[1].parameters.tobytes()


def test_a_checkpoint_keeps_all_settings(tmp_path):
    first = {"kernel_regularizer": L1(0.02), "kernel_constraint": MaxNorm(1.5)}
    model = net(first=first, second={"bias_regularizer": "l2"})
    x, y = data()
    model.fit(
        x, y, optimizer=Adagrad(0.1, 0.2, clipvalue=0.3), regularizer=Norm(0.07), verbose=0
    )  # fmt: skip
    model.save(tmp_path / "model.h5")
    again = mlcore.load(tmp_path / "model.h5")
    assert again.regularizer == Norm(0.07)
    assert again.layers[0].kernel_regularizer == L1(0.02)
    assert again.layers[0].kernel_constraint == MaxNorm(1.5)
    assert again.layers[1].bias_regularizer == L2(0.01)
    assert repr(again.optimizer) == repr(model.optimizer)
    assert again.evaluate(x, y) == model.evaluate(x, y)
    np.testing.assert_array_equal(
        again.optimizer_state["square_sum"], model.optimizer_state["square_sum"]
    )
    assert (again.optimizer_state["square_sum"] >= 0.2).all()


def of_filters(backend, sequence=None, image=None):
    """Return a network of filters over sequences of four things, and then over an image."""
    layers = [
        Embedding(5, 3, embeddings_regularizer=L2(0.1)),
        Conv1D(4, 2, activation="tanh", **(sequence or {})),
        Reshape((3, 2, 2)),
        Conv2D(2, 2, **(image or {})),
        Flatten(),
        Dense(2),
    ]
    return Sequential(layers, seed=3, backend=backend, dtype="float64").build(4)


def sequences(samples):
    rng = np.random.default_rng(0)
    return rng.integers(0, 5, (samples, 4)), rng.integers(0, 2, samples)


@pytest.mark.parametrize("backend", BACKENDS)
class TestFilters:
    def test_have_penalties(self, backend):
        x, y = sequences(6)
        penalized = of_filters(
            backend, {"kernel_regularizer": L1(0.02)}, {"bias_regularizer": L2(0.3)}
        )
        penalized.layers[3].bias = [0.5, -1]
        loss, gradients = penalized.loss_and_gradients(x, y)
        bare = of_filters(backend)
        bare.layers[3].bias = [0.5, -1]
        without, expected = bare.loss_and_gradients(x, y)
        weight = penalized.layers[1].weight
        assert loss == pytest.approx(without + 0.02 * np.abs(weight).sum() + 0.3 * 1.25, rel=1e-12)
        for name, extra in (
            (("conv1d_1", "weight"), 0.02 * np.sign(weight)),
            (("conv2d_1", "bias"), 0.6 * penalized.layers[3].bias),
        ):
            place = penalized.places[name]
            expected[place.start : place.stop] += extra.ravel()
        np.testing.assert_allclose(gradients, expected, rtol=1e-9, atol=1e-15)

    def test_and_vectors_stay_within_limits(self, backend):
        limited = of_filters(
            backend, {"kernel_constraint": MaxNorm(0.5, axis=(0, 1))},
            {"kernel_constraint": MaxNorm(0.4, axis=(0, 1, 2))},
        )  # fmt: skip
        free = of_filters(backend)
        x, y = sequences(64)
        for model in (limited, free):
            model.fit(x, y, optimizer=SGD(1.0), epochs=5, batch_size=8, verbose=0)
        for at, limit in ((1, 0.5), (3, 0.4)):
            largest = {}
            for model in (limited, free):
                weight = model.layers[at].weight
                norms = np.linalg.norm(weight.reshape(-1, weight.shape[-1]), axis=0)
                largest[model] = norms.max()
            assert largest[limited] <= limit * (1 + 1e-12) < largest[free]

    def test_are_saved_with_both(self, backend, tmp_path):
        limited = {"kernel_regularizer": "l1", "kernel_constraint": MaxNorm(0.5, axis=(0, 1))}
        model = of_filters(backend, limited)
        model.save(tmp_path / "model.h5")
        again = mlcore.load(tmp_path / "model.h5")
        for ours, theirs in zip(model.layers, again.layers, strict=True):
            assert ours.config() == theirs.config()

    def test_refuse_other_axes(self, backend):
        with pytest.raises(InputError, match=r"the weight of conv2d_1.* must be \(0, 1, 2\)"):
            of_filters(backend, None, {"kernel_constraint": MaxNorm(0.5)})
