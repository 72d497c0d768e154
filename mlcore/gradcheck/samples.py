"""Samples that get mixed: (B, 1) predictions against (B,) targets make a (B, B) loss.

The loss is then a mean over every prediction beside every target. Differences agree with its
gradient, so what is tried is whether a sample's target matters to that sample alone.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mlcore.gradcheck.finding import Finding
from mlcore.gradcheck.probes import Passes
from mlcore.gradcheck.subject import Array, Arrays, Subject
from mlcore.kernels.errors import InputError

TARGET_NAMES = (
    "y", "t", "target", "targets", "label", "labels", "y_true", "truth", "true", "expected",
    "ytrue", "d", "yt", "actual",
)  # fmt: skip


def independent_samples(passes: Passes, rng: np.random.Generator) -> Iterator[Finding]:
    """A loss does not stay the same when the targets change places."""
    subject = passes.subject
    shape = () if passes.upstream is None else passes.upstream.shape
    for name in targets(subject):
        probe = _Targets(subject, name, rng)
        if shape not in ((), (len(probe.value),) * 2):
            continue
        if probe.matter() and probe.interchangeable(rng):
            target = probe.value
            others = [
                f"{other} {value.shape}"
                for other, value in subject.values.items()
                if value.ndim == 2 and value.shape == (len(target), 1)
            ]
            shapes = f" {others[0]} against {name} {target.shape} broadcasts to " if others else ""
            pair = (len(target), len(target))
            yield Finding(
                "broadcast_targets",
                f"The loss does not depend on which sample has which target: it compares every "
                f"prediction with every target.{shapes}{f'{pair}.' if shapes else ''} Finite "
                "differences do not see it: they measure this loss, which is the wrong one.",
                f"Give both the same shape: {name}.reshape(-1, 1), or prediction[:, 0].",
                (name,),
                details={"target": name, "shape": list(target.shape)},
            )


def targets(subject: Subject) -> list[str]:
    """Return the inputs that are targets: by name, one row or number a sample."""
    found = []
    for name in subject.batched:
        value = subject.constants.get(name, subject.values.get(name))
        if isinstance(value, np.ndarray) and value.ndim in (1, 2) and len(value) > 2:
            constant = name in subject.constants and value.dtype.kind == "f"
            if name.casefold() in TARGET_NAMES or constant:
                found.append(name)
    return found


class _Targets:
    """A loss as a function of its targets, away from where parameters may all be zero."""

    def __init__(self, subject: Subject, name: str, rng: np.random.Generator) -> None:
        self.subject = subject
        self.name = name
        self.value: Array = {**subject.values, **subject.constants}[name]
        self.moved = {
            other: value + 0.3 * rng.standard_normal(value.shape)
            for other, value in subject.values.items()
            if other != name
        }
        self.here = self._total(self.value, self.moved)

    def _total(self, value: Array, others: Arrays) -> float:
        try:
            if self.name in self.subject.values:
                values = {**self.subject.values, **others, self.name: value}
                found = self.subject.forward(values)
            else:
                changed = self.subject.with_constants({self.name: value})
                if changed is None:
                    return float("nan")
                found = changed.forward({**changed.values, **others})
        except InputError:
            return float("nan")
        return float(found.sum())

    def matter(self) -> bool:
        """Tell whether other targets give the predictions another gradient."""
        changed = self.value.copy()
        differing = np.flatnonzero((self.value != self.value[0]).reshape(len(changed), -1).any(1))
        if not len(differing):
            return False
        changed[0] = self.value[differing[0]]
        here = self._total(changed, self.moved) - self.here
        there = self._total(changed, {}) - self._total(self.value, {})
        return bool(abs(here - there) > 1e-9 * (abs(self.here) + 1e-6))

    def interchangeable(self, rng: np.random.Generator) -> bool:
        """Tell whether the loss stays the same when targets swap their samples."""
        turned = [np.roll(self.value, by, axis=0) for by in (1, 2)]
        turned.append(self.value[rng.permutation(len(self.value))])
        changed = [each for each in turned if not np.array_equal(each, self.value)]
        allowed = 1e-11 * (abs(self.here) + 1e-6)
        return bool(changed) and all(
            abs(self._total(each, self.moved) - self.here) <= allowed for each in changed
        )
