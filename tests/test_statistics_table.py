"""tools/statistics_table.py: the table in docs/statistics.md says what the registry of measures says."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from mammorisk.metrics import registry
from mammorisk.metrics.definitions import Measure
from mammorisk.metrics.registry import Family

ROOT = Path(__file__).parents[1]


@pytest.fixture
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("statistics_table", ROOT / "tools/statistics_table.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def call(tool: ModuleType, monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["statistics_table.py", *arguments])
    status: int = tool.main()
    return status


def test_the_table_is_up_to_date(tool, monkeypatch, capsys):
    assert call(tool, monkeypatch, "--check") == 0, capsys.readouterr().out


def test_a_new_measure_makes_the_table_out_of_date_until_it_is_written(tool, monkeypatch, tmp_path, capsys):
    (tmp_path / "docs").mkdir()
    place = tmp_path / tool.PLACE
    place.write_text((ROOT / tool.PLACE).read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(tool, "ROOT", tmp_path)
    new = Measure("luck", "share of the draws that were lucky", "Nobody 2026", better="1")
    monkeypatch.setattr(registry, "FAMILIES", (*registry.FAMILIES, Family((new,))))
    assert call(tool, monkeypatch, "--check") == 1
    assert "out of date" in capsys.readouterr().out
    assert call(tool, monkeypatch) == 0
    assert "| `Year k luck` | share of the draws that were lucky | near 1 | Nobody 2026 |" in place.read_text()
    assert call(tool, monkeypatch, "--check") == 0


def test_lost_markers_are_said(tool, monkeypatch, tmp_path, capsys):
    (tmp_path / "docs").mkdir()
    (tmp_path / tool.PLACE).write_text("# Measures", encoding="utf-8")
    monkeypatch.setattr(tool, "ROOT", tmp_path)
    assert call(tool, monkeypatch) == 1
    assert "expected the markers" in capsys.readouterr().out
