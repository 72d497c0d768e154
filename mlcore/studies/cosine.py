"""A cosine schedule of the learning rate, and what the notebook ran under that name.

Notebook C's network, 784-256-128-10 of sigmoids, the output too, without biases, weights uniform in
[-1, 1), squared error, 200 steps of full-batch gradient descent on MNIST. Rates are the notebook's,
on gradients summed over 60,000 samples: 1e-5 is 0.6 on their mean.

The notebook computed the rate once, from an index that was left over from another loop, so that it
was the constant 6.17e-5: too high, and never falling. Here real cosines (Loshchilov and Hutter,
"SGDR", arXiv:1608.03983) begin at that rate and at 3e-5, the best of `lr-sweep`, and end at zero.

They do not help: 200 steps end long before the loss settles, and a cosine takes them half as far as
the constant rate that it begins with.
"""

from __future__ import annotations

from mlcore import plots
from mlcore.studies import _anatomy as anatomy
from mlcore.studies.study import Run, study

STALE = 6.17e-5
REPORTED = 0.3503


@study(
    "cosine",
    label="C5",
    title="A learning rate that falls as a cosine",
    source="notebook C; arXiv:1608.03983",
    seeds=1,
    repeats="every setting; medians count",
)
def cosine(run: Run, *, maximum: float = STALE, moderate: float = 3e-5, steps: int = 200) -> str:
    """Train with constant and with falling rates from `maximum` and from `moderate`."""
    data = run.mnist(quick=(500, 500))
    found = {
        name: anatomy.train(
            run, name, data, rate=rate, schedule=schedule, steps=steps,
            reported={"accuracy": reported},
        )
        for name, rate, schedule, reported in (
            (f"constant {STALE:g}, as run", STALE, None, REPORTED),
            (f"cosine from {maximum:g}", maximum, "cosine", None),
            (f"constant {moderate:g}", moderate, None, None),
            (f"cosine from {moderate:g}", moderate, "cosine", None),
        )
    }  # fmt: skip
    histories = {name: outcome.histories for name, outcome in found.items()}
    run.figure("loss", plots.curves, histories, "running_loss", log=True)
    run.figure("accuracy", plots.curves, histories, "running_accuracy")
    run.figure("learning_rate", plots.learning_rate, histories)
    stale, falling, steady, slow = found.values()
    run.network(f"cosine from {maximum:g}", falling.model)
    return (
        f"The constant rate that the notebook ran gives {stale.accuracy:.1%}, and a cosine from "
        f"{maximum:g} {falling.accuracy:.1%}. A constant {moderate:g} gives {steady.accuracy:.1%} "
        f"and a cosine from it {slow.accuracy:.1%}: in {steps} steps the rate is what matters."
    )
