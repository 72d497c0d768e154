"""RunConfig: defaults, checks, and the TOML file that holds all of it."""

import tomllib
from dataclasses import fields

import pytest

from mlcore.config import CONVERTERS, RunConfig, from_toml
from mlcore.kernels.errors import InputError
from mlcore.layers import Dense, Dropout, GaussianNoise


def read(tmp_path, text):
    path = tmp_path / "config.toml"
    path.write_text(text, encoding="utf-8")
    return from_toml(path)


def test_every_setting_has_a_converter():
    assert list(CONVERTERS) == [field.name for field in fields(RunConfig)]


def test_defaults_are_the_notebook_network():
    layers = RunConfig().make_layers(10)
    kinds = [(type(layer), getattr(layer, "units", None)) for layer in layers]
    noise = (GaussianNoise, None)
    assert kinds == [
        noise, (Dense, 512), noise, (Dense, 64), noise, (Dense, 32), (Dense, 10),
    ]  # fmt: skip
    assert RunConfig().make_optimizer().learning_rate == 0.1


def test_dropout_stands_behind_every_hidden_layer():
    layers = RunConfig(layers=(4, 3), dropout=0.5, noise=0).make_layers(2)
    assert [type(layer) for layer in layers] == [Dense, Dropout, Dense, Dropout, Dense]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"data": 'a "quoted" \\ name, äöü, 数据, 🙂.h5', "layers": (), "learning_rate": 1e-07},
        {"validation_split": 0.1 + 0.2, "seed": 2**64 - 1, "threads": 3, "weight_decay": 1e16},
        {
            "loss": "huber:2",
            "optimizer": "rmsprop",
            "momentum": 0.5,
            "dtype": "float64",
            "backend": "numpy",
        },
        {"optimizer": "adagrad", "global_clipnorm": 0.5, "l2": 1e-4},
    ],
)
def test_toml_brings_back_the_same_settings(tmp_path, settings):
    config = RunConfig(**settings)
    assert read(tmp_path, config.to_toml()) == config


def test_completed_leaves_nothing_to_defaults(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for optimizer in ("sgd", "adam", "adamw", "rmsprop", "adagrad"):
        config = RunConfig(data="sub/../file.h5", optimizer=optimizer).completed("numpy", "mse")
        assert config.data == str(tmp_path / "file.h5")
        left = set(tomllib.loads(config.to_toml())) ^ {field.name for field in fields(config)}
        # Without a limit there is nothing to write.
        without = {"momentum"} if optimizer.startswith("ada") else set()
        assert left == {"threads", "global_clipnorm"} | without
    assert RunConfig().completed("numpy", "mse").data == "mnist-sample"


def test_dashes_and_underscores_are_the_same(tmp_path):
    assert read(tmp_path, "batch-size = 7").batch_size == 7


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("epoch = 3", ["unknown setting 'epoch'", "Did you mean 'epochs'?"]),
        ("[training]\nepochs = 3", ["unknown setting 'training'"]),
        ("epochs = '3'", ["epochs must be a whole number, not '3'"]),
        ("epochs = 3.0", ["epochs must be a whole number, not 3.0"]),
        ("epochs = true", ["epochs must be a whole number, not True"]),
        ("epochs = 0", ["epochs must be 1 or more, not 0"]),
        ("dropout = 'half'", ["dropout must be a number, not 'half'"]),
        ("dropout = nan", ["rate of Dropout", "nan"]),
        (f"learning_rate = 1{'0' * 400}", ["learning_rate must be a number"]),
        (f"seed = {'1' * 5000}", ["TOML"]),
        ("layers = 512", ["layers must be a list"]),
        ("layers = [512, 1.5]", ["layers must be a whole number, not 1.5"]),
        ("layers = [512, 0]", ["layers must be 1 or more each"]),
        ("data = 3", ["data must be a printable text, not 3"]),
        ("data = ''", ["data must be a printable text"]),
        ("data = 1979-05-27", ["data must be a printable text"]),
        ("epochs 3", ["is not a TOML file"]),
        ("a = " + "[" * 20_000, ["is not a TOML file"]),
        ("optimizer = 'adam'\nmomentum = 0.9", ["momentum is no setting of the optimizer adam"]),
        ("schedule = 'stpe'", ["Did you mean 'step'?"]),
        ("loss = 'hubber'", ["unknown loss 'hubber'. Did you mean 'huber'?"]),
        ("loss = 'huber:0'", ["delta of Huber must be above 0"]),
    ],
)
def test_wrong_toml_names_the_file_and_the_setting(tmp_path, text, words):
    with pytest.raises(InputError) as caught:
        read(tmp_path, text)
    for word in ["config.toml", *words]:
        assert word in str(caught.value)


def test_a_binary_file_is_no_toml(tmp_path):
    path = tmp_path / "x.toml"
    path.write_bytes(b"\x89HDF\r\n\x1a\n")
    with pytest.raises(InputError, match="not a TOML file"):
        from_toml(path)


def test_changing_the_optimizer_resets_what_belongs_to_it():
    config = RunConfig(learning_rate=0.5, momentum=0.9, weight_decay=0.1, global_clipnorm=1.0)
    changed = config.changed(optimizer="adam")
    assert changed.global_clipnorm is None
    assert (changed.learning_rate, changed.momentum, changed.weight_decay) == (None, None, None)
    assert config.changed(optimizer="adam", learning_rate=0.2).learning_rate == 0.2
    assert config.changed(optimizer="sgd", epochs=3).momentum == 0.9
