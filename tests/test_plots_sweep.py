"""Charts of sweeps: what is drawn, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mlcore import InputError, plots
from mlcore.plots._figure import new_figure

pytest.importorskip("matplotlib", reason="matplotlib is not installed")

ROWS = [
    {"lr": lr, "width": width, "seed": seed, "val_accuracy": width + 10 * lr + seed}
    for lr in (0.1, 0.01, 1.0)
    for width in (16, 8)
    for seed in (0, 1, 5)
]
FAILED = [
    {"lr": 0.1, "width": 4, "error": "no memory"},
    {"lr": 0.1, "width": 8, "val_accuracy": math.nan},
    {"lr": None, "width": 8, "val_accuracy": 1.0},
]


def lines(axes):
    return {line.get_label(): line for line in axes.lines}


def test_lines_are_means_in_the_order_of_x():
    axes = plots.sweep_lines(ROWS + FAILED, "lr", "val_accuracy", by="width", log_x=True)
    drawn = lines(axes)
    assert list(drawn) == ["width 16", "width 8"]
    line = drawn["width 16"]
    assert line.get_xdata().tolist() == [0.01, 0.1, 1.0]
    np.testing.assert_allclose(line.get_ydata(), [18.1, 19, 28])
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("learning rate", "validation accuracy")
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "linear")
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == (16.1, 31)


def test_bars_keep_the_order_of_the_rows():
    axes = plots.sweep_bars(ROWS, "lr", "val_accuracy", number="{:.1f}")
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0.1", "0.01", "1.0"]
    np.testing.assert_allclose([bar.get_height() for bar in axes.patches], [15, 14.1, 24])
    assert [text.get_text() for text in axes.texts] == ["15.0", "14.1", "24.0"]
    grouped = plots.sweep_bars(ROWS, "lr", "val_accuracy", by="width")
    names = [text.get_text() for text in grouped.get_legend().get_texts()]
    assert names == ["width 16", "width 8"]
    assert [bars[0].get_height() for bars in grouped.containers if hasattr(bars, "patches")] == [
        pytest.approx(19),
        pytest.approx(11),
    ]
    assert len({bar.get_hatch() for bar in grouped.patches}) == 2


def test_bars_without_a_group():
    rows = [{"init": "zeros", "accuracy": 0.1}, {"init": "he_normal", "accuracy": 0.9}]
    axes = plots.sweep_bars(rows, "init", "accuracy", number="")
    assert not axes.texts
    assert axes.get_legend() is None


def test_heat_map():
    axes = plots.sweep_heat_map(ROWS[:-3], "lr", "width", "val_accuracy", number="{:.1f}")
    image = axes.images[0].get_array()
    np.testing.assert_allclose(image, [[10.1, 11, np.nan], [18.1, 19, 28]])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0.01", "0.1", "1.0"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["8", "16"]
    cells = {text.get_position(): text.get_text() for text in axes.texts}
    assert cells == {(0, 0): "10.1", (1, 0): "11.0", (0, 1): "18.1", (1, 1): "19.0", (2, 1): "28.0"}
    assert axes.figure.axes[1].get_ylabel() == "validation accuracy"


def test_against_parameters():
    rows = [
        {"hidden layers": depth, "parameters": size, "rmse": size / depth, "seconds": 2.0 * size}
        for depth in (1, 2)
        for size in (400, 100)
    ]
    axes = plots.against_parameters(rows)
    drawn = lines(axes)
    assert list(drawn) == ["hidden layers 1", "hidden layers 2"]
    assert drawn["hidden layers 2"].get_xdata().tolist() == [100, 400]
    assert drawn["hidden layers 2"].get_ydata() == pytest.approx([50, 200])
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("parameters", "RMSE")
    assert plots.against_parameters(rows, "seconds", by=None).get_ylabel() == "time [s]"


@pytest.mark.parametrize(
    ("draw", "columns"),
    [
        (plots.sweep_lines, ("lr", "val_accuracy")),
        (plots.sweep_bars, ("lr", "val_accuracy")),
        (plots.sweep_heat_map, ("lr", "width", "val_accuracy")),
        (plots.against_parameters, ("val_accuracy",)),
    ],
)
def test_axes_and_errors(draw, columns):
    more = {"x": "width", "by": "lr"} if draw is plots.against_parameters else {}
    given = new_figure(4, 3).add_subplot()
    assert draw(ROWS, *columns, **more, ax=given) is given
    with pytest.raises(InputError, match="unknown column"):
        draw([{"a": 1}], *columns, **more)
    empty = [{"lr": 1, "width": 1, "val_accuracy": math.nan}]
    with pytest.raises(InputError, match="nothing to draw"):
        draw(empty, *columns, **more)


def test_lines_need_numbers():
    rows = [{"init": "zeros", "accuracy": 0.1}]
    with pytest.raises(InputError, match=r"init is 'zeros', which is no number.*sweep_bars"):
        plots.sweep_lines(rows, "init", "accuracy")
