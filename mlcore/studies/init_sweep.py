"""What random weights a network of sigmoids should start from.

A network 784-256-128-10 of sigmoids, the output too, without biases, squared error, 200 steps of
full-batch gradient descent on MNIST with rate 1e-5 on the sum over 60,000 samples, which is 0.6 on
their mean. Eight distributions of the first weights.

All weights of a Poisson distribution are positive, so every sigmoid is driven to 1 and its slope
to 0: that network never learns. The two best keep the first layer's sigmoids off their flat ends
and yet tell the outputs apart: N(0, 2 / fan_out) gives the first layer a standard deviation of 0.09
and the last one 0.45, and N(0, 1) / 3 comes so near it that the seed decides between them.
"""

from __future__ import annotations

from mlcore import plots
from mlcore.initializers import HeNormal, LecunNormal, Normal, Poisson, Uniform
from mlcore.studies import _anatomy as anatomy
from mlcore.studies.study import Run, study

RATE = 1e-5
INITIALIZERS = {
    "U(-1, 1)": Uniform(-1, 1),
    "N(0, 1) / 3": Normal(0, 1 / 3),
    "N(0, 1 / fan_in)": LecunNormal(),
    "N(0, 0.1²)": Normal(0, 0.1),
    "N(0, 0.5²)": Normal(0, 0.5),
    "N(0, 1)": Normal(0, 1),
    "Poisson(1) / 4": Poisson(1, 1 / 4),
    "N(0, 2 / fan_out)": HeNormal("fan_out"),
}
REPORTED = {"N(0, 2 / fan_out)": 0.7941, "Poisson(1) / 4": 0.0987}


@study(
    "init-sweep",
    label="C3",
    title="Eight ways to draw the first weights of a network of sigmoids",
    source="notebook C",
    seeds=1,
    repeats="every setting; medians count",
)
def init_sweep(run: Run, *, steps: int = 200) -> str:
    """Train from each distribution, and compare."""
    data = run.mnist(quick=(500, 500))
    found = {
        name: anatomy.train(
            run, name, data, rate=RATE, steps=steps, initializer=initializer,
            reported={"accuracy": REPORTED.get(name)},
        )
        for name, initializer in INITIALIZERS.items()
    }  # fmt: skip
    histories = {name: outcome.histories for name, outcome in found.items()}
    run.figure("loss", plots.curves, histories, "running_loss", log=True)
    run.figure("accuracy", plots.sweep_bars, [
        {"first weights": name, "training accuracy [%]": 100 * outcome.accuracy}
        for name, outcome in found.items()
    ], "first weights", "training accuracy [%]")  # fmt: skip
    best = max(found, key=lambda name: found[name].accuracy)
    run.network(best, found[best].model)
    return (
        f"{best} is the best of the eight with {found[best].accuracy:.1%} after {steps} steps; "
        f"Poisson weights stay at {found['Poisson(1) / 4'].accuracy:.1%}."
    )
