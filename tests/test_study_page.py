"""The page on what the studies found: made of the recorded runs, and up to date."""

import importlib.util
import json
import re
from pathlib import Path

import pytest

from mlcore import studies

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "bench" / "study_page.py"
BYTES, ALL_BYTES = 120_000, 1_500_000

pytestmark = pytest.mark.skipif(not SCRIPT.is_file(), reason="only the package is here")


@pytest.fixture
def script():
    spec = importlib.util.spec_from_file_location("study_page", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def elsewhere(script, monkeypatch, tmp_path):
    """The script, with folders and a page of its own."""
    monkeypatch.setattr(script, "TABLES", tmp_path / "tables")
    monkeypatch.setattr(script, "IMAGES", tmp_path / "images")
    monkeypatch.setattr(script, "PAGE", tmp_path / "studies.md")
    script.PAGE.write_text("By hand.\n\n" + script.MARK + "\nold")
    return script


def test_the_page_is_what_the_recorded_runs_make(script):
    text = script.PAGE.read_text(encoding="utf-8")
    assert text.count(script.MARK) == 1
    made = text.partition(script.MARK)[2].lstrip("\n")
    assert made == script.page(), "run: python bench/study_page.py"


def test_its_pictures_are_there_and_small(script):
    text = script.PAGE.read_text(encoding="utf-8")
    shown = re.findall(r"!\[[^]]+\]\(images/studies/(.*?)\)", text)
    sizes = {name: (script.IMAGES / name).stat().st_size for name in shown}
    assert set(sizes) == {path.name for path in script.IMAGES.iterdir()}
    assert max(sizes.values()) < BYTES
    assert sum(sizes.values()) < ALL_BYTES


def test_no_quick_run_is_recorded(script):
    for path in script.TABLES.iterdir():
        assert json.loads(path.read_text())["settings"]["quick"] is False


def test_a_run_is_taken_over_with_table_and_pictures(elsewhere, tmp_path):
    pytest.importorskip("matplotlib")
    result = studies.run("coin-flips", sequences=64, epochs=1, seeds=1)
    result.save(tmp_path / "runs" / "coin-flips")
    result.save(tmp_path / "runs" / "two-hidden")
    (tmp_path / "runs" / "two-hidden" / "index.html").unlink()
    elsewhere.main([str(tmp_path / "runs")])
    assert [path.name for path in elsewhere.TABLES.iterdir()] == ["coin-flips.json"]
    text = elsewhere.PAGE.read_text()
    assert text.startswith("By hand.")
    assert "old" not in text.partition(elsewhere.MARK)[2].split("## What they found")[0]
    assert result.command in text
    assert result.to_markdown() in text
    assert f"![{elsewhere.PICTURES['coin-flips']['first-layer']}]" in text
    assert text.count("No full run yet.") == len(studies.names()) - 1
    before = text
    elsewhere.main([])
    assert elsewhere.PAGE.read_text() == before


def test_a_picture_of_another_run_does_not_stay(elsewhere, tmp_path):
    result = studies.run("coin-flips", sequences=64, epochs=1, seeds=1, plots=False)
    result.save(tmp_path / "coin-flips")
    elsewhere.IMAGES.mkdir()
    (elsewhere.IMAGES / "coin-flips-first-layer.png").touch()
    elsewhere.main([str(tmp_path)])
    assert list(elsewhere.IMAGES.iterdir()) == []
    assert "coin-flips-first-layer" not in elsewhere.PAGE.read_text()


def test_a_quick_run_is_left_alone(elsewhere, tmp_path):
    result = studies.run("coin-flips", quick=True, sequences=64, epochs=1, seeds=1, plots=False)
    result.save(tmp_path / "coin-flips")
    elsewhere.main([str(tmp_path)])
    assert list(elsewhere.TABLES.iterdir()) == []


def test_every_study_has_pictures_named(script):
    assert list(script.PICTURES) == studies.names()
    assert all(script.PICTURES.values())


def test_markup_in_texts_is_escaped_but_not_in_code(script):
    assert script.marked("a_b * `c_d` < e") == r"a\_b \* `c_d` \< e"
