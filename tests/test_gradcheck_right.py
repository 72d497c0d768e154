"""No false alarm: right functions pass, on kinks, near saturation, whatever the shapes.

`MLCORE_GRADCHECK_DRAWS=50` draws 50 inputs a function, over 10,000 in all.
"""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from mlcore import gradcheck

DRAWS = int(os.environ.get("MLCORE_GRADCHECK_DRAWS", "8"))
FOLDER = Path(__file__).parent / "gradcheck_right"

sys.path.insert(0, str(FOLDER))
try:
    import elementwise
    import structures
finally:
    sys.path.remove(str(FOLDER))

RIGHT = {**elementwise.RIGHT, **structures.RIGHT}


@pytest.mark.parametrize("name", RIGHT)
def test_no_false_alarm(name):
    for draw in range(DRAWS):
        forward, backward, *given = RIGHT[name](np.random.default_rng([draw, len(name)]))
        report = gradcheck.check(forward, backward, *given, seed=draw)
        assert report.passed, f"draw {draw}\n{report}"
        assert sum(each.checked for each in report.comparisons.values()) >= 0


def test_there_are_two_hundred():
    assert len(RIGHT) >= 200
