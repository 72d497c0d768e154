"""What ``import mlcore`` costs beside ``import numpy``, as whole processes.

``python bench/import_time.py`` starts Python in turn with nothing to do, with NumPy, with mlcore
and with `mlcore.Sequential`, and prints the milliseconds of each and its ratio to NumPy's. All of
them read bytecode from one folder that the first round fills, so that neither side compiles.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time

from mlcore.plan import table

STATEMENTS = {
    "nothing": "pass",
    "import numpy": "import numpy",
    "import mlcore": "import mlcore",
    "mlcore.Sequential": "import mlcore; mlcore.Sequential",
}
ROUNDS = 30


def measure(rounds: int) -> dict[str, list[float]]:
    """Return the milliseconds of each statement, run in turn: A B C D A B C D ..."""
    taken: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    with tempfile.TemporaryDirectory() as bytecode:
        settings = {**os.environ, "PYTHONPYCACHEPREFIX": bytecode}
        settings.pop("PYTHONDONTWRITEBYTECODE", None)
        for at in range(rounds + 1):
            for name, statement in STATEMENTS.items():
                began = time.perf_counter()
                # Away from the checkout, whose folder would be searched first.
                subprocess.run(
                    [sys.executable, "-c", statement], env=settings, cwd=bytecode, check=True
                )
                if at > 0:
                    taken[name].append(1e3 * (time.perf_counter() - began))
    return taken


def main() -> None:
    """Print the table."""
    taken = measure(ROUNDS)
    middle = {name: statistics.median(values) for name, values in taken.items()}
    least = {name: min(values) for name, values in taken.items()}
    lines = [
        (
            name,
            f"{middle[name]:.1f}",
            f"{least[name]:.1f}",
            f"{middle[name] / middle['import numpy']:.2f}",
            f"{least[name] / least['import numpy']:.2f}",
        )
        for name in STATEMENTS
    ]
    head = ("statement", "median ms", "least ms", "ratio of medians", "ratio of least")
    print(table(head, lines, right=(1, 2, 3, 4)))


if __name__ == "__main__":
    main()
