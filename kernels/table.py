"""The kernel table: one row per operation, the same signature in every backend.

A row says what the arrays of an operation are called and how large they are, which settings it
is tested with, how its random inputs are made, how far a backend may be from the reference, and
what it costs. Parity tests, gradient checks, plans and benchmarks iterate this table, so a new
operation is a function in each backend and one row here.

Every kernel writes into arrays that the caller allocated and returns nothing. Arrays are
C-contiguous and in native byte order; `mlcore.kernels.Backend.call` is the door that checks and
converts, the plan calls kernels without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

Dims = dict[str, int]
Case = Mapping[str, Any]
Given = Set[str]
Arguments = dict[str, Any]


@dataclass(frozen=True)
class Activation:
    """What the engine must know of an activation function.

    Attributes
    ----------
    formula : str
        The definition; `a` stands for the parameter.
    stored : {"output", "input"}
        From what the derivative is computed. The output where that is exact, so that the
        pre-activation need not be kept.
    parameter : str or None
        The parameter's name as layers spell it, or None.
    default : float
        The parameter's default.
    rowwise : bool
        Whether an output depends on its whole row.
    """

    formula: str
    stored: Literal["output", "input"] = "output"
    parameter: str | None = None
    default: float = 0.0
    rowwise: bool = False


ACTIVATIONS: dict[str, Activation] = {
    "identity": Activation("x"),
    "relu": Activation("max(x, 0)"),
    "relu6": Activation("min(max(x, 0), 6)"),
    "leaky_relu": Activation("x if x > 0 else a*x", parameter="alpha", default=0.01),
    "elu": Activation("x if x > 0 else a*(exp(x) - 1)", parameter="alpha", default=1.0),
    "tanh": Activation("tanh(x)"),
    "sigmoid": Activation("1 / (1 + exp(-a*x))", parameter="slope", default=1.0),
    "softplus": Activation("log(1 + exp(x))"),
    "silu": Activation("x / (1 + exp(-x))", stored="input"),
    "gelu": Activation("x/2 * (1 + erf(x / sqrt(2)))", stored="input"),
    "softmax": Activation("exp(x) / sum(exp(x))", rowwise=True),
    "log_softmax": Activation("x - log(sum(exp(x)))", rowwise=True),
}


@dataclass(frozen=True)
class Array:
    """One array argument: its dimensions by letter or as fixed lengths, its kind, who writes it.

    `kind` is "real" (float32 or float64, one and the same in a call), "whole" (of the same dtype,
    but whole numbers that something is looked up by), "labels" (int32), "index" (int64), "bits"
    (uint32), "sums" (float64 in every precision) or "data" (uint8, float32 or float64).
    """

    dims: tuple[str | int, ...]
    kind: Literal["real", "whole", "labels", "index", "bits", "sums", "data"] = "real"
    role: Literal["in", "out", "inout"] = "in"
    optional: bool = False


def match(dims: Dims, spec: Array, shape: tuple[int, ...]) -> str | None:
    """Compare a shape with a row's, and take the lengths of letters not seen before into `dims`.

    Returns
    -------
    str or None
        What does not fit.
    """
    if len(shape) != len(spec.dims):
        return f"has shape {shape}; it needs the axes {spec.dims}"
    for letter, length in zip(spec.dims, shape, strict=True):
        wanted = letter if isinstance(letter, int) else dims.setdefault(letter, length)
        if length != wanted:
            return f"has shape {shape}; its axis {letter} must be {wanted}"
    return None


@dataclass(frozen=True)
class Gradient:
    """How a backward kernel is checked against differences of its forward kernel.

    With a random upstream gradient g for the forward output, the derivative of
    sum(g * output) with respect to each input in `pairs` must equal the backward output named
    beside it. `upstream` is the backward argument that takes g; a forward that is itself the
    backward (a loss) has none and is checked on the sum of its output over that of the weights.
    """

    forward: str
    output: str
    pairs: Mapping[str, str]
    upstream: str | None = None


@dataclass(frozen=True)
class Row:
    """One operation.

    Attributes
    ----------
    name, group, formula : str
        What it is called, which section of the table it belongs to, what it computes.
    arguments : dict of str to Array or None
        In the order of the signature; None marks a setting (a number, a string or a bool).
    cases : tuple of dict
        The settings it is tested with. An optional array is left out (None) where the case
        says ``"absent"``. Keys that are no argument tell `inputs` what to draw.
    arrays : dict of str to Array
        The arguments that are arrays.
    settings : dict of str to type
        The others: float, int, bool or str, as the first of the cases has them.
    sizes : tuple of dict
        Dimensions to test: none, one, odd, prime and uneven ones.
    bench : tuple of dict
        Dimensions to measure.
    eps : callable
        From the dimensions, how many machine epsilons (relative to 1 + abs(right value)) a backend
        may be off. Zero for what must be exact.
    flops : callable
        From the dimensions and the names of the arrays given (optional ones may be left out),
        the floating-point operations of one call.
    inputs : callable
        ``inputs(arguments, rng, dims, case)`` replaces the standard normal draws where an
        operation needs others.
    gradient : Gradient or None
        How its derivative is checked.
    one_of : tuple of str
        Optional arrays of which exactly one must be given.
    implied : callable or None
        ``implied(dims, case)`` returns the dimensions that follow from those in `sizes` and
        `bench` and from the settings, as an image's height does from that of the result.
    """

    name: str
    group: str
    formula: str
    arguments: Mapping[str, Array | None]
    cases: tuple[Case, ...] = ({},)
    sizes: tuple[Dims, ...] = ()
    bench: tuple[Dims, ...] = ()
    eps: Callable[[Dims], float] = lambda dims: 8.0
    flops: Callable[[Dims, Given], float] = lambda dims, given: 0.0
    inputs: Callable[[Arguments, np.random.Generator, Dims, Case], None] | None = None
    gradient: Gradient | None = None
    one_of: tuple[str, ...] = ()
    implied: Callable[[Dims, Case], Dims] | None = None
    arrays: Mapping[str, Array] = field(init=False)
    settings: Mapping[str, type] = field(init=False)

    def __post_init__(self) -> None:
        named = {name: spec for name, spec in self.arguments.items() if spec is not None}
        object.__setattr__(self, "arrays", named)
        case = self.cases[0]
        types = {name: type(case[name]) for name in self.arguments if name not in named}
        object.__setattr__(self, "settings", types)

    def outputs(self) -> Iterator[str]:
        """Yield the names of the arrays that a call writes."""
        return (name for name, spec in self.arrays.items() if spec.role != "in")

    def complete(self, dims: Dims, case: Case) -> Dims:
        """Return `dims` with those that follow from them and from the settings."""
        return dims if self.implied is None else {**dims, **self.implied(dims, case)}

    def generate(
        self, rng: np.random.Generator, dims: Dims, dtype: DTypeLike, case: Case
    ) -> Arguments:
        """Make arguments for one call: random inputs, and outputs filled with a poison.

        The poison (NaN, or the largest integer) shows where a kernel reads what it should
        write, or does not write at all.
        """
        made: Arguments = {}
        dims = self.complete(dims, case)
        for name, spec in self.arguments.items():
            if spec is None:
                made[name] = case[name]
            elif case.get(name) == "absent":
                made[name] = None
            else:
                shape = tuple(
                    length if isinstance(length, int) else dims[length] for length in spec.dims
                )
                kind = KINDS[spec.kind] or dtype
                if spec.role == "out":
                    made[name] = poisoned(shape, kind)
                else:
                    made[name] = rng.standard_normal(shape).astype(kind)
        if self.inputs is not None:
            self.inputs(made, rng, dims, case)
        return made


# Sums over flat vectors go in blocks of so many elements, which threads share.
BLOCK = 4096


def blocks_of(size: int) -> int:
    """Return how many blocks a flat vector of so many elements has."""
    return -(-size // BLOCK)


KINDS: dict[str, type[np.generic] | None] = {
    "real": None,
    "whole": None,
    "labels": np.int32,
    "index": np.int64,
    "bits": np.uint32,
    "sums": np.float64,
    "data": None,
}


def poisoned(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Return an array full of NaN, or of the largest integer of its dtype."""
    kind = np.dtype(dtype)
    return np.full(shape, np.nan if kind.kind == "f" else np.iinfo(kind).max, dtype=kind)


def real(*dims: str, optional: bool = False) -> Array:
    """Return the description of a floating-point input."""
    return Array(dims, optional=optional)


def out(*dims: str, optional: bool = False) -> Array:
    """Return the description of a floating-point output."""
    return Array(dims, role="out", optional=optional)


def inout(*dims: str, optional: bool = False) -> Array:
    """Return the description of a floating-point array that is updated in place."""
    return Array(dims, role="inout", optional=optional)


def sizes(letters: str, *values: tuple[int, ...]) -> tuple[Dims, ...]:
    """Return dimensions by letter, ``sizes("B N", (1, 2))`` being ``({"B": 1, "N": 2},)``."""
    return tuple(dict(zip(letters.split(), value, strict=True)) for value in values)


def activation_cases() -> tuple[Case, ...]:
    """Return every activation with its default parameter, and with another one."""
    cases: list[Case] = []
    for name, spec in ACTIVATIONS.items():
        cases.append({"activation": name, "parameter": spec.default})
        if spec.parameter:
            cases.append({"activation": name, "parameter": 0.3})
    return tuple(cases)


def forward_linear_cases() -> tuple[Case, ...]:
    """Return the activation cases of `linear`, which keeps `pre` where backward wants it."""
    kept = [
        {**case, "pre": "absent"} if ACTIVATIONS[case["activation"]].stored == "output" else case
        for case in activation_cases()
    ]
    bare = {"activation": "relu", "parameter": 0.0, "b": "absent", "pre": "absent"}
    return (*kept, bare)


def backward_linear_cases() -> tuple[Case, ...]:
    """Return the activation cases of `linear_backward`, and those with outputs not wanted."""
    relu = {"activation": "relu", "parameter": 0.0}
    return (
        *activation_cases(),
        {**relu, "dx": "absent"},
        {**relu, "db": "absent"},
        {**relu, "dw": "absent", "db": "absent"},
    )


def scaled_weights(made: Arguments, rng: np.random.Generator, dims: Dims, case: Case) -> None:
    """Scale the weights so that outputs are of order one at any depth."""
    made["w"] /= made["w"].dtype.type(max(1, dims["K"]) ** 0.5)


def stored_activation(made: Arguments, rng: np.random.Generator, dims: Dims, case: Case) -> None:
    """Make `stored` what the forward pass would have kept."""
    from mlcore.kernels import reference

    if ACTIVATIONS[case["activation"]].stored == "output":
        z = made["stored"].copy()
        with np.errstate(divide="ignore"):
            reference.activation(z, case["activation"], case["parameter"], made["stored"])
    if "w" in made:
        scaled_weights(made, rng, dims, case)


def loss_cases(*settings: Case) -> tuple[Case, ...]:
    """Combine settings with weights, with outputs that are special, and without a gradient."""
    cases: list[Case] = []
    for setting in settings:
        cases += [{**setting, "weights": "absent"}, setting, {**setting, "grad": "absent"}]
        cases += [{**setting, "drawn": "ties"}, {**setting, "drawn": "extreme"}]
    return tuple(cases)


def class_cases(*settings: Case) -> tuple[Case, ...]:
    """Combine settings of a loss with labels, and with rows of targets."""
    given = ({"targets": "absent"}, {"labels": "absent"})
    return loss_cases(*({**setting, **one} for setting in settings for one in given))


def judged(made: Arguments, rng: np.random.Generator, dims: Dims, case: Case, name: str) -> None:
    """Make weights of 0 or more, labels in range, and the outputs that the case asks for.

    Whole numbers make ties, zeros and kinks; `name` is that of the outputs.
    """
    if made["weights"] is not None:
        made["weights"][...] = rng.integers(0, 5, dims["B"]) / 4
    if made.get("labels") is not None:
        made["labels"][...] = rng.integers(0, dims["N"], dims["B"])
    if case.get("drawn") == "ties":
        made[name][...] = rng.integers(-2, 3, made[name].shape)
    elif case.get("drawn") == "extreme":
        made[name] *= 1e4
    else:
        made[name] *= 3


def class_targets(made: Arguments, rng: np.random.Generator, dims: Dims, case: Case) -> None:
    """Make labels, or soft targets whose rows sum to one."""
    judged(made, rng, dims, case, "logits")
    if made["targets"] is not None:
        made["targets"][...] = rng.dirichlet(np.ones(dims["N"]), dims["B"])


def unit_targets(made: Arguments, rng: np.random.Generator, dims: Dims, case: Case) -> None:
    """Make targets between zero and one."""
    judged(made, rng, dims, case, "logits")
    made["targets"][...] = rng.random(made["targets"].shape)


def number_targets(made: Arguments, rng: np.random.Generator, dims: Dims, case: Case) -> None:
    """Make targets of any size; whole numbers where the outputs are."""
    judged(made, rng, dims, case, "outputs")
    if case.get("drawn") == "ties":
        made["targets"][...] = rng.integers(-2, 3, made["targets"].shape)


def sign_targets(made: Arguments, rng: np.random.Generator, dims: Dims, case: Case) -> None:
    """Make labels, or targets of -1 and 1."""
    judged(made, rng, dims, case, "outputs")
    if made["targets"] is not None:
        made["targets"][...] = rng.choice([-1.0, 1.0], made["targets"].shape)


def positive_state(made: Arguments, rng: np.random.Generator, dims: Dims, case: Case) -> None:
    """Make the running averages of squares positive, and consistent with the mean beside them."""
    for name in ("second_moment", "square_average", "square_sum"):
        if made.get(name) is not None:
            made[name][...] = made[name] ** 2 + 0.1
    if made.get("gradient_average") is not None:
        made["gradient_average"] *= 0.1


def positive_sums(made: Arguments, rng: np.random.Generator, dims: Dims, case: Case) -> None:
    """Make sums of magnitudes and squares positive."""
    if made["sums"] is not None:
        made["sums"][...] = np.abs(made["sums"]) + 0.1


def data_rows(made: Arguments, rng: np.random.Generator, dims: Dims, case: Case) -> None:
    """Make a source of the dtype that the case names, and row numbers inside it."""
    if "source" in made:
        kind = np.dtype(case.get("source_dtype", made["source"].dtype))
        drawn = rng.integers(0, 128, made["source"].shape)
        made["source"] = drawn.astype(kind)
    made["rows"][...] = rng.integers(0, dims["S"], dims["B"])


def any_bits(made: Arguments, rng: np.random.Generator, dims: Dims, case: Case) -> None:
    """Make counters and keys of all 32 bits."""
    for name in ("counter", "key"):
        made[name] = rng.integers(0, 2**32, made[name].shape, dtype=np.uint32)


def scaled_filters(made: Arguments, rng: np.random.Generator, dims: Dims, case: Case) -> None:
    """Scale the filters so that outputs are of order one, however large a window is."""
    made["w"] /= made["w"].dtype.type(window_length(dims) ** 0.5)


def tied_numbers(made: Arguments, rng: np.random.Generator, dims: Dims, case: Case) -> None:
    """Where the case says so, let many windows have their largest number twice."""
    if case["tied"]:
        made["x"][...] = np.round(made["x"])


def spread(made: Arguments, rng: np.random.Generator, dims: Dims, case: Case) -> None:
    """Move rows and features apart, up and down in turn; variances are positive.

    So no two numbers that a variance is taken of lie so close that rounding decides it.
    """
    x = made["x"]
    batch, places, channels = x.shape

    def steps(count: int) -> NDArray[Any]:
        signs = np.where(np.arange(count) % 2, -1.0, 1.0)
        return (signs * rng.uniform(4, 9, count)).astype(x.dtype)

    x += steps(channels)
    x += steps(batch * places).reshape(batch, places, 1)
    for name in ("running_variance", "variance"):
        if name in made:
            made[name][...] = rng.uniform(0.5, 2, made[name].shape)


def kept_moments(made: Arguments, rng: np.random.Generator, dims: Dims, case: Case) -> None:
    """Make `mean` and `inverse` what the forward pass would have kept."""
    from mlcore.kernels import reference

    spread(made, rng, dims, case)
    axes = (0, 1) if made["mean"].ndim == 1 else (2,)
    mean, variance = reference.moments(made["x"], axes)
    made["mean"][...] = mean
    made["inverse"][...] = 1 / np.sqrt(variance + NORM_EPSILON)


def whole_places(made: Arguments, rng: np.random.Generator, dims: Dims, case: Case) -> None:
    """Make whole numbers below the number of rows, held as real ones."""
    made["x"][...] = rng.integers(0, dims["V"], made["x"].shape)


def images_under_filters(dims: Dims, case: Case) -> Dims:
    """Return the height and width of the input of a convolution."""
    return images_under_windows(dims, {**case, "size_h": dims["R"], "size_w": dims["S"]})


def images_under_windows(dims: Dims, case: Case) -> Dims:
    """Return the height and width of the input of windows.

    The case says how far the last window reaches over the lower and the right edge. Where that
    is below zero, no window covers the last rows or columns.
    """

    def length(count: int, stride: int, size: int, before: int, behind: int) -> int:
        return max(1, (count - 1) * stride + size - before - behind)

    return {
        "H": length(dims["P"], case["stride_h"], case["size_h"], case["pad_top"], case["over_h"]),
        "W": length(dims["Q"], case["stride_w"], case["size_w"], case["pad_left"], case["over_w"]),
    }


def window_length(dims: Dims) -> int:
    """Return how many products an output of a convolution is the sum of."""
    return dims["R"] * dims["S"] * dims["C"]


def convolution_flops(dims: Dims) -> float:
    """Return the floating-point operations of a convolution, products with padding included."""
    return 2.0 * dims["B"] * dims["P"] * dims["Q"] * dims["N"] * window_length(dims)


def image_size(dims: Dims) -> float:
    """Return the numbers in the images that windows lie over."""
    return 1.0 * dims["B"] * dims["H"] * dims["W"] * dims["C"]


def norm_size(dims: Dims) -> float:
    """Return the numbers that are normalized."""
    return 1.0 * dims["B"] * dims["M"] * dims["C"]


DENSE_SIZES = sizes(
    "B K N", (0, 3, 2), (1, 1, 1), (3, 0, 2), (2, 3, 0), (2, 3, 1), (5, 7, 3), (13, 17, 19),
    (50, 31, 10), (4, 8, 8), (9, 600, 21),
)  # fmt: skip
DENSE_BENCH = sizes(
    "B K N", (50, 784, 512), (50, 512, 64), (64, 500, 250), (100, 300, 300), (32, 16, 16),
    (1, 784, 128),
)  # fmt: skip
PANEL_CASES: tuple[Case, ...] = (
    {"lanes": 16}, {"lanes": 8}, {"lanes": 4}, {"lanes": 2}, {"lanes": 8, "b": "absent"},
)  # fmt: skip
# M leaves room for the widest lanes.
PANEL_SIZES = sizes("K N M", (1, 1, 32), (0, 3, 16), (5, 7, 100), (3, 33, 192), (9, 64, 650))
PANEL_BENCH = sizes("K N M", (784, 512, 401_920))
PLANE_SIZES = sizes("B N", (0, 3), (1, 1), (2, 1), (5, 7), (13, 129), (4, 64), (3, 257))
PLANE_BENCH = sizes("B N", (50, 512), (100, 10), (1000, 64))
FLAT_SIZES = sizes("P", (0,), (1,), (7,), (64,), (1009,))
FLAT_BENCH = sizes("P", (437_000,), (10_000,))
STRIDES: dict[str, None] = {"stride_h": None, "stride_w": None}
PADS: dict[str, None] = {"pad_top": None, "pad_left": None}
WINDOW: dict[str, None] = {"size_h": None, "size_w": None, **STRIDES, **PADS}
CONV_SIZES = sizes(
    "B P Q C N R S", (0, 2, 2, 1, 1, 1, 1), (1, 1, 1, 1, 1, 1, 1), (1, 3, 2, 1, 6, 3, 3),
    (2, 3, 2, 3, 2, 2, 1), (1, 7, 5, 6, 16, 5, 5), (2, 4, 3, 16, 17, 3, 2), (1, 2, 9, 33, 1, 1, 5),
    (1, 3, 1, 17, 33, 2, 3), (2, 11, 13, 1, 3, 4, 4), (3, 1, 19, 3, 5, 1, 7), (3, 5, 5, 3, 7, 5, 5),
)  # fmt: skip
# The two convolutions of LeNet.
CONV_BENCH = sizes("B P Q C N R S", (50, 28, 28, 1, 6, 5, 5), (50, 10, 10, 6, 16, 5, 5))
POOL_SIZES = sizes(
    "B P Q C", (0, 2, 2, 1), (1, 1, 1, 1), (1, 2, 1, 3), (2, 3, 2, 2), (1, 5, 7, 6), (2, 3, 4, 16),
    (1, 2, 3, 17), (2, 7, 1, 33), (3, 5, 5, 3),
)  # fmt: skip
POOL_BENCH = sizes("B P Q C", (50, 14, 14, 6), (50, 5, 5, 16))
NORM_SIZES = sizes(
    "B M C", (0, 1, 3), (1, 1, 1), (1, 1, 17), (2, 1, 3), (5, 1, 16), (2, 3, 1), (3, 2, 6),
    (7, 5, 33), (13, 11, 17), (101, 1, 64), (3, 5, 7),
)  # fmt: skip
# After a dense layer, and after the first convolution of LeNet.
NORM_BENCH = sizes("B M C", (50, 1, 512), (50, 784, 6))
NORM_EPSILON = 1e-3
AFFINE_CASES: tuple[Case, ...] = (
    {}, {"beta": "absent"}, {"gamma": "absent"}, {"gamma": "absent", "beta": "absent"},
)  # fmt: skip
LEARNED_CASES: tuple[Case, ...] = (
    {}, {"dbeta": "absent"}, {"gamma": "absent", "dgamma": "absent"}, {"dx": "absent"},
    {"gamma": "absent", "dgamma": "absent", "dbeta": "absent"},
    {"dgamma": "absent", "dbeta": "absent"},
)  # fmt: skip
LOOKUP_SIZES = sizes(
    "B L V D", (0, 1, 1, 1), (1, 1, 1, 1), (3, 2, 5, 3), (5, 7, 3, 16), (2, 1, 50, 17),
    (4, 20, 3, 33),
)  # fmt: skip
LOOKUP_BENCH = sizes("B L V D", (50, 20, 1000, 64))
BLOCK_SIZES = sizes(
    "P Q", (0, 0), (1, 1), (7, 1), (BLOCK, 1), (BLOCK + 1, 2), (2 * BLOCK + 1009, 3)
)
BLOCK_BENCH = sizes("P Q", (437_000, 107), (10_000, 3))
PENALTY_CASES: tuple[Case, ...] = (
    {"l1": 0.1, "l2": 0.0, "norm": 0.0}, {"l1": 0.0, "l2": 0.1, "norm": 0.0},
    {"l1": 0.0, "l2": 0.0, "norm": 0.1}, {"l1": 0.1, "l2": 0.2, "norm": 0.3},
)  # fmt: skip
DRAW: dict[str, Array | None] = {"seed": None, "stream": None, "step": None}
DRAW_CASES: tuple[Case, ...] = (
    {"seed": 0, "stream": 0, "step": 0},
    {"seed": 2**64 - 3, "stream": 65_535, "step": 2**40 + 7},
)


def windows(height: int, width: int, *pads: int) -> Case:
    """Return strides, pads (top, left), and how far the last windows reach over (below, right)."""
    names = ("stride_h", "stride_w", "pad_top", "pad_left", "over_h", "over_w")
    return dict(zip(names, (height, width, *pads), strict=True))


CONV_WINDOWS: tuple[Case, ...] = (
    windows(1, 1, 0, 0, 0, 0), windows(1, 1, 2, 2, 2, 2), windows(2, 2, 0, 1, 1, 0),
    windows(3, 2, 1, 2, -2, -1),
)  # fmt: skip
POOL_WINDOWS: tuple[Case, ...] = tuple(
    {"size_h": height, "size_w": width, **places}
    for height, width, places in (
        (2, 2, windows(2, 2, 0, 0, 0, 0)), (2, 3, windows(2, 3, 0, 0, -1, -2)),
        (3, 3, windows(2, 2, 0, 0, 1, 1)), (3, 2, windows(1, 1, 1, 0, 1, 1)),
        (5, 4, windows(3, 1, 2, 1, 2, 2)), (1, 2, windows(2, 3, 0, 0, 0, 0)),
    )
)  # fmt: skip

# Where two numbers are the largest there is no derivative, but there is a rule.
MAX_POOL_CASES: tuple[Case, ...] = tuple(
    {**window, "tied": tied} for window in POOL_WINDOWS for tied in (False, True)
)


def with_draws(*settings: Case) -> tuple[Case, ...]:
    """Combine settings with the seeds, streams and steps to test."""
    return tuple({**draw, **setting} for draw in DRAW_CASES for setting in settings)


ROWS: tuple[Row, ...] = (
    Row(
        "linear",
        "dense",
        "z = x @ w + b;  out = activation(z);  pre = z where backward needs it",
        {
            "x": real("B", "K"),
            "w": real("K", "N"),
            "b": real("N", optional=True),
            "activation": None,
            "parameter": None,
            "pre": out("B", "N", optional=True),
            "out": out("B", "N"),
        },
        cases=forward_linear_cases(),
        sizes=DENSE_SIZES,
        bench=DENSE_BENCH,
        eps=lambda dims: 16 + dims["K"],
        flops=lambda dims, given: 2.0 * dims["B"] * dims["K"] * dims["N"],
        inputs=scaled_weights,
    ),
    Row(
        "linear_backward",
        "dense",
        "dz = grad * activation'(stored);  dw = x.T @ dz;  db = sum(dz, 0);  dx = dz @ w.T",
        {
            "grad": real("B", "N"),
            "x": real("B", "K"),
            "w": real("K", "N"),
            "stored": real("B", "N"),
            "activation": None,
            "parameter": None,
            "dz": out("B", "N"),
            "dw": out("K", "N", optional=True),
            "db": out("N", optional=True),
            "dx": out("B", "K", optional=True),
        },
        cases=backward_linear_cases(),
        sizes=DENSE_SIZES,
        bench=DENSE_BENCH,
        eps=lambda dims: 32 + 4 * (dims["B"] + dims["N"]),
        flops=lambda dims, given: (
            2.0 * dims["B"] * dims["K"] * dims["N"] * len({"dw", "dx"} & given)
        ),
        inputs=stored_activation,
        gradient=Gradient("linear", "out", {"x": "dx", "w": "dw", "b": "db"}, upstream="grad"),
    ),
    Row(
        "product",
        "dense",
        "c = start + a @ b, or with `blend` keep * c + scale * (a @ b): the register tile",
        {
            "a": real("B", "K"),
            "b": real("K", "N"),
            "start": real("N", optional=True),
            "blend": None,
            "keep": None,
            "scale": None,
            "c": inout("B", "N"),
        },
        cases=(
            {"blend": False, "keep": 0.0, "scale": 0.0},
            {"blend": False, "keep": 0.0, "scale": 0.0, "start": "absent"},
            {"blend": True, "keep": 0.9, "scale": -0.1, "start": "absent"},
        ),
        sizes=DENSE_SIZES,
        bench=DENSE_BENCH,
        eps=lambda dims: 16 + 4 * dims["K"],
        flops=lambda dims, given: 2.0 * dims["B"] * dims["K"] * dims["N"],
    ),
    Row(
        "pack_panels",
        "dense",
        "panels = w and b in panels of two vectors of `lanes` columns, [K + 1][width] each",
        {
            "w": real("K", "N"),
            "b": real("N", optional=True),
            "lanes": None,
            "panels": out("M"),
        },
        cases=PANEL_CASES,
        sizes=PANEL_SIZES,
        bench=PANEL_BENCH,
        eps=lambda dims: 0,
    ),
    Row(
        "unpack_panels",
        "dense",
        "w, b = what pack_panels laid out",
        {
            "panels": real("M"),
            "lanes": None,
            "w": out("K", "N"),
            "b": out("N", optional=True),
        },
        cases=PANEL_CASES,
        sizes=PANEL_SIZES,
        bench=PANEL_BENCH,
        eps=lambda dims: 0,
    ),
    Row(
        "activation",
        "activation",
        "out = activation(x)",
        {"x": real("B", "N"), "activation": None, "parameter": None, "out": out("B", "N")},
        cases=activation_cases(),
        sizes=PLANE_SIZES,
        bench=PLANE_BENCH,
        eps=lambda dims: 16,
        flops=lambda dims, given: 1.0 * dims["B"] * dims["N"],
    ),
    Row(
        "activation_backward",
        "activation",
        "out = grad * activation'(stored)",
        {
            "grad": real("B", "N"),
            "stored": real("B", "N"),
            "activation": None,
            "parameter": None,
            "out": out("B", "N"),
        },
        cases=activation_cases(),
        sizes=PLANE_SIZES,
        bench=PLANE_BENCH,
        eps=lambda dims: 32 + 2 * dims["N"],
        flops=lambda dims, given: 2.0 * dims["B"] * dims["N"],
        inputs=stored_activation,
        gradient=Gradient("activation", "out", {"x": "out"}, upstream="grad"),
    ),
    Row(
        "softmax_cross_entropy",
        "loss",
        "t = (1-e)*target + e/N;  losses = w * sum(t * (logsumexp(logits) - logits), 1);  "
        "grad = w/sum(w) * (softmax(logits)*sum(t, 1) - t)",
        {
            "logits": real("B", "N"),
            "labels": Array(("B",), "labels", optional=True),
            "targets": real("B", "N", optional=True),
            "weights": real("B", optional=True),
            "smoothing": None,
            "losses": out("B"),
            "grad": out("B", "N", optional=True),
        },
        cases=class_cases({"smoothing": 0.0}, {"smoothing": 0.1}),
        sizes=PLANE_SIZES,
        bench=PLANE_BENCH,
        eps=lambda dims: 32 + dims["N"],
        flops=lambda dims, given: 4.0 * dims["B"] * dims["N"],
        inputs=class_targets,
        gradient=Gradient("softmax_cross_entropy", "losses", {"logits": "grad"}),
        one_of=("labels", "targets"),
    ),
    Row(
        "sigmoid_cross_entropy",
        "loss",
        "t = (1-e)*target + e/2;  losses = w * mean(max(x, 0) - x*t + log(1 + exp(-|x|)), 1);  "
        "grad = w/sum(w) * (sigmoid(x) - t) / N",
        {
            "logits": real("B", "N"),
            "targets": real("B", "N"),
            "weights": real("B", optional=True),
            "smoothing": None,
            "losses": out("B"),
            "grad": out("B", "N", optional=True),
        },
        cases=loss_cases({"smoothing": 0.0}, {"smoothing": 0.1}),
        sizes=PLANE_SIZES,
        bench=PLANE_BENCH,
        eps=lambda dims: 32 + dims["N"],
        flops=lambda dims, given: 6.0 * dims["B"] * dims["N"],
        inputs=unit_targets,
        gradient=Gradient("sigmoid_cross_entropy", "losses", {"logits": "grad"}),
    ),
    *(
        Row(
            name,
            "loss",
            formula,
            {
                "outputs": real("B", "N"),
                "targets": real("B", "N"),
                "weights": real("B", optional=True),
                **dict.fromkeys(settings),
                "losses": out("B"),
                "grad": out("B", "N", optional=True),
            },
            cases=loss_cases(settings),
            sizes=PLANE_SIZES,
            bench=PLANE_BENCH,
            eps=lambda dims: 16 + dims["N"],
            flops=lambda dims, given: 4.0 * dims["B"] * dims["N"],
            inputs=number_targets,
            gradient=Gradient(name, "losses", {"outputs": "grad"}),
        )
        for name, settings, formula in (
            ("mse", {}, "e = outputs - targets;  losses = w * mean(e*e, 1);  "
             "grad = w/sum(w) * 2*e / N"),
            ("mae", {}, "e = outputs - targets;  losses = w * mean(|e|, 1);  "
             "grad = w/sum(w) * sign(e) / N"),
            ("huber", {"delta": 0.8}, "e = outputs - targets;  c = min(max(e, -delta), delta);  "
             "losses = w * mean(c * (e - c/2), 1);  grad = w/sum(w) * c / N"),
        )
    ),
    Row(
        "hinge",
        "loss",
        "s = margin - targets*outputs, or margin + max(outputs of others) - outputs[label];  "
        "losses = w * mean(max(0, s) ** (2 if squared else 1), 1);  slope 1 where s = 0",
        {
            "outputs": real("B", "N"),
            "labels": Array(("B",), "labels", optional=True),
            "targets": real("B", "N", optional=True),
            "weights": real("B", optional=True),
            "margin": None,
            "squared": None,
            "losses": out("B"),
            "grad": out("B", "N", optional=True),
        },
        cases=class_cases(
            {"margin": 1.0, "squared": False}, {"margin": 1.0, "squared": True},
            {"margin": 0.0, "squared": False},
        ),
        sizes=PLANE_SIZES,
        bench=PLANE_BENCH,
        eps=lambda dims: 16 + dims["N"],
        flops=lambda dims, given: 4.0 * dims["B"] * dims["N"],
        inputs=sign_targets,
        gradient=Gradient("hinge", "losses", {"outputs": "grad"}),
        one_of=("labels", "targets"),
    ),
    Row(
        "sgd",
        "update",
        "g += weight_decay*p;  v = g at step 1, momentum*v + (1-dampening)*g after;  p -= lr*v",
        {
            "parameters": inout("P"),
            "gradients": real("P"),
            "velocity": inout("P", optional=True),
            "learning_rate": None,
            "momentum": None,
            "dampening": None,
            "nesterov": None,
            "weight_decay": None,
            "step": None,
        },
        cases=tuple(
            {"learning_rate": 0.1, "momentum": m, "dampening": d, "nesterov": n, "weight_decay": wd,
             "step": t, "velocity": "absent" if m == 0 else None}
            for m, d, n, wd, t in (
                (0.0, 0.0, False, 0.0, 1), (0.0, 0.0, False, 0.01, 3), (0.9, 0.0, False, 0.0, 1),
                (0.9, 0.1, False, 0.01, 2), (0.9, 0.0, True, 0.01, 2), (0.9, 0.0, True, 0.0, 1),
            )
        ),
        sizes=FLAT_SIZES,
        bench=FLAT_BENCH,
        flops=lambda dims, given: 4.0 * dims["P"],
    ),
    *(
        Row(
            name,
            "update",
            "m, v = running means of g, g*g;  p -= lr * m/(1-b1**t) / (sqrt(v/(1-b2**t)) + eps)",
            {
                "parameters": inout("P"),
                "gradients": real("P"),
                "first_moment": inout("P"),
                "second_moment": inout("P"),
                "learning_rate": None,
                "beta_1": None,
                "beta_2": None,
                "epsilon": None,
                "weight_decay": None,
                "step": None,
            },
            cases=tuple(
                {"learning_rate": 0.01, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8,
                 "weight_decay": wd, "step": t}
                for wd, t in ((0.0, 1), (0.01, 1), (0.01, 1000))
            ),
            sizes=FLAT_SIZES,
            bench=FLAT_BENCH,
            flops=lambda dims, given: 14.0 * dims["P"],
            inputs=positive_state,
        )
        for name in ("adam", "adamw")
    ),
    Row(
        "rmsprop",
        "update",
        "s = rho*s + (1-rho)*g*g;  p -= lr * g / (sqrt(s) + epsilon)",
        {
            "parameters": inout("P"),
            "gradients": real("P"),
            "square_average": inout("P"),
            "gradient_average": inout("P", optional=True),
            "velocity": inout("P", optional=True),
            "learning_rate": None,
            "rho": None,
            "epsilon": None,
            "momentum": None,
            "weight_decay": None,
        },
        cases=tuple(
            {"learning_rate": 0.01, "rho": 0.99, "epsilon": 1e-8, "momentum": m, "weight_decay": wd,
             "velocity": "absent" if m == 0 else None, "gradient_average": None if c else "absent"}
            for m, c, wd in (
                (0.0, False, 0.0), (0.9, False, 0.01), (0.0, True, 0.01), (0.9, True, 0.0),
            )
        ),
        sizes=FLAT_SIZES,
        bench=FLAT_BENCH,
        eps=lambda dims: 128,
        flops=lambda dims, given: 9.0 * dims["P"],
        inputs=positive_state,
    ),
    Row(
        "conv2d",
        "spatial",
        "out[b,p,q,n] = b[n] + sum x[b, p*stride-pad+r, q*stride-pad+s, c] * w[r,s,c,n]",
        {
            "x": real("B", "H", "W", "C"),
            "w": real("R", "S", "C", "N"),
            "b": real("N", optional=True),
            **STRIDES,
            **PADS,
            "out": out("B", "P", "Q", "N"),
        },
        cases=(*CONV_WINDOWS, {**CONV_WINDOWS[0], "b": "absent"}),
        sizes=CONV_SIZES,
        bench=CONV_BENCH,
        eps=lambda dims: 16 + window_length(dims),
        flops=lambda dims, given: convolution_flops(dims),
        inputs=scaled_filters,
        implied=images_under_filters,
    ),
    Row(
        "conv2d_backward",
        "spatial",
        "dw = sum grad * (x under w);  db = sum(grad, (0, 1, 2));  dx = sum grad * (w over x)",
        {
            "grad": real("B", "P", "Q", "N"),
            "x": real("B", "H", "W", "C"),
            "w": real("R", "S", "C", "N"),
            **STRIDES,
            **PADS,
            "dw": out("R", "S", "C", "N", optional=True),
            "db": out("N", optional=True),
            "dx": out("B", "H", "W", "C", optional=True),
        },
        cases=(
            *CONV_WINDOWS,
            {**CONV_WINDOWS[0], "dx": "absent"},
            {**CONV_WINDOWS[1], "db": "absent"},
            {**CONV_WINDOWS[2], "dw": "absent", "db": "absent"},
        ),
        sizes=CONV_SIZES,
        bench=CONV_BENCH,
        eps=lambda dims: 32 + 4 * (
            dims["B"] * dims["P"] * dims["Q"] + dims["R"] * dims["S"] * dims["N"]
        ),
        flops=lambda dims, given: convolution_flops(dims) * len({"dw", "dx"} & given),
        inputs=scaled_filters,
        implied=images_under_filters,
        gradient=Gradient("conv2d", "out", {"x": "dx", "w": "dw", "b": "db"}, upstream="grad"),
    ),
    Row(
        "max_pool",
        "spatial",
        "out = the largest of each window, of what lies inside",
        {
            "x": real("B", "H", "W", "C"),
            **WINDOW,
            "out": out("B", "P", "Q", "C"),
        },
        cases=MAX_POOL_CASES,
        sizes=POOL_SIZES,
        bench=POOL_BENCH,
        eps=lambda dims: 0,
        flops=lambda dims, given: image_size(dims),
        inputs=tied_numbers,
        implied=images_under_windows,
    ),
    Row(
        "max_pool_backward",
        "spatial",
        "dx = grad, summed where the window's first largest stands",
        {
            "grad": real("B", "P", "Q", "C"),
            "x": real("B", "H", "W", "C"),
            **WINDOW,
            "dx": out("B", "H", "W", "C"),
        },
        cases=MAX_POOL_CASES,
        sizes=POOL_SIZES,
        bench=POOL_BENCH,
        eps=lambda dims: 16,
        flops=lambda dims, given: image_size(dims),
        inputs=tied_numbers,
        implied=images_under_windows,
        gradient=Gradient("max_pool", "out", {"x": "dx"}, upstream="grad"),
    ),
    Row(
        "avg_pool",
        "spatial",
        "out = the mean of each window, of what lies inside",
        {
            "x": real("B", "H", "W", "C"),
            **WINDOW,
            "out": out("B", "P", "Q", "C"),
        },
        cases=POOL_WINDOWS,
        sizes=POOL_SIZES,
        bench=POOL_BENCH,
        eps=lambda dims: 16,
        flops=lambda dims, given: image_size(dims),
        implied=images_under_windows,
    ),
    Row(
        "avg_pool_backward",
        "spatial",
        "dx = sum of grad / (how much of the window lies inside)",
        {
            "grad": real("B", "P", "Q", "C"),
            **WINDOW,
            "dx": out("B", "H", "W", "C"),
        },
        cases=POOL_WINDOWS,
        sizes=POOL_SIZES,
        bench=POOL_BENCH,
        eps=lambda dims: 16,
        flops=lambda dims, given: image_size(dims),
        implied=images_under_windows,
        gradient=Gradient("avg_pool", "out", {"x": "dx"}, upstream="grad"),
    ),
    Row(
        "batch_norm",
        "norm",
        "out = (x - mean) * inverse * gamma + beta;  mean and variance over B and M;  "
        "inverse = 1 / sqrt(variance + epsilon);  running = momentum*running + (1-momentum)*batch",
        {
            "x": real("B", "M", "C"),
            "gamma": real("C", optional=True),
            "beta": real("C", optional=True),
            "running_mean": inout("C"),
            "running_variance": inout("C"),
            "momentum": None,
            "epsilon": None,
            "mean": out("C"),
            "inverse": out("C"),
            "out": out("B", "M", "C"),
        },
        cases=(
            *({"momentum": 0.99, "epsilon": NORM_EPSILON, **given} for given in AFFINE_CASES),
            {"momentum": 0.5, "epsilon": 1e-5},
        ),
        sizes=NORM_SIZES,
        bench=NORM_BENCH,
        eps=lambda dims: 128,
        flops=lambda dims, given: 8.0 * norm_size(dims),
        inputs=spread,
    ),
    Row(
        "batch_norm_backward",
        "norm",
        "dgamma = sum(grad * z);  dbeta = sum(grad);  z = (x - mean) * inverse;  "
        "dx = gamma * inverse * (grad - dbeta/(B*M) - z * dgamma/(B*M))",
        {
            "grad": real("B", "M", "C"),
            "x": real("B", "M", "C"),
            "gamma": real("C", optional=True),
            "mean": real("C"),
            "inverse": real("C"),
            "dgamma": out("C", optional=True),
            "dbeta": out("C", optional=True),
            "dx": out("B", "M", "C", optional=True),
        },
        cases=LEARNED_CASES,
        sizes=NORM_SIZES,
        bench=NORM_BENCH,
        eps=lambda dims: 128 + 4 * dims["B"] * dims["M"],
        flops=lambda dims, given: 11.0 * norm_size(dims),
        inputs=kept_moments,
        gradient=Gradient(
            "batch_norm", "out", {"x": "dx", "gamma": "dgamma", "beta": "dbeta"}, upstream="grad"
        ),
    ),
    Row(
        "normalize",
        "norm",
        "out = (x - mean) / sqrt(variance + epsilon) * gamma + beta",
        {
            "x": real("B", "M", "C"),
            "mean": real("C"),
            "variance": real("C"),
            "gamma": real("C", optional=True),
            "beta": real("C", optional=True),
            "epsilon": None,
            "out": out("B", "M", "C"),
        },
        cases=(
            *({"epsilon": NORM_EPSILON, **given} for given in AFFINE_CASES), {"epsilon": 0.0},
        ),
        sizes=NORM_SIZES,
        bench=NORM_BENCH,
        eps=lambda dims: 64,
        flops=lambda dims, given: 4.0 * norm_size(dims),
        inputs=spread,
    ),
    Row(
        "normalize_backward",
        "norm",
        "dgamma = sum(grad * z);  dbeta = sum(grad);  z = (x - mean) / sqrt(variance + epsilon);  "
        "dx = grad * gamma / sqrt(variance + epsilon)",
        {
            "grad": real("B", "M", "C"),
            "x": real("B", "M", "C"),
            "mean": real("C"),
            "variance": real("C"),
            "gamma": real("C", optional=True),
            "epsilon": None,
            "dgamma": out("C", optional=True),
            "dbeta": out("C", optional=True),
            "dx": out("B", "M", "C", optional=True),
        },
        cases=tuple({"epsilon": NORM_EPSILON, **given} for given in LEARNED_CASES),
        sizes=NORM_SIZES,
        bench=NORM_BENCH,
        eps=lambda dims: 128 + 4 * dims["B"] * dims["M"],
        flops=lambda dims, given: 6.0 * norm_size(dims),
        inputs=spread,
        gradient=Gradient(
            "normalize", "out", {"x": "dx", "gamma": "dgamma", "beta": "dbeta"}, upstream="grad"
        ),
    ),
    Row(
        "layer_norm",
        "norm",
        "out = (x - mean) * inverse * gamma + beta;  mean and variance over C;  "
        "inverse = 1 / sqrt(variance + epsilon)",
        {
            "x": real("B", "M", "C"),
            "gamma": real("C", optional=True),
            "beta": real("C", optional=True),
            "epsilon": None,
            "mean": out("B", "M"),
            "inverse": out("B", "M"),
            "out": out("B", "M", "C"),
        },
        cases=tuple({"epsilon": NORM_EPSILON, **given} for given in AFFINE_CASES),
        sizes=NORM_SIZES,
        bench=NORM_BENCH,
        eps=lambda dims: 128,
        flops=lambda dims, given: 8.0 * norm_size(dims),
        inputs=spread,
    ),
    Row(
        "layer_norm_backward",
        "norm",
        "dgamma = sum(grad * z);  dbeta = sum(grad);  z = (x - mean) * inverse;  "
        "h = grad * gamma;  dx = inverse * (h - mean(h) - z * mean(h * z))",
        {
            "grad": real("B", "M", "C"),
            "x": real("B", "M", "C"),
            "gamma": real("C", optional=True),
            "mean": real("B", "M"),
            "inverse": real("B", "M"),
            "dgamma": out("C", optional=True),
            "dbeta": out("C", optional=True),
            "dx": out("B", "M", "C", optional=True),
        },
        cases=LEARNED_CASES,
        sizes=NORM_SIZES,
        bench=NORM_BENCH,
        eps=lambda dims: 128 + 4 * (dims["B"] * dims["M"] + dims["C"]),
        flops=lambda dims, given: 12.0 * norm_size(dims),
        inputs=kept_moments,
        gradient=Gradient(
            "layer_norm", "out", {"x": "dx", "gamma": "dgamma", "beta": "dbeta"}, upstream="grad"
        ),
    ),
    Row(
        "embedding",
        "lookup",
        "out = w[x]",
        {
            "x": Array(("B", "L"), "whole"),
            "w": real("V", "D"),
            "out": out("B", "L", "D"),
        },
        sizes=LOOKUP_SIZES,
        bench=LOOKUP_BENCH,
        eps=lambda dims: 0,
        inputs=whole_places,
    ),
    Row(
        "embedding_backward",
        "lookup",
        "dw[v] = the sum of grad where x is v",
        {
            "grad": real("B", "L", "D"),
            "x": Array(("B", "L"), "whole"),
            "dw": out("V", "D"),
        },
        sizes=LOOKUP_SIZES,
        bench=LOOKUP_BENCH,
        eps=lambda dims: 16 + 4 * dims["B"] * dims["L"],
        flops=lambda dims, given: 1.0 * dims["B"] * dims["L"] * dims["D"],
        inputs=whole_places,
        gradient=Gradient("embedding", "out", {"w": "dw"}, upstream="grad"),
    ),
    Row(
        "adagrad",
        "update",
        "g += weight_decay*p;  s += g*g;  p -= lr * g / (sqrt(s) + epsilon)",
        {
            "parameters": inout("P"),
            "gradients": real("P"),
            "square_sum": inout("P"),
            "learning_rate": None,
            "epsilon": None,
            "weight_decay": None,
        },
        cases=tuple(
            {"learning_rate": 0.1, "epsilon": 1e-10, "weight_decay": wd} for wd in (0.0, 0.01)
        ),
        sizes=FLAT_SIZES,
        bench=FLAT_BENCH,
        eps=lambda dims: 16,
        flops=lambda dims, given: 6.0 * dims["P"],
        inputs=positive_state,
    ),
    Row(
        "block_sums",
        "gradient",
        f"sums = sum(|x|), sum(x*x) of every {BLOCK} elements, in float64",
        {"x": real("P"), "sums": Array(("Q", 2), "sums", role="out")},
        sizes=BLOCK_SIZES,
        bench=BLOCK_BENCH,
        eps=lambda dims: 64,
        flops=lambda dims, given: 3.0 * dims["P"],
    ),
    Row(
        "penalty",
        "gradient",
        "value = l1*sum(|p|) + l2*sum(p*p) + norm*sqrt(sum(p*p)), from the sums of p's blocks",
        {
            "sums": Array(("Q", 2), "sums"),
            "l1": None,
            "l2": None,
            "norm": None,
            "value": Array((1,), "sums", role="out"),
        },
        cases=PENALTY_CASES,
        sizes=sizes("Q", (0,), (1,), (7,)),
        bench=sizes("Q", (107,)),
        inputs=positive_sums,
    ),
    Row(
        "penalty_gradient",
        "gradient",
        "gradients += l1*sign(p) + 2*l2*p + norm*p/sqrt(sum(p*p))",
        {
            "parameters": real("P"),
            "sums": Array(("Q", 2), "sums"),
            "l1": None,
            "l2": None,
            "norm": None,
            "gradients": inout("P"),
        },
        cases=PENALTY_CASES,
        sizes=BLOCK_SIZES,
        bench=BLOCK_BENCH,
        flops=lambda dims, given: 4.0 * dims["P"],
        inputs=positive_sums,
    ),
    Row(
        "accumulate",
        "gradient",
        "total += gradients, or = at number 0;  gradients = total / steps at the last number",
        {"gradients": inout("P"), "total": inout("P"), "number": None, "steps": None},
        cases=tuple({"number": number, "steps": 3} for number in range(3)),
        sizes=FLAT_SIZES,
        bench=FLAT_BENCH,
        flops=lambda dims, given: 1.0 * dims["P"],
    ),
    Row(
        "clip",
        "gradient",
        "gradients *= min(1, limit / (sqrt(sum(g*g)) + 1e-6));  without sums each to -limit..limit",
        {
            "gradients": inout("P"),
            "sums": Array(("Q", 2), "sums", optional=True),
            "limit": None,
        },
        cases=({"limit": 0.5}, {"limit": 1e3}, {"limit": 0.5, "sums": "absent"}),
        sizes=BLOCK_SIZES,
        bench=BLOCK_BENCH,
        flops=lambda dims, given: 1.0 * dims["P"],
        inputs=positive_sums,
    ),
    Row(
        "max_norm",
        "update",
        "each column w of the weights *= limit / sqrt(sum(w*w)) where that root is above limit",
        {"weights": inout("K", "N"), "limit": None},
        cases=({"limit": 0.5}, {"limit": 3.0}),
        sizes=sizes("K N", (0, 3), (1, 1), (5, 7), (33, 19), (9, 130)),
        bench=sizes("K N", (784, 512)),
        eps=lambda dims: 16 + dims["K"],
        flops=lambda dims, given: 3.0 * dims["K"] * dims["N"],
    ),
    Row(
        "philox4x32",
        "random",
        "words = Philox4x32-10(counter, key)",
        {
            "counter": Array(("C", 4), "bits"),
            "key": Array((2,), "bits"),
            "words": Array(("C", 4), "bits", role="out"),
        },
        sizes=sizes("C", (0,), (1,), (17,)),
        bench=sizes("C", (100_000,)),
        eps=lambda dims: 0,
        inputs=any_bits,
    ),
    Row(
        "bits",
        "random",
        "out = random bits of (seed, stream, step, row, column)",
        {**DRAW, "out": Array(("B", "N"), "bits", role="out")},
        cases=DRAW_CASES,
        sizes=PLANE_SIZES,
        bench=PLANE_BENCH,
        eps=lambda dims: 0,
    ),
    Row(
        "uniform",
        "random",
        "out = (bits >> 8) / 2**24",
        {**DRAW, "out": out("B", "N")},
        cases=DRAW_CASES,
        sizes=PLANE_SIZES,
        bench=PLANE_BENCH,
        eps=lambda dims: 0,
    ),
    Row(
        "normal",
        "random",
        "out = Box-Muller of pairs of bits, 16 columns apart",
        {**DRAW, "out": out("B", "N")},
        cases=DRAW_CASES,
        sizes=PLANE_SIZES,
        bench=PLANE_BENCH,
        eps=lambda dims: 32,
        flops=lambda dims, given: 20.0 * dims["B"] * dims["N"],
    ),
    Row(
        "gaussian_noise",
        "noise",
        "out = x + stddev * normal",
        {"x": real("B", "N"), "stddev": None, **DRAW, "out": out("B", "N")},
        cases=with_draws({"stddev": 0.05}, {"stddev": 0.0}),
        sizes=PLANE_SIZES,
        bench=PLANE_BENCH,
        eps=lambda dims: 32,
        flops=lambda dims, given: 22.0 * dims["B"] * dims["N"],
    ),
    Row(
        "dropout",
        "noise",
        "out = x / (1 - q) where 16 random bits >= q*65536, else 0;  q = round(rate*65536)/65536",
        {"x": real("B", "N"), "rate": None, **DRAW, "out": out("B", "N")},
        cases=with_draws({"rate": 0.3}, {"rate": 0.0}, {"rate": 0.999}),
        sizes=PLANE_SIZES,
        bench=PLANE_BENCH,
        eps=lambda dims: 2,
        flops=lambda dims, given: 1.0 * dims["B"] * dims["N"],
        gradient=Gradient("dropout", "out", {"x": "out"}, upstream="x"),
    ),
    Row(
        "permutation",
        "data",
        "out = Fisher-Yates shuffle of 0..S-1, drawn from (seed, epoch)",
        {"seed": None, "epoch": None, "out": Array(("S",), "index", role="out")},
        cases=({"seed": 0, "epoch": 0}, {"seed": 2**64 - 3, "epoch": 2**33 + 1}),
        sizes=sizes("S", (0,), (1,), (2,), (97,), (1000,)),
        bench=sizes("S", (60_000,)),
        eps=lambda dims: 0,
    ),
    Row(
        "gather",
        "data",
        "out = source[rows] * scale",
        {
            "source": Array(("S", "N"), "data"),
            "rows": Array(("B",), "index"),
            "scale": None,
            "out": out("B", "N"),
        },
        cases=tuple(
            {"scale": scale, "source_dtype": kind}
            for scale, kind in ((1 / 255, "uint8"), (1.0, "float32"), (0.5, "float64"))
        ),
        sizes=sizes("S B N", (1, 0, 3), (1, 1, 1), (11, 7, 5), (5, 13, 17)),
        bench=sizes("S B N", (10_000, 50, 784)),
        eps=lambda dims: 2,
        inputs=data_rows,
    ),
    Row(
        "gather_labels",
        "data",
        "out = labels[rows]",
        {
            "labels": Array(("S",), "labels"),
            "rows": Array(("B",), "index"),
            "out": Array(("B",), "labels", role="out"),
        },
        sizes=sizes("S B", (1, 0), (1, 1), (11, 7), (5, 13)),
        bench=sizes("S B", (10_000, 50)),
        eps=lambda dims: 0,
        inputs=data_rows,
    ),
    Row(
        "gather_weights",
        "data",
        "out = weights[rows]",
        {
            "weights": real("S"),
            "rows": Array(("B",), "index"),
            "out": out("B"),
        },
        sizes=sizes("S B", (1, 0), (1, 1), (11, 7), (5, 13)),
        bench=sizes("S B", (10_000, 50)),
        eps=lambda dims: 0,
        inputs=data_rows,
    ),
)  # fmt: skip

TABLE: dict[str, Row] = {row.name: row for row in ROWS}
