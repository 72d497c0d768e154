"""Every planted fault is found, and called by its name."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

from mlcore import gradcheck

FOLDER = Path(__file__).parent / "gradcheck_cases"
DRAWS = 3


def load(path):
    spec = importlib.util.spec_from_file_location(f"gradcheck_cases_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MODULES = [load(path) for path in sorted(FOLDER.glob("*.py"))]
CASES = [
    pytest.param(module, name, id=f"{module.__name__.removeprefix('gradcheck_cases_')}-{name[5:]}")
    for module in MODULES
    for name in vars(module)
    if name.startswith("case_")
]


@pytest.mark.parametrize("seed", range(DRAWS))
@pytest.mark.parametrize(("module", "name"), CASES)
def test_the_fault_is_named(module, name, seed):
    forward, backward, *given = getattr(module, name)(np.random.default_rng(seed))
    report = gradcheck.check(forward, backward, *given, seed=seed)
    wanted = getattr(module, "FAULT_OF", {}).get(name, getattr(module, "FAULT", None))
    assert report.fault == wanted, str(report)
    words = getattr(module, "WORDS_OF", {}).get(name, getattr(module, "WORDS", []))
    if wanted is None:
        notes = [finding for finding in report.findings if not finding.serious]
        assert [finding.fault for finding in notes] == [module.NOTE], str(report)
    for word in words:
        assert word in str(report), str(report)


def test_there_are_three_of_every_fault():
    for module in MODULES:
        cases = [name for name in vars(module) if name.startswith("case_")]
        assert len(cases) >= 3, module.__name__


def test_verdicts_are_one_line_of_plain_words():
    for parameters in CASES:
        module, name = parameters.values
        forward, backward, *given = getattr(module, name)(np.random.default_rng(0))
        verdict = gradcheck.check(forward, backward, *given).verdict
        assert "\n" not in verdict
        assert len(verdict) < 330, verdict
        assert not re.search(r"\bnan\b|np\.", verdict), verdict
