"""A process for each side, held to its threads and processors from its first instruction."""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import time
import traceback
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from peers import SIDES
from peers.side import CannotError, Side, Work

THREAD_VARIABLES = (
    "MLCORE_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
)


class Timing(NamedTuple):
    """What a call of `train` took.

    Attributes
    ----------
    seconds : float
    waited : float
        Seconds that its threads, summed up, stood ready to run while others had the processors.
    """

    seconds: float
    waited: float


def processors() -> list[int]:
    """Return the processors that this process may use."""
    return sorted(os.sched_getaffinity(0))


@contextlib.contextmanager
def pinned(to: list[int]) -> Iterator[None]:
    """Hold this thread, and the processes that it starts, to some processors."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, to)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Worker:
    """The parent's end of a side's process.

    Parameters
    ----------
    name : str
        Of `SIDES`.
    threads : int
        The process may use that many processors, and its libraries that many threads.

    Raises
    ------
    CannotError
        Where the library is not installed.
    """

    def __init__(self, name: str, threads: int) -> None:
        self.name = name
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, name, threads), daemon=True)
        before = os.environ.copy()
        os.environ.update({variable: str(threads) for variable in THREAD_VARIABLES})
        os.environ["JAX_PLATFORMS"] = "cpu"
        try:
            with pinned(processors()[:threads]):
                self._process.start()
        finally:
            os.environ.clear()
            os.environ.update(before)
        theirs.close()
        self.version: str = self._answer()

    def load(self, work: Work) -> None:
        """Set the side up for some work; raise CannotError where it cannot do it."""
        self._ask("load", work)

    def train(self, epochs: int) -> Timing:
        """Train from the initial parameters."""
        timing: Timing = self._ask("train", epochs)
        return timing

    def parameters(self) -> Any:
        """Return the parameters after the last `train`."""
        return self._ask("parameters", None)

    def close(self) -> None:
        """End the process."""
        self._connection.close()
        self._process.join()

    def _ask(self, request: str, argument: Any) -> Any:
        self._connection.send((request, argument))
        return self._answer()

    def _answer(self) -> Any:
        try:
            answer = self._connection.recv()
        except EOFError:
            self._process.join()
            code = self._process.exitcode
            raise RuntimeError(f"the process of {self.name} ended with code {code}") from None
        if isinstance(answer, Exception):
            raise answer
        return answer


def _serve(connection: Connection, name: str, threads: int) -> None:
    """Answer the parent until it hangs up."""
    try:
        kind: type[Side] = importlib.import_module(SIDES[name]).SIDE
    except ImportError as error:
        connection.send(CannotError(f"not installed ({error})"))
        return
    connection.send(kind.version())
    side: Any = None
    while True:
        try:
            request, argument = connection.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            if request == "load":
                # The old one goes first: two copies of the data need not fit.
                side = None
                side = kind(argument, threads)
                answer: Any = None
            elif request == "train":
                answer = _timed(side, argument)
            else:
                answer = side.parameters()
        except CannotError as error:
            answer = error
        except Exception:
            answer = RuntimeError(f"{name} failed:\n{traceback.format_exc()}")
        connection.send(answer)


def _timed(side: Side, epochs: int) -> Timing:
    side.reset()
    waited = _waited()
    began = time.perf_counter()
    side.train(epochs)
    seconds = time.perf_counter() - began
    waited = _waited() - waited
    return Timing(seconds if side.seconds is None else side.seconds, waited)


def _waited() -> float:
    """Return the seconds that this process's threads have waited for a processor, as Linux counts.

    The second number of schedstat, in nanoseconds; zero where the system does not tell.
    """
    total = 0
    for task in Path("/proc/self/task").glob("*/schedstat"):
        with contextlib.suppress(OSError, IndexError, ValueError):
            total += int(task.read_text().split()[1])
    return total / 1e9
