"""BatchNorm, LayerNorm and Standardize: the numbers of Keras 3, and what no update may touch."""

import copy

import numpy as np
import pytest

import mlcore
from mlcore import (
    SGD,
    AdamW,
    BatchNorm,
    Conv2D,
    Dataset,
    Dense,
    Flatten,
    InputError,
    LayerNorm,
    NonFiniteLossError,
    Sequential,
    Standardize,
    kernels,
)

BACKENDS = [entry.name for entry in kernels.status() if entry.available]


@pytest.fixture(params=BACKENDS)
def backend(request):
    return request.param


def data(count=40, features=3):
    rng = np.random.default_rng(11)
    x = rng.standard_normal((count, features)) * [1, 5, 0.1] + [0, 100, -3]
    return x, rng.integers(0, 2, count)


def net(*layers, backend=None, dtype="float64"):
    return Sequential([*layers, Dense(2)], seed=4, backend=backend, dtype=dtype)


def fit(model, x, y, **given):
    settings = {"optimizer": SGD(0.1), "batch_size": len(x), "verbose": 0}
    model.fit(x, y, **{**settings, **given})
    return model


class TestBatchNorm:
    def test_a_step_moves_the_running_statistics(self, backend):
        x, y = data()
        layer = fit(net(BatchNorm(), backend=backend), x, y).layers[0]
        np.testing.assert_allclose(layer.moving_mean, 0.01 * x.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(layer.moving_variance, 0.99 + 0.01 * x.var(axis=0), rtol=1e-12)

    def test_predictions_use_them(self, backend):
        x, _ = data()
        model = Sequential([BatchNorm(epsilon=0.25)], seed=4, backend=backend, dtype="float64")
        layer = model.build(3).layers[0]
        layer.moving_mean, layer.moving_variance = [0, 100, -3], [0.75, 3.75, 0]
        layer.gamma, layer.beta = [1, 2, 3], [0, 0, 1]
        wanted = (x - [0, 100, -3]) / [1, 2, 0.5] * [1, 2, 3] + [0, 0, 1]
        np.testing.assert_allclose(model.predict(x), wanted, rtol=1e-12)
        before = model.parameters.copy()
        model.evaluate(x, x, loss="mse")
        model.loss_and_gradients(x, x, loss="mse", training=True)
        np.testing.assert_array_equal(model.parameters, before)

    def test_of_images_is_over_all_places(self, backend):
        rng = np.random.default_rng(2)
        x, y = np.array([1, 2, 3]) + rng.standard_normal((10, 4, 5, 3)), rng.integers(0, 2, 10)
        layer = fit(net(BatchNorm(0.0), Flatten(), backend=backend), x, y).layers[0]
        np.testing.assert_allclose(layer.moving_mean, x.mean(axis=(0, 1, 2)), rtol=1e-12)
        np.testing.assert_allclose(layer.moving_variance, x.var(axis=(0, 1, 2)), rtol=1e-12)

    @pytest.mark.parametrize("optimizer", [SGD(0.1, 0.9, weight_decay=0.5), AdamW(0.1)], ids=str)
    def test_no_optimizer_touches_them(self, backend, optimizer):
        x, y = data()
        model = fit(net(BatchNorm(0.5), backend=backend), x, y, optimizer=optimizer, epochs=3)
        layer = model.layers[0]
        np.testing.assert_allclose(layer.moving_mean, (1 - 0.5**3) * x.mean(axis=0), rtol=1e-12)
        for state in model.optimizer_state.values():
            place = model.places["batch_norm_1", "moving_mean"]
            assert (state[place.start : place.stop] == 0).all()
        _, gradients = model.loss_and_gradients(x, y, training=True)
        assert (gradients[6:12] == 0).all()
        assert (gradients[:6] != 0).all()

    def test_frozen_it_stays_as_it_is(self, backend):
        x, y = data()
        model = net(Dense(3), BatchNorm(trainable=False), backend=backend).build(3)
        layer = model.layers[1]
        layer.moving_mean[:] = 5
        before = copy.deepcopy(layer.parameters)
        fit(model, x, y, epochs=3)
        for name, value in layer.parameters.items():
            np.testing.assert_array_equal(value, before[name])
        _, gradients = model.loss_and_gradients(x, y, training=True)
        assert gradients[:12].any()

    def test_parameters_of_choice(self):
        shapes = net(BatchNorm(center=False)).shapes((3,))
        assert [name for _, name in shapes][:3] == ["gamma", "moving_mean", "moving_variance"]
        shapes = net(BatchNorm(scale=False)).shapes((3,))
        assert [name for _, name in shapes][:3] == ["beta", "moving_mean", "moving_variance"]

    def test_a_loss_that_is_not_finite_leaves_them(self, backend):
        x, y = data()
        x[20:] = 1e308
        model = net(BatchNorm(0.5), backend=backend)
        with pytest.raises(NonFiniteLossError):
            fit(model, x, y, batch_size=20, shuffle=False)
        assert np.isfinite(model.parameters).all()
        np.testing.assert_allclose(model.layers[0].moving_mean, 0.5 * x[:20].mean(axis=0))

    def test_a_batch_of_one_row_gives_its_shift(self, backend):
        x, y = data()
        model = fit(net(BatchNorm(), backend=backend), x, y, batch_size=1, epochs=2)
        assert np.isfinite(model.parameters).all()
        assert (model.layers[1].weight != 0).any()


class TestLayerNorm:
    def test_of_rows(self, backend):
        model = Sequential([LayerNorm()], backend=backend, dtype="float64").build(4)
        wanted = [-1.34110445, -0.44703482, 0.44703482, 1.34110445]
        np.testing.assert_allclose(model.predict([[1, 2, 3, 4]])[0], wanted, atol=1e-7)
        model.layers[0].gamma, model.layers[0].beta = [1, 2, 1, 1], [0, 0, 0, 5]
        wanted = [-1.34110445, -0.89406963, 0.44703482, 6.34110445]
        np.testing.assert_allclose(model.predict([[1, 2, 3, 4]])[0], wanted, atol=1e-7)

    def test_every_place_of_an_image_by_itself(self, backend):
        x = np.random.default_rng(0).standard_normal((3, 4, 5, 6))
        model = Sequential([LayerNorm(1e-9)], backend=backend, dtype="float64").build((4, 5, 6))
        out = model.predict(x)
        np.testing.assert_allclose(out.mean(axis=3), 0, atol=1e-7)
        np.testing.assert_allclose(out.std(axis=3), 1, atol=1e-7)


class TestStandardize:
    def test_fit_adapts_it_to_what_is_trained_on(self, backend):
        x, y = data()
        model = fit(net(Standardize(), backend=backend), x, y, validation_split=0.25, epochs=2)
        layer = model.layers[0]
        np.testing.assert_allclose(layer.mean, x[:30].mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(layer.variance, x[:30].var(axis=0), rtol=1e-12)
        fit(model, 2 * x, y)
        np.testing.assert_allclose(layer.mean, x[:30].mean(axis=0), rtol=1e-12)

    def test_it_stays_as_it_was_adapted(self, backend, tmp_path):
        x, y = data()
        model = net(Standardize().adapt(x[:7]), backend=backend)
        fit(model, x, y, optimizer=AdamW(0.1)).save(tmp_path / "model.h5")
        again = mlcore.load(tmp_path / "model.h5", backend=backend)
        assert again.layers[0].fitted
        fit(again, 3 * x, y)
        for layer in (model.layers[0], again.layers[0]):
            np.testing.assert_allclose(layer.mean, x[:7].mean(axis=0), rtol=1e-12)
        again.layers[0].adapt(x)
        np.testing.assert_allclose(again.layers[0].variance, x.var(axis=0), rtol=1e-12)

    def test_its_output_is_standard(self, backend):
        x, _ = data()
        x = np.column_stack([x, np.full(len(x), 0.1)])
        model = Sequential([Standardize().adapt(x)], backend=backend, dtype="float64").build(4)
        out = model.predict(x)
        np.testing.assert_allclose(out.mean(axis=0), 0, atol=1e-12)
        np.testing.assert_allclose(out.std(axis=0), [1, 1, 1, 0], atol=1e-12)

    def test_of_images_each_channel(self, backend):
        rng = np.random.default_rng(1)
        x, y = rng.integers(0, 256, (20, 6, 5, 2), np.uint8), rng.integers(0, 2, 20)
        model = net(Standardize(), Conv2D(2, 3), Flatten(), backend=backend)
        layer = fit(model, Dataset(x, y, image_shape=(6, 5, 2)), None).layers[0]
        np.testing.assert_allclose(layer.mean, x.mean(axis=(0, 1, 2)) / 255, rtol=1e-12)
        np.testing.assert_allclose(layer.variance, x.var(axis=(0, 1, 2)) / 255**2, rtol=1e-12)

    def test_behind_flatten_each_pixel(self, backend):
        rng = np.random.default_rng(1)
        x, y = rng.standard_normal((20, 3, 2)), rng.integers(0, 2, 20)
        layer = fit(net(Flatten(), Standardize(), backend=backend), x, y).layers[1]
        np.testing.assert_allclose(layer.mean, x.mean(axis=0).reshape(-1), rtol=1e-12)

    def test_float32_data_far_from_zero(self):
        x = (1e4 + np.random.default_rng(1).standard_normal((5000, 1))).astype(np.float32)
        layer = Standardize().adapt(x)
        Sequential([layer], dtype="float64", backend="numpy").build(1)
        np.testing.assert_allclose(layer.variance, x.astype(np.float64).var(axis=0), rtol=1e-10)

    def test_one_that_has_seen_nothing_is_refused(self):
        x, y = data()
        model = net(Standardize()).build(3)
        with pytest.raises(InputError, match=r"standardize_1 has seen no data yet: call adapt"):
            model.predict(x)
        inner = net(Dense(3), Standardize())
        with pytest.raises(InputError, match=r"standardize_1 has seen no data"):
            inner.fit(x, y, verbose=0)
        assert not inner.built
        fit(model, x, y)
        assert np.isfinite(model.predict(x)).all()

    def test_data_of_another_width_are_refused(self):
        x, y = data()
        layer = Standardize().adapt(x[:, :2])
        with pytest.raises(InputError, match=r"adapted to 2 features, .*\(3,\) have 3"):
            net(layer).fit(x, y, verbose=0)
        with pytest.raises(InputError, match="x has nan"):
            Standardize().adapt([[np.nan]])
