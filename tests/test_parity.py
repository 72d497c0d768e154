"""Every row of the kernel table, in every backend that is here, against the float64 reference."""

import zlib

import numpy as np
import pytest

from mlcore import kernels
from mlcore.kernels import reference
from mlcore.kernels.errors import InputError
from mlcore.kernels.table import ACTIVATIONS, ROWS, TABLE, poisoned

BACKENDS = [kernels.get(entry.name) for entry in kernels.status() if entry.available]
DTYPES = [np.float32, np.float64]


def label(value):
    if isinstance(value, dict):
        return "-".join(f"{key}={entry}" for key, entry in value.items()) or "default"
    return getattr(value, "name", None) or getattr(value, "__name__", None) or str(value)


def rows_and_cases():
    return [(row, case) for row in ROWS for case in row.cases]


def draw(row, case, dims, dtype):
    """Fresh arguments, the same for every backend and dtype."""
    seed = zlib.crc32(repr((row.name, sorted(case.items(), key=str), dims)).encode())
    return row.generate(np.random.default_rng(seed), dims, dtype, case)


def doubled(arguments):
    """The same arguments in float64, with outputs to be written by the reference."""
    return {
        name: value.astype(np.float64)
        if isinstance(value, np.ndarray) and value.dtype.kind == "f"
        else value.copy()
        if isinstance(value, np.ndarray)
        else value
        for name, value in arguments.items()
    }


GUARD = 32
SENTINEL = 77


def fenced(array):
    """A copy of `array` in the middle of a larger one, so that writing past its ends shows."""
    whole = np.full(array.size + 2 * GUARD, SENTINEL, array.dtype)
    middle = whole[GUARD : GUARD + array.size].reshape(array.shape)
    middle[...] = array
    return whole, middle


def expected(row, arguments):
    with np.errstate(all="ignore"):
        getattr(reference, row.name)(*arguments.values())
    return arguments


def assert_close(row, dims, found, wanted, dtype):
    for name in row.outputs():
        if wanted[name] is None:
            continue
        eps = np.finfo(dtype).eps if found[name].dtype.kind == "f" else 0
        bound = row.eps(dims) * eps
        np.testing.assert_allclose(
            found[name].astype(np.float64), wanted[name].astype(np.float64),
            rtol=bound, atol=bound, err_msg=f"{row.name}.{name} at {dims}",
        )  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES, ids=label)
@pytest.mark.parametrize(("row", "case"), rows_and_cases(), ids=label)
@pytest.mark.parametrize("backend", BACKENDS, ids=label)
def test_every_size_agrees_with_the_reference(backend, row, case, dtype):
    for dims in row.sizes:
        arguments = draw(row, case, dims, dtype)
        wanted = expected(row, doubled(arguments))
        before = {
            name: arguments[name].copy()
            for name, spec in row.arrays.items()
            if spec.role == "in" and arguments[name] is not None
        }
        fences = {}
        for name in row.outputs():
            if arguments[name] is not None:
                fences[name], arguments[name] = fenced(arguments[name])
        backend.call(row.name, **{k: v for k, v in arguments.items() if k in row.arguments})
        assert_close(row, dims, arguments, wanted, dtype)
        for name, whole in fences.items():
            outside = np.concatenate([whole[:GUARD], whole[len(whole) - GUARD :]])
            assert (outside == SENTINEL).all(), f"{row.name} writes outside {name} at {dims}"
        for name, value in before.items():
            np.testing.assert_array_equal(arguments[name], value, err_msg=f"{name} was changed")


def strided(array):
    wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1] + 1), array.dtype)
    wide[..., : 2 * array.shape[-1] : 2] = array
    return wide[..., : 2 * array.shape[-1] : 2]


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def transposed(array):
    return np.asfortranarray(array)


def big_endian(array):
    return array.astype(array.dtype.newbyteorder(">"))


@pytest.mark.parametrize("layout", [strided, read_only, transposed, big_endian], ids=label)
@pytest.mark.parametrize("row", ROWS, ids=label)
@pytest.mark.parametrize("backend", BACKENDS, ids=label)
def test_inputs_of_any_layout(backend, row, layout):
    dims, case = row.sizes[-1], row.cases[0]
    arguments = draw(row, case, dims, np.float32)
    wanted = expected(row, doubled(arguments))
    for name, spec in row.arrays.items():
        if spec.role == "in" and arguments[name] is not None:
            arguments[name] = layout(arguments[name])
    backend.call(row.name, **{k: v for k, v in arguments.items() if k in row.arguments})
    assert_close(row, dims, arguments, wanted, np.float32)


@pytest.mark.parametrize("dtype", DTYPES, ids=label)
@pytest.mark.parametrize(("row", "case"), rows_and_cases(), ids=label)
@pytest.mark.parametrize("backend", BACKENDS, ids=label)
def test_nan_and_infinity_go_through_as_in_the_reference(backend, row, case, dtype):
    dims = row.sizes[-1]
    floats = [
        name
        for name, spec in row.arrays.items()
        if spec.role != "out" and spec.kind == "real" and case.get(name) != "absent"
    ]
    for name in floats:
        for special in (np.nan, np.inf, -np.inf, 1e30, -1e30):
            arguments = draw(row, case, dims, dtype)
            flat = arguments[name].reshape(-1)
            flat[len(flat) // 2] = special
            wanted = {
                key: value.copy() if isinstance(value, np.ndarray) else value
                for key, value in arguments.items()
            }
            expected(row, wanted)
            backend.call(row.name, **{k: v for k, v in arguments.items() if k in row.arguments})
            for output in row.outputs():
                if wanted[output] is None:
                    continue
                found, right = arguments[output], wanted[output]
                where = f"{name}={special} in {output}"
                np.testing.assert_array_equal(np.isnan(found), np.isnan(right), err_msg=where)
                if not np.isnan(special):
                    bound = 4 * row.eps(dims) * np.finfo(dtype).eps
                    scale = abs(special) if np.isfinite(special) else 1.0
                    np.testing.assert_allclose(
                        found, right, rtol=bound, atol=bound * scale, err_msg=where
                    )


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("backend", BACKENDS, ids=label)
def test_activations_keep_nan_and_spread_it_no_further_than_the_row(backend, activation):
    x = np.linspace(-3, 3, 15, dtype=np.float32).reshape(3, 5)
    x[1, 2] = np.nan
    out = poisoned((3, 5), np.float32)
    spec = ACTIVATIONS[activation]
    backend.call("activation", x=x, activation=activation, parameter=spec.default, out=out)
    assert np.isnan(out[1, 2])
    assert np.isfinite(out[[0, 2]]).all()
    assert np.isnan(out[1]).all() == spec.rowwise


def test_every_backend_has_every_row_and_signature():
    for backend in BACKENDS:
        assert list(backend.kernels) == list(TABLE)
    for row in ROWS:
        code = getattr(reference, row.name).__code__
        assert code.co_varnames[: code.co_argcount] == tuple(row.arguments), row.name


@pytest.mark.parametrize("beta_2", [0.999, 0.99999])
@pytest.mark.parametrize("name", ["adam", "adamw"])
@pytest.mark.parametrize("backend", BACKENDS, ids=label)
def test_small_moments_keep_their_relative_precision(backend, name, beta_2):
    """1 - beta_2 taken in float32 would be off by far more than rounding."""
    row = TABLE[name]
    case = {**row.cases[0], "beta_2": beta_2, "weight_decay": 0.0}
    arguments = row.generate(np.random.default_rng(3), {"P": 50}, np.float32, case)
    arguments["gradients"] *= 1e-3
    arguments["first_moment"][...] = arguments["second_moment"][...] = 0
    wanted = expected(row, doubled(arguments))
    backend.call(name, **arguments)
    for moment in ("first_moment", "second_moment"):
        np.testing.assert_allclose(arguments[moment], wanted[moment], rtol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS, ids=label)
def test_sums_over_many_samples_stay_precise(backend):
    row = TABLE["linear_backward"]
    dims = {"B": 30_000, "K": 3, "N": 2}
    arguments = draw(row, row.cases[0], dims, np.float32)
    wanted = expected(row, doubled(arguments))
    backend.call(row.name, **arguments)
    for name in ("dw", "db"):
        error = np.abs(arguments[name] - wanted[name]).max()
        assert error < 1e-6 * np.sqrt(dims["B"]) * 3, name


@pytest.mark.parametrize("backend", BACKENDS, ids=label)
def test_the_variance_of_features_far_from_zero_stays_precise(backend):
    """The difference of two sums of squares would be off by more than the variance."""
    row = TABLE["batch_norm"]
    arguments = draw(row, row.cases[0], {"B": 3_000, "M": 4, "C": 5}, np.float32)
    arguments["x"][...] = 1000 + np.random.default_rng(4).standard_normal((3_000, 4, 5))
    wanted = expected(row, doubled(arguments))
    backend.call(row.name, **arguments)
    np.testing.assert_allclose(arguments["mean"], wanted["mean"], rtol=1e-7)
    np.testing.assert_allclose(arguments["inverse"], wanted["inverse"], rtol=1e-5)


@pytest.mark.parametrize("value", [-np.inf, np.nan, 0.0])
@pytest.mark.parametrize("backend", BACKENDS, ids=label)
def test_of_equals_the_first_inside_is_the_largest(backend, value):
    windows = {"size_h": 2, "size_w": 2, "stride_h": 2, "stride_w": 2, "pad_top": 1, "pad_left": 1}
    x, grad = np.full((1, 3, 3, 1), value), np.arange(1.0, 5).reshape(1, 2, 2, 1)
    out, dx = np.empty_like(grad), np.empty_like(x)
    backend.call("max_pool", x=x, **windows, out=out)
    backend.call("max_pool_backward", grad=grad, x=x, **windows, dx=dx)
    np.testing.assert_array_equal(out, np.full_like(out, value))
    assert dx[0, :, :, 0].tolist() == [[1, 2, 0], [3, 4, 0], [0, 0, 0]]


@pytest.mark.parametrize("backend", BACKENDS, ids=label)
class TestTheDoor:
    def linear(self, backend, **changes):
        arguments = {
            "x": np.ones((2, 3), np.float32),
            "w": np.ones((3, 4), np.float32),
            "b": np.ones(4, np.float32),
            "activation": "relu",
            "parameter": 0.0,
            "out": np.empty((2, 4), np.float32),
        }
        backend.call("linear", **{**arguments, **changes})
        return {**arguments, **changes}["out"]

    def test_right_arguments(self, backend):
        np.testing.assert_array_equal(self.linear(backend), np.full((2, 4), 4, np.float32))

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"w": np.ones((5, 4), np.float32)}, r"w has shape \(5, 4\); its axis K must be 3"),
            ({"b": np.ones(4)}, "b is float64, the arrays before it are float32"),
            ({"x": np.ones((2, 3), int)}, "x is int64; it must be float32 or float64"),
            ({"x": np.ones(3, np.float32)}, r"x has shape \(3,\); it needs the axes"),
            ({"out": np.empty((4, 2), np.float32).T}, "out is written to: it must be C-contig"),
            ({"out": None}, "out must be an array"),
            ({"paramter": 1}, r"unknown argument of linear 'paramter'. Did you mean 'parameter'\?"),
        ],
    )
    def test_wrong_arguments(self, backend, changes, message):
        with pytest.raises(InputError, match=message):
            self.linear(backend, **changes)

    def test_unknown_operation(self, backend):
        with pytest.raises(InputError, match=r"unknown operation 'liner'. Did you mean 'linear'\?"):
            backend.call("liner")

    @pytest.mark.parametrize("bad", [-1, 3])
    def test_labels_out_of_range(self, backend, bad):
        with pytest.raises(InputError, match=rf"labels\[1\] is {bad}; it must be in 0..2"):
            backend.call(
                "softmax_cross_entropy", logits=np.zeros((2, 3)), labels=np.array([0, bad]),
                smoothing=0.0, losses=np.empty(2),
            )  # fmt: skip

    @pytest.mark.parametrize("bad", [-1, 5])
    def test_rows_out_of_range(self, backend, bad):
        with pytest.raises(InputError, match=rf"rows\[0\] is {bad}; it must be in 0..4"):
            backend.call(
                "gather", source=np.zeros((5, 2)), rows=np.array([bad]), scale=1.0,
                out=np.empty((1, 2)),
            )  # fmt: skip

    @pytest.mark.parametrize("given", [(), ("labels", "targets")])
    def test_one_kind_of_target(self, backend, given):
        targets = {"labels": np.zeros(2, np.int32), "targets": np.full((2, 3), 1 / 3)}
        losses = np.full(2, 7.0)
        with pytest.raises(InputError, match="needs one of labels and targets, and not both"):
            backend.call(
                "softmax_cross_entropy", logits=np.zeros((2, 3)), losses=losses, smoothing=0.0,
                **{name: targets[name] for name in given},
            )  # fmt: skip
        assert losses.tolist() == [7.0, 7.0]

    @pytest.mark.parametrize("bad", [-1.0, 0.5, 3.0, np.nan])
    def test_what_is_looked_up(self, backend, bad):
        message = rf"x\[0, 1\] is {bad}; it must be in 0..2 and whole"
        with pytest.raises(InputError, match=message):
            backend.call(
                "embedding", x=np.array([[2, bad]]), w=np.zeros((3, 1)), out=np.empty((1, 2, 1))
            )

    def test_fixed_lengths(self, backend):
        words = np.zeros((1, 1), np.uint32)
        with pytest.raises(InputError, match=r"counter has shape \(1, 1\); its axis 4 must be 4"):
            backend.call("philox4x32", counter=words, key=np.zeros(2, np.uint32), words=words)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"seed": -1}, r"seed must be in 0\.\."),
            ({"seed": 2**64}, "seed must be in"),
            ({"stream": 70_000}, "stream must be in 0..65535"),
            ({"step": 2**48}, "step must be in"),
        ],
    )
    def test_settings_of_the_random_numbers(self, backend, changes, message):
        out = np.full((1, 1), 7.0)
        with pytest.raises(InputError, match=message):
            backend.call("uniform", **{"seed": 0, "stream": 0, "step": 0, "out": out, **changes})
        assert out == 7

    def test_an_unknown_activation(self, backend):
        with pytest.raises(InputError, match="Did you mean 'relu'"):
            backend.call(
                "activation", x=np.zeros((1, 1)), activation="rel", parameter=0.0,
                out=np.empty((1, 1)),
            )  # fmt: skip
