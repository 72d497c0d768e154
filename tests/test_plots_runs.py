"""Many runs on one chart: what is drawn, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mlcore import History, InputError, plots
from mlcore.plots._figure import new_figure

pytest.importorskip("matplotlib", reason="matplotlib is not installed")


def history(factor=1.0, epochs=5, missing=()):
    run = History()
    for epoch in range(epochs):
        loss = math.nan if epoch in missing else factor / (epoch + 1)
        record = {"loss": loss, "val_loss": loss + 0.1, "learning_rate": 0.1 * 0.5**epoch}
        run.append(record | {"accuracy": 1 - loss / 4, "val_accuracy": 0.9 - loss / 4})
    return run


def lines(axes):
    return {line.get_label(): line for line in axes.lines}


def test_one_run():
    axes = plots.curves(history())
    (line,) = axes.lines
    np.testing.assert_allclose(line.get_xdata(), [1, 2, 3, 4, 5])
    np.testing.assert_allclose(line.get_ydata(), 1 / np.arange(1, 6))
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", "loss")
    assert axes.get_legend() is None
    assert axes.get_yscale() == "linear"


def test_repeated_runs_are_mean_and_band():
    runs = {"slow": [history(f) for f in (1, 2, 4)], "fast": history(0.5)}
    axes = plots.curves(runs, log=True)
    drawn = lines(axes)
    assert list(drawn) == ["slow", "fast"]
    np.testing.assert_allclose(drawn["slow"].get_ydata(), 7 / 3 / np.arange(1, 6))
    (band,) = axes.collections
    heights = band.get_paths()[0].vertices[:, 1]
    spread = np.std([1, 2, 4], ddof=1)
    assert heights.max() == pytest.approx(7 / 3 + spread)
    assert axes.get_yscale() == "log"
    (band,) = plots.curves(runs, band="range").collections
    assert band.get_paths()[0].vertices[:, 1].max() == 4
    assert not plots.curves(runs, band=None).collections


def test_the_mean_is_over_those_that_measured_the_epoch():
    (line,) = plots.curves([history(1), history(3, missing=(1,))]).lines
    np.testing.assert_allclose(line.get_ydata(), [2, 0.5, 2 / 3, 0.5, 0.4])


def test_several_columns_of_several_runs_share_the_colour_of_the_run():
    axes = plots.curves({"a": history(), "b": history(2)}, ["accuracy", "val_accuracy"])
    drawn = lines(axes)
    assert list(drawn) == ["a, training", "a, validation", "b, training", "b, validation"]
    colours = [line.get_color() for line in drawn.values()]
    assert colours[0] == colours[1] != colours[2] == colours[3]
    dashes = [line.get_linestyle() for line in drawn.values()]
    assert dashes[0] == dashes[2] != dashes[1] == dashes[3]
    np.testing.assert_allclose(drawn["a, validation"].get_ydata()[0], 100 * 0.65)
    assert axes.get_ylabel() == "accuracy [%]"
    alone = lines(plots.curves(history(), ["loss", "val_loss"]))
    assert list(alone) == ["training", "validation"]
    assert len({line.get_color() for line in alone.values()}) == 2


def test_more_than_a_few_names_stand_beside_the_curves():
    axes = plots.curves({str(factor): history(factor) for factor in range(1, 7)})
    axes.figure.draw_without_rendering()
    legend, box = axes.get_legend().get_window_extent(), axes.get_window_extent()
    assert legend.x0 >= box.x1
    assert legend.x1 <= axes.figure.bbox.width


def test_learning_rates_are_steps():
    axes = plots.learning_rate({"a": history(), "b": [history(epochs=3), history()]})
    first, second = axes.patches
    assert first.get_data().values.tolist() == history()["learning_rate"]
    assert second.get_data().edges.tolist() == [0.5, 1.5, 2.5, 3.5]
    assert axes.get_ylim()[0] == 0
    assert plots.learning_rate(history(), log=True).get_yscale() == "log"


@pytest.mark.parametrize("draw", [plots.curves, plots.learning_rate])
def test_takes_axes_and_returns_them(draw):
    figure = new_figure(6, 4)
    given = figure.subplots(1, 2)
    assert draw(history(), ax=given[1]) is given[1]
    assert not given[0].has_data()
    assert given[1].figure is figure
    with pytest.raises(InputError, match="ax must be one matplotlib Axes, not ndarray"):
        draw(history(), ax=given)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"histories": History()}, "no history has a value of loss"),
        ({"histories": {"a": [3]}}, "a holds a int: give what fit returns"),
        ({"histories": history(), "quantity": "lost"}, "unknown history column 'lost'"),
        ({"histories": history(), "quantity": ["loss", "accuracy"]}, "several units"),
        ({"histories": history(), "band": "sem"}, "unknown band 'sem'"),
    ],
)
def test_refuses(settings, message):
    with pytest.raises(InputError, match=message):
        plots.curves(**settings)


def test_refuses_runs_without_a_rate():
    with pytest.raises(InputError, match="no history has a learning rate to draw"):
        plots.learning_rate(History())
