"""Whole training epochs of mlcore beside JAX, PyTorch, scikit-learn and plain NumPy.

``python bench/train.py [WORKLOAD ...]`` hands every side the same data, initial weights and orders
of the samples, and first checks that all of them come to the same parameters and losses. Then the
sides train in turn, A B C A B C ..., in slices that each begin at the initial weights. Each side
has a process of its own, held to as many processors as it has threads. The FMA peak of a core is
measured between the slices, and a slice does not count where that was low, or where the side's
threads stood waiting for a processor: somebody else had the machine.

The share of the peak counts the matrix products only, ``2 B (3 sum(K N) - K_1 N_1)`` operations a
step: activations, noise, updates and the gather are paid for, but count as nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from peers import SIDES
from peers.side import CannotError, Work
from peers.worker import Worker, pinned, processors
from results import (
    CLEAN,
    LOSS_TOLERANCE,
    NOISE_TOLERANCE,
    PARAMETER_TOLERANCE,
    WAITED,
    Ending,
    Result,
    Slice,
)
from targets import compare
from workloads import SEED, WORKLOADS, Workload, find

RIVALS = tuple(side for side in SIDES if side != "mlcore")
VERIFIED_STEPS = 200
# Parameters are compared after so many.
COMPARED_STEPS = 50
PEAK_SECONDS = 0.02
# Long enough for the threads of the side before to have gone to sleep.
PAUSE = 0.01


def prepare(workload: Workload, samples: int | None) -> Work:
    """Return the work, with mlcore's own order of the samples for each verified epoch."""
    from mlcore import kernels

    x, y = workload.data(samples)
    epochs = -(-VERIFIED_STEPS * workload.batch_size // len(x))
    orders = np.tile(np.arange(len(x)), (epochs, 1))
    if workload.shuffle:
        for epoch, order in enumerate(orders):
            kernels.get().call("permutation", seed=SEED, epoch=epoch, out=order)
    return Work(workload, x, y, workload.initial(), orders)


def beginning(work: Work) -> Work:
    """Return the first steps of a work, after which parameters can be compared.

    Later a relu network's float32 paths part: where an input of relu is nearly zero, rounding
    decides whether its unit learns, and such differences grow.
    """
    from mlcore import kernels

    samples = min(len(work.x), COMPARED_STEPS * work.workload.batch_size)
    order = np.arange(samples)
    if work.workload.shuffle:
        kernels.get().call("permutation", seed=SEED, epoch=0, out=order)
    return Work(work.workload, work.x[:samples], work.y[:samples], work.initial, order[None])


class Sitting:
    """The sides' processes for one number of threads.

    Parameters
    ----------
    threads : int
    rivals : list of str
        Those that are not installed are left out, with a message.
    """

    def __init__(self, threads: int, rivals: list[str]) -> None:
        self.threads = threads
        self.results: list[Result] = []
        self.best_peak = 0.0
        self.workers: list[Worker] = []
        for side in ["mlcore", *rivals]:
            try:
                self.workers.append(Worker(side, threads))
            except CannotError as error:
                say(f"{side} is left out: {error}")
        self.versions = {worker.name: worker.version for worker in self.workers}

    def close(self) -> None:
        """End the processes."""
        for worker in self.workers:
            worker.close()

    def run(self, work: Work, rounds: int, seconds: float) -> None:
        """Verify and time a workload."""
        workload = work.workload
        say(f"threads: {self.threads}, {workload.name}: verifying")
        short = beginning(work)
        able = [worker for worker in self.workers if self._loaded(worker, short)]
        apart = self._apart(short, able)
        able = [worker for worker in able if self._loaded(worker, work)]
        result = self._verified(work, able, apart)
        say(f"threads: {self.threads}, {workload.name}: timing")
        slice_seconds = seconds / rounds
        epochs = {}
        for worker in able:
            worker.train(1)
            epochs[worker.name] = max(1, round(slice_seconds / worker.train(1).seconds))
        peak = self._peak()
        result.slices = {worker.name: [] for worker in able}
        for _ in range(rounds):
            for worker in able:
                count = epochs[worker.name]
                seconds, waited = worker.train(count)
                before, peak = peak, self._peak()
                share = waited / (seconds * self.threads)
                result.slices[worker.name].append(
                    Slice(seconds, count * work.steps, min(before, peak), share)
                )
        self.results.append(result)

    def settle(self) -> None:
        """Choose the slices that count, now that the best peak is known."""
        for result in self.results:
            result.settle(self.best_peak)

    def _loaded(self, worker: Worker, work: Work) -> bool:
        try:
            worker.load(work)
        except CannotError as error:
            say(f"{worker.name} is left out of {work.workload.name}: {error}")
            return False
        return True

    def _apart(self, work: Work, able: list[Worker]) -> dict[str, float]:
        """Return how far each side's parameters are from mlcore's, over mlcore's way."""
        final = {}
        for worker in able:
            worker.train(1)
            final[worker.name] = worker.parameters()
        ours, felt = final["mlcore"], work.workload.felt
        way = float(np.linalg.norm((ours - work.initial)[felt]))
        return {
            side: float(np.linalg.norm((found - ours)[felt])) / way for side, found in final.items()
        }

    def _verified(self, work: Work, able: list[Worker], apart: dict[str, float]) -> Result:
        workload, epochs = work.workload, len(work.orders)
        final = {}
        for worker in able:
            worker.train(epochs)
            final[worker.name] = worker.parameters()
        endings = {
            side: Ending(workload.evaluate(parameters, work.x, work.y), apart[side])
            for side, parameters in final.items()
        }
        start = workload.evaluate(work.initial, work.x, work.y)
        return Result(workload, self.threads, len(work.x), epochs * work.steps, start, endings)

    def _peak(self) -> float:
        """Return the FMA peak of the slowest of the processors in use, GFLOP/s."""
        from mlcore.bench import machine

        time.sleep(PAUSE)
        peaks = []
        for processor in processors()[: self.threads]:
            with pinned([processor]):
                peaks.append(float(machine.fma_peak(dtype="float32", seconds=PEAK_SECONDS)))
        self.best_peak = max(self.best_peak, *peaks)
        return min(peaks)


def say(text: str) -> None:
    """Report progress beside the tables."""
    print(text, file=sys.stderr, flush=True)


def print_times(sitting: Sitting) -> None:
    """Print microseconds a step, the share of the peak, and the ratios."""
    from mlcore.plan import table

    rivals = [worker.name for worker in sitting.workers[1:]]
    head = ["workload", "mlcore µs", "share"]
    for rival in rivals:
        head += [f"{rival} µs", "ratio"]
    lines = []
    for result in sitting.results:
        line = [result.workload.name, _times(result, "mlcore"), f"{result.share:.0%}"]
        for rival in rivals:
            if rival not in result.times:
                line += ["", ""]
                continue
            low = result.minimum(rival) / result.minimum("mlcore")
            middle = result.median(rival) / result.median("mlcore")
            line += [_times(result, rival), f"{low:.3g} / {middle:.3g}"]
        lines.append(tuple(line))
    print(
        f"\nThreads: {sitting.threads}. Minimum / median of µs a step, and of the ratio to mlcore; "
        f"share of the FMA peak of {sitting.threads} x {sitting.best_peak:.0f} GFLOP/s.\n"
    )
    print(table(tuple(head), lines, right=tuple(range(1, len(head)))))
    dropped = sum(sum(result.dropped.values()) for result in sitting.results)
    slices = sum(len(each) for result in sitting.results for each in result.slices.values())
    print(
        f"\n{dropped} of {slices} slices dropped: peak below {CLEAN:.0%} of the best seen, or more "
        f"than {WAITED:.0%} of the time lost waiting for a processor."
    )
    for result in sitting.results:
        if result.none_clean:
            sides = ", ".join(result.none_clean)
            print(f"NO CLEAN SLICE of {sides} in {result.workload.name}: the cleaner half counts.")


def _times(result: Result, side: str) -> str:
    return " / ".join(_micro(each) for each in (result.minimum(side), result.median(side)))


def _micro(seconds: float) -> str:
    micro = 1e6 * seconds
    return f"{micro:.2f}" if micro < 10 else f"{micro:.1f}" if micro < 100 else f"{micro:.0f}"


def print_losses(sitting: Sitting) -> bool:
    """Print what the sides came to, and return whether all did the same work."""
    from mlcore.plan import table

    sides = [worker.name for worker in sitting.workers]
    head = ("workload", "steps", "at the start", *sides, "parameters apart", "")
    lines, equal = [], True
    for result in sitting.results:
        unequal = result.unequal()
        equal = equal and not unequal
        losses = [
            f"{result.endings[side].loss:.6f}" if side in result.endings else "" for side in sides
        ]
        apart = "noise" if result.workload.noise else _furthest(result)
        verdict = f"UNEQUAL: {', '.join(unequal)}" if unequal else "equal"
        lines.append((
            result.workload.name, str(result.steps), f"{result.start:.6f}", *losses, apart, verdict
        ))  # fmt: skip
    print(f"\nLosses after the same steps from the same start, threads: {sitting.threads}.\n")
    print(table(head, lines, right=tuple(range(1, len(head) - 1))))
    print(
        f"\nEqual: the loss within {LOSS_TOLERANCE:.1%} of mlcore's change of it "
        f"({NOISE_TOLERANCE:.0%} with noise, which each side draws for itself), and the parameters "
        f"apart by less than {PARAMETER_TOLERANCE:.0%} of mlcore's way from the start."
    )
    return equal


def _furthest(result: Result) -> str:
    rivals = {side: each.apart for side, each in result.endings.items() if side != "mlcore"}
    if not rivals:
        return ""
    side = max(rivals, key=lambda name: rivals[name])
    return f"{rivals[side]:.1e} ({side})"


def report(sittings: list[Sitting], targets: bool, path: Path | None) -> bool:
    """Print and write everything, and return whether all sides did the same work."""
    from mlcore import system
    from mlcore.plan import table

    results = [result for sitting in sittings for result in sitting.results]
    versions = {side: each for sitting in sittings for side, each in sitting.versions.items()}
    equal = True
    for sitting in sittings:
        print_times(sitting)
        equal = print_losses(sitting) and equal
    lines = compare(results)
    if targets:
        print("\nTargets, by the minima.\n")
        head = ("workload", "threads", "figure", "wanted", "measured", "")
        print(table(head, lines, right=(1, 3, 4)))
    print("\n" + ", ".join(f"{side} {version}" for side, version in versions.items()))
    if path:
        record: dict[str, Any] = {
            "command": " ".join(["python", *sys.argv]),
            "machine": system.report(),
            "versions": versions,
            "results": [result.as_json() for result in results],
            "targets": lines,
        }
        path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    if not equal:
        print("\nUNEQUAL WORK: the times above cannot be compared.")
    return equal


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument(
        "workloads", nargs="*", metavar="WORKLOAD",
        help=f"{', '.join(WORKLOADS)}; or widths and batch size, such as 64-256-10@8",
    )  # fmt: skip
    parser.add_argument("--threads", type=int, choices=(1, 2), help="by default both in turn")
    parser.add_argument("--against", default=",".join(RIVALS), help="by default %(default)s")
    parser.add_argument("--rounds", type=int, default=8, help="slices a side (%(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=2.4, help="of a side's slices together (%(default)s)"
    )
    parser.add_argument("--samples", type=int, help="in an epoch; by default the workload's own")
    parser.add_argument("--targets", action="store_true", help="compare with what must be reached")
    parser.add_argument("--json", type=Path, help="write all slices to this file")
    given = parser.parse_args()
    given.against = [side for side in given.against.split(",") if side]
    for side in given.against:
        if side not in RIVALS:
            parser.error(f"{side!r} is not one of {', '.join(RIVALS)}")
    names = given.workloads or list(WORKLOADS)
    given.workloads = [find(name) for name in names]
    if None in given.workloads:
        unknown = names[given.workloads.index(None)]
        parser.error(f"{unknown!r} is not one of {', '.join(WORKLOADS)}, nor widths@batch")
    if given.rounds < 1 or given.seconds <= 0:
        parser.error("--rounds and --seconds must be above 0")
    return given


def main() -> int:
    """Run the sittings, and return 1 where the sides did not do the same work."""
    given = arguments()
    sittings = []
    for threads in (given.threads,) if given.threads else (1, 2):
        if len(processors()) < threads:
            say(f"left out: {threads} threads need as many processors")
            continue
        sitting = Sitting(threads, given.against)
        try:
            for workload in given.workloads:
                sitting.run(prepare(workload, given.samples), given.rounds, given.seconds)
        finally:
            sitting.close()
        sitting.settle()
        sittings.append(sitting)
    return 0 if report(sittings, given.targets, given.json) else 1


if __name__ == "__main__":
    sys.exit(main())
