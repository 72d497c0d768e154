"""What mlcore runs on: the report of `mlcore info`."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import numpy as np

import mlcore
from mlcore import kernels
from mlcore.kernels import threads
from mlcore.kernels.errors import InputError

# What decides how fast small networks train, on x86 and on Arm.
FEATURES = ("sse2", "sse4_2", "avx", "avx2", "fma", "avx512f", "avx512bw", "asimd", "sve")


def report() -> dict[str, str]:
    """Return a line of text for each fact, in the order to show them."""
    lines = {
        "mlcore": mlcore.__version__,
        "installed in": str(Path(mlcore.__file__).parent),
        "Python": f"{platform.python_version()} on {platform.platform()}",
        "NumPy": f"{np.__version__}, BLAS {_blas()}",
    }
    try:
        chosen = kernels.get().name
    except InputError as error:
        chosen = ""
        lines["backend"] = str(error)
    for entry in kernels.status():
        state = f"missing: {entry.reason}"
        if entry.available:
            state = "in use" if entry.name == chosen else "available"
        lines[f"backend {entry.name}"] = state
    lines["instruction set"] = _instruction_set()
    lines["CUDA device"] = _cuda_device()
    lines["processor"] = _processor()
    lines["features"] = " ".join(_features()) or "unknown"
    lines["processors usable"] = str(threads.usable_processors())
    lines["threads"] = f"native engine {_engine_threads()}, NumPy's BLAS {_blas_threads()}"
    return lines


def _instruction_set() -> str:
    try:
        module = kernels.get("native").module
    except InputError:
        return "none"
    return module.__name__.rpartition("._")[2]


def _cuda_device() -> str:
    try:
        module: Any = kernels.get("cupy").module
    except InputError:
        return "none that can be used"
    return str(module.DEVICE)


def _blas() -> str:
    config: Any = np.show_config(mode="dicts")
    blas = config.get("Build Dependencies", {}).get("blas", {})
    return f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip()


def _engine_threads() -> str:
    try:
        found = threads.chosen()
    except InputError as error:
        return f"unknown ({error})"
    return f"{found.number} ({found.source})"


def _blas_threads() -> str:
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return 'unknown (pip install "mlcore[threads]")'
    counts = [entry["num_threads"] for entry in threadpool_info() if entry["user_api"] == "blas"]
    return str(max(counts)) if counts else "unknown"


def _cpuinfo() -> dict[str, str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    pairs = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    found: dict[str, str] = {}
    for key, value in pairs:
        found.setdefault(key.strip(), value.strip())
    return found


def _processor() -> str:
    return _cpuinfo().get("model name") or platform.processor() or platform.machine()


def _features() -> list[str]:
    known = _cpuinfo()
    flags = set((known.get("flags") or known.get("Features") or "").split())
    return [name for name in FEATURES if name in flags]
