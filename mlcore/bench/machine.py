"""The machine that is measured: what one core can do at most, and what it is.

The peaks come from two loops beside the native kernels, one that does nothing but multiply and
add, one that does nothing but read. Where no native backend is there, NumPy's `matmul` and `dot`
give an estimate from below.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlcore import kernels, system
from mlcore.kernels.errors import InputError, unknown

DTYPES = ("float32", "float64")
CACHE_LINE = 64
# What the reading loop takes at once, whatever the vectors.
LEAST_BYTES, MOST_BYTES = 4096, 1 << 27
MATMUL_SIDE = 256
# One interruption spoils one burst, and the best one is kept.
BURSTS = 5


def fma_peak(dtype: str = "float32", seconds: float = 0.02) -> float:
    """Return the GFLOP/s that one core reaches when it only multiplies and adds.

    Parameters
    ----------
    dtype : {"float32", "float64"}
        Of the numbers.
    seconds : float
        How long to measure; the best of several bursts counts.

    Raises
    ------
    InputError
        For another dtype.
    """
    if dtype not in DTYPES:
        raise unknown("dtype", dtype, DTYPES)
    native = _native()
    if native is None:
        factor = np.ones((MATMUL_SIDE, MATMUL_SIDE), dtype)
        product = np.empty_like(factor)
        return 2e-9 * MATMUL_SIDE**3 / _least(lambda: np.matmul(factor, factor, product), seconds)
    return max(float(native.fma_peak(dtype, seconds / BURSTS)) for _ in range(BURSTS))


def bandwidth(size: int, seconds: float = 0.02) -> float:
    """Return the GB/s at which one core reads `size` bytes again and again.

    What fits a cache is read from there, so this falls in steps as `size` grows.

    Parameters
    ----------
    size : int
        In bytes; taken as at least 4 kB and at most 128 MB.
    seconds : float
        How long to measure; the best of several bursts counts.
    """
    buffer = _aligned(min(max(size, LEAST_BYTES), MOST_BYTES) // 8)
    native = _native()
    if native is None:
        return 1e-9 * buffer.nbytes / _least(lambda: np.dot(buffer, buffer), seconds)
    return max(float(native.read_bandwidth(buffer, seconds / BURSTS)) for _ in range(BURSTS))


def describe() -> dict[str, str]:
    """Return what a reader of the figures must know of the machine and the software, by name."""
    facts = {name: text for name, text in system.report().items() if name != "installed in"}
    native = _native()
    facts["caches"] = _caches() or "unknown"
    facts["peaks from"] = "loops of the native backend" if native else "NumPy's matmul and dot"
    if native is not None:
        facts["compiler"] = native.built_with()
    return facts


def one_blas_thread() -> contextlib.AbstractContextManager[Any]:
    """Hold NumPy's BLAS to one thread, where threadpoolctl is there to do it."""
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return contextlib.nullcontext()
    limit: contextlib.AbstractContextManager[Any] = threadpool_limits(1, user_api="blas")
    return limit


def _native() -> Any:
    """Return the compiled module that serves the native backend here, or None."""
    try:
        return kernels.get("native").module
    except InputError:
        return None


def _least(function: Callable[[], object], seconds: float) -> float:
    """Return the least time of a call among those that fit into `seconds`."""
    function()
    ends = time.perf_counter() + seconds
    least = float("inf")
    while True:
        began = time.perf_counter()
        function()
        now = time.perf_counter()
        least = min(least, now - began)
        if now >= ends:
            return least


def _aligned(count: int) -> NDArray[np.float64]:
    """Return `count` numbers that begin at a cache line, so that no read touches two."""
    spare = CACHE_LINE // 8
    whole = np.ones(count + spare)
    skipped = -whole.ctypes.data % CACHE_LINE // 8
    return whole[skipped : skipped + count]


def _caches() -> str:
    """Return the caches that the first core reads through, as Linux lists them."""
    found = []
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        with contextlib.suppress(OSError):
            level, kind, size = (
                (folder / name).read_text().strip() for name in ("level", "type", "size")
            )
            if kind != "Instruction":
                found.append(f"L{level} {size}")
    return ", ".join(found)
