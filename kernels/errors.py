"""The error for what a caller got wrong, and the words that name the nearest right thing."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Real


class InputError(ValueError):
    """The caller's input is wrong: the message says what, where, and what to do.

    The command line prints it as one line and exits with code 2; nothing was written.
    """


class MissingFileError(InputError, FileNotFoundError):
    """A file or folder that was named does not exist."""

    def __str__(self) -> str:
        return str(self.args[0])


class MissingExtraError(InputError, ImportError):
    """An optional package is needed and not installed; the message says how to get it."""


def is_number(value: object) -> bool:
    """Return whether `value` is a finite real number, of Python or NumPy; bool is none."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` for the nearest of `known`, or an empty string."""
    import difflib

    by_fold = {candidate.casefold(): candidate for candidate in known}
    matches = difflib.get_close_matches(str(name).casefold(), by_fold, n=1, cutoff=0.5)
    return f" Did you mean {by_fold[matches[0]]!r}?" if matches else ""


def unknown(kind: str, name: object, known: Iterable[str]) -> InputError:
    """Return the error for a name that is not among `known`.

    >>> print(unknown("activation", "rellu", ["relu", "tanh"]))
    unknown activation 'rellu'. Did you mean 'relu'? Known: relu, tanh.
    """
    names = sorted(known)
    return InputError(
        f"unknown {kind} {name!r}.{nearest(str(name), names)} Known: {', '.join(names)}."
    )
