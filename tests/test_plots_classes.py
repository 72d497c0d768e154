"""Confusion by class: what is drawn, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from mlcore import InputError, plots
from mlcore.plots._figure import new_figure

pytest.importorskip("matplotlib", reason="matplotlib is not installed")

MATRIX = np.array([[7, 2, 1], [0, 5, 0], [0, 15, 5]])
NAMES = ["Coat", "Shirt", "Ankle boot"]


def test_stems_are_the_mistakes_of_each_class():
    axes = plots.confusion_stem(MATRIX, NAMES)
    heads = axes.containers[0].markerline
    np.testing.assert_allclose(heads.get_ydata(), [30, 0, 75])
    assert [text.get_text() for text in axes.texts] == ["Shirt\n20.0 %", "Shirt\n75.0 %"]
    assert [label.get_text() for label in axes.get_xticklabels()] == NAMES
    assert axes.get_ylabel() == "taken for another class [%]"
    assert plots.confusion_stem([[3, 0], [0, 2]]).get_ylim() == (0, 1)


def test_most_confused_pairs_come_first():
    axes = plots.most_confused(MATRIX, NAMES, pairs=2)
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["Ankle boot taken for Shirt", "Coat taken for Shirt"]
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([75, 20])
    assert [text.get_text() for text in axes.texts] == ["15", "2"]
    low, high = axes.get_ylim()
    assert low > high


def test_the_matrix_has_counts_percents_and_pairs():
    axes = plots.confusion_matrix(MATRIX, NAMES)
    cells = {text.get_position(): text.get_text() for text in axes.texts}
    assert cells[1, 2] == "15\n75.0 %"
    assert axes.get_title().splitlines() == [
        "accuracy 48.57 % of 35 samples",
        "most confused: Ankle boot taken for Shirt, 15 (75.0 %)",
        "Coat taken for Shirt, 2 (20.0 %)",
        "Coat taken for Ankle boot, 1 (10.0 %)",
    ]
    counts = plots.confusion_matrix(MATRIX, NAMES, normalize=False)
    assert {text.get_text() for text in counts.texts} == {"7", "2", "1", "5", "15"}


@pytest.mark.parametrize(
    "draw", [plots.confusion_matrix, plots.confusion_stem, plots.most_confused]
)
def test_axes_and_errors(draw):
    given = new_figure(5, 4).add_subplot()
    assert draw(MATRIX, ax=given) is given
    with pytest.raises(InputError, match="one row and one column for each class"):
        draw([[1, 2, 3]])
    with pytest.raises(InputError, match="class names"):
        draw(MATRIX, NAMES[:2])


def test_no_mistake_has_no_pairs():
    with pytest.raises(InputError, match="no mistake"):
        plots.most_confused([[3, 0], [0, 2]])
