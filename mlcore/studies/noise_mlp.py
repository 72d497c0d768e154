"""Six networks of MNIST with noise on the input and on two hidden layers.

784-512-64-32-10 with relu or tanh, weights N(0, 2 / fan_in), plain SGD with batches of 50 in the
order of the file, and Gaussian noise N(0, 0.05^2) on the scaled input and on the first and second
hidden activations while training (You et al., "Adversarial Noise Layer", arXiv:1805.08000). The
learning rate is halved at 50 % and 78 % of the epochs. The last sixth of the training data
validates; the weights with the best validation accuracy are saved in the notebook's HDF5 layout.

The notebook divided the gradient of every weight by the batch size twice, so that its learning
rates were a fiftieth of what it says. Each setting therefore stands here twice: as it was meant,
and "as run", with the rate divided by 50, which gives the figures that the notebook reported.
"""

from __future__ import annotations

import time
from functools import partial

from mlcore import SGD, Adam, Dense, Dropout, GaussianNoise, Sequential
from mlcore.callbacks import EarlyStopping
from mlcore.data import split
from mlcore.studies._choice import add_best
from mlcore.studies.study import Run, study

REPORTED = {
    ("relu", 0.1): 0.9668, ("relu", 0.05): 0.9573, ("relu", 0.01): 0.9276,
    ("tanh", 0.1): 0.9599, ("tanh", 0.05): 0.9494, ("tanh", 0.01): 0.9113,
}  # fmt: skip
REPORTED_TEST, REPORTED_SECONDS = 0.9673, 900
BATCH = 50


def network(activation: str, seed: int = 0) -> Sequential:
    """Return the notebook's network."""
    layers = [
        GaussianNoise(0.05), Dense(512, activation, kernel_initializer="he_normal"),
        GaussianNoise(0.05), Dense(64, activation, kernel_initializer="he_normal"),
        GaussianNoise(0.05), Dense(32, activation, kernel_initializer="he_normal"),
        Dense(10, kernel_initializer="he_normal"),
    ]  # fmt: skip
    return Sequential(layers, seed=seed)


def wide(dropout: float, seed: int) -> Sequential:
    """Return a wider network that is held back by dropout."""
    hidden = [
        layer
        for units in (512, 256)
        for layer in (
            Dense(units, "relu", kernel_initializer="he_normal"),
            Dropout(dropout),
        )
    ]
    return Sequential([*hidden, Dense(10)], seed=seed)


@study(
    "noise-mlp",
    label="A1",
    title="Noise layers on MNIST: relu and tanh at three learning rates",
    source="notebook A; arXiv:1805.08000",
    seeds=5,
    quick={"epochs": 8, "good_epochs": 8, "seeds": 1},
)
def noise_mlp(
    run: Run,
    *,
    activations: tuple[str, ...] = ("relu", "tanh"),
    learning_rates: tuple[float, ...] = (0.1, 0.05, 0.01),
    epochs: int = 50,
    good_epochs: int = 20,
) -> str:
    """Train all settings twice, then the best on everything, then a good setting."""
    train, test = run.mnist()
    parts = split(train, validation=1 / 6)
    settings = {"batch_size": BATCH, "epochs": epochs, "schedule": "step:0.5,0.78", "verbose": 0}
    meant, faulty = {}, {}
    for activation in activations:
        for rate in learning_rates:
            reported = {
                "val_accuracy": REPORTED.get((activation, rate)), "seconds": REPORTED_SECONDS,
            }  # fmt: skip
            for found, divisor, name in ((meant, 1, ""), (faulty, BATCH, ", as run (rate / 50)")):
                model = network(activation)
                begun = time.perf_counter()
                history = model.fit(
                    parts.train,
                    validation_data=parts.validation,
                    optimizer=SGD(rate / divisor),
                    shuffle=False,
                    callbacks=EarlyStopping(
                        "val_accuracy", patience=epochs, restore_best_weights=True
                    ),
                    **settings,
                )
                found[activation, rate] = history["val_accuracy"][-1]
                run.row(
                    f"{activation}, rate {rate:g}{name}",
                    reported=reported,
                    val_accuracy=found[activation, rate],
                    seconds=time.perf_counter() - begun,
                )
                run.history(f"{activation} {rate:g}{name}", history)
                if divisor == 1:
                    run.network(f"{activation} {rate:g}", model, format="notebook")
    best = max(meant, key=lambda setting: meant[setting])
    for divisor, name in ((1, ""), (BATCH, ", as run (rate / 50)")):
        model = network("relu")
        begun = time.perf_counter()
        model.fit(train, optimizer=SGD(0.1 / divisor), evaluate_train=False, **settings)
        run.row(
            f"relu, rate 0.1, all training data{name}",
            reported={"test_accuracy": REPORTED_TEST},
            test_accuracy=model.evaluate(test)["accuracy"],
            seconds=time.perf_counter() - begun,
        )
    good = add_best(
        run, train, test,
        {f"784-512-256-10, dropout {rate}, Adam": partial(wide, rate) for rate in (0.2, 0.4)},
        optimizer=Adam(1e-3), schedule="cosine", batch_size=100, epochs=good_epochs,
    )  # fmt: skip
    return f"{best} {good}"
