"""What dropout and a penalty do to the weights.

Fashion-MNIST, batches of 100, SGD with rate 1e-3, 40 epochs: 784-128-10 without regularisation
against 784-48-10 with dropout 0.2 and a penalty of 1e-4 times the norm of all parameters. The
regularised network is the smaller one too, so its larger weights are no effect of the penalty
alone: two rows more tell the effects of width and of regularisation apart.

The notebook measured the training accuracy with dropout on, as the row "as measured then" does,
within a point of what it reported; the others are measured without.
"""

from __future__ import annotations

import time

from mlcore import SGD, Dense, Norm, plots
from mlcore.studies.fashion_confusion import network
from mlcore.studies.study import Run, study

# Hidden units and dropout: training accuracy, and the ranges of the weights of both layers.
REPORTED: dict[tuple[int, float], dict[str, float | str]] = {
    (128, 0.0): {
        "accuracy": 0.8116, "layer_1": "-0.082 .. 0.097", "layer_2": "-0.338 .. 0.323",
    },
    (48, 0.2): {
        "accuracy": 0.7685, "layer_1": "-0.122 .. 0.147", "layer_2": "-0.424 .. 0.424",
    },
}  # fmt: skip


@study(
    "weight-shrinkage",
    label="A3",
    title="Weights with and without regularisation",
    source="student notebook A",
    quick={"epochs": 30},
)
def weight_shrinkage(run: Run, *, epochs: int = 40) -> str:
    """Train both networks of the notebook, and the two that it lacks for a comparison."""
    train, test = run.fashion_mnist()
    models, histories, largest = {}, {}, {}
    for units, dropout in ((128, 0.0), (48, 0.2), (128, 0.2), (48, 0.0)):
        name = f"784-{units}-10, " + (f"dropout {dropout}, penalty" if dropout else "plain")
        model = network(units, dropout)
        begun = time.perf_counter()
        history = model.fit(
            train, optimizer=SGD(1e-3), batch_size=100, epochs=epochs, validation_data=test,
            regularizer=Norm(1e-4) if dropout else None, verbose=0,
        )  # fmt: skip
        seconds = time.perf_counter() - begun
        first, second = (layer.weight for layer in model.layers if isinstance(layer, Dense))
        ranges = {
            f"layer_{at}": f"{w.min():.3f} .. {w.max():.3f}"
            for at, w in enumerate((first, second), 1)
        }
        models[name], histories[name] = model, history
        largest[units, dropout] = abs(second).max()
        reported = REPORTED.get((units, dropout))
        run.row(
            name, reported=reported, accuracy=history["accuracy"][-1],
            test_accuracy=history["val_accuracy"][-1], **ranges, seconds=seconds,
        )  # fmt: skip
        if dropout and reported:
            run.row(
                f"{name}, as measured then", reported=reported,
                accuracy=history["running_accuracy"][-1], **ranges,
            )  # fmt: skip
        run.network(name, model)
        run.history(name, history)
    pair = dict(list(histories.items())[:2])
    run.figure("loss", plots.curves, pair, ("loss", "val_loss"))
    run.figure("accuracy", plots.curves, pair, ("accuracy", "val_accuracy"))
    run.figure("weights", plots.weight_histograms, dict(list(models.items())[:2]))
    return (
        f"The largest weight of the output layer is {largest[128, 0.0]:.2f} in 784-128-10 plain "
        f"and {largest[48, 0.2]:.2f} in the regularised 784-48-10, which is an effect of the "
        f"width: at one width, dropout and penalty take it from {largest[128, 0.0]:.2f} to "
        f"{largest[128, 0.2]:.2f} (128 units) and from {largest[48, 0.0]:.2f} to "
        f"{largest[48, 0.2]:.2f} (48 units)."
    )
