"""Folders of the project that tests read."""

from __future__ import annotations

from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
ROOT = TESTS.parent
PACKAGE = ROOT / "mammorisk"
CONF = ROOT / "conf"
REFERENCE = TESTS / "reference"
