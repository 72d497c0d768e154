"""The page on plots: its lines run, and it shows what they draw."""

import re
from pathlib import Path

import pytest

from mlcore import plots

pytest.importorskip("matplotlib", reason="matplotlib is not installed")
pytest.importorskip("sklearn", reason="scikit-learn is not installed")

PAGE = Path(__file__).parent.parent / "docs" / "plots.md"
BYTES = 60_000


@pytest.mark.skipif(not PAGE.is_file(), reason="the page is not here, only the package")
def test_the_page_shows_what_its_lines_draw(monkeypatch):
    text = PAGE.read_text(encoding="utf-8")
    drawn = []
    monkeypatch.setattr(plots, "save", lambda _, path, **__: drawn.append(Path(path).name))
    scope = {}
    for code in re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        exec(code, scope)
    assert drawn == re.findall(r"!\[[^]]+\]\(images/(.*?)\)", text)
    for name in drawn:
        picture = (PAGE.parent / "images" / name).read_bytes()
        assert picture.startswith(b"\x89PNG")
        assert len(picture) < BYTES, name
