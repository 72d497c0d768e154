"""The facts that `mlcore info` shows."""

import platform
import sys
from pathlib import Path

import numpy as np
import pytest

import mlcore
from mlcore import kernels, system


def test_every_backend_has_a_line_and_one_is_in_use():
    lines = system.report()
    states = {name: lines[f"backend {name}"] for name in kernels.BACKENDS}
    assert list(states.values()).count("in use") == 1
    assert states[kernels.get().name] == "in use"


def test_versions_and_blas():
    lines = system.report()
    assert lines["mlcore"] == mlcore.__version__
    assert lines["NumPy"].startswith(f"{np.__version__}, BLAS ")
    assert "unknown" not in lines["NumPy"]
    assert platform.python_version() in lines["Python"]


def test_threads_are_those_of_the_libraries(monkeypatch):
    threadpoolctl = pytest.importorskip("threadpoolctl")
    with threadpoolctl.threadpool_limits(1):
        assert system.report()["threads"].endswith("BLAS 1")
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    assert "mlcore[threads]" in system.report()["threads"]


@pytest.mark.parametrize(
    ("text", "processor", "features"),
    [
        ("model name\t: A 1\nflags\t\t: fpu avx2 sse2\n\nmodel name: B\nflags: avx512f\n", "A 1",
         "sse2 avx2"),
        ("Features : fp asimd sve\n", None, "asimd sve"),
        ("", None, "unknown"),
    ],
)  # fmt: skip
def test_the_processor_is_read_from_cpuinfo(monkeypatch, text, processor, features):
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: text)
    lines = system.report()
    assert lines["features"] == features
    assert lines["processor"] == (processor or platform.processor() or platform.machine())


def test_without_cpuinfo(monkeypatch):
    def missing(*_arguments, **_settings):
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", missing)
    assert system.report()["features"] == "unknown"
