"""Losses, norms, convolutions, recurrences, attention, and what NumPy does with axes."""

import numpy as np
from draws import numbers, positive

RIGHT = {}


def right(function):
    RIGHT[function.__name__] = function
    return function


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(z, axis=-1):
    powers = np.exp(z - z.max(axis=axis, keepdims=True))
    return powers / powers.sum(axis=axis, keepdims=True)


def log_sum_exp(z):
    top = z.max(axis=1, keepdims=True)
    return top + np.log(np.exp(z - top).sum(axis=1, keepdims=True))


def sizes(rng, count, least=1, most=6):
    return tuple(rng.integers(least, most, count))


def loss_of_outputs(name, value, slope, targets):
    """Add a loss of outputs and targets, an average over all elements."""

    def made(rng):
        def forward(output, target):
            return value(output, target).mean()

        def backward(output, target):
            return slope(output, target) / output.size

        shape = sizes(rng, 2)
        return forward, backward, {"output": numbers(rng, shape), "target": targets(rng, shape)}

    RIGHT[f"loss_{name}"] = made


def signs(rng, shape):
    return rng.choice([-1.0, 1.0], shape)


def shares(rng, shape):
    return rng.uniform(0, 1, shape)


loss_of_outputs("mse", lambda o, t: (o - t) ** 2, lambda o, t: 2 * (o - t), numbers)
loss_of_outputs("mae", lambda o, t: abs(o - t), lambda o, t: np.sign(o - t), numbers)
loss_of_outputs(
    "huber", lambda o, t: np.where(abs(o - t) < 1, (o - t) ** 2 / 2, abs(o - t) - 0.5),
    lambda o, t: np.clip(o - t, -1, 1), numbers,
)  # fmt: skip
loss_of_outputs(
    "hinge", lambda o, t: np.maximum(0, 1 - t * o), lambda o, t: np.where(t * o < 1, -t, 0), signs
)
loss_of_outputs(
    "squared_hinge", lambda o, t: np.maximum(0, 1 - t * o) ** 2,
    lambda o, t: -2 * t * np.maximum(0, 1 - t * o), signs,
)  # fmt: skip
loss_of_outputs(
    "perceptron", lambda o, t: np.maximum(0, -t * o), lambda o, t: np.where(t * o < 0, -t, 0), signs
)
loss_of_outputs(
    "binary_cross_entropy", lambda o, t: np.logaddexp(0, o) - t * o, lambda o, t: sigmoid(o) - t,
    shares,
)  # fmt: skip
loss_of_outputs("log_cosh", lambda o, t: np.logaddexp(o - t, t - o), lambda o, t: np.tanh(o - t),
                numbers)  # fmt: skip
loss_of_outputs("poisson", lambda o, t: np.exp(o) - t * o, lambda o, t: np.exp(o) - t, positive)


@right
def cross_entropy_of_labels(rng):
    def forward(z, labels):
        return (log_sum_exp(z)[:, 0] - z[np.arange(len(z)), labels]).mean()

    def backward(z, labels):
        p = softmax(z)
        p[np.arange(len(z)), labels] -= 1
        return p / len(z)

    batch, classes = sizes(rng, 2)
    return forward, backward, {
        "z": numbers(rng, (batch, classes), 6),
        "labels": rng.integers(0, classes, batch)}  # fmt: skip


@right
def cross_entropy_through_probabilities(rng):
    """Right on paper, with log(0) for logits 800 apart: no fault, a note."""

    def forward(z, labels):
        return -np.log(softmax(z)[np.arange(len(z)), labels]).mean()

    def backward(z, labels):
        p = softmax(z)
        p[np.arange(len(z)), labels] -= 1
        return p / len(z)

    batch, classes = sizes(rng, 2)
    return forward, backward, {
        "z": rng.normal(size=(batch, classes)),
        "labels": rng.integers(0, classes, batch)}  # fmt: skip


@right
def weighted_cross_entropy(rng):
    """Divided by the weights of the labels that came up: samples depend on each other's labels."""

    def forward(z, labels, class_weights):
        w = class_weights[labels]
        return ((log_sum_exp(z)[:, 0] - z[np.arange(len(z)), labels]) * w).sum() / w.sum()

    def backward(z, labels, class_weights):
        w = class_weights[labels]
        p = softmax(z)
        p[np.arange(len(z)), labels] -= 1
        return {"z": p * (w / w.sum())[:, None]}

    batch, classes = sizes(rng, 2, 2)
    return forward, backward, {
        "z": rng.normal(size=(batch, classes)), "labels": rng.integers(0, classes, batch),
        "class_weights": rng.uniform(0.5, 2, classes)}  # fmt: skip


@right
def soft_targets_smoothed(rng):
    def forward(z, target):
        t = 0.9 * target + 0.1 / z.shape[1]
        return (t * (log_sum_exp(z) - z)).sum() / len(z)

    def backward(z, target):
        t = 0.9 * target + 0.1 / z.shape[1]
        return (softmax(z) * t.sum(axis=1, keepdims=True) - t) / len(z)

    batch, classes = sizes(rng, 2)
    return forward, backward, {
        "z": numbers(rng, (batch, classes)),
        "target": rng.dirichlet(np.ones(classes), batch)}  # fmt: skip


@right
def multiclass_hinge(rng):
    def margins(z, labels):
        found = np.maximum(0, z - z[np.arange(len(z)), labels][:, None] + 1)
        found[np.arange(len(z)), labels] = 0
        return found

    def forward(z, labels):
        return margins(z, labels).sum() / len(z)

    def backward(z, labels):
        grad = 1.0 * (margins(z, labels) > 0)
        grad[np.arange(len(z)), labels] = -grad.sum(axis=1)
        return grad / len(z)

    batch, classes = sizes(rng, 2)
    return forward, backward, {
        "z": numbers(rng, (batch, classes)), "labels": rng.integers(0, classes, batch)}  # fmt: skip


@right
def column_against_column(rng):
    def forward(output, target):
        return np.mean((output - target.reshape(-1, 1)) ** 2)

    def backward(output, target):
        return 2 * (output - target.reshape(-1, 1)) / len(output)

    batch = rng.integers(1, 7)
    return (
        forward,
        backward,
        {"output": rng.normal(size=(batch, 1)), "target": rng.normal(size=batch)},
    )


@right
def each_sample_its_loss(rng):
    def forward(output, target):
        return ((output - target) ** 2).sum(axis=1)

    def backward(grad, output, target):
        return 2 * grad[:, None] * (output - target)

    shape = sizes(rng, 2)
    return forward, backward, {"output": numbers(rng, shape), "target": numbers(rng, shape)}


@right
def contrastive_distance(rng):
    """A loss without targets, of every pair."""

    def forward(x):
        gram = x @ x.T
        return (gram**2).sum()

    def backward(x):
        return 4 * (x @ x.T) @ x

    return forward, backward, {"x": rng.normal(size=sizes(rng, 2))}


@right
def softmax_layer(rng):
    def forward(z):
        return softmax(z)

    def backward(grad, z, out):
        return out * (grad - (grad * out).sum(axis=-1, keepdims=True))

    return forward, backward, {"z": numbers(rng, sizes(rng, rng.integers(1, 4)))}


@right
def log_softmax_layer(rng):
    def forward(z):
        return z - log_sum_exp(z)

    def backward(grad, out):
        return grad - np.exp(out) * grad.sum(axis=1, keepdims=True)

    return forward, backward, {"z": numbers(rng, sizes(rng, 2), 8)}


@right
def batch_norm(rng):
    def forward(x, gamma, beta):
        centered = x - x.mean(axis=0)
        inverse = 1 / np.sqrt((centered**2).mean(axis=0) + 1e-3)
        return centered * inverse * gamma + beta, (centered * inverse, inverse, gamma)

    def backward(grad, cache):
        z, inverse, gamma = cache
        h = grad * gamma
        dx = inverse * (h - h.mean(axis=0) - z * (h * z).mean(axis=0))
        return dx, (grad * z).sum(axis=0), grad.sum(axis=0)

    batch, units = sizes(rng, 2)
    return forward, backward, {"x": numbers(rng, (batch, units))}, {
        "gamma": rng.normal(size=units), "beta": rng.normal(size=units)}  # fmt: skip


@right
def batch_norm_under_a_loss(rng):
    """Samples depend on each other, and the loss is right."""

    def forward(x, target):
        z = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 0.1)
        return ((z - target) ** 2).mean()

    def backward(x, target):
        inverse = 1 / np.sqrt(x.var(axis=0) + 0.1)
        z = (x - x.mean(axis=0)) * inverse
        grad = 2 * (z - target) / z.size
        return inverse * (grad - grad.mean(axis=0) - z * (grad * z).mean(axis=0))

    shape = (rng.integers(3, 7), 1)
    return forward, backward, {"x": rng.normal(size=shape), "target": rng.normal(size=shape)}


@right
def layer_norm(rng):
    def forward(x, gain):
        centered = x - x.mean(axis=-1, keepdims=True)
        inverse = 1 / np.sqrt((centered**2).mean(axis=-1, keepdims=True) + 1e-3)
        return centered * inverse * gain, (centered * inverse, inverse, gain)

    def backward(grad, cache):
        z, inverse, gain = cache
        h = grad * gain
        mean = h.mean(axis=-1, keepdims=True)
        dx = inverse * (h - mean - z * (h * z).mean(axis=-1, keepdims=True))
        return dx, (grad * z).reshape(-1, len(gain)).sum(axis=0)

    shape = sizes(rng, rng.integers(2, 4))
    return forward, backward, {"x": numbers(rng, shape)}, {"gain": rng.normal(size=shape[-1])}


@right
def unit_rows(rng):
    def forward(x):
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    def backward(grad, x, out):
        size = np.linalg.norm(x, axis=1, keepdims=True)
        return (grad - out * (grad * out).sum(axis=1, keepdims=True)) / size

    return forward, backward, {"x": 1 + rng.random(sizes(rng, 2))}


@right
def dropout_with_its_mask(rng):
    generator = np.random.default_rng(3)

    def forward(x):
        mask = (generator.random(x.shape) > 0.4) / 0.6
        return x * mask, mask

    def backward(grad, cache):
        return grad * cache

    return forward, backward, {"x": numbers(rng, sizes(rng, 2))}


@right
def dropout_class(rng):
    class Dropout:
        def __init__(self):
            self.rng = np.random.default_rng(1)

        def forward(self, x):
            self.mask = (self.rng.random(x.shape) > 0.5) * 2.0
            return x * self.mask

        def backward(self, grad):
            return grad * self.mask

    return Dropout(), None, {"x": numbers(rng, sizes(rng, 2))}


@right
def noise_of_the_global_generator(rng):
    def forward(x):
        return np.tanh(x + 0.1 * np.random.standard_normal(x.shape))  # noqa: NPY002

    def backward(grad, out):
        return grad * (1 - out**2)

    return forward, backward, {"x": numbers(rng, sizes(rng, 2))}


@right
def convolution_1d(rng):
    def forward(x, w):
        return np.stack([np.tensordot(x[:, t : t + len(w)], w, 2) for t in range(steps)], axis=1)

    def backward(grad, x, w):
        dx, dw = np.zeros_like(x), np.zeros_like(w)
        for t in range(steps):
            dx[:, t : t + len(w)] += np.einsum("bn,kcn->bkc", grad[:, t], w)
            dw += np.einsum("bkc,bn->kcn", x[:, t : t + len(w)], grad[:, t])
        return dx, dw

    batch, channels, filters, width, steps = sizes(rng, 5, 1, 4)
    return forward, backward, {"x": rng.normal(size=(batch, steps + width - 1, channels))}, {
        "w": rng.normal(size=(width, channels, filters))}  # fmt: skip


@right
def convolution_2d(rng):
    def forward(x, w, b):
        out = np.zeros((*x.shape[:1], high, wide, w.shape[3])) + b
        for r in range(w.shape[0]):
            for s in range(w.shape[1]):
                out += x[:, r : r + high, s : s + wide] @ w[r, s]
        return out

    def backward(grad, x, w, b):
        dx, dw = np.zeros_like(x), np.zeros_like(w)
        for r in range(w.shape[0]):
            for s in range(w.shape[1]):
                part = x[:, r : r + high, s : s + wide]
                dw[r, s] = np.tensordot(part, grad, ((0, 1, 2), (0, 1, 2)))
                dx[:, r : r + high, s : s + wide] += grad @ w[r, s].T
        return dx, dw, grad.sum(axis=(0, 1, 2))

    batch, high, wide, channels, filters, rows, columns = sizes(rng, 7, 1, 4)
    image = (batch, high + rows - 1, wide + columns - 1, channels)
    return forward, backward, {"x": numbers(rng, image)}, {
        "w": rng.normal(size=(rows, columns, channels, filters)),
        "b": rng.normal(size=filters)}  # fmt: skip


@right
def max_pool(rng):
    """With ties, as the numbers are few."""

    def windows(x):
        return x.reshape(len(x), -1, 2)

    def forward(x):
        return windows(x).max(axis=2)

    def backward(grad, x):
        dx = np.zeros_like(windows(x))
        first = windows(x).argmax(axis=2)
        np.put_along_axis(dx, first[..., None], grad[..., None], axis=2)
        return dx.reshape(x.shape)

    batch, count = sizes(rng, 2)
    return forward, backward, {"x": numbers(rng, (batch, 2 * count))}


@right
def average_pool(rng):
    def forward(x):
        return x.reshape(len(x), -1, 3).mean(axis=2)

    def backward(grad, x):
        return np.repeat(grad / 3, 3, axis=1)

    batch, count = sizes(rng, 2)
    return forward, backward, {"x": numbers(rng, (batch, 3 * count))}


@right
def embedding(rng):
    def forward(index, table):
        return table[index]

    def backward(grad, index, table):
        found = np.zeros_like(table)
        np.add.at(found, index, grad)
        return {"table": found}

    rows, columns, batch = sizes(rng, 3)
    return forward, backward, {"index": rng.integers(0, rows, batch)}, {
        "table": rng.normal(size=(rows, columns))}  # fmt: skip


@right
def recurrent_steps(rng):
    def states(x, w, u):
        found = [np.zeros((len(x), len(u)))]
        for t in range(x.shape[1]):
            found.append(np.tanh(x[:, t] @ w + found[-1] @ u))
        return found

    def forward(x, w, u):
        return states(x, w, u)[-1]

    def backward(grad, x, w, u):
        h = states(x, w, u)
        dx, dw, du = np.zeros_like(x), np.zeros_like(w), np.zeros_like(u)
        for t in reversed(range(x.shape[1])):
            dz = grad * (1 - h[t + 1] ** 2)
            dx[:, t], grad = dz @ w.T, dz @ u.T
            dw += x[:, t].T @ dz
            du += h[t].T @ dz
        return dx, dw, du

    batch, steps, features, units = sizes(rng, 4, 1, 4)
    return forward, backward, {"x": rng.normal(size=(batch, steps, features))}, {
        "w": rng.normal(size=(features, units)), "u": rng.normal(size=(units, units))}  # fmt: skip


@right
def gated_unit(rng):
    def forward(x, w, v):
        return (x @ w) * sigmoid(x @ v)

    def backward(grad, x, w, v):
        a, s = x @ w, sigmoid(x @ v)
        da, dv = grad * s, grad * a * s * (1 - s)
        return da @ w.T + dv @ v.T, x.T @ da, x.T @ dv

    batch, features, units = sizes(rng, 3)
    return forward, backward, {"x": rng.normal(size=(batch, features))}, {
        "w": rng.normal(size=(features, units)),
        "v": rng.normal(size=(features, units))}  # fmt: skip


@right
def attention(rng):
    def forward(q, k, v):
        return softmax(q @ k.T / np.sqrt(q.shape[1])) @ v

    def backward(grad, q, k, v):
        scale = 1 / np.sqrt(q.shape[1])
        p = softmax(q @ k.T * scale)
        dp = grad @ v.T
        ds = p * (dp - (dp * p).sum(axis=1, keepdims=True)) * scale
        return ds @ k, ds.T @ q, p.T @ grad

    queries, keys, width, depth = sizes(rng, 4)
    return forward, backward, {
        "q": rng.normal(size=(queries, width)), "k": rng.normal(size=(keys, width)),
        "v": rng.normal(size=(keys, depth))}  # fmt: skip


@right
def residual_block(rng):
    def forward(x, w):
        return x + np.maximum(x @ w, 0)

    def backward(grad, x, w):
        dz = grad * (x @ w > 0)
        return grad + dz @ w.T, x.T @ dz

    batch, features = sizes(rng, 2)
    return forward, backward, {"x": numbers(rng, (batch, features))}, {
        "w": rng.normal(size=(features, features))}  # fmt: skip


@right
def tied_weights(rng):
    def forward(x, w):
        return np.tanh(x @ w) @ w.T

    def backward(grad, x, w):
        h = np.tanh(x @ w)
        dz = (grad @ w) * (1 - h**2)
        return dz @ w.T, x.T @ dz + grad.T @ h

    batch, features, units = sizes(rng, 3)
    return forward, backward, {"x": rng.normal(size=(batch, features))}, {
        "w": rng.normal(size=(features, units))}  # fmt: skip


@right
def elastic_net(rng):
    def loss(w, x, y):
        error = x @ w - y
        value = (error**2).mean() + 0.1 * abs(w).sum() + 0.05 * (w**2).sum()
        return value, {"w": 2 * x.T @ error / len(x) + 0.1 * np.sign(w) + 0.1 * w}

    batch, features = sizes(rng, 2)
    return loss, None, {"x": rng.normal(size=(batch, features)), "y": rng.normal(size=batch)}, {
        "w": numbers(rng, features)}  # fmt: skip


@right
def estimator(rng):
    class Ridge:
        def __init__(self):
            self.coef_, self.intercept_ = rng.normal(size=features), np.array(rng.normal())

        def loss(self, x, y):
            return ((x @ self.coef_ + self.intercept_ - y) ** 2).mean() + (self.coef_**2).sum()

        def gradients(self, x, y):
            error = 2 * (x @ self.coef_ + self.intercept_ - y) / len(x)
            return {"coef": x.T @ error + 2 * self.coef_, "intercept": error.sum()}

    batch, features = sizes(rng, 2)
    return Ridge(), None, {"x": rng.normal(size=(batch, features)), "y": rng.normal(size=batch)}


@right
def network_of_objects(rng):
    class Dense:
        def __init__(self, *shape):
            self.params = {"W": rng.normal(size=shape), "b": rng.normal(size=shape[1])}
            self.grads = {name: np.zeros_like(value) for name, value in self.params.items()}

        def forward(self, x):
            self.x = x
            return x @ self.params["W"] + self.params["b"]

        def backward(self, grad):
            self.grads["W"], self.grads["b"] = self.x.T @ grad, grad.sum(axis=0)
            return grad @ self.params["W"].T

    class Relu:
        def forward(self, x):
            self.kept = x > 0
            return x * self.kept

        def backward(self, grad):
            return grad * self.kept

    batch, features, units, classes = sizes(rng, 4)
    return [Dense(features, units), Relu(), Dense(units, classes)], None, {
        "x": rng.normal(size=(batch, features))}  # fmt: skip


@right
def loss_object(rng):
    class MeanSquaredError:
        def forward(self, output, target):
            self.error = output - target
            return (self.error**2).mean()

        def backward(self):
            return 2 * self.error / self.error.size

    shape = sizes(rng, 2)
    return (
        MeanSquaredError(),
        None,
        {"output": rng.normal(size=shape), "target": rng.normal(size=shape)},
    )


@right
def parameters_with_grad(rng):
    class Parameter:
        def __init__(self, data):
            self.data, self.grad = data, np.zeros_like(data)

    class Linear:
        def __init__(self):
            self.w = Parameter(rng.normal(size=(features, units)).astype(np.float32))

        def zero_grad(self):
            self.w.grad = np.zeros(self.w.data.shape)

        def forward(self, x):
            self.x = x
            return x @ self.w.data

        def backward(self, grad):
            self.w.grad = self.w.grad + self.x.T @ grad
            return grad @ self.w.data.T

    batch, features, units = sizes(rng, 3)
    return Linear(), None, {"x": rng.normal(size=(batch, features))}


def of_axes(name, forward, backward, most_axes=3, draw=numbers):
    """Add a function of one array; `backward` takes (grad, x, out)."""

    def made(rng):
        shape = sizes(rng, rng.integers(2, most_axes + 1), 2, 5)
        return forward, backward, {"x": draw(rng, shape)}

    RIGHT[name] = made


def column(array):
    return array[:, None]


of_axes("sum_all", lambda x: x.sum(), lambda grad, x, out: grad * np.ones_like(x))
of_axes("sum_first", lambda x: x.sum(0), lambda grad, x, out: grad + np.zeros_like(x))
of_axes("sum_last", lambda x: x.sum(-1), lambda grad, x, out: grad[..., None] + np.zeros_like(x))
of_axes("mean_first", lambda x: x.mean(0), lambda grad, x, out: grad / len(x) + np.zeros_like(x))
of_axes("centered", lambda x: x - x.mean(0), lambda grad, x, out: grad - grad.mean(0))
of_axes("variance", lambda x: x.var(0), lambda grad, x, out: 2 * grad * (x - x.mean(0)) / len(x))
of_axes(
    "maximum",
    lambda x: x.max(-1),
    lambda grad, x, out: grad[..., None] * (np.arange(x.shape[-1]) == x.argmax(-1)[..., None]),
)
of_axes(
    "minimum",
    lambda x: x.min(-1),
    lambda grad, x, out: grad[..., None] * (np.arange(x.shape[-1]) == x.argmin(-1)[..., None]),
)
of_axes(
    "product",
    lambda x: x.prod(-1),
    lambda grad, x, out: grad[..., None] * out[..., None] / x,
    draw=positive,
)
of_axes(
    "running_sum",
    lambda x: x.cumsum(-1),
    lambda grad, x, out: grad[..., ::-1].cumsum(-1)[..., ::-1],
)
of_axes(
    "root_of_squares",
    lambda x: np.sqrt((x**2).sum(-1)),
    lambda grad, x, out: grad[..., None] * x / out[..., None],
    draw=positive,
)
of_axes("transposed", lambda x: x.T * 2, lambda grad, x, out: grad.T * 2)
of_axes("reshaped", lambda x: x.reshape(-1), lambda grad, x, out: grad.reshape(x.shape))
of_axes("flipped", lambda x: x[::-1], lambda grad, x, out: grad[::-1])
of_axes("rolled", lambda x: np.roll(x, 1, 0), lambda grad, x, out: np.roll(grad, -1, 0))
of_axes(
    "cut", lambda x: x[1:] ** 2, lambda grad, x, out: np.concatenate([0 * x[:1], 2 * x[1:] * grad])
)
of_axes("padded", lambda x: np.pad(x, 1), lambda grad, x, out: grad[(slice(1, -1),) * x.ndim])
of_axes("stacked", lambda x: np.stack([x, x**2]), lambda grad, x, out: grad[0] + 2 * x * grad[1])
of_axes(
    "joined",
    lambda x: np.concatenate([x, np.sin(x)]),
    lambda grad, x, out: grad[: len(x)] + np.cos(x) * grad[len(x) :],
)
of_axes("repeated", lambda x: np.repeat(x, 2, 0), lambda grad, x, out: grad[::2] + grad[1::2])
of_axes(
    "differences",
    lambda x: np.diff(x, axis=0),
    lambda grad, x, out: np.concatenate([-grad, 0 * x[:1]]) + np.concatenate([0 * x[:1], grad]),
)
of_axes(
    "outer_squares",
    lambda x: x[:, :, None] * x[:, None, :],
    lambda grad, x, out: ((grad + grad.transpose(0, 2, 1)) @ x[:, :, None])[..., 0],
    2,
)
of_axes(
    "masked",
    lambda x: np.where(np.arange(x.shape[-1]) % 2, x, 0.0),
    lambda grad, x, out: grad * (np.arange(x.shape[-1]) % 2),
)
of_axes(
    "sorted",
    lambda x: np.sort(x, -1),
    lambda grad, x, out: np.take_along_axis(
        grad, np.argsort(np.argsort(x, -1, kind="stable"), -1, kind="stable"), -1
    ),
)
of_axes(
    "log_sum_exp",
    lambda x: np.log(np.exp(x - x.max()).sum()) + x.max(),
    lambda grad, x, out: grad * np.exp(x - out),
)
of_axes(
    "largest_of_two",
    lambda x: np.maximum(x, 0.5 * x + 0.5),
    lambda grad, x, out: grad * np.where(x >= 1, 1.0, 0.5),
)


def product(name, forward, backward, shapes):
    """Add a product of two arrays; `shapes(rng)` returns theirs."""

    def made(rng):
        one, other = shapes(rng)
        return forward, backward, {"a": numbers(rng, one, 2), "b": rng.normal(size=other)}

    RIGHT[name] = made


def same(rng):
    return (sizes(rng, 2),) * 2


product("times", lambda a, b: a * b, lambda grad, a, b: (grad * b, grad * a), same)
product(
    "divided",
    lambda a, b: a / (b**2 + 1),
    lambda grad, a, b: (grad / (b**2 + 1), -2 * grad * a * b / (b**2 + 1) ** 2),
    same,
)
product(
    "larger_of_both",
    lambda a, b: np.maximum(a, b),
    lambda grad, a, b: (grad * (a >= b), grad * (a < b)),
    same,
)
product("minus", lambda a, b: a - b, lambda grad, a, b: (grad, -grad), same)
product(
    "row_added",
    lambda a, b: a + b,
    lambda grad, a, b: (grad, grad.sum(0)),
    lambda rng: (lambda n: ((rng.integers(1, 5), n), (n,)))(rng.integers(1, 5)),
)
product(
    "column_scaled",
    lambda a, b: a * column(b),
    lambda grad, a, b: (grad * column(b), (grad * a).sum(1)),
    lambda rng: (lambda n: ((n, rng.integers(1, 5)), (n,)))(rng.integers(1, 5)),
)
product(
    "matrix_product",
    lambda a, b: a @ b,
    lambda grad, a, b: (grad @ b.T, a.T @ grad),
    lambda rng: (lambda n: ((rng.integers(1, 5), n), (n, rng.integers(1, 5))))(rng.integers(1, 5)),
)
product(
    "with_transpose",
    lambda a, b: a @ b.T,
    lambda grad, a, b: (grad @ b, grad.T @ a),
    lambda rng: (lambda n: ((rng.integers(1, 5), n), (rng.integers(1, 5), n)))(rng.integers(1, 5)),
)
product(
    "batches_of_matrices",
    lambda a, b: a @ b,
    lambda grad, a, b: (grad @ b.transpose(0, 2, 1), a.transpose(0, 2, 1) @ grad),
    lambda rng: (lambda n, k: ((k, 2, n), (k, n, 3)))(*sizes(rng, 2)),
)
product(
    "outer_product",
    lambda a, b: np.outer(a, b),
    lambda grad, a, b: (grad @ b, a @ grad),
    lambda rng: tuple((n,) for n in sizes(rng, 2)),
)
product(
    "distances",
    lambda a, b: ((a[:, None] - b[None]) ** 2).sum(-1),
    lambda grad, a, b: (
        2 * (grad[..., None] * (a[:, None] - b[None])).sum(1),
        -2 * (grad[..., None] * (a[:, None] - b[None])).sum(0),
    ),
    lambda rng: (lambda n: ((rng.integers(1, 5), n), (rng.integers(1, 5), n)))(rng.integers(1, 5)),
)
