"""tools/model_table.py: the table in README.md and docs/ says what the code says."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from helpers.places import ROOT

from mammorisk.config import options


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("model_table", ROOT / "tools/model_table.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def copies(tool, tmp_path, monkeypatch) -> Path:
    """Copies of the places, for the tool to write to."""
    for place in tool.PLACES:
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text((ROOT / place).read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(tool, "ROOT", tmp_path)
    return tmp_path


def call(tool: ModuleType, monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["model_table.py", *arguments])
    status: int = tool.main()
    return status


def test_the_tables_are_up_to_date_and_hold_every_model(tool, copies, monkeypatch, capsys):
    assert call(tool, monkeypatch, "--check") == 0, capsys.readouterr().out
    for place, cards in tool.PLACES.items():
        text = (ROOT / place).read_text(encoding="utf-8")
        found = re.findall(r"^\| \[`(\w+)`\]\((\S+)\)", text, re.MULTILINE)
        assert found == [(name, f"{cards}{name}.md") for name in options("model")]
        assert all(((ROOT / place).parent / card).is_file() for _, card in found)


def test_a_stale_table_is_reported_and_rewritten(tool, copies, monkeypatch, capsys):
    path = copies / "README.md"
    good = path.read_text(encoding="utf-8")
    path.write_text(good.replace("| Sun et al., MICCAI 2025 |", "| Sun et al., MICCAI 2026 |"), encoding="utf-8")
    assert call(tool, monkeypatch, "--check") == 1
    assert "out of date in README.md" in capsys.readouterr().out
    assert "Sun et al., MICCAI 2026" in path.read_text(encoding="utf-8")
    assert call(tool, monkeypatch) == 0
    assert path.read_text(encoding="utf-8") == good


def test_published_numbers(tool):
    row = tool.describe("lmv_net")
    assert (row["paper"], row["views"], row["exams"]) == ("Thrun et al., MICCAI 2026, arXiv 2607.11343", "2", "2")
    assert row["parameters"] == "53.7 M (+ 4.8 M frozen)"
    assert row["recipe"] == "`experiment=published/lmv_net`: batch 4, 30 epochs, rate 5e-05"


def test_a_number_of_exams_that_a_setting_changes_has_its_bounds(tool):
    assert tool.describe("vmra_mar")["exams"] == "2 (1 to 5)"
    assert tool.exams("mammorisk.models.mirai.Mirai", 1) == "1"


def test_readme_has_the_short_table_and_the_models_page_the_full_one(tool):
    short, full = ((ROOT / place).read_text(encoding="utf-8") for place in tool.PLACES)
    assert "| model | paper | a sample is | views | exams |\n" in short
    assert "`experiment=published/mirai`: batch 6, 40 epochs, rate 5e-05 |" in full


def test_a_row_too_long_for_readme_is_refused(tool):
    row = dict.fromkeys(tool.COLUMNS, "x") | {"name": "lmv_net", "paper": "Somebody, " * 12}
    with pytest.raises(SystemExit, match="120 at most"):
        tool.table([row], "", tool.SHORT)
    assert "Somebody" in tool.table([row], "", tuple(tool.COLUMNS))


def test_a_module_without_its_paper_and_a_place_without_markers_are_reported(tool):
    with pytest.raises(SystemExit, match="x: end the first line"):
        tool.paper("A model of nobody.", "x")
    with pytest.raises(SystemExit, match=r"README\.md has no"):
        tool.with_table("# Nothing", "table", "README.md")
    assert tool.paper("X: y (A et al., Z (2020)).", "x") == "A et al., Z (2020)"
