"""How many threads the native engine uses, and who said so."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from mlcore.kernels.errors import InputError

MEMBERSHIP = Path("/proc/self/cgroup")
GROUPS = Path("/sys/fs/cgroup")
# Microseconds of processor time, and the period in which they may be used.
SECOND_VERSION = ("cpu.max",)
FIRST_VERSION = ("cpu.cfs_quota_us", "cpu.cfs_period_us")


class Threads(NamedTuple):
    """A number of threads, and where it comes from."""

    number: int
    source: str


_chosen: Threads | None = None


def get_num_threads() -> int:
    """Return how many threads the native engine may use.

    What `set_num_threads` was given; else the environment variable ``MLCORE_NUM_THREADS``; else
    ``OMP_NUM_THREADS`` (of a list, the first number); else the processors that this process may
    run on, or its control group's share of processor time where that is less. Environment and
    system are looked at once, when first asked for.

    A share that is no whole number is rounded down, to 1 at least, as Rust's
    ``std::thread::available_parallelism`` and Uber's automaxprocs for Go do: a thread more than
    the share allows is stopped for a part of every period, and the others wait for it at the
    next barrier.

    Raises
    ------
    InputError
        Where an environment variable holds something else than a number of threads.
    """
    return chosen().number


def set_num_threads(n: int | None) -> None:
    """Choose how many threads the native engine may use, from the next run on.

    Results do not depend on it. Several Python threads that train at once share these threads.

    Parameters
    ----------
    n : int or None
        1 or more; None for the default, which is looked up anew. See `get_num_threads`.

    Raises
    ------
    InputError
        For anything else.
    """
    global _chosen
    if n is None:
        _chosen = None
        return
    if isinstance(n, bool) or not isinstance(n, Integral) or n < 1:
        raise InputError(f"the number of threads must be a whole number, 1 or more, not {n!r}")
    _chosen = Threads(int(n), "set_num_threads")


@contextmanager
def limited(n: int) -> Iterator[None]:
    """Use `n` threads inside the block, and after it as many as before."""
    global _chosen
    before = _chosen
    set_num_threads(n)
    try:
        yield
    finally:
        _chosen = before


def chosen() -> Threads:
    """Return the number of threads in force, and where it comes from."""
    global _chosen
    if _chosen is None:
        _chosen = _from_environment() or _from_system()
    return _chosen


def usable_processors() -> int:
    """Return how many processors this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _from_environment() -> Threads | None:
    for name in ("MLCORE_NUM_THREADS", "OMP_NUM_THREADS"):
        text = os.environ.get(name, "").strip()
        if not text:
            continue
        # OpenMP takes a list, with a number for each level of nesting.
        first = text.split(",")[0].strip() if name == "OMP_NUM_THREADS" else text
        # No number of threads needs more digits, and int() reads no more than some thousand.
        if not (first.isascii() and first.isdigit() and len(first) < 10 and int(first) >= 1):
            raise InputError(
                f"the environment variable {name} is {text!r}; it must be a whole number, 1 or more"
            )
        return Threads(int(first), name)
    return None


def _from_system() -> Threads:
    processors, share = usable_processors(), _group_share()
    if share < processors:
        return Threads(max(1, int(share)), "control group's quota")
    return Threads(processors, "processors usable")


def _group_share() -> float:
    """Return how many processors' time this process may use: the least its groups allow.

    Every group above the process's own binds it too. In a container the own group's name may
    be that outside, which is not found inside, where the container's group is the root.
    """
    try:
        lines = MEMBERSHIP.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return math.inf
    share = math.inf
    for line in lines:
        # Number, controllers and path; the second version's one line names no controllers.
        controllers, _, path = line.partition(":")[2].partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        files = FIRST_VERSION if controllers else SECOND_VERSION
        group = PurePosixPath(path.lstrip("/"))
        for root in {"cpu", controllers} if controllers else {""}:
            for above in (group, *group.parents):
                share = min(share, _share(GROUPS / root / above, files))
    return share


def _share(group: Path, files: tuple[str, ...]) -> float:
    """Return quota over period of one group, infinite where it sets no limit."""
    try:
        numbers = " ".join((group / file).read_text(encoding="ascii") for file in files)
        quota, period = map(int, numbers.split())
    except (OSError, ValueError):
        # "max", in the second version, is no number.
        return math.inf
    return quota / period if quota > 0 and period > 0 else math.inf
