"""Two hidden layers and a high rate: what the network of `lambda-cv` can be brought to.

784-128-64-10 with relu and softmax on MNIST, weights and biases N(0, 1 / fan_out), 500 steps of
full-batch gradient descent with rate 0.6 and weight decay 1e-3. The row "as run" has the notebook's
faults, which are those of `lambda-cv`: the decay with the wrong sign, and bias gradients summed
over the units of a layer.

The reported test accuracy comes out; that on the training data, a point and more higher than ours
with a loss a third lower, does not, with the faults or without them. Weights N(0, 2 / fan_out) do
not bring it either. What else the notebook did is not known.
"""

from __future__ import annotations

import time

from mlcore import plots
from mlcore.studies.lambda_cv import AS_RUN, RIGHT, descend, network
from mlcore.studies.study import Run, study

REPORTED = {"loss": 0.0648, "accuracy": 0.98155, "test_accuracy": 0.9643}


@study(
    "two-hidden",
    label="B2",
    title="Two hidden layers, full-batch gradient descent",
    source="notebook B",
    quick={"steps": 100},
)
def two_hidden(run: Run, *, rate: float = 0.6, decay: float = 1e-3, steps: int = 500) -> str:
    """Train right, and as the notebook did."""
    train, test = run.mnist(quick=(1_000, 1_000))
    histories, accuracies = {}, {}
    for faults in (RIGHT, AS_RUN):
        model, began = network(128, 64), time.perf_counter()
        name = f"784-128-64-10{faults}"
        histories[name] = descend(model, train, rate, decay, steps, faults)
        own, accuracies[faults] = model.evaluate(train), model.evaluate(test)["accuracy"]
        run.row(
            name, reported=REPORTED, loss=own["loss"], accuracy=own["accuracy"],
            test_accuracy=accuracies[faults], seconds=time.perf_counter() - began,
        )  # fmt: skip
        run.history(name, histories[name])
        run.network(name, model)
    run.figure("loss", plots.curves, histories, "running_loss", log=True)
    run.figure("accuracy", plots.curves, histories, "running_accuracy")
    return (
        f"{steps} full-batch steps give {accuracies[RIGHT]:.1%} on the test data, and "
        f"{accuracies[AS_RUN]:.1%} with the notebook's faults."
    )
