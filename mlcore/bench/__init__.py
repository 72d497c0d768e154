"""How fast the kernels are on this machine: what `mlcore bench` shows.

Kernels times backends times shapes times dtypes: each is held against the reference first, then
timed in turns with it, and set beside what one core of this machine can do at most.

>>> from mlcore import bench
>>> result = bench.run(kernel="linear", backend="native", seconds=0.01)  # doctest: +SKIP
>>> print(result)                                                        # doctest: +SKIP
"""

from __future__ import annotations

import functools
import secrets
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version

import numpy as np

from mlcore import kernels
from mlcore.bench import against as peers
from mlcore.bench import machine
from mlcore.bench.report import CLEAN, Measurement, Result, check_targets
from mlcore.bench.subjects import Subject, subjects
from mlcore.bench.timing import interleaved
from mlcore.bench.verify import Prepare, fault
from mlcore.kernels import TABLE
from mlcore.kernels.errors import InputError, is_number, unknown
from mlcore.kernels.table import Arguments

__all__ = ["Measurement", "Result", "check_targets", "run"]

# The best native backend, what stands in where no compiler was, and the definition of right.
USUAL_BACKENDS = ("native", "numba", "numpy")
REFERENCE = "numpy"
# To fit the first-level cache, the second, the third as a rule, and none.
ROOF_SIZES = (2**14, 2**18, 2**22, 2**27)
PEAK_SECONDS, BURST_SECONDS, BANDWIDTH_SECONDS = 0.1, 0.002, 0.005
# How often a row is measured while the core is not at its peak.
TRIES = 3

Names = str | Sequence[str] | None


def run(
    kernel: Names = None,
    backend: Names = None,
    dtype: Names = None,
    *,
    seconds: float = 0.05,
    against: Names = None,
    seed: int | None = None,
    progress: bool = False,
) -> Result:
    """Measure kernels on one core.

    Parameters
    ----------
    kernel : str or sequence of str, optional
        Rows of the kernel table, each with every activation; by default all, with some.
    backend : str or sequence of str, optional
        By default "native", "numba" and "numpy", as far as they are there. The ratio is to
        "numpy", the reference, in any case.
    dtype : str or sequence of str, optional
        "float32" or "float64"; by default both.
    seconds : float
        To time each row.
    against : str or sequence of str, optional
        "torch" or "jax": a row more for each kernel that it has.
    seed : int, optional
        Of the inputs; drawn anew where it is not given.
    progress : bool
        Show a bar on standard error, if that is a terminal.

    Returns
    -------
    Result
        Kernels that failed verification are among its `failures`, and were not timed.

    Raises
    ------
    InputError
        For an unknown name, a backend or a peer that is not there, and seconds that are no
        positive number.
    """
    if not is_number(seconds) or seconds <= 0:
        raise InputError(f"seconds must be a positive number: {seconds!r}")
    names = _known("kernel", kernel, TABLE)
    dtypes = _known("dtype", dtype, machine.DTYPES) or list(machine.DTYPES)
    backends = _backends(backend)
    compared = _known("peer", against, peers.PEERS)
    drawn = secrets.randbits(64) if seed is None else seed
    planned = list(subjects(names, dtypes))
    with machine.one_blas_thread(), peers.opened(compared) as others:
        described = {**machine.describe(), **{name: version(name) for name in compared}}
        contenders = {name: _own(backends[name]) for name in backends} | others
        bench = _Bench(contenders, np.random.default_rng(drawn), seconds)
        rows = [row for subject in _bar(planned, progress) for row in bench.measure(subject)]
        return Result(
            # The best burst of all is what the machine can do.
            rows=tuple(replace(row, peak=bench.peaks[_real(row.dtype)]) for row in rows),
            machine=described,
            peaks={name: bench.peaks[name] for name in dtypes},
            bandwidths={size: bench.bandwidth(size) for size in ROOF_SIZES},
            settings={
                "kernel": names, "backend": list(backends), "dtype": dtypes, "seconds": seconds,
                "against": compared, "seed": drawn,
            },
        )  # fmt: skip


def _known(kind: str, given: Names, known: Iterable[str]) -> list[str]:
    """Return the names as a list without repetitions, if they are all known."""
    names = [given] if isinstance(given, str) else list(given or ())
    for name in names:
        if name not in known:
            raise unknown(kind, name, known)
    return list(dict.fromkeys(names))


def _backends(given: Names) -> dict[str, kernels.Backend]:
    entries = kernels.status()
    chosen = _known("backend", given, [entry.name for entry in entries]) or [
        entry.name for entry in entries if entry.available and entry.name in USUAL_BACKENDS
    ]
    return {name: kernels.get(name) for name in chosen}


def _own(backend: kernels.Backend) -> peers.Peer:
    """Return what makes the calls of one of our own backends, by kernel."""

    def prepare(name: str) -> Prepare:
        return lambda arguments: partial(backend.kernels[name], *arguments.values())

    return {name: prepare(name) for name in TABLE}


def _real(dtype: str) -> str:
    return dtype if dtype in machine.DTYPES else "float32"


def _bar(planned: list[Subject], progress: bool) -> Iterable[Subject]:
    from tqdm import tqdm

    bar: Iterable[Subject] = tqdm(
        planned, leave=False, unit="kernel", disable=None if progress else True
    )
    return bar


class _Bench:
    """Measures one subject after the other, and watches the machine meanwhile."""

    def __init__(
        self, contenders: Mapping[str, peers.Peer], rng: np.random.Generator, seconds: float
    ) -> None:
        self.contenders = contenders
        self.reference = _own(kernels.get(REFERENCE))
        self.rng = rng
        self.seconds = seconds
        self.peaks = {name: machine.fma_peak(name, PEAK_SECONDS) for name in machine.DTYPES}
        self.bandwidth = functools.cache(partial(machine.bandwidth, seconds=BANDWIDTH_SECONDS))

    def measure(self, subject: Subject) -> list[Measurement]:
        """Return a row for each contender that has this kernel, the wrong ones without a time."""
        name = subject.row.name
        entered = {who: peer[name] for who, peer in self.contenders.items() if name in peer}
        faults = {who: fault(subject, make, self.rng) for who, make in entered.items()}
        right = {who: make for who, make in entered.items() if not faults[who]}
        arguments = subject.arguments(self.rng)
        samples, around = self._timed(subject, {REFERENCE: self.reference[name]} | right, arguments)
        return [
            Measurement(
                kernel=subject.label,
                operation=name,
                settings={
                    key: arguments[key] for key, spec in subject.row.arguments.items() if not spec
                },
                dims=subject.dims,
                shape=subject.shape,
                dtype=subject.dtype,
                backend=who,
                fault=faults[who],
                seconds=None if faults[who] else min(samples[who]),
                median=None if faults[who] else statistics.median(samples[who]),
                samples=0 if faults[who] else len(samples[who]),
                flops=subject.flops(arguments),
                bytes=subject.bytes_moved(arguments),
                peak=self.peaks[_real(subject.dtype)],
                peak_around=around,
                bandwidth=self.bandwidth(subject.working_set(arguments)),
                ratio=None if faults[who] else min(samples[REFERENCE]) / min(samples[who]),
            )
            for who in entered
        ]

    def _timed(
        self, subject: Subject, makers: Mapping[str, Prepare], arguments: Arguments
    ) -> tuple[dict[str, list[float]], float]:
        """Return each contender's samples, and the lesser of the peaks right before and after.

        All work on the same arrays, so that all find them equally warm.
        """
        calls = [make(arguments) for make in makers.values()]
        for _ in range(TRIES):
            before = self._burst(subject)
            with np.errstate(all="ignore"):
                samples = interleaved(calls, self.seconds)
            around = min(before, self._burst(subject))
            if around >= CLEAN * self.peaks[_real(subject.dtype)]:
                break
        return dict(zip(makers, samples, strict=True)), around

    def _burst(self, subject: Subject) -> float:
        dtype = _real(subject.dtype)
        peak = machine.fma_peak(dtype, BURST_SECONDS)
        self.peaks[dtype] = max(self.peaks[dtype], peak)
        return peak
