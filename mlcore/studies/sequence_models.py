"""Two networks for coin flips that look at sequences.

A convolutional one: Conv1D(1 -> 10, width 3), relu, Conv1D(10 -> 1, width 5), and a dense output.
An embedding one: each flip becomes 16 numbers, these become one, and the 20 of a sequence one
output. The data are those of `coin-flips`. In the notebook the first failed on the shapes of its
layers; flattening before the output mends it.

What tells people from machines is whether neighbours differ. The convolution sees neighbours. The
embedding model adds up a number for each place by itself, and every place by itself is a fair coin:
it cannot do better than guess, however long it trains.
"""

from __future__ import annotations

import statistics
import time

from mlcore import Adam, Conv1D, Dense, Embedding, Flatten, History, Reshape, Sequential, plots
from mlcore.studies._flips import by_switches, flips
from mlcore.studies.study import Run, study


def convolutional(seed: int) -> Sequential:
    """Return the convolutions, with the output that the notebook's lacked."""
    # No relu behind the second convolution: its only filter would die in most runs.
    layers = [
        Reshape((-1, 1)), Conv1D(10, 3, activation="relu"), Conv1D(1, 5),
        Flatten(), Dense(1, "sigmoid"),
    ]  # fmt: skip
    return Sequential(layers, seed=seed)


def embedding(seed: int) -> Sequential:
    """Return Embedding(3, 16), 16 to 1 at each place, and all places to 1."""
    # A convolution of width 1 is one dense layer for every place.
    layers = [Embedding(3, 16), Conv1D(1, 1), Flatten(), Dense(1, "sigmoid")]
    return Sequential(layers, seed=seed)


@study(
    "sequence-models",
    label="A5",
    title="Convolution and embedding for coin flips",
    source="student notebook A",
    seeds=5,
    repeats="everything, the draw of the sequences too; medians count",
    quick={"sequences": 3_000, "epochs": 10, "seeds": 1},
)
def sequence_models(run: Run, *, sequences: int = 5_100, epochs: int = 30) -> str:
    """Train both on the same sequences."""
    found: dict[str, list[float]] = {"counting switches": [], "convolution": [], "embedding": []}
    histories: dict[str, list[History]] = {}
    seconds = dict.fromkeys(found, 0.0)
    for seed in range(run.seeds):
        train, held = flips(run, sequences, seed)
        found["counting switches"].append(by_switches(train, held))
        for name, make in (("convolution", convolutional), ("embedding", embedding)):
            model = make(seed)
            begun = time.perf_counter()
            history = model.fit(
                train, loss="sigmoid_cross_entropy", optimizer=Adam(0.01), batch_size=16,
                epochs=epochs, validation_data=held, verbose=0,
            )  # fmt: skip
            seconds[name] += time.perf_counter() - begun
            found[name].append(history["val_accuracy"][-1])
            histories.setdefault(name, []).append(history)
            run.network(name, model)
            run.history(name, history)
    medians = {name: statistics.median(values) for name, values in found.items()}
    for name, accuracy in medians.items():
        taken = seconds[name] / run.seeds if seconds[name] else None
        run.row(name, val_accuracy=accuracy, seconds=taken)
    run.figure("accuracy", plots.curves, histories, "val_accuracy", band="range")
    return (
        f"The convolution, which sees neighbours, gets {medians['convolution']:.1%} of unseen "
        f"sequences right (counting switches gives {medians['counting switches']:.1%}); the "
        f"embedding, which does not, gets {medians['embedding']:.1%}: it guesses."
    )
