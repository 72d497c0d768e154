"""Initial values: moments and ranges against the formulas, and what they are a function of."""

import math

import numpy as np
import pytest

from mlcore import Dense, GaussianNoise, InputError, Sequential, initializers, kernels
from mlcore.initializers import INITIALIZERS, Draws
from mlcore.kernels import native, reference

BACKENDS = [entry.name for entry in kernels.status() if entry.available]
FAN_IN, FAN_OUT = 300, 200
SHAPE = (FAN_IN, FAN_OUT)
FANS = {"fan_in": FAN_IN, "fan_out": FAN_OUT, "average": (FAN_IN + FAN_OUT) / 2}
GAINS = {"glorot": 1.0, "he": 2.0, "lecun": 1.0}


def values(initializer, seed=1, stream=0x8000, shape=SHAPE):
    return initializers.get(initializer)(shape, FAN_IN, FAN_OUT, Draws(seed, stream))


def assert_moments(drawn, mean, variance, fourth=3.0):
    """Mean and variance within five standard errors; `fourth` is the kurtosis."""
    count = drawn.size
    assert drawn.mean() == pytest.approx(mean, abs=5 * math.sqrt(variance / count))
    error = variance * math.sqrt((fourth - 1) / count)
    assert drawn.var() == pytest.approx(variance, abs=5 * error)


def test_zeros_and_constants():
    assert np.array_equal(values("zeros"), np.zeros(SHAPE))
    assert np.array_equal(values({"name": "constant", "value": -0.3}), np.full(SHAPE, -0.3))
    assert np.array_equal(values("constant"), np.zeros(SHAPE))


@pytest.mark.parametrize(("low", "high"), [(-0.05, 0.05), (2.0, 5.0)])
def test_uniform(low, high):
    drawn = values({"name": "uniform", "low": low, "high": high})
    assert_moments(drawn, (low + high) / 2, (high - low) ** 2 / 12, fourth=1.8)
    assert low <= drawn.min() < low + 0.001 * (high - low)
    assert high - 0.001 * (high - low) < drawn.max() < high


@pytest.mark.parametrize(("mean", "stddev"), [(0.0, 0.05), (1.5, 2.0)])
def test_normal(mean, stddev):
    drawn = values({"name": "normal", "mean": mean, "stddev": stddev})
    assert_moments(drawn, mean, stddev**2)
    share = np.mean(np.abs(drawn - mean) > 2 * stddev)
    assert share == pytest.approx(math.erfc(math.sqrt(2)), rel=0.1)
    assert np.abs(drawn - mean).max() > 3.5 * stddev


def test_defaults_are_those_of_keras():
    assert np.array_equal(values("uniform"), values(initializers.Uniform(-0.05, 0.05)))
    assert np.array_equal(values("normal"), values(initializers.Normal(0.0, 0.05)))
    layer = Dense(3)
    assert layer.kernel_initializer == initializers.GlorotUniform()
    assert layer.bias_initializer == initializers.Zeros()


def test_truncated_normal():
    mean, stddev = 1.0, 0.5
    drawn = values({"name": "truncated_normal", "mean": mean, "stddev": stddev})
    assert np.abs(drawn - mean).max() <= 2 * stddev
    assert np.abs(drawn - mean).max() > 1.99 * stddev
    density = math.exp(-2) / math.sqrt(2 * math.pi)
    inside = 1 - math.erfc(math.sqrt(2))
    assert_moments(drawn, mean, stddev**2 * (1 - 4 * density / inside))
    # What was drawn again is as normal as the rest: the share within one deviation.
    share = np.mean(np.abs(drawn - mean) < stddev)
    assert share == pytest.approx((1 - math.erfc(math.sqrt(0.5))) / inside, abs=0.01)


@pytest.mark.parametrize(("rate", "scale"), [(1.0, 1.0), (0.3, 2.0), (7.5, 0.1), (500.0, 1.0)])
def test_poisson(rate, scale):
    drawn = values({"name": "poisson", "rate": rate, "scale": scale}) / scale
    assert_moments(drawn, rate, rate, fourth=3 + 1 / rate)
    counts = np.bincount(np.round(drawn).astype(int).ravel())
    np.testing.assert_allclose(drawn, np.round(drawn), atol=1e-9)
    chi_square, kinds = 0.0, 0
    for count, seen in enumerate(counts):
        log_mass = count * math.log(rate) - rate - math.lgamma(count + 1)
        expected = drawn.size * math.exp(log_mass)
        if expected >= 10:
            chi_square += (seen - expected) ** 2 / expected
            kinds += 1
    assert kinds >= 3
    assert chi_square < kinds + 5 * math.sqrt(2 * kinds) + 15


@pytest.mark.parametrize("mode", FANS)
@pytest.mark.parametrize("shape", ["uniform", "normal"])
@pytest.mark.parametrize("family", GAINS)
def test_scaled_variance(family, shape, mode):
    drawn = values({"name": f"{family}_{shape}", "mode": mode})
    variance = GAINS[family] / FANS[mode]
    assert_moments(drawn, 0, variance, fourth=1.8 if shape == "uniform" else 3.0)
    if shape == "uniform":
        limit = math.sqrt(3 * variance)
        assert 0.999 * limit < np.abs(drawn).max() <= limit
    else:
        assert np.abs(drawn).max() > 3.5 * math.sqrt(variance)


@pytest.mark.parametrize("shape", ["uniform", "normal"])
@pytest.mark.parametrize(
    ("family", "mode"), [("glorot", "average"), ("he", "fan_in"), ("lecun", "fan_in")]
)
def test_default_modes(family, mode, shape):
    name = f"{family}_{shape}"
    assert np.array_equal(values(name), values({"name": name, "mode": mode}))


@pytest.mark.parametrize("name", INITIALIZERS)
def test_values_are_a_function_of_seed_and_parameter(name):
    first = values(name)
    assert first.shape == SHAPE
    assert first.dtype == np.float64
    assert np.array_equal(values(name), first)
    if name not in ("zeros", "constant"):
        assert np.mean(values(name, seed=2) == first) < 0.5
        assert np.mean(values(name, stream=0x8001) == first) < 0.5


@pytest.mark.parametrize("name", INITIALIZERS)
def test_one_axis(name):
    assert values(name, shape=(7,)).shape == (7,)
    assert values(name, shape=(0,)).shape == (0,)


@pytest.mark.parametrize("name", INITIALIZERS)
def test_config_round_trip(name):
    made = initializers.get(name)
    assert initializers.get(made.config()) == made
    assert initializers.get(made) is made
    kind = "lecun_normal" if name == "lecun" else name
    assert made.config()["name"] == kind
    settings = {
        "constant": {"value": 3.5},
        "uniform": {"low": -1.0, "high": 2.0},
        "normal": {"mean": 1.0, "stddev": 3.0},
        "truncated_normal": {"mean": 1.0, "stddev": 3.0},
        "poisson": {"rate": 4.0, "scale": 0.5},
        "zeros": {},
    }.get(name, {"mode": "fan_out"})
    other = initializers.get({"name": name, **settings})
    assert other.config() == {"name": kind, **settings}
    assert np.array_equal(values(other.config()), values(other))


def model(backend=None, dtype="float32", seed=5, initializer="he_normal"):
    layers = [
        Dense(40, "tanh", kernel_initializer=initializer, bias_initializer="normal"),
        GaussianNoise(0.1),
        Dense(40, kernel_initializer=initializer),
    ]
    return Sequential(layers, seed=seed, dtype=dtype, backend=backend).build(40)


@pytest.mark.parametrize("name", INITIALIZERS)
def test_a_model_starts_the_same_in_every_backend_and_dtype(name):
    exact = model(dtype="float64", initializer=name).parameters
    for backend in BACKENDS:
        assert np.array_equal(model(backend, "float64", initializer=name).parameters, exact)
        single = model(backend, initializer=name).parameters
        assert np.array_equal(single, exact.astype(np.float32))


def test_a_model_draws_every_parameter_anew():
    first, _, last = model().layers
    assert np.mean(first.weight == last.weight) < 0.01
    assert np.mean(first.weight[0] == first.bias) < 0.1
    assert np.mean(model(seed=6).layers[0].weight == first.weight) < 0.01
    assert not last.bias.any()


def test_a_model_uses_the_fans_of_its_layer():
    layer = Dense(FAN_OUT, kernel_initializer={"name": "lecun_uniform", "mode": "fan_out"})
    Sequential([layer], seed=1, dtype="float64").build(FAN_IN)
    limit = math.sqrt(3 / FAN_OUT)
    assert 0.999 * limit < np.abs(layer.weight).max() <= limit


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("he_norml", r"unknown initializer 'he_norml'. Did you mean 'he_normal'\?"),
        ("GlorotUniform", "Did you mean 'glorot_uniform'"),
        (None, "unknown initializer None"),
        ({"name": "normal", "std": 1.0}, "initializer normal: .*'std'"),
        ({"name": "normal", "stddev": -1.0}, "normal: stddev must be 0 or more, not -1.0"),
        ({"name": "normal", "stddev": math.nan}, "stddev must be"),
        ({"name": "truncated_normal", "stddev": -1.0}, "truncated_normal: stddev must be 0"),
        ({"name": "uniform", "low": 1.0, "high": 0.0}, "low 1.0 is above high 0.0"),
        ({"name": "poisson", "rate": 0.0}, "rate must be above 0"),
        ({"name": "poisson", "rate": 1e6}, "at most 500"),
        ({"name": "he_normal", "mode": "fan_inn"}, r"mode .*'fan_inn'. Did you mean 'fan_in'\?"),
        ({"name": "constant", "value": "a"}, "value"),
        ({"name": "normal", "stddev": "a"}, "stddev"),
        ({"name": "normal", "stddev": math.inf}, "stddev"),
    ],
)
def test_bad_settings(given, message):
    with pytest.raises(InputError, match=message):
        initializers.get(given)


def test_a_layer_refuses_an_unknown_initializer():
    with pytest.raises(InputError, match="Did you mean 'zeros'"):
        Dense(3, bias_initializer="zeroes")


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("shape", [(2, 2), (1, 1), (3, 64), (5, 65), (3, 3, 2, 7)])
def test_draws_are_those_of_the_reference_whoever_makes_the_bits(shape, compiled, monkeypatch):
    def missing():
        raise ImportError("not built")

    initializers._bits.cache_clear()
    if not compiled:
        monkeypatch.setattr(native, "kernels", missing)
    draws = Draws(2**40 + 5, 0x8003)
    for step, name in enumerate(("uniform", "normal", "normal")):
        wanted = np.empty((shape[0], math.prod(shape[1:])))
        getattr(reference, name)(2**40 + 5, 0x8003, step, wanted)
        assert np.array_equal(getattr(draws, name)(shape), wanted.reshape(shape))
    initializers._bits.cache_clear()
