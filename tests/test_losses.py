"""The losses beside PyTorch and scikit-learn, at their kinks, and as `fit` and files know them."""

import numpy as np
import pytest

from mlcore import SGD, Dataset, Dense, Sequential, kernels, load, losses
from mlcore.callbacks import Callback
from mlcore.executor import Totals
from mlcore.kernels.errors import InputError
from mlcore.trainer import Progress

BACKENDS = [entry.name for entry in kernels.status() if entry.available]
RNG = np.random.default_rng(3)
SAMPLES, OUTPUTS, FEATURES = 37, 5, 4
X = RNG.standard_normal((SAMPLES, FEATURES))
Z = 3 * RNG.standard_normal((SAMPLES, OUTPUTS))
LABELS = RNG.integers(0, OUTPUTS, SAMPLES)
SOFT = RNG.dirichlet(np.ones(OUTPUTS), SAMPLES)
UNIT = RNG.random((SAMPLES, OUTPUTS))
NUMBERS = 2 * RNG.standard_normal((SAMPLES, OUTPUTS))
SIGNS = RNG.choice([-1.0, 1.0], (SAMPLES, OUTPUTS))
WEIGHTS = np.maximum(0, RNG.random(SAMPLES) - 0.1)


def computed(backend, name, outputs, *, dtype=np.float64, **arguments):
    """Losses and gradient of a kernel."""
    found = np.full(len(outputs), np.nan, dtype), np.full(outputs.shape, np.nan, dtype)
    first = next(iter(kernels.TABLE[name].arguments))
    arguments = {
        key: value.astype(dtype) if isinstance(value, np.ndarray) and key != "labels" else value
        for key, value in arguments.items()
    }
    outputs = np.asarray(outputs, dtype)
    kernels.get(backend).call(name, **{first: outputs}, **arguments, losses=found[0], grad=found[1])
    return found


# What PyTorch gives for each sample, from outputs and targets as tensors.
TORCH = {
    "labels": (
        "softmax_cross_entropy",
        {"labels": LABELS, "smoothing": 0.0},
        lambda f, z: f.cross_entropy(z, tensor(LABELS), reduction="none"),
    ),
    "smoothed labels": (
        "softmax_cross_entropy",
        {"labels": LABELS, "smoothing": 0.1},
        lambda f, z: f.cross_entropy(z, tensor(LABELS), reduction="none", label_smoothing=0.1),
    ),
    "soft targets": (
        "softmax_cross_entropy",
        {"targets": SOFT, "smoothing": 0.0},
        lambda f, z: f.cross_entropy(z, tensor(SOFT), reduction="none"),
    ),
    "smoothed soft targets": (
        "softmax_cross_entropy",
        {"targets": SOFT, "smoothing": 0.3},
        lambda f, z: f.cross_entropy(z, tensor(SOFT), reduction="none", label_smoothing=0.3),
    ),
    "sigmoid": (
        "sigmoid_cross_entropy",
        {"targets": UNIT, "smoothing": 0.0},
        lambda f, z: f.binary_cross_entropy_with_logits(z, tensor(UNIT), reduction="none").mean(1),
    ),
    "smoothed sigmoid": (
        "sigmoid_cross_entropy",
        {"targets": UNIT, "smoothing": 0.1},
        lambda f, z: f.binary_cross_entropy_with_logits(
            z, tensor(0.9 * UNIT + 0.05), reduction="none"
        ).mean(1),
    ),
    "mse": (
        "mse",
        {"targets": NUMBERS},
        lambda f, z: f.mse_loss(z, tensor(NUMBERS), reduction="none").mean(1),
    ),
    "mae": (
        "mae",
        {"targets": NUMBERS},
        lambda f, z: f.l1_loss(z, tensor(NUMBERS), reduction="none").mean(1),
    ),
    "huber": (
        "huber",
        {"targets": NUMBERS, "delta": 0.7},
        lambda f, z: f.huber_loss(z, tensor(NUMBERS), reduction="none", delta=0.7).mean(1),
    ),
    "hinge": (
        "hinge",
        {"targets": SIGNS, "margin": 1.0, "squared": False},
        lambda f, z: f.relu(1 - tensor(SIGNS) * z).mean(1),
    ),
    "squared hinge": (
        "hinge",
        {"targets": SIGNS, "margin": 0.5, "squared": True},
        lambda f, z: (f.relu(0.5 - tensor(SIGNS) * z) ** 2).mean(1),
    ),
    "perceptron": (
        "hinge",
        {"targets": SIGNS, "margin": 0.0, "squared": False},
        lambda f, z: f.relu(-tensor(SIGNS) * z).mean(1),
    ),
    "hinge of classes": (
        "hinge",
        {"labels": LABELS, "margin": 1.0, "squared": False},
        lambda f, z: f.relu(1 + behind(z)),
    ),
    "squared hinge of classes": (
        "hinge",
        {"labels": LABELS, "margin": 1.0, "squared": True},
        lambda f, z: f.relu(1 + behind(z)) ** 2,
    ),
}


def tensor(values):
    import torch

    return torch.from_numpy(np.asarray(values))


def behind(z):
    """By how much the label's output is behind the largest of the others."""
    import torch

    own = torch.nn.functional.one_hot(tensor(LABELS), OUTPUTS).bool()
    return z.masked_fill(own, -np.inf).amax(1) - z[own]


@pytest.mark.parametrize("weights", [None, WEIGHTS, np.ones(SAMPLES)], ids=["none", "some", "ones"])
@pytest.mark.parametrize("case", TORCH)
@pytest.mark.parametrize("backend", BACKENDS)
def test_values_and_gradients_are_those_of_torch(backend, case, weights):
    torch = pytest.importorskip("torch")
    name, arguments, function = TORCH[case]
    z = tensor(Z).requires_grad_()
    each = function(torch.nn.functional, z)
    factors = torch.ones(SAMPLES, dtype=torch.float64) if weights is None else tensor(weights)
    (slope,) = torch.autograd.grad((factors * each).sum() / factors.sum(), z)
    given = arguments if weights is None else {**arguments, "weights": weights}
    found, grad = computed(backend, name, Z, **given)
    np.testing.assert_allclose(found, (factors * each).detach(), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(grad, slope, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("power", [1, 2])
def test_two_classes_are_the_multi_margin_loss_of_torch(power):
    torch = pytest.importorskip("torch")
    z, labels = Z[:, :2], LABELS % 2
    found, _ = computed("numpy", "hinge", z, labels=labels, margin=1.0, squared=power == 2)
    # PyTorch divides by the number of classes.
    wanted = 2 * torch.nn.functional.multi_margin_loss(
        tensor(z), tensor(labels), p=power, reduction="none"
    )
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_class_weights_give_the_weighted_mean_of_torch(smoothing):
    torch = pytest.importorskip("torch")
    by_class = {0: 0.5, 2: 3.0}
    factors = np.array([by_class.get(label, 1.0) for label in range(OUTPUTS)])
    model = net(OUTPUTS)
    history = model.fit(
        X, LABELS, class_weight=by_class, optimizer=SGD(0.0), batch_size=SAMPLES, verbose=0
    )
    wanted = torch.nn.functional.cross_entropy(
        tensor(model.predict(X)), tensor(LABELS), weight=tensor(factors)
    )
    assert history["loss"] == [pytest.approx(float(wanted), rel=1e-12)]
    # With smoothing PyTorch weighs each term by its own class, so samples are compared.
    loss = losses.SoftmaxCrossEntropy(smoothing)
    each = torch.nn.functional.cross_entropy(
        tensor(model.predict(X)), tensor(LABELS), reduction="none", label_smoothing=smoothing
    )
    found = model.evaluate(X, LABELS, loss=loss, sample_weight=factors[LABELS])["loss"]
    assert found == pytest.approx(np.average(each, weights=factors[LABELS]), rel=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("backend", BACKENDS)
class TestAtTheKinks:
    def test_an_output_that_is_its_target(self, backend, dtype):
        outputs = np.array([[1.0, 2.0, 3.0]])
        targets = np.array([[1.0, 1.0, 5.0]])
        found, grad = computed(backend, "mae", outputs, targets=targets, dtype=dtype)
        np.testing.assert_allclose(found, [1.0])
        np.testing.assert_allclose(grad, np.array([[0, 1, -1]]) / 3, rtol=1e-6)

    def test_the_slope_of_huber_is_continuous(self, backend, dtype):
        outputs = np.array([[-3.0, -2.0, 0.0, 2.0, 3.0]])
        found, grad = computed(
            backend, "huber", outputs, targets=np.zeros((1, 5)), delta=2.0, dtype=dtype
        )
        np.testing.assert_allclose(found, [(4 + 2 + 0 + 2 + 4) / 5], rtol=1e-6)
        np.testing.assert_allclose(grad, np.array([[-2, -2, 0, 2, 2]]) / 5, rtol=1e-6)

    @pytest.mark.parametrize(("margin", "outputs"), [(1.0, [1, -1, 2, -2]), (0.0, [0, 0, 1, -1])])
    def test_a_sample_on_the_margin_is_learned_from(self, backend, dtype, margin, outputs):
        signs = np.array([[1.0], [-1.0], [1.0], [-1.0]])
        settings = {"targets": signs, "margin": margin, "dtype": dtype}
        z = np.array(outputs, float)[:, None]
        found, grad = computed(backend, "hinge", z, squared=False, **settings)
        assert found.tolist() == [0, 0, 0, 0]
        assert (4 * grad[:, 0]).tolist() == [-1, 1, 0, 0]
        _, grad = computed(backend, "hinge", z, squared=True, **settings)
        assert not grad.any()

    def test_the_first_of_equal_rivals(self, backend, dtype):
        z = np.array([[2.0, 1.0, 2.0, 2.0], [3.0, 0.0, 4.0, 0.0], [-1.0, -1.0, -1.0, -1.0]])
        found, grad = computed(
            backend, "hinge", z, labels=np.array([0, 2, 3]), margin=1.0, squared=False, dtype=dtype
        )
        assert found.tolist() == [1, 0, 1]
        wanted = [[-1, 0, 1, 0], [1, 0, -1, 0], [1, 0, 0, -1]]
        np.testing.assert_allclose(3 * grad, wanted, rtol=1e-6)

    def test_a_single_class_has_no_rival(self, backend, dtype):
        found, grad = computed(
            backend, "hinge", np.array([[-5.0]]), labels=np.array([0]), margin=1.0, squared=False,
            dtype=dtype,
        )  # fmt: skip
        assert (found.tolist(), grad.tolist()) == ([0], [[0]])

    @pytest.mark.parametrize("name", [row for row, *_ in TORCH.values()])
    def test_no_weight_at_all_is_no_gradient(self, backend, dtype, name):
        _, arguments, _ = next(entry for entry in TORCH.values() if entry[0] == name)
        given = {**arguments, "weights": np.zeros(SAMPLES)}
        found, grad = computed(backend, name, Z, dtype=dtype, **given)
        assert not found.any()
        assert not grad.any()


@pytest.mark.parametrize("case", ["labels", "sigmoid", "hinge", "mae"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_tiny_and_huge_weights_do_not_overflow(backend, case):
    name, arguments, _ = TORCH[case]
    wanted = computed(backend, name, Z, **arguments, weights=WEIGHTS)[1]
    for scale in (1e-36, 1e30):
        given = {**arguments, "weights": scale * WEIGHTS}
        grad = computed(backend, name, Z, dtype=np.float32, **given)[1]
        np.testing.assert_allclose(grad, wanted, rtol=1e-4, atol=1e-6)


def net(outputs, *, dtype="float64", **settings):
    return Sequential([Dense(outputs)], seed=1, dtype=dtype, **settings).build(FEATURES)


KINDS = {
    "softmax_cross_entropy": (OUTPUTS, LABELS),
    "sigmoid_cross_entropy": (1, LABELS % 2),
    "mse": (OUTPUTS, NUMBERS),
    "mae": (1, NUMBERS[:, 0]),
    "huber": (OUTPUTS, NUMBERS),
    "hinge": (OUTPUTS, LABELS),
    "squared_hinge": (1, LABELS % 2),
    "perceptron": (OUTPUTS, LABELS),
}


@pytest.mark.parametrize("loss", losses.LOSSES)
def test_a_whole_weight_is_as_many_copies(loss):
    outputs, y = KINDS[loss]
    times = np.random.default_rng(0).integers(0, 4, SAMPLES)
    copies = np.repeat(np.arange(SAMPLES), times)
    model = net(outputs)
    value, slope = model.loss_and_gradients(X, y, loss=loss, sample_weight=times)
    other, wanted = model.loss_and_gradients(X[copies], y[copies], loss=loss)
    assert value == pytest.approx(other, rel=1e-12)
    np.testing.assert_allclose(slope, wanted, rtol=1e-12, atol=1e-14)
    found = model.evaluate(X, y, loss=loss, sample_weight=times, batch_size=5)["loss"]
    assert found == pytest.approx(other, rel=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("loss", losses.LOSSES)
def test_weights_in_fit(loss, backend):
    """The history holds weighted means, and accuracies that know nothing of weights."""
    outputs, y = KINDS[loss]
    model = net(outputs, backend=backend)
    history = model.fit(
        X, y, loss=loss, sample_weight=WEIGHTS, optimizer=SGD(0.0), batch_size=7, verbose=0,
        validation_data=(X[:9], y[:9], WEIGHTS[:9]),
    )  # fmt: skip
    measured = model.evaluate(X, y, loss=loss, sample_weight=WEIGHTS)
    for column in ("loss", "running_loss"):
        assert history[column] == [pytest.approx(measured["loss"])]
    part = model.evaluate(X[:9], y[:9], loss=loss, sample_weight=WEIGHTS[:9])
    assert history["val_loss"] == [pytest.approx(part["loss"])]
    plain = model.evaluate(X, y, loss=loss)
    assert plain["loss"] != pytest.approx(measured["loss"], rel=1e-4)
    assert plain.get("accuracy") == measured.get("accuracy")
    if "accuracy" in measured:
        assert history["accuracy"] == [measured["accuracy"]]


def test_the_validation_split_takes_its_weights_along():
    first, last = slice(0, 28), slice(28, None)
    together = net(OUTPUTS)
    history = together.fit(X, LABELS, sample_weight=WEIGHTS, validation_split=0.25, verbose=0)
    apart = net(OUTPUTS)
    wanted = apart.fit(
        X[first], LABELS[first], sample_weight=WEIGHTS[first], verbose=0,
        validation_data=(X[last], LABELS[last], WEIGHTS[last]),
    )  # fmt: skip
    assert history["val_loss"] == wanted["val_loss"]
    assert together.parameters.tobytes() == apart.parameters.tobytes()


def test_a_dataset_may_be_weighed():
    kept = []
    for given in ((X, LABELS), (Dataset(X, LABELS),)):
        model = net(OUTPUTS)
        model.fit(*given, sample_weight=WEIGHTS[:, None], verbose=0)
        kept.append(model.parameters.tobytes())
        with pytest.raises(InputError, match="one weight for each of the 37 samples"):
            model.evaluate(*given, sample_weight=WEIGHTS[:5])
    assert kept[0] == kept[1]


@pytest.mark.parametrize("loss", losses.LOSSES)
def test_a_plan_names_the_kernel(loss):
    kernel = "hinge" if loss in ("squared_hinge", "perceptron") else loss
    for outputs in (1, 3):
        assert f" {kernel} " in str(net(outputs).plan(loss=loss))


def test_a_batch_without_weight_changes_nothing():
    weights = np.where(np.arange(SAMPLES) < 16, 0.0, 1.0)
    kept = {}
    for name, x, y, w in [("all", X, LABELS, weights), ("some", X[16:], LABELS[16:], weights[16:])]:
        model = net(OUTPUTS)
        model.fit(x, y, sample_weight=w, batch_size=8, shuffle=False, epochs=2, verbose=0)
        kept[name] = model.parameters
    np.testing.assert_array_equal(kept["all"], kept["some"])


class Stop(Callback):
    """Breaks off after so many steps."""

    def __init__(self, steps):
        self.steps = steps

    def on_progress(self, model, *_):
        if model.progress.steps == self.steps:
            raise KeyboardInterrupt


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_resumed_epoch_goes_on_with_its_weights(backend, tmp_path, monkeypatch):
    monkeypatch.setattr("mlcore.trainer.SECONDS_BETWEEN_LOOKS", 0.0)
    given = {
        "sample_weight": WEIGHTS, "batch_size": 5, "epochs": 2, "verbose": 0,
        "evaluate_train": False,
    }  # fmt: skip
    whole, model = net(OUTPUTS, backend=backend), net(OUTPUTS, backend=backend)
    wanted = whole.fit(X, LABELS, **given)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, LABELS, callbacks=Stop(3), **given)
    assert 0 < model.progress.totals.weight < model.progress.totals.samples == 15
    model.save(tmp_path / "m.h5")
    again = load(tmp_path / "m.h5", backend=backend)
    found = again.fit(X, LABELS, resume=True, **given)
    assert again.parameters.tobytes() == whole.parameters.tobytes()
    assert found["running_loss"] == wanted["running_loss"]


def test_what_was_saved_before_there_were_weights_goes_on(monkeypatch):
    monkeypatch.setattr("mlcore.trainer.SECONDS_BETWEEN_LOOKS", 0.0)
    whole, model = net(OUTPUTS), net(OUTPUTS)
    given = {"batch_size": 5, "epochs": 2, "verbose": 0}
    wanted = whole.fit(X, LABELS, **given)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, LABELS, callbacks=Stop(3), **given)
    counts = model.progress.config()
    del counts["totals"]["weight"]
    del counts["settings"]["weighted"]
    model.progress = Progress.from_config(counts)
    assert isinstance(model.progress.totals, Totals)
    found = model.fit(X, LABELS, resume=True, **given)
    assert found["running_loss"] == wanted["running_loss"]
    assert model.parameters.tobytes() == whole.parameters.tobytes()


class TestClassWeights:
    @pytest.mark.parametrize(
        ("loss", "outputs", "y", "by_class"),
        [
            ("softmax_cross_entropy", OUTPUTS, LABELS, {0: 2.0, 3: 0.0}),
            ("softmax_cross_entropy", OUTPUTS, SOFT, {1: 2.0}),
            ("mse", OUTPUTS, LABELS, {4: 0.5}),
            ("sigmoid_cross_entropy", 1, LABELS % 2, {0: 0.1, 1: 2.0}),
            ("hinge", 1, LABELS % 2, {0: 0.1, 1: 2.0}),
            ("hinge", 1, 2 * (LABELS % 2) - 1, {-1: 0.1, 1: 2.0}),
            ("hinge", OUTPUTS, LABELS, {0: 0.1, np.int64(1): 2}),
        ],
    )
    def test_are_sample_weights(self, loss, outputs, y, by_class):
        labels = y if y.ndim == 1 else y.argmax(axis=1)
        weights = np.array([by_class.get(label, 1.0) for label in labels]) * WEIGHTS
        kept = []
        for given in (
            {"class_weight": by_class, "sample_weight": WEIGHTS},
            {"sample_weight": weights},
        ):
            model = net(outputs)
            model.fit(X, y, loss=loss, **given, epochs=2, verbose=0)
            kept.append(model.parameters)
        np.testing.assert_allclose(*kept, rtol=1e-12)

    @pytest.mark.parametrize("binary", [False, True])
    def test_balanced_is_that_of_scikit_learn(self, binary):
        weights = pytest.importorskip("sklearn.utils.class_weight")
        # One of the classes does not occur.
        y = (LABELS == 0).astype(int) if binary else LABELS % (OUTPUTS - 1)
        wanted = weights.compute_sample_weight("balanced", y)
        loss, outputs = ("hinge", 1) if binary else ("softmax_cross_entropy", OUTPUTS)
        model, other = net(outputs), net(outputs)
        model.fit(X, y, loss=loss, class_weight="balanced", verbose=0)
        other.fit(X, y, loss=loss, sample_weight=wanted, verbose=0)
        np.testing.assert_allclose(model.parameters, other.parameters, rtol=1e-12)

    def test_do_not_weigh_the_validation_data(self):
        model = net(OUTPUTS)
        history = model.fit(
            X, LABELS, class_weight={0: 9.0}, validation_data=(X, LABELS), verbose=0
        )
        assert history["val_loss"] == [pytest.approx(model.evaluate(X, LABELS)["loss"])]
        assert history["val_loss"] != history["loss"]


def but_one(value):
    return np.where(np.arange(SAMPLES) == 4, value, 1)


WRONG = {
    "negative": ({"sample_weight": but_one(-1)}, r"\[4\] is -1: .* 0 or more"),
    "nan": ({"sample_weight": but_one(np.nan)}, r"\[4\] is nan: .* finite"),
    "length": ({"sample_weight": WEIGHTS[1:]}, r"has shape \(36,\).*the 37 samples"),
    "axes": ({"sample_weight": np.ones((SAMPLES, 2))}, r"has shape \(37, 2\)"),
    "text": ({"sample_weight": ["a"] * SAMPLES}, "must hold real numbers"),
    "zeros": ({"sample_weight": np.zeros(SAMPLES)}, "weights of all samples are zero"),
    "overflow": ({"sample_weight": np.full(SAMPLES, 1e308)}, "sum to more than float64 can hold"),
    "unknown class": ({"class_weight": {5: 1.0}}, "names the class 5; the labels are 0, 1, 2"),
    "a name": ({"class_weight": {"cat": 1.0}}, "names the class 'cat'"),
    "negative class": ({"class_weight": {1: -2}}, r"class_weight\[1\] is -2"),
    "infinite class": ({"class_weight": {1: np.inf}}, r"class_weight\[1\] is inf"),
    "no dict": ({"class_weight": [1, 2]}, 'must be "balanced" or a dict.*not list'),
    "other text": ({"class_weight": "balance"}, 'must be "balanced" or a dict'),
    "regression": (
        {"class_weight": "balanced", "loss": "mse", "y": NUMBERS},
        "class_weight needs targets of which each is one class",
    ),
    "several labels": (
        {"class_weight": {1: 2.0}, "loss": "sigmoid_cross_entropy", "y": UNIT},
        "class_weight needs targets of which each is one class",
    ),
    "validation": (
        {"validation_data": (X, LABELS, np.ones(3))},
        r"sample_weight has shape \(3,\)",
    ),
    "zeros in validation": (
        {"validation_data": (X, LABELS, np.zeros(SAMPLES))},
        "weights of all samples are zero",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_weights(name):
    given, message = WRONG[name]
    model = net(OUTPUTS)
    before = model.parameters.copy()
    with pytest.raises(InputError, match=message):
        model.fit(X, **{"y": LABELS, "verbose": 0, **given})
    np.testing.assert_array_equal(model.parameters, before)


class TestHinges:
    @pytest.mark.parametrize("loss", ["hinge", "squared_hinge", "perceptron"])
    @pytest.mark.parametrize("lower", [-1, 0])
    @pytest.mark.parametrize("backend", BACKENDS)
    def test_two_classes_with_one_output(self, backend, lower, loss):
        y = np.where(X[:, 0] - X[:, 1] > 0.1, 1, lower)
        model = net(1, backend=backend)
        history = model.fit(X, y, loss=loss, optimizer=SGD(0.3), epochs=60, verbose=0)
        assert history["accuracy"][-1] >= 0.9
        np.testing.assert_array_equal(model.predict_classes(X), model.predict(X)[:, 0] > 0)
        right = (model.predict_classes(X) == (y == 1)).mean()
        assert history["accuracy"][-1] == pytest.approx(right)
        with pytest.raises(InputError, match=f"{loss} says nothing of probabilities"):
            model.predict_proba(X)

    @pytest.mark.parametrize("loss", ["hinge", "squared_hinge", "perceptron"])
    @pytest.mark.parametrize("hot", [False, True])
    def test_several_classes(self, hot, loss):
        labels = X[:, :3].argmax(axis=1)
        y = np.eye(3)[labels] if hot else labels
        model = net(3)
        history = model.fit(X, y, loss=loss, optimizer=SGD(0.3), epochs=60, verbose=0)
        assert history["accuracy"][-1] >= 0.9
        assert (model.predict_classes(X) == labels).mean() == history["accuracy"][-1]
        with pytest.raises(InputError, match="says nothing of probabilities"):
            model.predict_proba(X)

    def test_rows_of_signs_have_a_hinge_an_output(self):
        model = net(OUTPUTS)
        found = model.evaluate(X, SIGNS, loss="hinge")
        outputs = model.predict(X)
        assert found["loss"] == pytest.approx(np.maximum(0, 1 - SIGNS * outputs).mean())
        assert found["accuracy"] == pytest.approx(((outputs > 0) == (SIGNS > 0)).mean())

    def test_the_perceptron_is_that_of_scikit_learn(self):
        """Sample by sample from zero, where only learning at y * x = 0 moves at all."""
        linear = pytest.importorskip("sklearn.linear_model")
        y = LABELS % 2
        rule = linear.Perceptron(max_iter=7, tol=None, shuffle=False).fit(X, y)
        model = net(1)
        model.parameters[...] = 0
        model.fit(
            X, y, loss="perceptron", optimizer=SGD(1.0), batch_size=1, epochs=7, shuffle=False,
            verbose=0,
        )  # fmt: skip
        np.testing.assert_allclose(model.layers[0].weight[:, 0], rule.coef_[0], rtol=1e-9)
        np.testing.assert_allclose(model.layers[0].bias, rule.intercept_, rtol=1e-9)

    @pytest.mark.parametrize(
        ("outputs", "y", "message"),
        [
            (1, NUMBERS[:, 0], r"y has .* at \[0, 0\]: hinge takes -1 and 1, or 0 and 1"),
            (1, np.arange(SAMPLES) % 3 - 1, "hinge takes -1 and 1, or 0 and 1"),
            (OUTPUTS, SOFT, "hinge takes whole-numbered labels"),
            (OUTPUTS, np.where(SIGNS < 0, -1, 2), r"y has 2 at \[0, \d\]"),
            (OUTPUTS, LABELS + 1, "labels must be in 0..4"),
        ],
    )
    def test_targets_that_are_no_classes(self, outputs, y, message):
        with pytest.raises(InputError, match=message):
            net(outputs).fit(X, y, loss="hinge", verbose=0)

    def test_a_sigmoid_before_one_output_is_refused(self):
        model = Sequential([Dense(1, "sigmoid")], seed=0)
        with pytest.raises(InputError, match="dense_1 ends in sigmoid, which gives none below"):
            model.fit(X, LABELS % 2, loss="hinge", verbose=0)
        Sequential([Dense(1, "tanh")], seed=0).fit(X, LABELS % 2, loss="hinge", verbose=0)


class TestSettings:
    @pytest.mark.parametrize(
        ("given", "wanted"),
        [
            ("huber", losses.Huber()),
            ("huber:2", losses.Huber(2.0)),
            ({"name": "huber", "delta": 2}, losses.Huber(2.0)),
            (losses.Huber(3), losses.Huber(3.0)),
            ("hinge:0.5", losses.Hinge(0.5)),
            ("softmax_cross_entropy:0.1", losses.SoftmaxCrossEntropy(0.1)),
            ("mean_absolute_error", losses.MeanAbsoluteError()),
            ("categorical_crossentropy", losses.SoftmaxCrossEntropy()),
            ({"name": "binary_crossentropy", "label_smoothing": 0.2},
             losses.SigmoidCrossEntropy(0.2)),
        ],
    )  # fmt: skip
    def test_get(self, given, wanted):
        assert losses.get(given) == wanted

    @pytest.mark.parametrize("kind", losses.LOSSES.values())
    def test_config_brings_the_loss_back(self, kind):
        plain = kind()
        assert plain.config() == kind.kind
        assert losses.get(plain.config()) == plain
        if vars(plain):
            other = kind(0.25)
            assert losses.get(other.config()) == other != plain

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ("hubber", "unknown loss 'hubber'. Did you mean 'huber'?"),
            ("huber:x", "loss 'huber:x': delta must be a number"),
            ("huber:nan", "delta of Huber must be above 0, not nan"),
            ("mse:2", "mse has no setting, leave ':2' out"),
            ({"name": "huber", "detla": 2}, "setting of loss huber 'detla'. Did you mean 'delta'"),
            ({"delta": 2}, "unknown loss None"),
            ({"name": "huber", "delta": 0}, "delta of Huber must be above 0, not 0"),
            ({"name": "hinge", "margin": -1}, "margin of Hinge must be above 0"),
            ({"name": "softmax_cross_entropy", "label_smoothing": 1}, "at least 0 and below 1"),
            ({"name": "sigmoid_cross_entropy", "label_smoothing": True}, "at least 0 and below 1"),
        ],
    )
    def test_wrong_ones(self, given, message):
        with pytest.raises(InputError) as caught:
            losses.get(given)
        assert message in str(caught.value)

    def test_a_checkpoint_keeps_them(self, tmp_path):
        model = net(OUTPUTS)
        model.fit(X, NUMBERS, loss=losses.Huber(0.3), sample_weight=WEIGHTS, epochs=2, verbose=0)
        model.save(tmp_path / "m.h5")
        again = load(tmp_path / "m.h5")
        assert again.loss == losses.Huber(0.3)
        assert again.progress.settings["loss"] == {"name": "huber", "delta": 0.3}
        with pytest.raises(InputError, match="resume with loss 'huber': the run was made with"):
            again.fit(X, NUMBERS, loss="huber", sample_weight=WEIGHTS, epochs=4, verbose=0,
                      resume=True)  # fmt: skip
        with pytest.raises(InputError, match="resume with weighted False"):
            again.fit(X, NUMBERS, epochs=4, verbose=0, resume=True)
        for one in (model, again):
            one.fit(X, NUMBERS, sample_weight=WEIGHTS, epochs=4, verbose=0, resume=True)
        assert again.parameters.tobytes() == model.parameters.tobytes()
        assert again.history["loss"] == model.history["loss"]

    def test_smoothing_counts_right_answers_as_before(self):
        model = net(OUTPUTS)
        plain = model.evaluate(X, LABELS)
        smooth = model.evaluate(X, LABELS, loss=losses.SoftmaxCrossEntropy(0.2))
        assert plain["accuracy"] == smooth["accuracy"]
        assert plain["loss"] != smooth["loss"]
