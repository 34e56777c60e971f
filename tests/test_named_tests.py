"""Each function and each test that a table of the documentation names exists."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest
from hydra.utils import get_object

ROOT = Path(__file__).parents[1]
TABLES = ["tests/README.md", "docs/faults.md"]


@functools.cache
def functions_of(file: Path) -> set[str]:
    """Names of the functions that a file defines."""
    return {node.name for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.FunctionDef)}


def named_tests(text: str) -> list[tuple[str, str]]:
    """File and name of each test; one that begins with :: is of the file before."""
    found: list[tuple[str, str]] = []
    for file, name in re.findall(r"`([\w/]+\.py)?::(\w+)`", text):
        found.append((file or found[-1][0], name))
    return found


@pytest.mark.parametrize("table", TABLES)
def test_the_tests_that_a_table_names_exist(table):
    named = named_tests((ROOT / table).read_text())
    assert len(named) > 30
    missing = [f"{file}::{name}" for file, name in named if name not in functions_of(ROOT / file)]
    assert missing == []


def test_the_functions_of_the_table_exist():
    named = re.findall(r"`(mammorisk(?:\.\w+)+)`", (ROOT / "tests/README.md").read_text())
    assert len(named) > 80
    assert [name for name in named if not callable(get_object(name))] == []


def test_every_reference_output_stands_in_the_table():
    table = (ROOT / "tests/README.md").read_text()
    kept = {path.name.split(".")[0] for path in (ROOT / "tests/reference").glob("*.npz")}
    kept = {re.sub(r"_set\d$", "_set*", name).removesuffix("_expected") for name in kept}
    assert sorted(name for name in kept if f"`{name}`" not in table) == []


def test_a_name_that_is_gone_is_found():
    assert named_tests("`a/b.py::test_one`, `::test_two`") == [("a/b.py", "test_one"), ("a/b.py", "test_two")]
    assert "test_gone" not in functions_of(Path(__file__))
