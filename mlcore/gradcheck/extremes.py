"""Logits so large that a softmax which is right on paper gives NaN.

Differences around ordinary numbers cannot see it. A function that does not change when a row is
shifted has a known value for rows shifted by 800: the same.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mlcore.gradcheck.finding import Finding
from mlcore.gradcheck.probes import Passes
from mlcore.gradcheck.subject import Array, Arrays, Subject
from mlcore.kernels.errors import InputError

FAR = 800.0


def extreme_logits(passes: Passes, rng: np.random.Generator) -> Iterator[Finding]:
    """Rows far below or above the others, where the right value is known."""
    subject = passes.subject
    outputs = _Outputs(subject)
    for name, value in subject.values.items():
        logits = name in subject.batched or not subject.batched
        if not logits or value.ndim < 1 or value.shape[-1] < 2:
            continue
        rows = value.reshape(-1, value.shape[-1])
        row = np.zeros_like(rows)
        row[0] = 1.0
        shift = row.reshape(value.shape)
        # Sums of kinks are flat too, for a while: 20 is beyond their reach, and well below 700.
        small = (0.37 * shift, 20.0 * shift, -20.0 * shift, np.full(value.shape, 20.0))
        if not all(outputs.unchanged(name, each) for each in small) or not outputs.matters(name):
            continue
        if outputs.broken(name, np.full(value.shape, FAR)):
            yield Finding(
                "softmax_overflow",
                f"With {name} larger by {FAR:.0f} everywhere the output is not what it was, as it "
                "must be: the exponential overflows.",
                f"Subtract each row's maximum first: {name} - {name}.max(axis=-1, keepdims=True).",
                (name,),
            )
        elif len(rows) > 1 and (
            outputs.broken(name, -FAR * shift) or outputs.broken(name, FAR * shift)
        ):
            yield Finding(
                "global_softmax_maximum",
                f"With one row of {name} {FAR:.0f} below the maximum of the others its "
                "probabilities are all zero: log(0), or 0/0. The softmax subtracts one maximum of "
                "the whole array. Finite differences agree, and the value is wrong.",
                f"Subtract each row's own maximum: {name} - {name}.max(axis=-1, keepdims=True).",
                (name,),
            )
        elif outputs.falls_to_infinity(name):
            yield Finding(
                "log_of_zero",
                f"With one element of {name} {FAR:.0f} below the maximum of its row the output is "
                "infinite, log(0); the right value is finite.",
                "Compute the logarithm of the softmax in one step: z - max - log(sum(exp(z - max)))"
                ".",
                (name,),
                serious=False,
            )


class _Outputs:
    """Outputs for changed arrays, beside the one for the arrays as they are."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.here = subject.forward(subject.values)
        self.size = float(np.max(np.abs(self.here), initial=0.0))

    def _changed(self, name: str, change: Array) -> Array | None:
        values: Arrays = {**self.subject.values, name: self.subject.values[name] + change}
        try:
            return self.subject.forward(values)
        except InputError:
            return None

    def unchanged(self, name: str, change: Array) -> bool:
        """Tell whether the output is the same for an array with something added."""
        found = self._changed(name, change)
        if found is None or found.shape != self.here.shape:
            return False
        return self._near(found, 1e-9)

    def _near(self, found: Array, relative: float) -> bool:
        with np.errstate(all="ignore"):
            return bool(np.all(np.abs(found - self.here) <= relative * (self.size + 1e-3)))

    def broken(self, name: str, change: Array) -> bool:
        """Tell whether the output is not at all the same, or not finite."""
        found = self._changed(name, change)
        # Adding 800 costs the array itself some digits.
        return found is not None and not self._near(found, 1e-3)

    def matters(self, name: str) -> bool:
        """Tell whether the output depends on the array at all, and on the first row."""
        value = self.subject.values[name]
        change = np.zeros_like(value)
        change.reshape(-1)[0] = 0.7
        return not self.unchanged(name, change)

    def falls_to_infinity(self, name: str) -> bool:
        """Tell whether lowering an element makes infinite what was a straight line before."""
        value = self.subject.values[name]
        for place in range(min(value.size, value.shape[-1])):
            change = np.zeros(value.size)
            sums = []
            for way in (30.0, 35.0, 40.0, FAR):
                change[place] = -way
                found = self._changed(name, change.reshape(value.shape))
                if found is None:
                    return False
                with np.errstate(all="ignore"):
                    sums.append(float(found.sum()))
            near, middle, far, last = sums
            straight = abs((far - middle) - (middle - near)) <= 1e-6 * (abs(far) + 1)
            if np.isfinite([near, middle, far]).all() and straight and not np.isfinite(last):
                return True
        return False
