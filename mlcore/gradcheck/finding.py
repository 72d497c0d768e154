"""What a check has found: a fault with a name, or a note."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Finding:
    """A fault, or something worth knowing.

    Attributes
    ----------
    fault : str
        The name, one word with underscores: "constant_factor", "transposed", ...
    says : str
        A sentence on what is wrong.
    mend : str
        A sentence on what to do.
    arrays : tuple of str
        Whose gradients it is about.
    serious : bool
        Whether the check fails because of it.
    details : dict
        Numbers, such as the factor or lambda.
    """

    fault: str
    says: str
    mend: str = ""
    arrays: tuple[str, ...] = ()
    serious: bool = True
    details: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the finding as JSON knows it."""
        return {
            "fault": self.fault,
            "says": self.says,
            "mend": self.mend,
            "arrays": list(self.arrays),
            "serious": self.serious,
            "details": self.details,
        }


def listed(names: tuple[str, ...] | list[str]) -> str:
    """Return "a", "a and b", or "a, b and c"."""
    names = list(names)
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
