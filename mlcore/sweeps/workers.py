"""Where the runs of a sweep are computed: here, or by joblib's workers, one core each."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from mlcore.kernels import threads
from mlcore.kernels.errors import InputError, MissingExtraError


class WorkerError(RuntimeError):
    """A worker process ended without an answer: killed, out of memory, or crashed."""


class _OneCore:
    """Holds the engine and BLAS to one thread while any task of this process runs.

    Tasks may run side by side in threads of one process, so the first one sets the limits and the
    last one lifts them.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running = 0
        self._limits = ExitStack()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            self._running += 1
            if self._running == 1:
                self._limits.enter_context(threads.limited(1))
                self._limits.enter_context(_blas_on_one_thread())
        try:
            yield
        finally:
            with self._lock:
                self._running -= 1
                if self._running == 0:
                    self._limits.close()


one_core = _OneCore()


def _blas_on_one_thread() -> Any:
    try:
        from threadpoolctl import threadpool_limits
    except ModuleNotFoundError:
        return ExitStack()
    return threadpool_limits(1)


def _alone(task: Callable[[], Any]) -> Any:
    with one_core():
        return task()


def run(tasks: Sequence[Callable[[], Any]], workers: int | None) -> Iterator[Any]:
    """Yield what the tasks return, in the order in which they end.

    Parameters
    ----------
    tasks : sequence of callables
    workers : int or None
        See `mlcore.sweeps.sweep`.

    Raises
    ------
    MissingExtraError
        If more than one worker is asked for and joblib is not installed.
    InputError
        If a task cannot be sent to a worker.
    WorkerError
        If a worker died.
    """
    if workers is not None and (
        isinstance(workers, bool) or not isinstance(workers, int) or workers < 1
    ):
        raise InputError(
            f"workers must be a whole number, 1 or more, or None for as many as there are cores, "
            f"not {workers!r}"
        )
    jobs, elsewhere = _jobs(workers, len(tasks))
    if jobs == 1 and not elsewhere:
        return (task() for task in tasks)
    return _by_joblib(tasks, jobs)


def _jobs(workers: int | None, tasks: int) -> tuple[int | None, bool]:
    """Return how many workers joblib is to use, and whether the caller has chosen a backend."""
    if workers == 1:
        return 1, False
    try:
        from joblib import parallel
    except ModuleNotFoundError as error:
        if workers is None:
            return 1, False
        raise MissingExtraError(
            f'{workers} workers need joblib: pip install "mlcore[sweeps]", or use workers=1'
        ) from error
    backend, configured = parallel.get_active_backend()
    default = type(backend) is parallel.BACKENDS[parallel.DEFAULT_BACKEND]
    if not default or configured is not None:
        return workers, True
    wanted = workers or threads.get_num_threads()
    return max(1, min(wanted, tasks, threads.usable_processors())), False


def _by_joblib(tasks: Sequence[Callable[[], Any]], jobs: int | None) -> Iterator[Any]:
    from joblib import Parallel, delayed
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    parallel = Parallel(n_jobs=jobs, return_as="generator_unordered")
    try:
        yield from parallel(delayed(_alone)(task) for task in tasks)
    except pickle.PicklingError as error:
        reason = error.__cause__ or error
        raise InputError(
            f"the function or a setting cannot be sent to a worker: {reason}; use workers=1, or "
            "open and make inside the function what cannot be sent"
        ) from error
    except TerminatedWorkerError as error:
        raise WorkerError(
            "a worker process ended without an answer: it was killed, perhaps because memory ran "
            "out, or it crashed"
        ) from error
