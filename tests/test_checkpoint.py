"""Saved models: nothing is lost, and a damaged file gives one clear error and no model."""

import errno
import json
import math
import os

import h5py
import numpy as np
import pytest

import mlcore
from mlcore import (
    SGD,
    Activation,
    Adam,
    AdamW,
    Dense,
    Dropout,
    GaussianNoise,
    InputError,
    RMSprop,
    Sequential,
    kernels,
)
from mlcore.kernels.errors import MissingFileError

BACKENDS = [entry.name for entry in kernels.status() if entry.available]
SAMPLES, FEATURES, CLASSES = 30, 4, 3


def data():
    rng = np.random.default_rng(12)
    return rng.standard_normal((SAMPLES, FEATURES)), rng.integers(0, CLASSES, SAMPLES)


def rich_layers():
    return [
        GaussianNoise(0.125),
        Dense(
            6, {"name": "leaky_relu", "alpha": 0.3}, kernel_initializer="he_uniform",
            bias_initializer={"name": "constant", "value": 0.5}, trainable=False,
        ),
        Dropout(0.25),
        Dense(5, "gelu", use_bias=False),
        Activation("elu", alpha=0.7),
        Dense(CLASSES),
    ]  # fmt: skip


def trained(layers=None, *, fit=None, **given):
    model = Sequential(layers or rich_layers(), **{"seed": 2**63 + 5, **given})
    settings = {"optimizer": Adam(0.01), "epochs": 2, "batch_size": 8, "verbose": 0}
    model.fit(*data(), **{**settings, **(fit or {})})
    return model


def plain(**given):
    return trained([Dense(6, "tanh"), Dense(5, "tanh"), Dense(CLASSES)], **given)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.h5"


class TestRoundTrip:
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    @pytest.mark.parametrize(
        "make",
        [
            lambda: SGD(0.1, 0.9, dampening=0.5, weight_decay=0.25, decay_bias=False),
            lambda: SGD(0.1, 0.75, nesterov=True),
            lambda: SGD(0.1),
            lambda: Adam(0.01, 0.8, 0.9, 1e-5, weight_decay=0.1),
            lambda: AdamW(0.01, decay_bias=False),
            lambda: RMSprop(0.01, 0.9, 0.5, 1e-6, centered=True),
        ],
    )
    def test_of_everything(self, make, dtype, path):
        model = trained(
            dtype=dtype,
            fit={
                "optimizer": make(), "schedule": "cosine:warmup=0.5", "seed": 99, "shuffle": False,
                "validation_data": data(),
            },
        )  # fmt: skip
        model.save(path)
        other = mlcore.load(path)
        assert other.parameters.tobytes() == model.parameters.tobytes()
        assert other.dtype == dtype
        assert other.seed == 2**63 + 5
        assert other.features == FEATURES
        assert str(other) == str(model)
        assert [layer.config() for layer in other.layers] == [
            layer.config() for layer in model.layers
        ]
        assert [layer.name for layer in other.layers] == [layer.name for layer in model.layers]
        assert repr(other.optimizer) == repr(model.optimizer)
        assert set(other.optimizer_state) == set(model.optimizer.state)
        for name, state in model.optimizer_state.items():
            assert other.optimizer_state[name].tobytes() == state.tobytes()
        assert other.loss.kind == model.loss.kind
        assert other.progress == model.progress
        assert other.history == model.history
        assert np.array_equal(other.predict(data()[0]), model.predict(data()[0]))
        for layer in other.layers:
            for view in layer.parameters.values():
                assert np.shares_memory(view, other.parameters)

    @pytest.mark.parametrize("loss", ["mse", "sigmoid_cross_entropy"])
    def test_of_other_losses(self, loss, path):
        model = plain(fit={"loss": loss})
        model.save(path)
        assert mlcore.load(path).evaluate(*data()) == model.evaluate(*data())

    def test_of_a_model_that_was_built_only(self, path):
        model = Sequential([Dense(3)], seed=1).build(2)
        model.save(path)
        other = mlcore.load(path)
        assert np.array_equal(other.parameters, model.parameters)
        assert other.optimizer is other.loss is other.training is other.history is None
        other.fit([[1, 2]], [0], verbose=0)

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_into_any_backend(self, backend, path):
        plain(backend="numpy").save(path)
        assert mlcore.load(path, backend=backend).backend.name == backend

    def test_training_goes_on_as_if_never_saved(self, path):
        model = trained()
        model.save(path)
        other = mlcore.load(path)
        for each in (model, other):
            each.fit(*data(), epochs=2, batch_size=8, verbose=0)
        assert other.parameters.tobytes() == model.parameters.tobytes()

    def test_of_values_that_are_not_finite(self, path):
        model = plain()
        model.parameters[:3] = [np.nan, np.inf, -0.0]
        model.save(path)
        assert mlcore.load(path).parameters.tobytes() == model.parameters.tobytes()

    def test_of_a_schedule_that_is_a_function(self, path):
        model = plain(fit={"schedule": lambda epoch: 1 / (1 + epoch)})
        model.save(path)
        assert np.array_equal(mlcore.load(path).parameters, model.parameters)

    def test_saving_twice_replaces(self, path):
        trained().save(path)
        model = plain()
        model.save(str(path))
        assert np.array_equal(mlcore.load(str(path)).parameters, model.parameters)
        assert [entry.name for entry in path.parent.iterdir()] == ["model.h5"]

    def test_a_model_without_parameters(self, path):
        with pytest.raises(InputError, match="nothing to save: the model is not built"):
            Sequential([Dense(3)]).save(path)
        assert not path.exists()

    def test_an_unknown_format(self, path):
        with pytest.raises(InputError, match=r"format 'notebok'. Did you mean 'notebook'"):
            plain().save(path, format="notebok")
        assert not path.exists()


class TestFile:
    def test_names_are_readable(self, path):
        model = trained()
        model.save(path)
        found = {}
        with h5py.File(path) as file:
            file.visititems(
                lambda name, item: (
                    found.update({name: item[...]}) if isinstance(item, h5py.Dataset) else None
                )
            )
            assert file.attrs["format"] == "mlcore checkpoint"
            assert file.attrs["format_version"] == 1
            assert file.attrs["mlcore_version"] == mlcore.__version__
            described = json.loads(file.attrs["model"])
        parameters = {name for name in found if name.startswith("parameters/")}
        assert parameters == {
            "parameters/dense_1/weight", "parameters/dense_1/bias", "parameters/dense_2/weight",
            "parameters/dense_3/weight", "parameters/dense_3/bias",
        }  # fmt: skip
        assert np.array_equal(found["parameters/dense_1/weight"], model.layers[1].weight)
        assert {name for name in found if name.startswith("optimizer/")} == {
            "optimizer/first_moment", "optimizer/second_moment",
        }  # fmt: skip
        assert {name[8:] for name in found if name.startswith("history/")} == set(
            mlcore.history.COLUMNS
        )
        assert found["history/loss"].tolist() == model.history["loss"]
        assert [layer["kind"] for layer in described["layers"]] == [
            "gaussian_noise", "dense", "dropout", "dense", "activation", "dense",
        ]  # fmt: skip

    def test_weights_changed_in_the_file_are_read(self, path):
        plain().save(path)
        with h5py.File(path, "r+") as file:
            file["parameters/dense_2/bias"][...] = 7
        assert (mlcore.load(path).layers[1].bias == 7).all()


class TestNotebook:
    @pytest.mark.parametrize("activation", ["tanh", "relu", "sigmoid", "gelu"])
    def test_round_trip(self, activation, path):
        model = trained(
            [GaussianNoise(0.1), Dense(6, activation), Dropout(0.5), Dense(5, activation), Dense(3)]
        )
        model.save(path, format="notebook")
        with h5py.File(path) as file:
            assert set(file) == {
                "linear_1.weight", "linear_1.bias", "linear_2.weight", "linear_2.bias",
                "linear_3.weight", "linear_3.bias", "activation",
            }  # fmt: skip
            assert file["linear_1.weight"].shape == (FEATURES, 6)
            assert file["linear_1.bias"].shape == (6,)
            assert file["activation"][()] in (activation, activation.encode())
        other = mlcore.load(path)
        assert [layer.activation.name for layer in other.layers] == [activation] * 2 + ["identity"]
        assert other.parameters.tobytes() == model.parameters.tobytes()
        assert np.array_equal(other.predict(data()[0]), model.predict(data()[0]))
        assert other.evaluate(*data()) == model.evaluate(*data())

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_keeps_the_dtype(self, dtype, path):
        plain(dtype=dtype).save(path, format="notebook")
        assert mlcore.load(path).dtype == dtype

    @pytest.mark.parametrize("text", ["tanh", b"tanh", np.bytes_("tanh"), ["tanh"], [b"tanh"]])
    @pytest.mark.parametrize("as_attribute", [False, True])
    @pytest.mark.parametrize("turned", [False, True])
    @pytest.mark.parametrize("bias_axes", [1, 2])
    def test_reads_what_the_notebooks_wrote(self, text, as_attribute, turned, bias_axes, path):
        rng = np.random.default_rng(1)
        weights = [rng.standard_normal(shape) for shape in ((4, 6), (6, 3))]
        biases = [rng.standard_normal(width) for width in (6, 3)]
        with h5py.File(path, "w") as file:
            for number, (weight, bias) in enumerate(zip(weights, biases, strict=True), start=1):
                file[f"linear_{number}.weight"] = weight.T if turned else weight
                file[f"linear_{number}.bias"] = bias if bias_axes == 1 else bias[None]
            if as_attribute:
                file.attrs["activation"] = text
            else:
                file["activation"] = text
        model = mlcore.load(path)
        x = data()[0]
        wanted = np.tanh(x @ weights[0] + biases[0]) @ weights[1] + biases[1]
        np.testing.assert_allclose(model.predict(x), wanted, rtol=1e-12)
        assert model.dtype == np.float64
        model.fit(*data(), verbose=0)

    @pytest.mark.parametrize(
        "layers",
        [
            lambda: [Dense(6, "tanh"), Dense(5, "relu"), Dense(3)],
            lambda: [Dense(6, "tanh"), Activation("relu"), Dense(3)],
            lambda: [Dense(6, "tanh", use_bias=False), Dense(3)],
            lambda: [Dense(6, "tanh"), Dense(3, "sigmoid")],
            lambda: [Dense(6, {"name": "leaky_relu", "alpha": 0.3}), Dense(3)],
            lambda: [Dense(6, {"name": "sigmoid", "slope": 3.0}), Dense(3)],
        ],
    )
    def test_refuses_what_it_cannot_hold(self, layers, path):
        model = Sequential(layers(), seed=1).build(FEATURES)
        with pytest.raises(InputError, match=r'the notebook format .*format="mlcore"'):
            model.save(path, format="notebook")
        assert not path.exists()

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda file: file.pop("linear_2.bias"), "linear_2.bias is missing"),
            (lambda file: file.pop("linear_2.weight"), "linear_2|fit each other"),
            (lambda file: file.pop("activation"), "activation is missing"),
            (lambda file: replaced(file, "activation", "tahn"), "'tahn'. Did you mean 'tanh'"),
            (lambda file: replaced(file, "activation", 3), "activation must be one string"),
            (lambda file: replaced(file, "linear_1.bias", np.zeros(5)), "do not fit each other"),
            (lambda file: replaced(file, "linear_2.weight", np.zeros((7, 5))), "do not fit"),
            (lambda file: replaced(file, "linear_1.weight", np.zeros(24)), r"is \(24,\); expected"),
            (lambda file: replaced(file, "linear_1.weight", np.zeros((4, 6), int)), "floating"),
            (lambda file: replaced(file, "linear_1.weight", "text"), "linear_1.weight is"),
        ],
    )
    def test_damage(self, change, message, path):
        plain().save(path, format="notebook")
        with h5py.File(path, "r+") as file:
            change(file)
        with pytest.raises(InputError, match=message) as caught:
            mlcore.load(path)
        assert str(path) in str(caught.value)


def replaced(file, name, value):
    del file[name]
    file[name] = value


def rewritten(change):
    """A change of the description of the model."""

    def act(file):
        described = json.loads(file.attrs["model"])
        file.attrs["model"] = json.dumps(change(described) or described)

    return act


DAMAGE = {
    "newer version": (
        lambda file: file.attrs.update(format_version=2), "version 2; .*reads up to 1: install",
    ),
    "version 0": (lambda file: file.attrs.update(format_version=0), "version 0"),
    "version of text": (lambda file: file.attrs.update(format_version="x"), "version"),
    "no version": (lambda file: file.attrs.pop("format_version"), "version"),
    "another format": (lambda file: file.attrs.update(format="other"), "HDF5 but no model"),
    "no model": (lambda file: file.attrs.pop("model"), "`model` is damaged|damaged"),
    "half a model": (
        lambda file: file.attrs.update(model=file.attrs["model"][:100]), "`model` is damaged",
    ),
    "not JSON": (lambda file: file.attrs.update(model="{"), "`model` is damaged"),
    "JSON of a list": (lambda file: file.attrs.update(model="[1, 2]"), "`model` is damaged"),
    "JSON of a number": (lambda file: file.attrs.update(model=3), "`model` is damaged"),
    "bytes": (lambda file: file.attrs.update(model=np.void(b"\xff\xfe\x00")), "`model` is damaged"),
    "no layers": (rewritten(lambda d: d.pop("layers") and d), "`model` is damaged"),
    "layers of text": (rewritten(lambda d: {**d, "layers": ["dense"]}), "model"),
    "unknown layer": (
        rewritten(lambda d: d["layers"][0].update(kind="dens") or d),
        "unknown layer 'dens'. Did you mean 'dense'",
    ),
    "unknown setting": (rewritten(lambda d: d["layers"][0].update(unit=3) or d), "'unit'"),
    "wrong units": (rewritten(lambda d: d["layers"][0].update(units=7) or d), r"\(4, 7\)"),
    "huge units": (rewritten(lambda d: d["layers"][0].update(units=10**12) or d), "dense_1/weight"),
    "units of text": (rewritten(lambda d: d["layers"][0].update(units="a") or d), "units of Dense"),
    "features": (rewritten(lambda d: {**d, "features": 5}), r"\(5, 6\)"),
    "features of text": (rewritten(lambda d: {**d, "features": "4"}), "dense_1/weight|features"),
    "dtype": (rewritten(lambda d: {**d, "dtype": "float31"}), "dtype 'float31'"),
    "seed": (rewritten(lambda d: {**d, "seed": -1}), "seed must be"),
    "loss": (rewritten(lambda d: {**d, "loss": "mee"}), "unknown loss 'mee'"),
    "optimizer": (rewritten(lambda d: {**d, "optimizer": {"name": "adm"}}), "optimizer 'adm'"),
    "optimizer setting": (
        rewritten(lambda d: d["optimizer"].update(beta_1=2) or d), "beta_1 of Adam",
    ),
    "optimizer of a number": (rewritten(lambda d: {**d, "optimizer": 3}), "optimizer"),
    "progress": (rewritten(lambda d: d["progress"].update(pos=1) or d), "model|progress"),
    "no progress": (rewritten(lambda d: d.pop("progress") and d), "`model` is damaged"),
    "progress of text": (rewritten(lambda d: {**d, "progress": "x"}), "model|progress"),
    "no weight": (
        lambda file: file.pop("parameters/dense_2/weight"),
        r"parameters/dense_2/weight is missing; expected shape \(6, 5\)",
    ),
    "no parameters": (lambda file: file.pop("parameters"), "parameters/dense_1/weight is missing"),
    "turned weight": (
        lambda file: replaced(file, "parameters/dense_2/weight", np.zeros((5, 6))),
        r"parameters/dense_2/weight is float64 \(5, 6\); .*\(6, 5\)",
    ),
    "weight of integers": (
        lambda file: replaced(file, "parameters/dense_2/bias", np.zeros(5, int)), "floating point",
    ),
    "weight of text": (
        lambda file: replaced(file, "parameters/dense_2/bias", "text"), "parameters/dense_2/bias",
    ),
    "weight a group": (
        lambda file: file.pop("parameters/dense_2/bias")
        or file.create_group("parameters/dense_2/bias"),
        "parameters/dense_2/bias",
    ),
    "no state": (lambda file: file.pop("optimizer/first_moment"), "optimizer/first_moment is miss"),
    "short state": (
        lambda file: replaced(file, "optimizer/first_moment", np.zeros(3)),
        r"optimizer/first_moment is \(3,\); expected",
    ),
    "state a group": (
        lambda file: file.pop("optimizer/first_moment")
        or file.create_group("optimizer/first_moment"),
        "optimizer/first_moment",
    ),
    "state of text": (
        lambda file: replaced(file, "optimizer", "text"), "optimizer",
    ),
    "history lengths": (
        lambda file: replaced(file, "history/loss", np.zeros(5)), "history",
    ),
    "history column": (
        lambda file: file.create_dataset("history/los", data=np.zeros(2)), "history",
    ),
    "history of numbers": (lambda file: replaced(file, "history", 3.0), "history"),
    "history of a number": (lambda file: replaced(file, "history/loss", 3.0), "history"),
    "history of text": (lambda file: replaced(file, "history/loss", ["a", "b"]), "history"),
}  # fmt: skip


class TestDamage:
    @pytest.mark.parametrize("name", DAMAGE)
    def test_gives_one_error_that_names_the_file(self, name, path):
        change, message = DAMAGE[name]
        plain().save(path)
        with h5py.File(path, "r+") as file:
            change(file)
        with pytest.raises(InputError, match=message) as caught:
            mlcore.load(path)
        assert "\n" not in str(caught.value)
        assert str(path) in str(caught.value)

    @pytest.mark.parametrize("format", ["mlcore", "notebook"])
    def test_truncation_at_any_length(self, format, path):
        plain().save(path, format=format)
        whole = path.read_bytes()
        lengths = [0, 1, 7, 8, 9, 47, 48, 95, 96, 97, 500, 800, 2048, len(whole) - 1]
        lengths += [len(whole) * part // 23 for part in range(1, 23)]
        for length in lengths:
            path.write_bytes(whole[:length])
            with pytest.raises(InputError, match="not an HDF5 file, or is truncated or damaged"):
                mlcore.load(path)

    @pytest.mark.parametrize("content", [b"", b"weights", b"\x89HDF\r\n\x1a\n", b"\0" * 5000])
    def test_what_is_not_hdf5(self, content, path):
        path.write_bytes(content)
        with pytest.raises(InputError, match="is not an HDF5 file") as caught:
            mlcore.load(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(("names", "told"), [([], "nothing"), (["x", "images"], "images, x")])
    def test_other_hdf5(self, names, told, path):
        with h5py.File(path, "w") as file:
            for name in names:
                file[name] = np.zeros(3)
        with pytest.raises(InputError, match=rf"is HDF5 but no model: .*{told}"):
            mlcore.load(path)

    def test_a_missing_file(self, path):
        plain().save(path)
        with pytest.raises(MissingFileError, match=r"modle.h5 does not exist.*mean 'model.h5'"):
            mlcore.load(path.with_name("modle.h5"))
        with pytest.raises(MissingFileError, match="nor does the folder"):
            mlcore.load(path.parent / "none" / "model.h5")

    def test_a_folder(self, tmp_path):
        with pytest.raises(InputError, match="is not a file"):
            mlcore.load(tmp_path)
        with pytest.raises(InputError, match="it is a folder"):
            plain().save(tmp_path)
        with pytest.raises(MissingFileError, match=r"the folder .* does not exist"):
            plain().save(tmp_path / "none" / "model.h5")


class TestLoadWeights:
    def test_copies_the_parameters(self, path):
        saved = plain()
        saved.save(path)
        model = Sequential([Dense(6, "tanh"), Dense(5, "tanh"), Dense(CLASSES)], seed=1)
        mlcore.checkpoint.load_weights(model, path)
        assert np.array_equal(model.parameters, saved.parameters)
        assert model.seed == 1
        assert np.shares_memory(model.layers[0].weight, model.parameters)

    def test_keeps_the_views(self, path):
        plain().save(path)
        model = plain(seed=3)
        weight = model.layers[0].weight
        mlcore.checkpoint.load_weights(model, path)
        assert np.shares_memory(weight, model.parameters)

    @pytest.mark.parametrize(
        ("layers", "message"),
        [
            (lambda: [Dense(7, "tanh"), Dense(5), Dense(3)], r"dense_1.weight is \(4, 6\), .*4, 7"),
            (lambda: [Dense(6), Dense(5)], "dense_3.weight is .*missing"),
            (lambda: [Dense(6), Dense(5), Dense(3), Dense(3)], "dense_4.weight is missing"),
            (lambda: [Dense(6, use_bias=False), Dense(5), Dense(3)], "dense_1.bias is .*missing"),
        ],
    )
    @pytest.mark.parametrize("built", [False, True])
    def test_of_another_architecture(self, layers, message, built, path):
        plain().save(path)
        model = Sequential(layers(), seed=1)
        before = model.build(FEATURES).parameters.copy() if built else None
        with pytest.raises(InputError, match=f"is of another architecture: its {message}"):
            mlcore.checkpoint.load_weights(model, path)
        assert model.built == built
        if built:
            assert np.array_equal(model.parameters, before)

    def test_of_a_damaged_file(self, path):
        plain().save(path)
        path.write_bytes(path.read_bytes()[:3000])
        model = plain(seed=3)
        before = model.parameters.copy()
        with pytest.raises(InputError, match="truncated"):
            mlcore.checkpoint.load_weights(model, path)
        assert np.array_equal(model.parameters, before)


def no_space(*_given, **_settings):
    raise OSError(errno.ENOSPC, "No space left on device")


class TestFailingWrites:
    @pytest.mark.parametrize("what", ["dataset", "attribute", "sync", "rename"])
    @pytest.mark.parametrize("there", [False, True])
    def test_leave_the_old_file_and_nothing_else(self, what, there, path, monkeypatch):
        if there:
            plain().save(path)
        before = path.read_bytes() if there else None
        model = trained()
        with monkeypatch.context() as patch:
            if what == "dataset":
                patch.setattr(h5py.Group, "__setitem__", no_space)
            elif what == "attribute":
                patch.setattr(h5py.AttributeManager, "__setitem__", no_space)
            else:
                patch.setattr(os, {"sync": "fsync", "rename": "replace"}[what], no_space)
            with pytest.raises(OSError, match="No space left on device"):
                model.save(path)
        assert [entry.name for entry in path.parent.iterdir()] == (["model.h5"] if there else [])
        if there:
            assert path.read_bytes() == before
        model.save(path)
        assert np.array_equal(mlcore.load(path).parameters, model.parameters)

    @pytest.mark.skipif(os.name == "nt", reason="needs a limit on the size of files")
    def test_a_file_that_the_system_refuses(self, path):
        import resource

        plain().save(path)
        before = path.read_bytes()
        model = trained()
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))
        try:
            with pytest.raises(OSError, match="File too large"):
                model.save(path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert path.read_bytes() == before
        assert [entry.name for entry in path.parent.iterdir()] == ["model.h5"]

    def test_ctrl_c_while_writing(self, path, monkeypatch):
        plain().save(path)
        before = path.read_bytes()
        written = []
        write = h5py.Group.__setitem__

        def interrupted(self, name, value):
            written.append(name)
            if len(written) == 3:
                raise KeyboardInterrupt
            write(self, name, value)

        with monkeypatch.context() as patch:
            patch.setattr(h5py.Group, "__setitem__", interrupted)
            with pytest.raises(KeyboardInterrupt):
                trained().save(path)
        assert path.read_bytes() == before
        assert [entry.name for entry in path.parent.iterdir()] == ["model.h5"]

    @pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs folder permissions")
    def test_a_folder_that_is_not_writable(self, path):
        path.parent.chmod(0o500)
        try:
            with pytest.raises(InputError, match="is not writable"):
                plain().save(path)
        finally:
            path.parent.chmod(0o700)


def test_losses_of_history_survive_as_nan(path):
    model = plain(fit={"evaluate_train": False})
    model.save(path)
    assert math.isnan(mlcore.load(path).history["loss"][0])


def test_weights_of_a_model_with_other_features_are_refused(tmp_path):
    path = tmp_path / "model.h5"
    Sequential([Dense(2)], seed=1).build(3).save(path)
    model = Sequential([Dense(2)], seed=1).build(4)
    with pytest.raises(InputError, match="it takes 3 features, the model 4"):
        mlcore.checkpoint.load_weights(model, path)
    assert model.layers[0].input_shape == (4,)
