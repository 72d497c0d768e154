"""Compiles the CUDA sources and starts their kernels: all that this package asks of CuPy."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from mlcore.kernels import cuda
from mlcore.kernels.errors import MissingExtraError
from mlcore.kernels.table import ACTIVATIONS

try:
    import cupy
except ModuleNotFoundError as error:
    raise MissingExtraError('CuPy is not installed: pip install "mlcore[gpu]"') from error
if not hasattr(cupy, "cuda"):
    # Any folder of that name on the path can be imported, an empty one too.
    _places = ", ".join(map(str, getattr(cupy, "__path__", [cupy.__file__])))
    raise ImportError(f"what is imported as cupy is not CuPy: rename or remove {_places}")


def _device_name() -> str:
    """Return what device there is, or say in an ImportError why none can be used."""
    runtime = cupy.cuda.runtime
    try:
        properties = runtime.getDeviceProperties(runtime.getDevice())
    except runtime.CUDARuntimeError as error:
        raise ImportError(f"CuPy {cupy.__version__} finds no CUDA device: {error}") from error
    name: str = properties["name"].decode()
    version = f"{properties['major']}.{properties['minor']}"
    return f"{name}, compute capability {version}, CuPy {cupy.__version__}"


DEVICE = _device_name()
try:
    import cupy.cublas
except ImportError as error:
    raise ImportError(f"CuPy {cupy.__version__} lacks a library of CUDA: {error}") from error

# An array on the device.
Device = Any

# In a block; TEAM of team.h.
THREADS = 256
# More blocks than any device runs at a time; a thread takes several elements where there are more.
MOST_BLOCKS = 4096
# How dense.cu shares out columns.
COLUMNS, LINES = 32, 16

CODES = {name: code for code, name in enumerate(ACTIVATIONS)}
# The types of common.h.
KINDS: dict[str, np.dtype[Any]] = {
    "uint8": np.dtype(np.uint8), "int": np.dtype(np.int32), "uint32": np.dtype(np.uint32),
    "int64": np.dtype(np.int64), "uint64": np.dtype(np.uint64), "float": np.dtype(np.float32),
    "double": np.dtype(np.float64),
}  # fmt: skip

_PARAMETERS = {name: kernel for file in cuda.FILES for name, kernel in cuda.kernels(file).items()}
_FILES = {name: file for file in cuda.FILES for name in cuda.kernels(file)}
_NULL = np.uint64(0)
_run = threading.local()


@contextmanager
def stoppable(flag: Device) -> Iterator[None]:
    """Let all kernels started or recorded in the body do nothing once `flag`, int32, is set."""
    before = getattr(_run, "flag", None)
    _run.flag = flag
    try:
        yield
    finally:
        _run.flag = before


@cache
def _module(file: str, dtype: str) -> Any:
    return cupy.RawModule(
        code=cuda.source(file), options=(*cuda.OPTIONS, f"-DREAL={cuda.TYPES[dtype]}")
    )


@cache
def _function(name: str, dtype: str) -> Any:
    return _module(_FILES[name], dtype).get_function(name)


def to_device(array: NDArray[Any]) -> Device:
    """Return a copy on the device."""
    return cupy.asarray(array)


def to_host(array: Device) -> NDArray[Any]:
    """Return a copy in the processor's memory, once all that was started before is done."""
    found: NDArray[Any] = array.get()
    cupy.cuda.get_current_stream().synchronize()
    return found


def zeros(shape: int | tuple[int, ...], dtype: DTypeLike) -> Device:
    """Return an array of zeros on the device."""
    return cupy.zeros(shape, dtype)


def new_stream() -> Any:
    """Return a stream of its own: a context manager, in whose body kernels are queued there."""
    return cupy.cuda.Stream(non_blocking=True)


def record(stream: Any, action: Callable[[], None]) -> Any:
    """Return what `action` starts as a CUDA graph, whose ``launch`` repeats it.

    `action` runs, but not what it starts. It has run without being recorded before: compiling,
    loading and what cuBLAS does at first cannot be recorded.
    """
    stream.begin_capture()
    try:
        action()
    finally:
        graph = stream.end_capture()
    return graph


def _passed(parameter: cuda.Parameter, value: Any, real: np.dtype[Any]) -> tuple[Any, ...]:
    """Return a value as a kernel declares it: a wrong size would be read as something else."""
    kind = real if parameter.type == "real" else KINDS[parameter.type]
    if isinstance(value, cupy.ndarray):
        if value.dtype != kind or not (parameter.pointer or parameter.given):
            raise TypeError(f"{parameter} cannot be an array of {value.dtype}")
        return (value, kind.type(0)) if parameter.given else (value,)
    if parameter.pointer:
        if value is not None:
            raise TypeError(f"{parameter} must be an array of the device, not {type(value)}")
        return (_NULL,)
    return (_NULL, kind.type(value)) if parameter.given else (kind.type(value),)


def _start(
    name: str, real: np.dtype[Any], grid: int, block: tuple[int, ...], arguments: tuple[Any, ...]
) -> None:
    function = _function(name, real.name)
    flag = getattr(_run, "flag", None)
    passed = [_NULL if flag is None else flag]
    for parameter, value in zip(_PARAMETERS[name], arguments, strict=True):
        passed += _passed(parameter, value, real)
    function((grid,), block, tuple(passed))


def each(name: str, dtype: np.dtype[Any], count: int, *arguments: Any) -> None:
    """Start a kernel whose threads share out `count` elements; nothing where there are none.

    Parameters
    ----------
    name : str
        Of a kernel in this folder.
    dtype : numpy.dtype
        What REAL stands for.
    count : int
    *arguments
        Those after `stopped`, in order: arrays of the device, None for NULL, and numbers. A
        setting declared with GIVEN may be a number, or an array of one.
    """
    if count:
        _start(name, dtype, min(-(-count // THREADS), MOST_BLOCKS), (THREADS,), arguments)


def teams(name: str, dtype: np.dtype[Any], count: int, *arguments: Any) -> None:
    """Start a kernel of `count` blocks, each of `THREADS` threads that work together."""
    if count:
        _start(name, dtype, count, (THREADS,), arguments)


def columns(name: str, dtype: np.dtype[Any], count: int, *arguments: Any) -> None:
    """Start a kernel whose blocks take `COLUMNS` of `count` columns, with `LINES` threads each."""
    if count:
        _start(name, dtype, -(-count // COLUMNS), (COLUMNS, LINES), arguments)


def product(
    a: Device,
    b: Device,
    out: Device,
    *,
    turn_a: bool = False,
    turn_b: bool = False,
    scale: float = 1.0,
    keep: float = 0.0,
) -> None:
    """out = scale * (a @ b) + keep * out, by cuBLAS; a.T where `turn_a`, b.T where `turn_b`.

    All are C-contiguous. In full precision: TF32 would leave 10 of the 23 bits of a float32.
    """
    if not out.size:
        return
    if not a.size:
        out[...] = keep * out if keep else 0
        return
    cublas = cupy.cuda.cublas
    cublas.setMathMode(cupy.cuda.device.get_cublas_handle(), cublas.CUBLAS_DEFAULT_MATH)
    cupy.cublas.gemm("NT"[turn_a], "NT"[turn_b], a, b, out=out, alpha=scale, beta=keep)
