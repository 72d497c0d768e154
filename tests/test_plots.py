"""Plots: what is drawn, what is left out, and that nothing global is touched."""

from __future__ import annotations

import math
import sys
import threading

import numpy as np
import pytest

from mlcore import plots
from mlcore.history import History
from mlcore.kernels.errors import InputError, MissingExtraError
from mlcore.plots._figure import new_figure
from mlcore.plots.history import BEST, CURVES

pytest.importorskip("matplotlib", reason="matplotlib is not installed")

FASHION = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"]
FASHION += ["Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
HITS = np.eye(10, dtype=bool)
MATRIX = np.where(HITS, np.arange(150, 160), np.arange(100).reshape(10, 10) % 7)


@pytest.fixture
def history():
    history = History()
    for epoch in range(20):
        loss = 2.0 * 0.9**epoch
        history.append(
            {
                "running_loss": loss * 1.1,
                "loss": loss,
                "accuracy": 1 - loss / 4,
                "val_loss": loss + 0.01 * (epoch - 15) ** 2,
                "val_accuracy": 0.9 - 0.001 * (epoch - 12) ** 2,
                "learning_rate": 0.1 if epoch < 10 else 0.05,
            }
        )
    return history


def lines(axes):
    return {line.get_label(): line for line in axes.lines}


def test_curves_are_the_columns(history):
    loss, accuracy = plots.plot_curves(history).axes
    for axes, quantity, unit in ((loss, "loss", 1), (accuracy, "accuracy", 100)):
        assert axes.get_xlabel() == "epoch"
        drawn = lines(axes)
        for prefix in ("", "val_"):
            line = drawn[CURVES[prefix]["label"]]
            np.testing.assert_array_equal(line.get_xdata(), history["epoch"])
            np.testing.assert_allclose(
                line.get_ydata(), unit * np.array(history[prefix + quantity])
            )
    assert CURVES["running_"]["label"] in lines(loss)
    assert CURVES["running_"]["label"] not in lines(accuracy)
    assert (loss.get_ylabel(), accuracy.get_ylabel()) == ("loss", "accuracy [%]")
    assert loss.get_yscale() == "linear"
    assert accuracy.get_ylim()[1] <= 101


def test_the_best_validation_epoch_is_marked(history):
    figure = plots.plot_curves(history)
    for axes, value, text in zip(
        figure.axes,
        (history["val_loss"][12], 90.0),
        (f"epoch 13: {history['val_loss'][12]:.4g}", "epoch 13: 90.00 %"),
        strict=True,
    ):
        ring = lines(axes)[f"epoch 13, {BEST['val_accuracy']}"]
        assert ring.get_xdata() == [13]
        assert ring.get_ydata() == pytest.approx([value])
        assert axes.get_title(loc="right") == text
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == [
        *(curve["label"] for curve in CURVES.values()),
        "epoch 13, best validation accuracy",
    ]


def test_what_was_not_measured_is_left_out():
    history = History()
    for epoch in range(12):
        seldom = 0.1 if epoch % 5 == 4 else math.nan
        history.append({"loss": 1.0 * 0.5**epoch if epoch != 6 else math.inf, "val_loss": seldom})
    (axes,) = plots.plot_curves(history).axes
    drawn = lines(axes)
    assert set(drawn) >= {"training data", "validation data", "epoch 5, least validation loss"}
    assert "running mean" not in drawn
    assert drawn["validation data"].get_xdata().tolist() == [5, 10]
    assert drawn["training data"].get_xdata().tolist() == [1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12]
    assert axes.get_yscale() == "log"


def test_accuracy_axis_ends_near_100_percent():
    history = History()
    for accuracy in (0.1, 0.9, 1.0):
        history.append({"accuracy": accuracy})
    low, high = plots.plot_curves(history).axes[0].get_ylim()
    assert 0 < low < 10
    assert 100 < high <= 101


def test_one_epoch_is_visible():
    history = History()
    history.append({"loss": 0.5, "learning_rate": 0.1})
    figure = plots.plot_curves(history)
    (axes,) = figure.axes
    assert lines(axes)["training data"].get_marker() == "o"
    low, high = axes.get_xlim()
    assert low < 1 < high
    assert axes.get_title(loc="right") == ""
    stairs = plots.plot_learning_rate(history).axes[0].patches[0]
    assert np.ptp(stairs.get_data().edges) == 1


def test_learning_rate_is_drawn_in_steps(history):
    axes = plots.plot_learning_rate(history).axes[0]
    values, edges, _ = axes.patches[0].get_data()
    assert values.tolist() == history["learning_rate"]
    assert edges.tolist() == [epoch + 0.5 for epoch in range(21)]
    assert axes.get_yscale() == "linear"
    assert axes.get_ylim()[0] == 0
    for epoch in range(20):
        history["learning_rate"][epoch] = 0.5**epoch
    assert plots.plot_learning_rate(history).axes[0].get_yscale() == "log"


def test_a_history_without_numbers_is_refused():
    for draw in (plots.plot_curves, plots.plot_learning_rate):
        with pytest.raises(InputError, match="train an epoch first"):
            draw(History())


def test_confusion_rows_are_true_and_the_diagonal_has_no_colour():
    figure = plots.plot_confusion(MATRIX, FASHION)
    axes, bar = figure.axes
    assert (axes.get_ylabel(), axes.get_xlabel()) == (
        "true class (rows)",
        "predicted class (columns)",
    )
    assert [label.get_text() for label in axes.get_xticklabels()] == FASHION
    assert [label.get_text() for label in axes.get_yticklabels()] == FASHION
    (image,) = axes.images
    shades = image.get_array()
    assert np.array_equal(np.ma.getmaskarray(shades), HITS)
    rates = 100 * MATRIX / MATRIX.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(shades.compressed(), rates[~HITS])
    assert image.get_clim() == (0, pytest.approx(shades.max()))
    assert bar.get_ylabel() == "mistakes [% of the true class]"
    cells = {text.get_position(): text.get_text() for text in axes.texts}
    assert MATRIX[2, 5] == 4
    assert cells[5, 2] == f"4\n{rates[2, 5]:.1f} %"
    assert MATRIX[5, 6] == 0
    assert (6, 5) not in cells
    title = figure.get_suptitle()
    assert title.splitlines()[:2] == [
        "accuracy 85.17 % of 1,814 samples",
        "most confused: T-shirt/top taken for Shirt, 6 (3.4 %)",
    ]


@pytest.mark.parametrize(("classes", "texts"), [(2, 4), (12, 144), (26, 676), (27, 0)])
def test_confusion_leaves_text_out_of_small_cells(classes, texts):
    axes = plots.plot_confusion(np.ones((classes, classes), dtype=int)).axes[0]
    assert len(axes.texts) == texts
    assert all(("%" in text.get_text()) == (classes <= 12) for text in axes.texts)


def test_confusion_by_count_and_without_mistakes():
    axes, bar = plots.plot_confusion([[8, 4], [1, 1]], normalize=False).axes
    assert axes.images[0].get_clim() == (0, 4)
    assert bar.get_ylabel() == "mistakes [samples]"
    assert {text.get_text() for text in axes.texts} == {"8", "4", "1"}
    for matrix in ([[3, 0], [0, 4]], [[5]], [[0, 0], [0, 0]]):
        assert len(plots.plot_confusion(matrix).axes) == 1


@pytest.mark.parametrize("prefix", ["", "a photograph of a "])
def test_no_label_is_clipped(prefix):
    figure = plots.plot_confusion(MATRIX, [prefix + name for name in FASHION])
    figure.draw_without_rendering()
    axes, bar = figure.axes
    texts = [*axes.get_xticklabels(), *axes.get_yticklabels(), axes.xaxis.label, axes.yaxis.label]
    for text in (*texts, bar.yaxis.label, figure._suptitle):
        box = text.get_window_extent()
        assert min(box.x0, box.y0) >= 0, text
        assert box.x1 <= figure.bbox.width, text
        assert box.y1 <= figure.bbox.height, text
    cell = axes.get_window_extent().width / 10
    assert max(text.get_window_extent().width for text in axes.texts) < cell


def test_save_all_writes_three_images(history, tmp_path):
    folder = tmp_path / "new" / "run"
    paths = plots.save_all(history, MATRIX, folder, FASHION)
    assert paths == [folder / f"{name}.png" for name in ("curves", "learning_rate", "confusion")]
    assert sorted(folder.iterdir()) == sorted(paths)
    assert all(path.read_bytes().startswith(b"\x89PNG\r\n") for path in paths)


def test_save_all_without_classes_and_into_a_file(history, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot make the folder"):
        plots.save_all(history, None, tmp_path / "file")
    assert [path.name for path in plots.save_all(history, None, tmp_path)] == [
        "curves.png",
        "learning_rate.png",
    ]


def test_history_plot_saves_by_suffix(history, tmp_path):
    figure = history.plot(tmp_path / "curves.svg")
    assert len(figure.axes) == 2
    assert b"<svg" in (tmp_path / "curves.svg").read_bytes()
    with pytest.raises(InputError, match=r"must end in one of .*\.png"):
        history.plot(tmp_path / "curves.gift")
    assert [entry.name for entry in tmp_path.iterdir()] == ["curves.svg"]


def test_threads_may_draw_without_pyplot(history, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    threads = [
        threading.Thread(target=history.plot, args=(tmp_path / f"{i}.png",)) for i in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(tmp_path.iterdir())) == 2


def test_without_matplotlib_the_message_says_how_to_get_it(history, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    for draw in (lambda: new_figure(4, 3), history.plot, lambda: plots.plot_confusion(MATRIX)):
        with pytest.raises(MissingExtraError) as caught:
            draw()
        assert str(caught.value) == 'plots need matplotlib: pip install "mlcore[plots]"'
