"""Numbers to check right functions with: ordinary, on kinks, tiny, and near saturation."""

import numpy as np


def numbers(rng, shape, most=4):
    """Return numbers of one of five kinds."""
    kind = rng.integers(0, 6)
    drawn = rng.normal(size=shape)
    if kind == 1:
        return rng.integers(-3, 4, shape) / 2
    if kind == 2:
        return 1e-3 * drawn
    if kind == 3:
        return 2.0**most * drawn
    if kind == 4:
        return np.where(rng.random(shape) < 0.3, 0.0, drawn)
    return drawn


def positive(rng, shape):
    """Return numbers above zero, over four orders of magnitude."""
    return 10.0 ** rng.uniform(-2, 2, shape)
