"""How the learning rate decides what 200 steps of gradient descent reach.

A network 784-256-128-10 of sigmoids, the output too, without biases, weights uniform in [-1, 1),
squared error, full-batch gradient descent on MNIST. Only the learning rate changes. The rates are
those of the notebook, which summed the gradients over 60,000 samples: 1e-5 is 0.6 on their mean.

The two large rates throw every sigmoid of the output to its flat end in the first step, where the
gradient is nearly zero, and nothing brings it back.
"""

from __future__ import annotations

from mlcore import plots
from mlcore.studies import _anatomy as anatomy
from mlcore.studies.study import Run, study

REPORTED = {3e-5: 0.71, 1e-1: 0.0986}
CHANCE = 0.12


@study(
    "lr-sweep",
    label="C1",
    title="Five learning rates for a network of sigmoids",
    source="notebook C",
    seeds=1,
    repeats="every setting; medians count",
)
def lr_sweep(
    run: Run, *, rates: tuple[float, ...] = (3e-5, 2e-5, 1e-5, 1e-3, 1e-1), steps: int = 200
) -> str:
    """Train with each rate, and compare."""
    data = run.mnist(quick=(500, 500))
    found = {
        rate: anatomy.train(
            run, f"rate {rate:g}", data, rate=rate, steps=steps,
            reported={"accuracy": REPORTED.get(rate)},
        )
        for rate in rates
    }  # fmt: skip
    histories = {f"rate {rate:g}": outcome.histories for rate, outcome in found.items()}
    run.figure("loss", plots.curves, histories, "running_loss", log=True)
    run.figure("accuracy", plots.sweep_bars, [
        {"learning rate": f"{rate:g}", "training accuracy [%]": 100 * outcome.accuracy}
        for rate, outcome in found.items()
    ], "learning rate", "training accuracy [%]")  # fmt: skip
    best = max(found, key=lambda rate: found[rate].accuracy)
    stuck = ", ".join(f"{rate:g}" for rate, outcome in found.items() if outcome.accuracy < CHANCE)
    run.network(f"rate {best:g}", found[best].model)
    return (
        f"The rate {best:g} is the best of these, with {found[best].accuracy:.1%} after {steps} "
        f"steps. {f'At {stuck} nothing is learned.' if stuck else ''}"
    )
