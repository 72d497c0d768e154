"""Every backward kernel against central differences of its forward kernel, in float64."""

import numpy as np
import pytest

from mlcore import kernels
from mlcore.kernels.table import ACTIVATIONS, ROWS, TABLE

BACKENDS = [kernels.get(entry.name) for entry in kernels.status() if entry.available]
# Ties stand at kinks, where differences say nothing; extreme outputs leave them no digits.
CHECKED = [
    (row, case)
    for row in ROWS
    if row.gradient
    for case in row.cases
    if "drawn" not in case and not case.get("tied")
]
STEP = 1e-5


def label(value):
    if isinstance(value, dict):
        return "-".join(f"{key}={entry}" for key, entry in value.items()) or "default"
    return getattr(value, "name", str(value))


def forward_arguments(forward, arguments, rng, dims, case):
    """The arguments of the forward kernel that go with those of its backward kernel."""
    given = {**forward.cases[0], **case, **settings(arguments)}
    made = forward.generate(rng, dims, np.float64, given)
    for name in forward.arguments:
        if name in arguments and name not in forward.outputs():
            made[name] = arguments[name]
    return made


def settings(arguments):
    return {k: v for k, v in arguments.items() if not isinstance(v, np.ndarray) and v is not None}


@pytest.mark.parametrize(("row", "case"), CHECKED, ids=label)
@pytest.mark.parametrize("backend", BACKENDS, ids=label)
def test_backward_is_the_derivative_of_forward(backend, row, case):
    rule = row.gradient
    forward = TABLE[rule.forward]
    for dims in [size for size in row.sizes if 0 < np.prod(list(size.values())) < 3000]:
        rng = np.random.default_rng(sum(dims.values()))
        arguments = row.generate(rng, dims, np.float64, case)
        inputs = forward_arguments(forward, arguments, rng, dims, case)
        if rule.upstream is None:
            total = inputs[rule.output].size
            if inputs.get("weights") is not None:
                total = inputs["weights"].sum() or 1
            weight = np.full(inputs[rule.output].shape, 1 / total)
        else:
            weight = rng.standard_normal(inputs[rule.output].shape)
            arguments[rule.upstream] = weight
        if "pre" in inputs:
            inputs["pre"] = np.empty_like(inputs["out"])

        def loss(inputs=inputs, weight=weight):
            backend.call(forward.name, **inputs)
            return float((weight * inputs[rule.output]).sum())

        loss()
        if "stored" in arguments:
            kept = ACTIVATIONS[case["activation"]].stored
            if row.name == "linear_backward":
                arguments["stored"] = inputs["out" if kept == "output" else "pre"].copy()
            else:
                arguments["stored"] = inputs["out" if kept == "output" else "x"].copy()
        backend.call(row.name, **arguments)

        for name, gradient in rule.pairs.items():
            if arguments[gradient] is None or inputs[name] is None:
                continue
            numeric = np.empty_like(inputs[name])
            for place in np.ndindex(inputs[name].shape):
                held = inputs[name][place]
                inputs[name][place] = held + STEP
                above = loss()
                inputs[name][place] = held - STEP
                below = loss()
                inputs[name][place] = held
                numeric[place] = (above - below) / (2 * STEP)
            np.testing.assert_allclose(
                arguments[gradient], numeric, rtol=1e-6, atol=1e-7, err_msg=f"{gradient} at {dims}"
            )


def test_every_backward_row_is_checked():
    named = {row.name for row in ROWS if row.name.endswith("_backward")}
    losses = {row.name for row in ROWS if row.group == "loss"}
    assert named | losses <= {row.name for row, _ in CHECKED}
