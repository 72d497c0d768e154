"""What `train.py` must show, and whether it did."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from results import Result


@dataclass(frozen=True)
class Target:
    """A figure to reach.

    Attributes
    ----------
    workload : str
    threads : int
    kind : str
        "share" of the FMA peak, "speedup" of two threads over one, or a rival whose time is
        divided by mlcore's.
    wanted : float
        At least this.
    """

    workload: str
    threads: int
    kind: str
    wanted: float


# workload: share of peak on one thread, then the ratio to JAX and to PyTorch on one and two.
_TABLE: dict[str, tuple[float | None, ...]] = {
    "mnist-mlp": (0.80, 1.8, 2.3, 2.8, 6),
    "mnist-mlp-noise": (0.70, 2.8, 3.6, 3.8, 6.5),
    "sigmoid": (0.78, 1.75, 2.05, 2.5, 3.8),
    "small-mlp": (0.75, 1.6, 2.5, 3.5, 6),
    "higgs": (0.70, 1.7, 2.0, 2.5, 4.5),
    "eggholder": (0.60, 1.4, 3.5, 4.5, 9),
    "tiny": (None, 10, None, 400, None),
    "binary": (None, 10, None, 450, None),
    "dying": (None, 45, None, 1200, None),
    "matrix-exponential": (None, None, 5, None, 12),
    "dll": (None, None, None, 3.5, 3.5),
    "lenet": (None, None, 30, None, 6),
    "lenet-norm": (None, None, None, None, 6),
}
_COLUMNS = (("share", 1), ("jax", 1), ("jax", 2), ("torch", 1), ("torch", 2))
_LARGE = ("mnist-mlp", "mnist-mlp-noise", "sigmoid", "small-mlp", "higgs", "dll")

TARGETS = [
    *(
        Target(workload, threads, kind, wanted)
        for workload, row in _TABLE.items()
        for (kind, threads), wanted in zip(_COLUMNS, row, strict=True)
        if wanted is not None
    ),
    # Those whose weights exceed 100 kB.
    *(Target(workload, 2, "speedup", 1.7) for workload in _LARGE),
]


def compare(results: Iterable[Result]) -> list[tuple[str, ...]]:
    """Return a line for each target whose workload was run: wanted, measured, verdict."""
    found = {(result.workload.name, result.threads): result for result in results}
    names = {name for name, _ in found}
    lines = []
    for target in TARGETS:
        if target.workload not in names:
            continue
        measured = _measured(target, found)
        shown, verdict = "", "not measured"
        if measured is not None:
            shown = _shown(target.kind, measured)
            verdict = "met" if measured >= target.wanted else "NOT MET"
        wanted = _shown(target.kind, target.wanted)
        lines.append((target.workload, str(target.threads), target.kind, wanted, shown, verdict))
    return lines


def _measured(target: Target, found: dict[tuple[str, int], Result]) -> float | None:
    result = found.get((target.workload, target.threads))
    if result is None:
        return None
    if target.kind == "share":
        return result.share
    if target.kind == "speedup":
        single = found.get((target.workload, 1))
        return single and single.minimum("mlcore") / result.minimum("mlcore")
    if target.kind not in result.times:
        return None
    return result.minimum(target.kind) / result.minimum("mlcore")


def _shown(kind: str, value: float) -> str:
    return f"{value:.0%}" if kind == "share" else f"{value:.3g}"
