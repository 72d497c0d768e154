"""Networks from within: what is drawn, and what is refused."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from mlcore import (
    Activation,
    AvgPool,
    BatchNorm,
    Conv2D,
    Dataset,
    Dense,
    Flatten,
    InputError,
    Sequential,
    inspection,
    plots,
)
from mlcore.kernels.errors import MissingExtraError
from mlcore.plots._figure import GROUPS, new_figure

pytest.importorskip("matplotlib", reason="matplotlib is not installed")

RNG = np.random.default_rng(7)
IMAGES = RNG.integers(256, size=(60, 8, 8), dtype=np.uint8)
LABELS = np.arange(60) % 3
DATA = Dataset(IMAGES, LABELS, class_names=["ant", "bee", "cat"])
PLANE = RNG.uniform(-1, 1, size=(80, 2))


def mlp(features=64, layers=2, seed=1):
    hidden = [Dense(9, "relu") for _ in range(layers - 1)]
    return Sequential([*hidden, Dense(3)], seed=seed).build(features)


@pytest.fixture(scope="module")
def normed():
    layers = [Conv2D(4, 3), BatchNorm(), Activation("sigmoid"), AvgPool(2), Flatten()]
    layers += [Dense(9), BatchNorm(scale=False), Activation("sigmoid"), Dense(3)]
    model = Sequential(layers, seed=1)
    model.fit(IMAGES[..., None] / 255, LABELS, epochs=2, verbose=0)
    return model


@pytest.fixture(scope="module")
def trained():
    model, watch = mlp(), inspection.LastUpdates("step")
    model.fit(DATA, epochs=3, batch_size=20, verbose=0, callbacks=watch, validation_data=DATA)
    return model, watch


def panels(axes):
    return [one for one in axes.figure.axes if one is not axes and one.get_label() != "<colorbar>"]


class TestWeightHistograms:
    def test_before_and_after_share_the_bins(self):
        model = mlp()
        before = inspection.weights(model)
        model.layers[0].weight *= 2
        axes = plots.weight_histograms({"before": before, "after": model}, bins=20)
        first, second = panels(axes)
        assert (first.get_title("left"), second.get_title("left")) == ("dense_1", "dense_2")
        assert (first.get_xlabel(), first.get_ylabel()) == ("weight", "density")
        steps = {patch.get_label(): patch for patch in first.patches if not patch.get_fill()}
        assert list(steps) == ["before", "after"]
        values, edges, _ = steps["before"].get_data()
        assert edges.tolist() == steps["after"].get_data().edges.tolist()
        wanted, _ = np.histogram(before["dense_1.weight"], edges, density=True)
        np.testing.assert_allclose(values, wanted)
        assert [text.get_text() for text in first.get_legend().get_texts()] == ["before", "after"]

    def test_networks_of_other_depths_and_a_layer_of_choice(self):
        nets = {"deep": mlp(layers=3), "flat": mlp(layers=1)}
        shown = panels(plots.weight_histograms(nets))
        assert [len(one.patches) for one in shown] == [4, 2, 2]
        given = new_figure(4, 3).add_subplot()
        assert plots.weight_histograms(mlp(), "dense_2", log=True, ax=given) is given
        assert given.figure.axes == [given]
        assert given.get_legend() is None

    def test_refuses(self):
        with pytest.raises(InputError, match=r"unknown weight 'dense_9\.weight'"):
            plots.weight_histograms(mlp(), "dense_9")
        with pytest.raises(InputError, match="no networks"):
            plots.weight_histograms({})
        with pytest.raises(InputError, match="build"):
            plots.weight_histograms(Sequential([Dense(2)]))
        broken = mlp()
        broken.layers[0].weight = np.full((64, 9), np.nan)
        with pytest.raises(InputError, match="no finite weight"):
            plots.weight_histograms(broken)


class TestFirstLayerWeights:
    def test_units_that_look_at_images(self):
        model = mlp()
        axes = plots.first_layer_weights(model, units=4)
        picture = axes.images[0].get_array()
        assert picture.shape == (17, 17)
        weight = model.layers[0].weight
        np.testing.assert_allclose(picture[9:, :8], weight[:, 2].reshape(8, 8), rtol=1e-6)
        assert np.ma.getmaskarray(picture)[8].all()
        low, high = axes.images[0].get_clim()
        assert low == -high
        assert axes.get_xlabel() == "4 of 9 units, 8 by 8 pixels each"
        assert axes.figure.axes[1].get_ylabel() == "weight"

    def test_filters_and_what_is_no_image(self, normed):
        picture = plots.first_layer_weights(normed).images[0].get_array()
        assert picture.shape == (7, 7)
        np.testing.assert_allclose(picture[:3, 4:], normed.layers[0].weight[:, :, 0, 1])
        model = mlp(20)
        axes = plots.first_layer_weights(model)
        np.testing.assert_allclose(axes.images[0].get_array(), model.layers[0].weight.T)
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("input", "unit")
        shaped = plots.first_layer_weights(model, units=1, image_shape=(4, 5))
        assert shaped.images[0].get_array().shape == (4, 5)

    def test_axes_and_errors(self):
        given = new_figure(4, 3).add_subplot()
        assert plots.first_layer_weights(mlp(), ax=given) is given
        with pytest.raises(InputError, match=r"image_shape.*holds 15 numbers"):
            plots.first_layer_weights(mlp(), image_shape=(3, 5))
        with pytest.raises(InputError, match="no layer of this model has weights"):
            plots.first_layer_weights(Sequential([Activation("relu")]).build(3))


class TestViolins:
    def test_a_violin_for_each_hidden_layer(self):
        model = mlp(layers=4)
        axes = plots.activation_violins(model, DATA)
        names = [label.get_text() for label in axes.get_xticklabels()]
        assert names == ["dense_1", "dense_2", "dense_3"]
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("layer", "activation")
        values = inspection.activations(model, DATA, "dense_2")["dense_2"]
        medians = [line.get_ydata()[0] for line in axes.lines]
        assert medians[1] == pytest.approx(np.median(values))

    def test_activations_stand_for_the_layers_before_them(self, normed):
        axes = plots.activation_violins(normed, IMAGES[..., None])
        names = [label.get_text() for label in axes.get_xticklabels()]
        assert names == ["activation_1", "activation_2"]

    def test_of_arrays_and_of_what_does_not_vary(self):
        given = new_figure(4, 3).add_subplot()
        arrays = {"dead": np.zeros(10), "alive": np.array([1.0, np.nan, 3.0])}
        assert plots.activation_violins(arrays, title="relu", ax=given) is given
        assert given.get_title("left") == "relu"
        assert given.lines[-1].get_ydata()[0] == 2

    def test_batch_norm(self, normed):
        axes = plots.batch_norm_violins(normed)
        shown = panels(axes)
        assert [one.get_ylabel() for one in shown] == [
            "scale gamma",
            "shift beta",
            "running mean",
            "running variance",
        ]
        ticks = [[label.get_text() for label in one.get_xticklabels()] for one in shown]
        assert ticks == [["1"], ["1", "2"], ["1", "2"], ["1", "2"]]
        assert shown[3].lines[0].get_ydata()[0] == pytest.approx(
            np.median(normed.layers[1].moving_variance)
        )

    def test_refuses(self):
        with pytest.raises(InputError, match="x is missing"):
            plots.activation_violins(mlp())
        with pytest.raises(InputError, match="no finite number"):
            plots.activation_violins({"a": np.array([np.nan])})
        with pytest.raises(InputError, match="no layer whose activations"):
            plots.activation_violins(mlp(layers=1), DATA)
        with pytest.raises(InputError, match="no batch norm"):
            plots.batch_norm_violins(mlp())


class TestUpdateRatios:
    def test_are_what_the_callback_saw(self, trained):
        _, watch = trained
        axes = plots.update_ratios(watch, guide=None)
        drawn = {line.get_label(): line for line in axes.lines}
        assert list(drawn) == ["dense_1", "dense_2"]
        np.testing.assert_allclose(drawn["dense_1"].get_xdata(), watch.epochs)
        np.testing.assert_allclose(drawn["dense_1"].get_ydata(), watch.ratios["dense_1.weight"])
        assert axes.get_yscale() == "log"
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", "|change| / |weights|")

    def test_very_many_are_means_and_a_band(self):
        ratios = np.exp(RNG.normal(size=6 * GROUPS))
        axes = plots.update_ratios({"w": ratios}, guide=None)
        (line,) = axes.lines
        assert len(line.get_xdata()) == GROUPS
        assert line.get_ydata()[0] == pytest.approx(np.exp(np.log(ratios[:6]).mean()))
        heights = axes.collections[0].get_paths()[0].vertices[:, 1]
        assert heights.max() == pytest.approx(ratios.max())

    def test_zeros_are_left_out(self):
        axes = plots.update_ratios({"a.weight": [0.0, 1e-2, np.inf, 1e-3]}, guide=1e-3)
        guide, line = axes.lines
        assert guide.get_ydata() == [1e-3, 1e-3]
        assert line.get_xdata().tolist() == [2, 4]
        with pytest.raises(InputError, match="no update was measured"):
            plots.update_ratios(inspection.LastUpdates())


class TestDashboard:
    def test_twelve_panels(self, trained):
        model, watch = trained
        axes = plots.dashboard(model, DATA, updates=watch, target=0.9)
        shown = panels(axes)
        assert len(shown) == 12
        titles = [one.get_title("left") for one in shown if one.axison]
        size = np.sqrt(np.mean(watch.updates["dense_2.weight"].astype(float) ** 2))
        assert titles == [
            "dense_1: mean activation", "dense_2: mean activation", "Activations",
            "dense_1: mean weight", "dense_2: mean weight", "Accuracy",
            f"dense_1: last update, rms {watch.magnitudes['dense_1.weight'][-1]:.1e}",
            f"dense_2: last update, rms {size:.1e}", "Size of the updates",
        ]  # fmt: skip
        mean = inspection.activations(model, DATA)["dense_1"].mean(axis=0)
        np.testing.assert_allclose(shown[0].images[0].get_array(), mean.reshape(3, 3), rtol=1e-5)
        weight = model.layers[0].weight.mean(axis=1).reshape(8, 8)
        np.testing.assert_allclose(shown[4].images[0].get_array(), weight, atol=1e-7)
        lines = {line.get_label(): line for line in shown[7].lines}
        assert list(lines) == ["training", "validation", "target"]
        np.testing.assert_allclose(
            lines["validation"].get_ydata(), 100 * np.array(model.history["val_accuracy"])
        )
        assert lines["target"].get_ydata() == [90, 90]
        sizes = {line.get_label(): line.get_ydata() for line in shown[11].lines}
        np.testing.assert_allclose(sizes["dense_2"], watch.magnitudes["dense_2.weight"])

    def test_without_a_history_it_shows_the_update_of_the_next_step(self):
        model = mlp(layers=5)
        given = new_figure(14, 9).add_subplot()
        assert plots.dashboard(model, DATA, ax=given) is given
        titles = [one.get_title("left") for one in panels(given)]
        assert [title.split(":")[0] for title in titles[:3]] == ["dense_1", "dense_3", "dense_5"]
        assert [text.get_text() for text in panels(given)[7].texts] == ["not trained yet"]

    def test_the_callback_redraws_and_changes_nothing(self, tmp_path, monkeypatch):
        drawn = []
        from mlcore.plots import sheet

        monkeypatch.setattr(sheet, "dashboard", lambda *_, **__: drawn.append(1) or small())
        path = tmp_path / "dashboard.png"
        model, other = mlp(), mlp()
        model.fit(DATA, epochs=5, verbose=0, callbacks=plots.Dashboard(path, DATA, every=2))
        assert len(drawn) == 3
        assert path.read_bytes().startswith(b"\x89PNG")
        assert list(tmp_path.iterdir()) == [path]
        other.fit(DATA, epochs=5, verbose=0)
        np.testing.assert_array_equal(model.parameters, other.parameters)

    def test_of_images(self, normed, tmp_path):
        path = tmp_path / "dashboard.png"
        watch = plots.Dashboard(path, IMAGES[..., None], LABELS, every=9)
        normed.fit(IMAGES[..., None], LABELS, epochs=1, verbose=0, callbacks=watch)
        assert path.read_bytes().startswith(b"\x89PNG")

    def test_refuses(self, tmp_path):
        with pytest.raises(InputError, match="y is missing"):
            plots.dashboard(mlp(), IMAGES)
        with pytest.raises(InputError, match="no layer of this model"):
            plots.dashboard(Sequential([Activation("relu")]).build(3), IMAGES)
        with pytest.raises(InputError):
            mlp().fit(DATA, verbose=0, callbacks=plots.Dashboard(tmp_path / "no" / "a.png", DATA))
        with pytest.raises(InputError, match="must end in one of"):
            mlp().fit(DATA, verbose=0, callbacks=plots.Dashboard(tmp_path / "a.pgn", DATA))


def small():
    return new_figure(1, 1).add_subplot()


class TestDecisionBoundary:
    def test_the_line_of_a_hinge(self):
        model = Sequential([Dense(1)], seed=0)
        labels = np.where(PLANE[:, 0] > PLANE[:, 1], 1, -1)
        model.fit(PLANE, labels.astype(float), loss="hinge", verbose=0)
        model.layers[0].weight, model.layers[0].bias = [[1], [-1]], [0]
        axes = plots.decision_boundary(model, PLANE, labels, points=60)
        assert axes.get_title("right") == "100.0 % right"
        line = axes.collections[-1].get_paths()[0].vertices
        assert np.abs(line[:, 0] - line[:, 1]).max() < 0.05
        drawn = {one.get_label(): one for one in axes.lines}
        assert list(drawn) == ["class -1", "class 1"]
        np.testing.assert_allclose(
            np.stack(drawn["class 1"].get_data(), axis=1), PLANE[labels == 1]
        )

    def test_three_classes_and_errors(self):
        model = mlp(2)
        given = new_figure(4, 3).add_subplot()
        assert plots.decision_boundary(model, PLANE, np.arange(80) % 3, ax=given) is given
        assert len({line.get_marker() for line in given.lines}) == 3
        with pytest.raises(InputError, match=r"x of shape \(n, 2\)"):
            plots.decision_boundary(model, IMAGES.reshape(60, -1), LABELS)
        with pytest.raises(InputError, match=r"x of shape \(n, 2\)"):
            plots.decision_boundary(model, PLANE, [1])


class TestTsne:
    def test_of_a_layer(self):
        pytest.importorskip("sklearn", reason="scikit-learn is not installed")
        given = new_figure(4, 3).add_subplot()
        axes = plots.tsne(mlp(layers=3), DATA, samples=30, perplexity=5, ax=given)
        assert axes is given
        assert sum(len(line.get_xdata()) for line in axes.lines) == 30
        assert {text.get_text() for text in axes.texts} == {"ant", "bee", "cat"}
        assert axes.get_title("left") == "t-SNE of dense_2"
        for line, text in zip(axes.lines, axes.texts, strict=True):
            assert text.get_position() == pytest.approx(
                (np.median(line.get_xdata()), np.median(line.get_ydata())), rel=1e-5
            )

    def test_refuses(self):
        pytest.importorskip("sklearn", reason="scikit-learn is not installed")
        with pytest.raises(InputError, match="y is missing"):
            plots.tsne(mlp(), IMAGES)
        with pytest.raises(InputError, match="needs more than 30 samples, not 20"):
            plots.tsne(mlp(), DATA, samples=20)
        with pytest.raises(InputError, match="x has 60 samples and y 2"):
            plots.tsne(mlp(), IMAGES, [0, 1])
        with pytest.raises(InputError, match="unknown layer"):
            plots.tsne(mlp(), DATA, layer="dense_7")

    def test_without_scikit_learn(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
        with pytest.raises(MissingExtraError, match=r'pip install "mlcore\[sklearn\]"'):
            plots.tsne(mlp(), DATA)


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    for draw in (
        lambda: plots.weight_histograms(mlp()),
        lambda: plots.dashboard(mlp(), DATA),
        lambda: mlp().fit(DATA, verbose=0, callbacks=plots.Dashboard("a.png", DATA)),
    ):
        with pytest.raises(MissingExtraError, match=r'pip install "mlcore\[plots\]"'):
            draw()


def test_panels_keep_to_the_place_of_their_axes():
    figure = new_figure(8, 8)
    axes = figure.subplots(2, 1)
    plots.weight_histograms(mlp(), ax=axes[0])
    figure.draw_without_rendering()
    shown = [one for one in figure.axes if one not in list(axes)]
    for panel in shown:
        assert panel.get_window_extent().y0 > axes[1].get_window_extent().y1
    free = new_figure(8, 4).add_axes((0.1, 0.2, 0.5, 0.6))
    plots.weight_histograms(mlp(), ax=free)
    boxes = [one.get_position() for one in free.figure.axes[1:]]
    assert min(box.x0 for box in boxes) >= 0.0999
    assert max(box.x1 for box in boxes) <= 0.6001
