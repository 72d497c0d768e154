"""The door from Python to the compiled kernels: what it lets in, and what it says to the rest."""

import subprocess
import sys
from types import ModuleType

import numpy as np
import pytest

from mlcore import kernels
from mlcore.kernels import TABLE, native
from mlcore.kernels.errors import InputError

NATIVE = [s.name for s in kernels.status() if s.available and s.name.startswith("native-")]
DTYPES = ["float32", "float64"]


@pytest.fixture(params=NATIVE)
def call(request):
    return kernels.get(request.param).kernels


def linear(call, **changes):
    """Call `linear` with right arguments but for `changes`; return what it wrote."""
    given = {
        "x": np.ones((2, 3), np.float32),
        "w": np.ones((3, 4), np.float32),
        "b": np.ones(4, np.float32),
        "activation": "relu",
        "parameter": 0.0,
        "pre": None,
        "out": np.full((2, 4), 7, np.float32),
    } | changes
    call["linear"](*given.values())
    return given["out"]


def read_only(array):
    array.flags.writeable = False
    return array


class TestWhatComesIn:
    def test_every_row_has_a_kernel_that_knows_it(self, call):
        for name, row in TABLE.items():
            assert repr(call[name]) == f"<compiled kernel {name}({', '.join(row.arguments)})>"
            assert call[name].row is row

    def test_every_setting_has_the_same_type_in_every_case(self):
        for row in TABLE.values():
            for case in row.cases:
                assert {name: type(case[name]) for name in row.settings} == row.settings

    def test_right_arguments(self, call):
        assert (linear(call) == 4).all()
        assert (linear(call, b=None) == 3).all()

    def test_inputs_may_be_read_only_and_empty(self, call):
        assert (linear(call, x=read_only(np.ones((2, 3), np.float32))) == 4).all()
        empty = linear(call, x=np.ones((0, 3), np.float32), out=np.ones((0, 4), np.float32))
        assert empty.shape == (0, 4)

    def test_any_buffer(self, call):
        memory = bytearray(8 * 4)
        out = memoryview(memory).cast("f", (2, 4))
        linear(call, out=out)
        assert out.tolist() == [[4.0] * 4] * 2

    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("source", ["uint8", "float32", "float64"])
    def test_data_of_any_kind_in_either_precision(self, call, dtype, source):
        out = np.empty((2, 2), dtype)
        taken = np.arange(6, dtype=source).reshape(3, 2)
        call["gather"](taken, np.array([2, 0]), 0.5, out)
        assert out.tolist() == [[2, 2.5], [0, 0.5]]

    def test_numbers_of_numpy_as_settings(self, call):
        assert (linear(call, parameter=np.float32(0)) == 4).all()
        assert (linear(call, parameter=0) == 4).all()
        number = np.full(1, 5.0)
        call["accumulate"](number, np.full(1, 1.0), np.int32(2), np.int64(3))
        assert number == 2
        call["hinge"](np.zeros((1, 1)), None, np.ones((1, 1)), None, 3.0, np.True_, number, None)
        assert number == 9

    def test_seeds_of_64_bits_differ_in_each(self, call):
        drawn = set()
        for seed in (0, 1, 2**63 - 1, 2**63, 2**64 - 1):
            out = np.empty((1, 4))
            call["uniform"](seed, 0, 0, out)
            drawn.add(tuple(out[0]))
        assert len(drawn) == 5


class TestWhatStaysOutside:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"x": np.ones((2, 3), int)}, "x is int64; it must be float32 or float64"),
            ({"x": np.ones((2, 3), np.float16)}, "x is float16; it must be float32 or float64"),
            ({"x": np.ones((2, 3), ">f4")}, "x is >f4; it must be float32 or float64"),
            ({"x": np.ones((2, 3), "f4,f4")}, "x is .*; it must be float32 or float64"),
            ({"w": np.ones((3, 4))}, "w is float64, unlike the arrays before it; use one dtype"),
            ({"pre": np.ones((2, 4))}, "pre is float64, unlike the arrays before it"),
            ({"x": np.ones(3, np.float32)}, r"x has 1 axes; it needs \('B', 'K'\)"),
            ({"b": np.ones((1, 4), np.float32)}, r"b has 2 axes; it needs \('N',\)"),
            ({"w": np.ones((4, 3), np.float32).T}, "w must be C-contiguous"),
            ({"x": np.ones((2, 6), np.float32)[:, ::2]}, "x must be C-contiguous"),
            ({"x": None}, "x must be an array, not None"),
            ({"x": [[1.0] * 3] * 2}, r"x must be an array, not \[\["),
            ({"activation": "rel"}, r"unknown activation 'rel'\. Did you mean 'relu'\?"),
            ({"activation": None}, "unknown activation None"),
            ({"parameter": "0"}, "parameter must be a number, not '0'"),
            ({"parameter": None}, "parameter must be a number, not None"),
            ({"parameter": 1j}, "parameter must be a number, not 1j"),
        ],
    )
    def test_with_one_error_before_anything_is_written(self, call, changes, message):
        out = np.full((2, 4), 7, np.float32)
        with pytest.raises(InputError, match=f"^(linear: )?{message}"):
            linear(call, out=out, **changes)
        assert (out == 7).all()

    @pytest.mark.parametrize(
        ("out", "message"),
        [
            (read_only(np.full((2, 4), 7, np.float32)), "out is written to, but read-only"),
            (np.full((4, 2), 7, np.float32).T, "out must be C-contiguous"),
            (np.full((2, 4), 7.0), "out is float64, unlike the arrays before it"),
        ],
    )
    def test_outputs(self, call, out, message):
        with pytest.raises(InputError, match=f"^linear: {message}"):
            linear(call, out=out)
        assert (out == 7).all()

    @pytest.mark.parametrize("bad", [2.0, "2", None, np.float64(2), 2**64, -(2**63) - 1])
    def test_whole_numbers(self, call, bad):
        with pytest.raises(InputError, match=r"^uniform: seed must be a whole number, not"):
            call["uniform"](bad, 0, 0, np.empty((1, 1)))

    @pytest.mark.parametrize(
        ("row", "at", "dtype", "wanted"),
        [
            ("gather_labels", 0, "int64", "int32"), ("gather_labels", 1, "int32", "int64"),
            ("gather_labels", 0, "uint32", "int32"), ("gather", 0, "int8", "uint8, float32 or"),
            ("philox4x32", 0, "int32", "uint32"), ("penalty", 0, "float32", "float64"),
            ("embedding", 0, "int32", "float32 or float64"),
        ],
    )  # fmt: skip
    def test_arrays_of_every_kind(self, call, row, at, dtype, wanted):
        dims, case = TABLE[row].sizes[-1], TABLE[row].cases[0]
        given = list(TABLE[row].generate(np.random.default_rng(0), dims, "f8", case).values())
        given = given[: len(TABLE[row].arguments)]
        call[row](*given)
        given[at] = given[at].astype(dtype)
        name = list(TABLE[row].arguments)[at]
        with pytest.raises(InputError, match=f"^{row}: {name} is {dtype}; it must be {wanted}"):
            call[row](*given)

    def test_too_few_and_too_many(self, call):
        right = r"takes 4 arguments \(x, activation, parameter, out\)"
        x = np.ones((1, 1))
        for given in ((), (x, "relu", 0.0), (x, "relu", 0.0, x, x)):
            with pytest.raises(InputError, match=f"^activation {right}, not {len(given)}$"):
                call["activation"](*given)
        with pytest.raises(TypeError):
            call["activation"](x, "relu", 0.0, out=x)

    def test_nothing_is_held_after_an_error(self, call):
        x = memoryview(bytearray(4 * 6)).cast("f", (2, 3))
        with pytest.raises(InputError):
            linear(call, x=x, parameter="0")
        with pytest.raises(InputError):
            linear(call, x=x, out=np.ones((2, 4)))
        x.release()


TOO_LARGE = """
import resource, sys
from pathlib import Path
import numpy as np
from mlcore import kernels

call = kernels.get(sys.argv[1]).kernels
x, w, out = np.ones((1, 2000)), np.ones((2000, 2000)), np.empty((1, 2000))
image, filters, result = np.ones((40, 64, 64, 8)), np.ones((1, 1, 8, 1)), np.empty((40, 64, 64, 1))
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**20, resource.RLIM_INFINITY))
for name, given in {
    "linear": (x, w, None, "relu", 0.0, None, out),
    "conv2d": (image, filters, None, 1, 1, 0, 0, result),
}.items():
    try:
        call[name](*given)
    except MemoryError as error:
        print(error)
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    call[name](*given)
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**20, resource.RLIM_INFINITY))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited by Linux's own means")
@pytest.mark.parametrize("name", NATIVE)
def test_too_little_memory(name, tmp_path):
    result = subprocess.run(
        [sys.executable, "-c", TOO_LARGE, name], cwd=tmp_path, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert result.stdout.split("\n") == [
        "linear found too little memory", "conv2d found too little memory", "",
    ]  # fmt: skip


@pytest.mark.skipif(not NATIVE, reason="no instruction set was built")
def test_the_list_of_compiled_rows_is_the_table():
    module = native.load(NATIVE[0].removeprefix("native-"))
    assert set(module.ROWS) == set(TABLE)


@pytest.mark.skipif(not NATIVE, reason="no instruction set was built")
def test_a_module_of_older_sources_says_so(monkeypatch):
    name = NATIVE[0].removeprefix("native-")
    old = ModuleType(f"{native.__name__}._{name}")
    monkeypatch.setitem(sys.modules, old.__name__, old)
    with pytest.raises(ImportError, match=r"built from older sources: run `pip install -e \.`"):
        native.load(name)
