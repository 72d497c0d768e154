"""The mistakes that are known, each a function that predicts what it would have led to.

A hypothesis is given the context and one array whose gradient is wrong, and yields predictions:
the gradient that backward would return if this mistake had been made. The diagnosis compares
them with what backward did return. To add one, write a function in a file of this folder, put
`@hypothesis` above it, and list the file below.
"""

from mlcore.gradcheck.hypotheses import activation, axes, decay, index, scale, sums, terms
from mlcore.gradcheck.hypotheses.base import HYPOTHESES, Prediction, hypothesis

__all__ = [
    "HYPOTHESES",
    "Prediction",
    "activation",
    "axes",
    "decay",
    "hypothesis",
    "index",
    "scale",
    "sums",
    "terms",
]
