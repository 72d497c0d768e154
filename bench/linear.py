"""The speed of the compiled `linear` beside NumPy's matmul, on one thread.

``python bench/linear.py`` prints, for the shapes of the kernel table, the rates of both, minima
over interleaved repetitions, after both results were compared. It needs threadpoolctl, which
holds NumPy's BLAS to one thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from threadpoolctl import threadpool_limits

from mlcore import kernels
from mlcore.kernels.table import TABLE
from mlcore.plan import table

REPETITIONS = 60


def interleaved(functions: list[Callable[[], object]]) -> list[float]:
    """Return the least seconds of each function, run in turn: A B A B ..."""
    best = [float("inf")] * len(functions)
    for _ in range(REPETITIONS):
        for at, function in enumerate(functions):
            began = time.perf_counter()
            function()
            best[at] = min(best[at], time.perf_counter() - began)
    return best


def measure(dtype: type[np.floating], dims: dict[str, int]) -> tuple[str, ...]:
    """Return a line of the table for one shape."""
    rng = np.random.default_rng()
    row = TABLE["linear"]
    case = {"activation": "identity", "parameter": 0.0, "pre": "absent"}
    arguments = row.generate(rng, dims, dtype, case)
    x, w, b, out = (arguments[name] for name in ("x", "w", "b", "out"))
    kernels.get("native").call("linear", **arguments)
    np.testing.assert_allclose(out, x @ w + b, rtol=1e-4, atol=1e-4)
    native = kernels.get("native").kernels["linear"]
    values = tuple(arguments.values())
    product = np.empty_like(out)
    ours, numpy = interleaved([lambda: native(*values), lambda: np.matmul(x, w, out=product)])
    flops = row.flops(dims, arguments.keys())
    shape = "x".join(str(dims[letter]) for letter in ("B", "K", "N"))
    rates = [f"{flops / seconds / 1e9:.1f}" for seconds in (ours, numpy)]
    return (np.dtype(dtype).name, shape, *rates, f"{numpy / ours:.2f}")


def main() -> None:
    """Print the table."""
    with threadpool_limits(1):
        lines = [
            measure(dtype, dims)
            for dtype in (np.float32, np.float64)
            for dims in TABLE["linear"].bench
        ]
    head = ("dtype", "batch x in x out", "linear GFLOP/s", "matmul GFLOP/s", "ratio")
    print(table(head, lines, right=(2, 3, 4)))


if __name__ == "__main__":
    main()
