"""What a check found, as a text, as a dict, as a picture."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mlcore.gradcheck.compare import Comparison
from mlcore.gradcheck.finding import Finding, listed
from mlcore.plan import table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WORST = 8
Cell = tuple[str, ...]


@dataclass
class Report:
    """The result of a gradient check. It is true where the check passed; print it to read it.

    Attributes
    ----------
    title : str
        What was checked.
    findings : list of Finding
        Faults, the one to mend first in front, and notes.
    comparisons : dict of str to Comparison
        Analytic and numeric gradients by array.
    tried : list of str
        What was done, a sentence each.
    notes : list of str
        What limits the check.
    """

    title: str
    findings: list[Finding] = field(default_factory=list)
    comparisons: dict[str, Comparison] = field(default_factory=dict)
    tried: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def faults(self) -> list[Finding]:
        """The findings that the check fails for."""
        return [finding for finding in self.findings if finding.serious]

    @property
    def passed(self) -> bool:
        """Whether no fault was found."""
        return not self.faults

    @property
    def fault(self) -> str | None:
        """The name of the fault to mend first, or None."""
        return self.faults[0].fault if self.faults else None

    def __bool__(self) -> bool:
        return self.passed

    @property
    def verdict(self) -> str:
        """The result in a sentence."""
        if self.faults:
            return self.faults[0].says
        names = list(self.comparisons)
        checked = sum(each.checked for each in self.comparisons.values())
        if not checked:
            return f"No element of {listed(names)} could be judged: see below."
        worst = max(each.worst for each in self.comparisons.values())
        grain = "" if worst == 0 else f" to within {worst:.0e} of the largest"
        one = len(names) == 1
        how = "elements agree" if checked != 1 else "element agrees"
        if any(each.by_direction for each in self.comparisons.values()):
            how, grain = "elements agree, those of large arrays along random directions,", ""
        which = listed(names) if len(names) < 5 else f"all {len(names)} arrays"
        return (
            f"The gradient{'' if one else 's'} of {which} {'is' if one else 'are'} right: "
            f"{checked:,} {how} with measured slopes{grain}."
        )

    def __str__(self) -> str:
        parts = [f"{'right' if self.passed else 'FAULT'}: {self.title}", self.verdict]
        if self.faults and self.faults[0].mend:
            parts[-1] += f"\n{self.faults[0].mend}"
        for finding in [*self.faults[1:], *(each for each in self.findings if not each.serious)]:
            kind = "Also" if finding.serious else "Note"
            parts.append(f"{kind}: {finding.says} {finding.mend}".rstrip())
        parts += [f"Note: {note}" for note in self.notes]
        lines = self._worst()
        if lines:
            head = ("array", "element", "analytic", "numeric", "difference", "ratio")
            parts.append(table(head, lines, right=(2, 3, 4, 5)))
        if self.comparisons:
            parts.append(table(("array", "shape", "compared", "wrong", "left out"), self._arrays(),
                               right=(2, 3)))  # fmt: skip
        if self.tried:
            parts.append("\n".join(["Tried:", *(f"- {what}" for what in self.tried)]))
        return "\n\n".join(parts)

    def _arrays(self) -> list[Cell]:
        lines: list[Cell] = []
        for each in self.comparisons.values():
            reasons = Counter(each.left_out.values())
            left = ", ".join(f"{count} ({reason})" for reason, count in reasons.items()) or "none"
            wrong = "shape" if each.analytic.shape != each.shape else f"{int(each.wrong.sum()):,}"
            how = f"{each.checked:,}{' along directions' if each.by_direction else ''}"
            lines.append((each.name, str(each.shape), how, wrong, left))
        return lines

    def _worst(self) -> list[Cell]:
        """Return the worst elements: of every wrong array some, the largest differences first."""
        wrong = [each for each in self.comparisons.values() if not each.passed]
        lines: list[Cell] = []
        for each in wrong:
            share = max(2, WORST // len(wrong))
            if each.analytic.shape != each.shape:
                lines.append(
                    (
                        each.name,
                        "all",
                        f"shape {each.analytic.shape}",
                        f"shape {each.shape}",
                        "",
                        "",
                    )
                )
                continue
            off = np.where(each.wrong, np.abs(each.analytic - each.numeric), -1.0)
            off = np.where(np.isnan(off), np.inf, off).reshape(-1)
            for place in np.argsort(-off, kind="stable")[:share]:
                if off[place] >= 0:
                    lines.append(_element(each, int(place)))
        return lines

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON knows it.

        Returns
        -------
        dict
            "title", "passed", "fault", "verdict", "findings", "arrays" (by name: "shape",
            "analytic_shape", "passed", "checked", "wrong", "left_out" by flat place, and "worst",
            the largest relative difference among the elements that agree), "worst" (elements with
            "array", "index", "analytic", "numeric"), "tried" and "notes".
        """
        return {
            "title": self.title,
            "passed": self.passed,
            "fault": self.fault,
            "verdict": self.verdict,
            "findings": [finding.as_dict() for finding in self.findings],
            "arrays": {
                name: {
                    "shape": list(each.shape),
                    "analytic_shape": list(each.analytic.shape),
                    "passed": each.passed,
                    "checked": each.checked,
                    "wrong": int(each.wrong.sum()),
                    "left_out": {str(place): why for place, why in each.left_out.items()},
                    "worst": each.worst,
                }
                for name, each in self.comparisons.items()
            },
            "worst": [
                dict(zip(("array", "index", "analytic", "numeric"), line[:4], strict=True))
                for line in self._worst()
            ],
            "tried": self.tried,
            "notes": self.notes,
        }

    def figure(self, array: str | None = None) -> Figure:
        """Draw analytic, numeric and difference of one gradient as heat maps, side by side."""
        from mlcore.gradcheck.heatmap import side_by_side

        return side_by_side(self.comparisons, self.title, array)

    def plot(self, ax: Axes | None = None, array: str | None = None) -> Figure | Axes:
        """Draw analytic, numeric and difference as heat maps.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Draws the difference alone, into it.
        array : str, optional
            Which gradient; by default the first wrong one, else the first.

        Returns
        -------
        matplotlib.figure.Figure, or `ax`

        Raises
        ------
        MissingExtraError
            If matplotlib is not installed.
        InputError
            For an unknown array, or where nothing was compared element by element.
        """
        if ax is None:
            return self.figure(array)
        from mlcore.gradcheck.heatmap import difference

        return difference(self.comparisons, ax, array)


def _element(each: Comparison, place: int) -> Cell:
    index = tuple(int(i) for i in np.unravel_index(place, each.shape))
    given = float(np.real(each.analytic.reshape(-1)[place]))
    measured = float(each.numeric.reshape(-1)[place])
    ratio = f"{given / measured:.4g}" if measured else "-"
    shown = ", ".join(map(str, index)) if index else "-"
    return (each.name, f"[{shown}]", f"{given:.6g}", f"{measured:.6g}", f"{given - measured:.2g}",
            ratio)  # fmt: skip
