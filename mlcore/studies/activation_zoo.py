"""What else a small network can be made of: tanh, relu, relu6, leaky relu, and cross-entropy.

A network 784-256-128-10 without biases, the output activated as the hidden layers are, and 200
steps of full-batch gradient descent on MNIST. Rates are those of the notebook, on gradients summed
over 60,000 samples: 1e-5 is 0.6 on their mean. With the squared error the outputs are compared with
0 and 1; cross-entropy is that of each output alone, or, for the leaky relu, of a softmax.

Cross-entropy needs probabilities, which a relu does not give; what the notebook computed for "relu
with cross-entropy" is not known. Here the output of that network is a sigmoid. At its rate 2e-5 its
relus die, so the row is followed by one at a fourth of the rate. The leaky relu's rate 1e-4 makes
the weights grow until a number is infinite; training stops there and says where.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from mlcore import plots
from mlcore.initializers import Initializer, LecunNormal, Normal, Uniform
from mlcore.studies import _anatomy as anatomy
from mlcore.studies.study import Run, study

THIRD, FAN_IN = Normal(0, 1 / 3), LecunNormal()


class Setting(NamedTuple):
    """One line of the notebook's list."""

    activation: str
    initializer: Initializer
    rate: float = 1e-5
    loss: str = "mse"
    output: str | None = None
    reported: float | None = None


ZOO = {
    "tanh, U(-0.5, 0.5)": Setting("tanh", Uniform(-0.5, 0.5), reported=0.8202),
    "tanh, N(0, 1) / 3": Setting("tanh", THIRD, reported=0.6696),
    "sigmoid, cross-entropy": Setting(
        "sigmoid", THIRD, loss="sigmoid_cross_entropy", reported=0.8989
    ),
    "relu": Setting("relu", FAN_IN, reported=0.9528),
    "relu6": Setting("relu6", FAN_IN, reported=0.9151),
    "relu, rate 2e-5": Setting("relu", FAN_IN, 2e-5, reported=0.7155),
    "relu, cross-entropy, rate 2e-5": Setting(
        "relu", FAN_IN, 2e-5, "sigmoid_cross_entropy", "sigmoid", reported=0.8556
    ),
    "relu, cross-entropy, rate 5e-6": Setting(
        "relu", FAN_IN, 5e-6, "sigmoid_cross_entropy", "sigmoid"
    ),
    "leaky relu, softmax, rate 1e-4": Setting(
        "leaky_relu", FAN_IN, 1e-4, "softmax_cross_entropy", "identity"
    ),
    "leaky relu, softmax, rate 1e-5": Setting(
        "leaky_relu", FAN_IN, 1e-5, "softmax_cross_entropy", "identity"
    ),
}


@study(
    "activation-zoo",
    label="C4",
    title="Activation functions and losses of a small network",
    source="notebook C",
    seeds=1,
    repeats="every setting; medians count",
)
def activation_zoo(run: Run, *, steps: int = 200) -> str:
    """Train every setting of the list."""
    data = run.mnist(quick=(500, 500))
    found = {
        name: anatomy.train(
            run, name, data, steps=steps, **_arguments(setting),
            reported={"accuracy": setting.reported},
        )
        for name, setting in ZOO.items()
    }  # fmt: skip
    histories = {name: outcome.histories for name, outcome in found.items()}
    run.figure("accuracy_curves", plots.curves, histories, "running_accuracy")
    run.figure("accuracy", plots.sweep_bars, [
        {"network": name, "training accuracy [%]": 100 * outcome.accuracy}
        for name, outcome in found.items()
    ], "network", "training accuracy [%]")  # fmt: skip
    best = max(found, key=lambda name: found[name].accuracy)
    run.network(best, found[best].model)
    leaky, relu = "leaky relu, softmax, rate", "relu, cross-entropy, rate"
    return f"""
        {best} is the best with {found[best].accuracy:.1%} after {steps} steps. Relus with squared
        error reach {found["relu"].accuracy:.1%}, sigmoids with cross-entropy
        {found["sigmoid, cross-entropy"].accuracy:.1%}. Twice the rate costs the relus
        {found["relu"].accuracy - found["relu, rate 2e-5"].accuracy:.1%}. The 85.6 % of relus
        with cross-entropy could not be explained: at that rate they reach
        {found[f"{relu} 2e-5"].accuracy:.1%}, at a fourth of it
        {found[f"{relu} 5e-6"].accuracy:.1%}. The leaky relus' softmax needs a tenth of the
        notebook's rate, {found[f"{leaky} 1e-5"].accuracy:.1%} against
        {found[f"{leaky} 1e-4"].accuracy:.1%}.
    """


def _arguments(setting: Setting) -> dict[str, Any]:
    return {name: value for name, value in setting._asdict().items() if name != "reported"}
