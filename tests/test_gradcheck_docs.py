"""The page on gradient checks: its code runs, and prints what the page says."""

import contextlib
import io
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parent.parent / "docs" / "gradcheck.md"
BLOCK = re.compile(r"^```(python|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def same_everywhere(text):
    """Leave out what depends on the rounding of a machine."""
    text = re.sub(r"\([\d,]+ evaluations\)", "(evaluations)", text)
    return re.sub(r"to within \S+ of", "to within some of", text)


def blocks():
    """Yield each piece of code with what it is said to print."""
    found = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    for at, (kind, text) in enumerate(found):
        if kind == "python":
            follower = found[at + 1] if at + 1 < len(found) else ("", "")
            yield text, follower[1] if follower[0] == "text" else ""


@pytest.mark.skipif(not PAGE.is_file(), reason="the page is not here, only the package")
def test_the_page_prints_what_it_says():
    scope = {}
    for code, expected in blocks():
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, scope)
        assert same_everywhere(printed.getvalue()) == same_everywhere(expected), code
