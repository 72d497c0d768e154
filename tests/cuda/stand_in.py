"""A stand-in for CuPy on a processor: as much of it as the backend asks for.

The CUDA sources are compiled by g++ with `shim.h`. This checks the sources, how they are started
and how a step is recorded; it is not a test on a GPU: it knows nothing of races between threads,
of CUDA's own functions and compiler, of cuBLAS, or of time.

What CUDA would not notice, or would notice as garbage, is an error here: an argument of another
type than the kernel's, a copy to or from the host while a graph is recorded, and a graph that
reads memory which was given back.
"""

import ctypes
import math
import re
import subprocess
import tempfile
import weakref
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np

SHIM = Path(__file__).with_name("shim.h")
LETTERS = {
    "h": np.uint8, "i": np.int32, "j": np.uint32, "x": np.int64, "y": np.uint64, "f": np.float32,
    "d": np.float64,
}  # fmt: skip
# Turned by the tests: no result may depend on the order of the threads.
order = SimpleNamespace(backwards=False)
recording = None


def do(action, arrays):
    """Act now, or when the graph that is being recorded is launched."""
    if recording is None:
        action()
        return
    owners = [weakref.ref(owner(array.host)) for array in arrays]

    def later():
        assert all(ref() is not None for ref in owners), "a graph reads memory that was given back"
        action()

    recording.append(later)


def owner(array):
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def synchronous():
    assert recording is None, "a copy to or from the host cannot be recorded"


class Array:
    """An array "on the device": no NumPy array, so that nothing takes it for one."""

    def __init__(self, host):
        self.host = host

    shape = property(lambda self: self.host.shape)
    dtype = property(lambda self: self.host.dtype)
    size = property(lambda self: self.host.size)
    ndim = property(lambda self: self.host.ndim)
    nbytes = property(lambda self: self.host.nbytes)

    def __len__(self):
        return len(self.host)

    def __array__(self, *_, **__):
        raise TypeError("implicit conversion to a NumPy array is not allowed")

    def view(self, dtype):
        return Array(self.host.view(dtype))

    def reshape(self, *shape):
        return Array(self.host.reshape(*shape))

    def __getitem__(self, at):
        return Array(self.host[at])

    def __setitem__(self, at, value):
        into, given = self.host[at], getattr(value, "host", value)
        do(lambda: into.__setitem__(..., given), [self])

    def __rmul__(self, factor):
        return Array(factor * self.host)

    def set(self, array):
        synchronous()
        assert array.dtype == self.dtype
        assert array.shape == self.shape
        self.host[...] = array

    def get(self):
        synchronous()
        return self.host.copy()


class Function:
    """A kernel: checks its arguments against the types that the compiler saw."""

    def __init__(self, library, name, together):
        self.run = getattr(library, f"run_{name}")
        types = getattr(library, f"types_{name}")
        types.restype = ctypes.c_char_p
        self.name, self.types, self.together = name, types().decode().split(), together

    def __call__(self, grid, block, arguments):
        assert len(arguments) == len(self.types), f"{self.name}: {self.types}"
        values, arrays = [], []
        for value, kind in zip(arguments, self.types, strict=True):
            pointed = LETTERS[kind[-1]]
            if isinstance(value, Array):
                assert kind.startswith("P"), f"{self.name}: an array for {kind}"
                assert value.dtype == pointed, f"{self.name}: {value.dtype} for {kind}"
                assert value.host.flags.c_contiguous
                arrays.append(value)
                values.append(np.uint64(value.host.ctypes.data))
            elif kind.startswith("P"):
                assert isinstance(value, np.uint64), f"{self.name}: {value!r} for {kind}"
                assert value == 0
                values.append(value)
            else:
                assert type(value) is pointed, f"{self.name}: {value!r} for {kind}"
                values.append(value)
        assert math.prod(block) <= 1024
        cells = [np.array([value]) for value in values]
        sizes = [(ctypes.c_uint * 2)(*shape, *(1,) * (2 - len(shape))) for shape in (grid, block)]

        def action():
            pointers = (ctypes.c_void_p * len(cells))(*(cell.ctypes.data for cell in cells))
            self.run(*sizes, pointers, self.together, order.backwards)

        do(action, arrays)


def threads_wait(code):
    """Return the names of the functions and kernels whose threads wait for each other."""
    parts = re.split(r"^(?:KERNEL\(|DEVICE \w+ )(\w+)", code, flags=re.MULTILINE)
    bodies = dict(zip(parts[1::2], parts[2::2], strict=True))
    found, before = {"__syncthreads"}, set()
    while found != before:
        before = set(found)
        found |= {
            name for name, text in bodies.items() if any(f"{called}(" in text for called in before)
        }
    return found


class RawModule:
    """Compiles the text with g++."""

    def __init__(self, *, code, options):
        defines = [option for option in options if option.startswith("-D")]
        waiting = threads_wait(code)
        names = re.findall(r"^KERNEL\((\w+),", code, flags=re.MULTILINE)
        self.together = {name: name in waiting for name in names}
        with tempfile.TemporaryDirectory() as folder:
            text = Path(folder, "kernels.cpp")
            entries = "".join(f"ENTRY({name})\n" for name in self.together)
            text.write_text(f'#include "{SHIM}"\n{code}\n{entries}')
            built = text.with_suffix(".so")
            # Rounded as on the device: no fused products, no other order.
            subprocess.run(
                ["g++", "-std=c++17", "-O1", "-ffp-contract=off", "-fno-strict-aliasing", "-Wall",
                 "-Werror", "-shared", "-fPIC", *defines, str(text),
                 "-o", str(built)],
                check=True,
            )  # fmt: skip
            self.library = ctypes.CDLL(str(built))

    def get_function(self, name):
        return Function(self.library, name, self.together[name])


def by_address(array):
    """Return a function that sees the memory of an array, and does not keep it alive."""
    address, count = array.host.ctypes.data, array.host.nbytes
    shape, dtype = array.shape, array.dtype

    def see():
        return np.frombuffer((ctypes.c_char * count).from_address(address), dtype).reshape(shape)

    return see


def gemm(turn_a, turn_b, a, b, out, alpha, beta):
    for array in (a, b, out):
        assert array.host.flags.c_contiguous
        assert array.dtype == a.dtype
    see_a, see_b, see_out = map(by_address, (a, b, out))

    def action():
        left = see_a().T if turn_a == "T" else see_a()
        right = see_b().T if turn_b == "T" else see_b()
        into = see_out()
        assert into.shape == (left.shape[0], right.shape[1])
        with np.errstate(all="ignore"):
            into[...] = alpha * (left @ right) + (beta * into if beta else 0)

    do(action, [a, b, out])


class Graph:
    def __init__(self, actions):
        self.actions = actions
        self.launches = 0

    def launch(self, stream=None):  # noqa: ARG002
        assert recording is None
        self.launches += 1
        for action in self.actions:
            action()


class Stream:
    def __init__(self, non_blocking=False):
        self.non_blocking = non_blocking

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def synchronize(self):
        synchronous()

    def begin_capture(self):
        global recording
        assert recording is None
        assert self.non_blocking, "the default stream cannot be captured"
        recording = []

    def end_capture(self):
        global recording
        actions, recording = recording, None
        return Graph(actions)


class CUDARuntimeError(RuntimeError):
    pass


def module():
    """Return a module to stand for cupy."""
    cupy = ModuleType("cupy")
    cupy.__path__ = []
    cupy.__version__ = "stand-in"
    cupy.ndarray, cupy.RawModule = Array, RawModule
    cupy.asarray = lambda array: Array(np.array(array, order="C"))
    cupy.zeros = lambda shape, dtype: Array(np.zeros(shape, dtype))
    cupy.empty = cupy.zeros
    cupy.cublas = ModuleType("cupy.cublas")
    cupy.cublas.gemm = gemm
    cupy.cuda = SimpleNamespace(
        Stream=Stream,
        get_current_stream=lambda: Stream(),
        device=SimpleNamespace(get_cublas_handle=lambda: 1),
        cublas=SimpleNamespace(setMathMode=lambda *_: None, CUBLAS_DEFAULT_MATH=0),
        runtime=SimpleNamespace(
            CUDARuntimeError=CUDARuntimeError,
            getDevice=lambda: 0,
            getDeviceProperties=lambda _: {"name": b"no GPU", "major": 0, "minor": 0},
        ),
    )
    return cupy
