"""Nothing in the package is guarded by ``assert``: under ``python -O`` there are none."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from helpers.places import ROOT

FILES = sorted(path for folder in ("mammorisk", "hydra_plugins") for path in (ROOT / folder).rglob("*.py"))


def asserts_in(source: str) -> list[int]:
    """Lines of the ``assert`` statements of a file."""
    return [node.lineno for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Assert)]


def test_an_assert_is_found_at_every_depth():
    assert asserts_in('"""assert x"""\nfor i in y:\n    if i:\n        assert i, "no"\n# assert z\n') == [4]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_of_the_package_asserts(path: Path):
    assert asserts_in(path.read_text(encoding="utf-8")) == [], "raise UserError, or typing.cast what our own code makes"
