"""How long it takes to predict one sample: mlcore beside PyTorch, onnxruntime and NumPy.

``python bench/predict.py`` takes a 784-128-10 relu network with the same weights on every side,
compares the outputs, then calls the sides in turn, on one thread and one processor. PyTorch runs
under `inference_mode`. It needs threadpoolctl, which holds NumPy's BLAS to one thread; torch, onnx
and onnxruntime are left out where they are missing.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

import mlcore
from mlcore.plan import table

WIDTHS = (784, 128, 10)
Real = NDArray[np.float32]
Pairs = list[tuple[Real, Real]]
Predict = Callable[[Real], Any]


def mlcore_side() -> tuple[Predict, Pairs]:
    """Return mlcore's prediction, and the weights that all sides use."""
    model = mlcore.Sequential([mlcore.Dense(WIDTHS[1], "relu"), mlcore.Dense(WIDTHS[2])], seed=1)
    model.build(WIDTHS[0])
    rng = np.random.default_rng(1)
    model.parameters[...] = 0.05 * rng.standard_normal(model.parameters.size)
    pairs = [(layer.parameters["weight"], layer.parameters["bias"]) for layer in model.layers]
    return model.predict, pairs


def numpy_side(pairs: Pairs) -> Predict:
    """Return the two products in NumPy."""
    (first, first_bias), (second, second_bias) = pairs
    return lambda x: np.maximum(x @ first + first_bias, 0) @ second + second_bias


def torch_side(pairs: Pairs) -> Predict:
    """Return `nn.Sequential` under `inference_mode`, from array to array."""
    import torch
    from torch import nn

    torch.set_num_threads(1)
    linears = [nn.Linear(*weight.shape) for weight, _ in pairs]
    model = nn.Sequential(linears[0], nn.ReLU(), linears[1]).eval()
    with torch.no_grad():
        for linear, (weight, bias) in zip(linears, pairs, strict=True):
            linear.weight.copy_(torch.from_numpy(weight.T.copy()))
            linear.bias.copy_(torch.from_numpy(bias.copy()))

    def predict(x: Real) -> Any:
        with torch.inference_mode():
            return model(torch.from_numpy(x)).numpy()

    return predict


def onnxruntime_side(pairs: Pairs) -> Predict:
    """Return a session of the same graph."""
    import onnxruntime
    from onnx import TensorProto, checker, helper, numpy_helper

    (first, first_bias), (second, second_bias) = pairs
    arrays = {"w1": first, "b1": first_bias, "w2": second, "b2": second_bias}
    sizes = {"x": WIDTHS[0], "y": WIDTHS[-1]}
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size])
        for name, size in sizes.items()
    )
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["z"]),
        helper.make_node("Relu", ["z"], ["a"]),
        helper.make_node("Gemm", ["a", "w2", "b2"], ["y"]),
    ]
    constants = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    graph = helper.make_graph(nodes, "mlp", [x], [y], constants)
    opset = helper.make_opsetid("", 17)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
    checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda x: session.run(None, {"x": x})[0]


def sides() -> dict[str, Predict]:
    """Return what is installed, after comparing the outputs."""
    ours, pairs = mlcore_side()
    found = {"mlcore": ours}
    x = np.random.default_rng(2).random((1, WIDTHS[0]), dtype=np.float32)
    expected = ours(x)
    makers = {"torch": torch_side, "onnxruntime": onnxruntime_side, "numpy": numpy_side}
    for name, make in makers.items():
        try:
            predict = make(pairs)
        except ImportError as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
            continue
        np.testing.assert_allclose(predict(x), expected, rtol=1e-4, atol=1e-5, err_msg=name)
        found[name] = predict
    return found


def interleaved(found: dict[str, Predict], rounds: int, calls: int) -> dict[str, list[float]]:
    """Return seconds a call of each side's slices, the sides in turn: A B C A B C ..."""
    x = np.random.default_rng(3).random((1, WIDTHS[0]), dtype=np.float32)
    times: dict[str, list[float]] = {name: [] for name in found}
    for _ in range(rounds):
        for name, predict in found.items():
            # What the side before threw out of the caches comes back untimed.
            for _ in range(calls // 10 + 1):
                predict(x)
            began = time.perf_counter()
            for _ in range(calls):
                predict(x)
            times[name].append((time.perf_counter() - began) / calls)
    return times


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=50, help="slices a side (%(default)s)")
    parser.add_argument("--calls", type=int, default=200, help="calls a slice (%(default)s)")
    given = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    mlcore.set_num_threads(1)
    with threadpool_limits(1):
        times = interleaved(sides(), given.rounds, given.calls)
    lows = {name: min(each) for name, each in times.items()}
    middles = {name: statistics.median(each) for name, each in times.items()}
    lines = [
        (
            name,
            f"{1e6 * lows[name]:.2f}", f"{1e6 * middles[name]:.2f}",
            f"{lows[name] / lows['mlcore']:.2f}", f"{middles[name] / middles['mlcore']:.2f}",
        )
        for name in times
    ]  # fmt: skip
    head = ("side", "minimum µs", "median µs", "minima to mlcore's", "medians to mlcore's")
    print(f"One sample through {'-'.join(map(str, WIDTHS))} relu, one thread; outputs agree.\n")
    print(table(head, lines, right=(1, 2, 3, 4)))


if __name__ == "__main__":
    main()
