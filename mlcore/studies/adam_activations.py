"""Tanh, relu, and relu with weight decay under Adam.

784-500-250-100-10 on MNIST, Glorot's first weights, softmax and cross-entropy, Adam with rate 0.01,
batches of 64, 15 epochs. The weight decay, 0.01, is the coupled one, added to the gradient.

The notebook trained its three networks one after the other and never set its counters of right
answers back, so that the second accuracy it printed is the mean of the first two, and the third
that of all three; and its third run went on with the second's weights. The rows "as printed" do
that with the figures of this run. Undone, its 88.5, 74.1 and 76.9 % are 88.5, 59.7 and 82.5 %.
"""

from __future__ import annotations

import statistics
import time

from mlcore import Adam, plots
from mlcore.studies.init_lr import network
from mlcore.studies.study import Run, study

RATE, DECAY = 0.01, 0.01
REPORTED = (0.885, 0.741, 0.769)


@study(
    "adam-activations",
    label="E2",
    title="Tanh, relu and weight decay under Adam",
    source="notebook E",
    quick={"epochs": 3},
)
def adam_activations(run: Run, *, epochs: int = 15) -> str:
    """Train the three networks, and the third as the notebook did too."""
    train, test = run.mnist()
    runs = {
        "tanh": ("tanh", 0.0),
        "relu": ("relu", 0.0),
        "relu, weight decay": ("relu", DECAY),
        "relu, weight decay, from relu's weights": ("relu", DECAY),
    }
    models, found = {}, {}
    for (name, (activation, decay)), reported in zip(
        runs.items(), (*REPORTED, REPORTED[-1]), strict=True
    ):
        models[name] = model = network(activation, "glorot_uniform")
        if name.endswith("from relu's weights"):
            model.build(models["relu"].features)
            model.parameters = models["relu"].parameters
        began = time.perf_counter()
        history = model.fit(
            train, optimizer=Adam(RATE, weight_decay=decay), epochs=epochs, batch_size=64,
            evaluate_train=False, verbose=0,
        )  # fmt: skip
        seconds = time.perf_counter() - began
        found[name] = model.evaluate(test)["accuracy"]
        run.row(
            name, reported={"test_accuracy": reported}, test_accuracy=found[name],
            train_accuracy=model.evaluate(train)["accuracy"], seconds=seconds,
        )  # fmt: skip
        run.history(name, history)
        run.network(name, model)
    sequence = [found["tanh"], found["relu"], found["relu, weight decay, from relu's weights"]]
    for number, reported in enumerate(REPORTED, start=1):
        run.row(
            f"model {number}, as printed: mean of {number}",
            reported={"test_accuracy": reported},
            test_accuracy=statistics.mean(sequence[:number]),
        )
    histories = {name: model.history for name, model in models.items() if model.history}
    run.figure("loss", plots.curves, histories, "running_loss", log=True)
    run.figure("accuracy", plots.curves, histories, "running_accuracy")
    return (
        f"Tanh reaches {found['tanh']:.1%} on the test data, relu {found['relu']:.1%}, and relu "
        f"with weight decay {found['relu, weight decay']:.1%}."
    )
