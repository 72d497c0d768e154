"""The gradient checker: what it takes, what it leaves alone, what it says."""

import builtins
import dataclasses
import json
import sys

import numpy as np
import pytest

import mlcore
from mlcore import gradcheck, kernels
from mlcore.cli import main
from mlcore.gradcheck.differences import ladder
from mlcore.kernels.errors import InputError, MissingExtraError
from mlcore.kernels.table import ROWS

RNG = np.random.default_rng(7)
X, W, B = RNG.normal(size=(5, 4)), RNG.normal(size=(4, 3)), RNG.normal(size=3)
GRADED = [row.name for row in ROWS if row.gradient is not None]


def forward(x, w, b):
    return np.tanh(x @ w + b)


def backward(grad, x, w, b, out):
    dz = grad * (1 - out**2)
    return dz @ w.T, x.T @ dz, dz.sum(axis=0)


def wrong_backward(grad, x, w, b, out):
    dz = grad * out * (1 - out)
    return dz @ w.T, x.T @ dz, dz.sum(axis=0)


def checked(back=backward, **options):
    return gradcheck.check(forward, back, {"x": X}, {"w": W, "b": B}, **options)


def test_it_is_found_as_the_other_modules_are():
    assert "gradcheck" in dir(mlcore)
    assert mlcore.gradcheck.check is gradcheck.check
    assert set(gradcheck.__all__) <= set(dir(gradcheck))


def test_a_right_layer_passes_and_says_so():
    report = checked()
    assert report
    assert report.fault is None
    assert report.verdict.startswith("The gradients of x, w and b are right: 35 elements")
    assert str(report).startswith("right: forward\n")


def test_the_report_of_a_wrong_one():
    report = checked(wrong_backward)
    assert not report
    first, _, rest = str(report).partition("\n\n")
    assert first == "FAULT: forward"
    verdict, table, summary, tried = rest.split("\n\n")
    assert verdict.startswith(report.verdict)
    assert table.splitlines()[0].split() == [
        "array", "element", "analytic", "numeric", "difference", "ratio",
    ]  # fmt: skip
    assert summary.splitlines()[0].split() == ["array", "shape", "compared", "wrong", "left", "out"]
    assert tried.startswith("Tried:\n- ")


def test_as_dict_is_json():
    told = json.loads(json.dumps(checked(wrong_backward).as_dict()))
    assert told["fault"] == "wrong_activation_derivative"
    assert told["passed"] is False
    assert told["arrays"]["w"]["wrong"] == 12
    assert told["findings"][0]["details"]["activation"] == "tanh"
    assert {"array", "index", "analytic", "numeric"} == set(told["worst"][0])


def test_the_helper_raises_with_the_report():
    assert gradcheck.assert_gradients_match(forward, backward, {"x": X}, {"w": W, "b": B}).passed
    with pytest.raises(AssertionError, match="sigmoid") as raised:
        gradcheck.assert_gradients_match(forward, wrong_backward, {"x": X}, {"w": W, "b": B})
    assert "Tried:" in str(raised.value)


def test_arrays_and_random_numbers_are_left_alone():
    kept = [array.copy() for array in (X, W, B)]
    np.random.seed(3)  # noqa: NPY002
    expected = np.random.rand()  # noqa: NPY002
    np.random.seed(3)  # noqa: NPY002

    def noisy(x, w, b):
        x += np.random.rand(*x.shape)  # noqa: NPY002
        return forward(x, w, b)

    gradcheck.check(noisy, backward, {"x": X}, {"w": W, "b": B})
    assert np.random.rand() == expected  # noqa: NPY002
    for array, before in zip((X, W, B), kept, strict=True):
        np.testing.assert_array_equal(array, before)


def test_an_object_is_left_alone():
    class Dense:
        def __init__(self):
            self.w, self.dw = W.copy(), None

        def forward(self, x):
            self.x = x
            return x @ self.w

        def backward(self, grad):
            self.dw = self.x.T @ grad
            return grad @ self.w.T

    layer = Dense()
    assert gradcheck.check_layer(layer, X).passed
    assert layer.dw is None
    assert not hasattr(layer, "x")
    np.testing.assert_array_equal(layer.w, W)


@pytest.mark.parametrize(
    "given",
    [
        ({"x": X, "w": W, "b": B}, None),
        ((X, W, B), None),
        (X, (W, B)),
        (X.tolist(), {"w": W.tolist(), "b": B.astype("float32")}),
    ],
)
def test_ways_to_give_arrays(given):
    report = gradcheck.check(forward, backward, *given)
    assert report
    assert set(report.comparisons) == {"x", "w", "b"}


def test_ways_to_return_gradients():
    def named(grad, x, w, b, out):
        dx, dw, db = backward(grad, x, w, b, out)
        return {"dx": dx, "grad_w": dw, "b": db}

    def parameters_only(dout, x, w, b, out):
        return backward(dout, x, w, b, out)[1:]

    assert checked(named)
    report = checked(parameters_only)
    assert report
    assert "no gradient of x" in str(report)


def test_a_function_of_a_dict_of_parameters():
    def predict(x, params):
        return x @ params["w"]

    def back(grad, x, params):
        return {"w": x.T @ grad, "x": grad @ params["w"].T}

    assert gradcheck.check(predict, back, {"x": X}, {"w": W})


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: gradcheck.check(forward, backward, {"x": X}), ["x, w, b", "named (x)"]),
        (lambda: gradcheck.check(forward, backward, {"x": X[:, :2]}, {"w": W, "b": B}),
         ["forward raises ValueError", "x (5, 2)"]),
        (lambda: gradcheck.check(forward, backward, {"x": X * np.nan}, {"w": W, "b": B}),
         ["x has NaN"]),
        (lambda: gradcheck.check(lambda x: 1 / (0 * x), lambda grad, x: grad, X),
         ["output has NaN"]),
        (lambda: gradcheck.check(lambda x: x, None, X), ["(loss, gradients)"]),
        (lambda: gradcheck.check(3, None, X), ["int cannot be checked"]),
        (lambda: gradcheck.check(forward, lambda grad, q: grad, {"x": X}, {"w": W, "b": B}),
         ["argument 'q'"]),
        (lambda: gradcheck.check(forward, lambda grad: {"wx": grad}, {"x": X}, {"w": W, "b": B}),
         ["unknown gradient", "'wx'"]),
        (lambda: gradcheck.check(lambda n: n, lambda grad, n: grad, np.arange(3)), ["labels"]),
        (lambda: checked(wrt=["v"]), ["unknown name in wrt 'v'"]),
        (lambda: checked(rtol=-1), ["rtol must be 0 or more"]),
        (lambda: gradcheck.check_layer(mlcore.Dense(2), X, rtoll=1), ["Did you mean 'rtol'"]),
        (lambda: gradcheck.check_layer(3, X), ["int"]),
        (lambda: gradcheck.check_kernel("linear"), ["linear_backward"]),
        (lambda: gradcheck.check_model(mlcore.Sequential([mlcore.Dense(2)]), X), ["y is missing"]),
        (lambda: gradcheck.check(mlcore.Sequential([mlcore.Dense(2)]), None, X), ["check_model"]),
    ],
)  # fmt: skip
def test_what_cannot_be_checked_gets_one_clear_error(call, words):
    with pytest.raises(InputError) as raised:
        call()
    for word in words:
        assert word in str(raised.value)


@pytest.mark.parametrize("point", [0.0, 1e-9, 1e-7, 1e-4, 0.03, 1.0])
def test_the_ladder_near_a_kink(point):
    slope = ladder(lambda way: abs(point + way), 1.0, 1e-15, 1.0)
    if slope.kink:
        assert point < 1e-5
        assert {round(slope.left), round(slope.right)} <= {-1, 1}
    else:
        assert abs(slope.value - 1) <= slope.error + 1e-12 < 0.05


@pytest.mark.parametrize(
    ("function", "right"),
    [
        (np.sin, 1.0), (np.exp, 1.0), (lambda x: (x + 10) ** 3, 300.0),
        (lambda x: np.tanh(500 * x), 500.0),
        (lambda x: 1e-9 * x, 1e-9), (lambda x: np.log(x + 0.01), 100.0),
        (lambda x: x * abs(x), 0.0),
    ],
)  # fmt: skip
def test_the_ladder_and_its_error(function, right):
    with np.errstate(all="ignore"):
        slope = ladder(function, 0.0, 1e-15, 1.0)
    assert not slope.kink
    assert abs(slope.value - right) <= 20 * slope.error + 1e-9 * right


def test_kinks_are_left_out():
    x = np.array([[0.0, 1.0, -1.0, 0.0]])
    report = gradcheck.check(lambda x: np.maximum(x, 0), lambda grad, x: grad * (x > 0), {"x": x})
    assert report
    assert report.comparisons["x"].left_out == {0: "kink", 3: "kink"}
    assert "left out" in str(report)


def test_a_fault_beside_kinks_is_found():
    x = np.array([[0.0, 1.0, -1.0, 0.0, 2.0]])
    report = gradcheck.check(
        lambda x: np.maximum(x, 0), lambda grad, x: 2 * grad * (x > 0), {"x": x}
    )
    assert report.fault == "constant_factor"


@pytest.mark.parametrize("place", [0, 7_777, 59_999])
def test_one_wrong_element_of_a_large_array(place):
    w = RNG.normal(size=(300, 200))

    def back(grad, x, w):
        dw = x.T @ grad
        dw.reshape(-1)[place] += 0.01
        return {"w": dw}

    def smooth(x, w):
        return np.tanh(x @ w) + x @ w

    def smooth_back(grad, x, w):
        return {"w": x.T @ (grad * (2 - np.tanh(x @ w) ** 2))}

    x = {"x": RNG.normal(size=(3, 300))}
    report = gradcheck.check(smooth, smooth_back, x, {"w": w})
    assert report
    assert report.comparisons["w"].by_direction
    report = gradcheck.check(lambda x, w: x @ w, back, x, {"w": w})
    assert np.flatnonzero(report.comparisons["w"].wrong).tolist() == [place]


def test_a_fault_of_a_large_array_is_named():
    report = gradcheck.check(
        lambda x, w: x @ w, lambda grad, x, w: {"w": x.T @ grad / len(x)},
        {"x": RNG.normal(size=(7, 100))}, {"w": RNG.normal(size=(100, 50))},
    )  # fmt: skip
    assert report.fault == "constant_factor"
    assert report.faults[0].details["name"] == "1/B"


@pytest.mark.parametrize("name", GRADED)
def test_the_kernels_of_the_table_pass(name):
    report = gradcheck.check_kernel(name)
    assert report, report


def test_a_faulty_kernel_is_named(monkeypatch):
    native = kernels.get()

    def slope_of_sigmoid(grad, stored, activation, parameter, out):
        native.kernels["activation_backward"](grad, stored, "sigmoid", 1.0, out)

    broken = dataclasses.replace(
        native, kernels={**native.kernels, "activation_backward": slope_of_sigmoid}
    )
    monkeypatch.setattr(kernels, "get", lambda name=None: broken)
    case = {"activation": "tanh", "parameter": 0.0}
    report = gradcheck.check_kernel("activation_backward", case=case)
    assert report.fault == "wrong_activation_derivative"
    assert "sigmoid" in report.verdict


LAYERS = [
    mlcore.Dense(3), mlcore.Dense(3, "gelu"), mlcore.Dense(2, "softmax", use_bias=False),
    mlcore.Activation("tanh"), mlcore.Dropout(0.4), mlcore.GaussianNoise(0.1),
]  # fmt: skip


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_layers_of_mlcore_pass(layer):
    report = gradcheck.check_layer(layer, X)
    assert report, report
    assert "x" in report.comparisons


def test_a_model_passes_with_noise_and_is_left_alone():
    model = mlcore.Sequential(
        [mlcore.Dense(6, "relu"), mlcore.Dropout(0.3), mlcore.Dense(4, "tanh"), mlcore.Dense(3)],
        seed=0,
    )
    y = RNG.integers(0, 3, 5)
    model.build(4)
    before = model.parameters.copy()
    report = gradcheck.check_model(model, X, y, training=True)
    assert report, report
    assert "float64 copy" in str(report)
    np.testing.assert_array_equal(model.parameters, before)


class Faulty(mlcore.Dense):
    """A dense layer whose backward pass takes another activation's derivative."""

    def lower(self, plan, x):
        out, backward = super().lower(plan, x)

        def broken(grad, wanted):
            operations = plan.plan.operations
            at = len(operations)
            result = backward(grad, wanted)
            arguments = {**operations[at].arguments, "activation": "sigmoid", "parameter": 1.0}
            operations[at] = dataclasses.replace(operations[at], arguments=arguments)
            return result

        return out, broken


def test_the_faulty_layer_of_five_is_told_from_its_neighbours():
    layers = [mlcore.Dense(6, "tanh") for _ in range(5)]
    layers[2] = Faulty(5, "tanh")
    model = mlcore.Sequential(layers, seed=1)
    report = gradcheck.check_model(model, X, RNG.integers(0, 6, 5))
    assert report.fault == "wrong_activation_derivative", report
    assert report.faults[0].details["layer"] == "dense_3"
    assert "dense_1, dense_2, dense_4 and dense_5 are right" in report.verdict
    wrong = [name for name, each in report.comparisons.items() if not each.passed]
    assert {name.split(".")[0] for name in wrong} == {"dense_1", "dense_2", "dense_3"}


class Plain:
    """A layer of five in plain NumPy."""

    def __init__(self, rows, columns, slope=1.0):
        self.W, self.b, self.slope = RNG.normal(size=(rows, columns)), np.zeros(columns), slope

    def forward(self, x):
        self.x = x
        self.out = np.tanh(x @ self.W + self.b)
        return self.out

    def backward(self, grad):
        dz = grad * (1 - self.out**2) if self.slope else grad
        self.dW, self.db = self.x.T @ dz, dz.sum(axis=0)
        return dz @ self.W.T


@pytest.mark.parametrize("faulty", range(5))
def test_the_faulty_object_of_five_is_told_from_its_neighbours(faulty):
    sizes = [4, 5, 3, 6, 4, 2]
    layers = [Plain(*sizes[at : at + 2], slope=float(at != faulty)) for at in range(5)]
    report = gradcheck.check_model(layers, X)
    assert report.fault == "missing_activation_derivative", report
    assert report.faults[0].details["layer"] == f"layer {faulty + 1}, Plain"
    assert len(report.faults) == 1


def test_a_chain_that_is_right():
    assert gradcheck.check_model([Plain(4, 5), Plain(5, 3)], X)


def test_a_fault_in_a_function_has_its_layer():
    y = RNG.normal(size=(5, 2))
    params = {f"w{at}": RNG.normal(size=(4, 4)) for at in range(1, 5)}
    params["w5"] = RNG.normal(size=(4, 2))

    def loss(params):
        h = [X]
        for at in range(1, 5):
            h.append(np.tanh(h[-1] @ params[f"w{at}"]))
        error = h[-1] @ params["w5"] - y
        grads, delta = {}, 2 * error / error.size
        for at in range(5, 0, -1):
            grads[f"w{at}"] = h[at - 1].T @ delta
            delta = (delta @ params[f"w{at}"].T) * (1 - h[at - 1] ** 2)
            delta = delta * 3 if at == 4 else delta
        return (error**2).mean(), grads

    report = gradcheck.check(loss, params=params)
    assert report.fault == "constant_factor"
    assert "begins in layer 3. Downstream of it layer 4 and layer 5 are right." in report.verdict


def test_torch_modules():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")

    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return 2 * x

        @staticmethod
        def backward(ctx, grad):
            return grad

    class Net(torch.nn.Module):
        def __init__(self, wrong):
            super().__init__()
            self.linear, self.wrong = torch.nn.Linear(4, 3), wrong

        def forward(self, x):
            z = torch.tanh(self.linear(x))
            return Doubled.apply(z) if self.wrong else z

    assert gradcheck.check(Net(False), inputs={"x": X})
    report = gradcheck.check(Net(True), inputs={"x": X})
    assert report.fault == "constant_factor"
    assert report.faults[0].details["name"] == "1/2"


def test_the_heat_map():
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    report = checked(wrong_backward)
    figure = report.plot()
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert [title for title in titles if title] == ["analytic", "numeric", "difference"]
    shown = figure.axes[0].images[0].get_array()
    np.testing.assert_allclose(shown, report.comparisons["x"].analytic)
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    assert report.plot(axes, array="w") is axes
    assert "w" in axes.get_title(loc="left")
    with pytest.raises(InputError, match="unknown array 'ww'"):
        report.plot(array="ww")


def test_the_heat_map_without_matplotlib(monkeypatch):
    real = builtins.__import__

    def absent(name, *arguments, **named):
        if name.startswith("matplotlib"):
            raise ModuleNotFoundError(name)
        return real(name, *arguments, **named)

    for name in [name for name in sys.modules if name.startswith("matplotlib")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(MissingExtraError, match="pip install"):
        checked().plot()


FILE = """
import numpy as np

def forward(x, w):
    return np.tanh(x @ w)

def backward(grad, x, w, out):
    dz = grad * (1 - out**2)
    return dz @ w.T, x.T @ dz

def bad(grad, x, w, out):
    return backward(grad, x, w, out)[0], x.T @ grad

def data():
    return {"x": np.ones((2, 3)), "w": np.ones((3, 4)) / 9}

class Twice:
    def forward(self, x):
        return 2 * x
    def backward(self, grad):
        return 2 * grad

layers = [Twice(), Twice()]
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    np.savez(tmp_path / "arrays.npz", x=X, w=W)
    return path


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["forward", "--inputs", "x=5x3,w=3x2"], 0),
        (["forward", "--inputs", "data"], 0),
        (["forward", "--inputs", "{folder}/arrays.npz"], 0),
        (["forward", "--inputs", "x=5x3", "--params", "w=3x2"], 0),
        (["forward", "--inputs", "x=5x3,w=3x2", "--backward", "bad"], 1),
        (["Twice", "--inputs", "x=4x3"], 0),
        (["layers", "--inputs", "x=4x3"], 0),
    ],
)
def test_the_command(file, arguments, code, capsys):
    target, *rest = [each.format(folder=file.parent) for each in arguments]
    assert main(["gradcheck", f"{file}:{target}", *rest]) == code
    assert capsys.readouterr().out.startswith("FAULT" if code else "right")


def test_the_command_writes_what_it_is_asked_for(file, capsys):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    told, drawn = file.parent / "told.json", file.parent / "drawn.png"
    given = ["--inputs", "x=5x3,w=3x2", "--backward", "bad"]
    assert (
        main(["gradcheck", f"{file}:forward", *given, "--json", str(told), "--plot", str(drawn)])
        == 1
    )
    assert json.loads(told.read_text())["fault"] == "missing_activation_derivative"
    assert drawn.read_bytes().startswith(b"\x89PNG")
    capsys.readouterr()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{file}"], ["FILE.py:NAME"]),
        (["nothing.py:forward"], ["no file nothing.py"]),
        (["{file}:forwrd"], ["Did you mean 'forward'?"]),
        (["{file}:forward"], ["--inputs"]),
        (["{file}:forward", "--inputs", "x=5y3"], ["'x=5y3'"]),
        (["{file}:forward", "--inputs", "no.npz"], ["no file no.npz"]),
        (["{file}:forward", "--inputs", "x=5x3,w=4x2"], ["forward raises ValueError"]),
        (
            ["{file}:forward", "--inputs", "x=5x3,w=3x2", "--backward", "bat"],
            ["Did you mean 'bad'?"],
        ),
        (["{file}:forward", "--input", "x=5x3"], ["Did you mean '--inputs'?"]),
    ],
)
def test_mistakes_on_the_command_line_get_one_line(file, arguments, words, capsys):
    assert main(["gradcheck", *(each.format(file=file) for each in arguments)]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    for word in words:
        assert word in shown.err


def test_a_file_with_a_mistake_in_it_names_the_line(tmp_path, capsys):
    path = tmp_path / "broken.py"
    path.write_text("import numpy\n\nx = numpi.zeros(3)\n")
    assert main(["gradcheck", f"{path}:x", "--inputs", "x=3"]) == 2
    assert "broken.py, line 3: NameError" in capsys.readouterr().err
