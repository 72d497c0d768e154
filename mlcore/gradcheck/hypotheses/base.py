"""What a hypothesis is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from mlcore.gradcheck.compare import Comparison
from mlcore.gradcheck.context import Context
from mlcore.gradcheck.subject import Array


@dataclass(frozen=True)
class Prediction:
    """The gradient that a mistake leads to, and what to say if that is what was returned.

    Attributes
    ----------
    fault : str
        The mistake's name.
    gradient : ndarray
        What backward would have returned; NaN where the hypothesis does not say.
    says : str
        The end of a sentence that begins "The gradient of w".
    mend : str
        What to do, a sentence.
    cost : int
        How far-fetched it is: of two that fit, the cheaper one is taken.
    details : dict
        Numbers, for the report.
    """

    fault: str
    gradient: Array
    says: str
    mend: str
    cost: int = 2
    details: dict[str, Any] = field(default_factory=dict)


Hypothesis = Callable[[Context, Comparison], Iterator[Prediction]]
HYPOTHESES: list[Hypothesis] = []


def hypothesis(function: Hypothesis) -> Hypothesis:
    """Add a function to the hypotheses that the diagnosis tries."""
    HYPOTHESES.append(function)
    return function
