"""What is known when a gradient turned out wrong: the material of the diagnosis."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mlcore.gradcheck.compare import Comparison
from mlcore.gradcheck.differences import Numeric, Projection
from mlcore.gradcheck.subject import Array, Arrays, Subject
from mlcore.kernels.errors import InputError

MOST_TERMS = 64


@dataclass
class Context:
    """A checked subject.

    Attributes
    ----------
    subject : Subject
    projection : Projection
        With the upstream gradient as its weights.
    comparisons : dict of str to Comparison
    """

    subject: Subject
    projection: Projection
    comparisons: dict[str, Comparison]

    @property
    def upstream(self) -> Array:
        """The upstream gradient, of the output's shape."""
        return self.projection.weights

    @cached_property
    def output(self) -> Array:
        """The output."""
        return self.projection.outputs(self.subject.values)

    @property
    def batch(self) -> int | None:
        """The number of samples."""
        if self.subject.batch is not None:
            return self.subject.batch
        return len(self.upstream) if self.upstream.ndim else None

    @property
    def coarse(self) -> bool:
        """Whether the function computes in float32."""
        return self.projection.noise > 1e-9

    def arrays(self) -> Iterator[tuple[str, Array]]:
        """Yield every array of real numbers that goes in, by name."""
        for name, value in {**self.subject.values, **self.subject.constants}.items():
            if isinstance(value, np.ndarray) and value.dtype.kind == "f":
                yield name, value

    def contributions(self, tensor: Comparison) -> Iterator[tuple[str, Array]]:
        """Yield the terms that the gradient is a sum of, by what they belong to.

        Yields
        ------
        kind : str
            "sample", or "output axis 1".
        terms : ndarray (count, *shape)
        """
        if self.upstream.ndim == 0:
            terms = self._by_sample(tensor)
            if terms is not None:
                yield "sample", terms
            return
        if tensor.changes is None:
            return
        shape = self.upstream.shape
        weighted = (tensor.changes * self.upstream.reshape(-1)).reshape(-1, *shape)
        for axis, length in enumerate(shape):
            if 1 < length <= MOST_TERMS:
                others = tuple(1 + other for other in range(len(shape)) if other != axis)
                kind = "sample" if axis == 0 and length == self.batch else f"output axis {axis}"
                yield kind, weighted.sum(axis=others).T.reshape(length, *tensor.shape)

    def _by_sample(self, tensor: Comparison) -> Array | None:
        """Return each sample's share in the gradient of a loss, if the loss can be cut so."""
        batch = self.batch
        if batch is None or not 1 < batch <= MOST_TERMS or tensor.name in self.subject.batched:
            return None
        terms = []
        for row in range(batch):
            found = self.numeric_of_rows(tensor.name, np.array([row]))
            if found is None:
                return None
            terms.append(found)
        stacked = np.stack(terms)
        total = np.nan_to_num(tensor.numeric)
        for shares in (stacked, stacked / batch):
            if np.allclose(shares.sum(axis=0), total, rtol=1e-4, atol=1e-6 * np.abs(total).max()):
                return shares
        return None

    def numeric_of_rows(self, name: str, rows: Array) -> Array | None:
        """Return the numeric gradient for some of the samples."""
        try:
            subject = self.subject.with_rows(rows)
            if subject is None or name not in subject.values:
                return None
            projection = Projection(subject, np.ones_like(self.upstream))
            shape = subject.values[name].shape
            places = np.arange(subject.values[name].size)
            return Numeric(projection, name, False).quick(places)[0].reshape(shape)
        except InputError:
            return None

    def analytic_of_rows(self, rows: Array) -> Arrays | None:
        """Return the gradients from backward for some of the samples of a loss."""
        try:
            subject = self.subject.with_rows(rows)
            if subject is None:
                return None
            upstream = np.ones_like(self.upstream) if subject.takes_upstream else None
            return subject.backward(subject.values, upstream)[0]
        except InputError:
            return None
