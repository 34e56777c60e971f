"""tools/measure.py: a tidy package passes; each way to be untidy is found, named, and fails."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
from helpers.places import ROOT

FLOORS = (("cli",), ("io",), ("short.py",))
SCRIPT = ROOT / "tools" / "measure.py"

MODULE = '''"""A module."""


class Reader:
    """Public class."""

    def __init__(self, path):
        self.path = path

    def read(self, limit: int) -> str:
        """Public method."""
        return self.path[:limit]


def load(path: str, *rest: str) -> int:
    """Public function."""
    return _size(path)


def _size(path):
    return len(path)
'''
TEST = (
    """
def test_load():
    value = 1
    assert value


def test_read():
    with pytest.raises(ValueError):
        load("")


def test_parity():
    assert_parity(1, 1)
"""
    + "\n" * 12
)
LONG_FUNCTION = "\n\ndef long(path: str) -> None:\n" + '    """Long."""\n' + "    print(path)\n" * 59


@pytest.fixture(scope="module")
def measure():
    spec = importlib.util.spec_from_file_location("measure", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["measure"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def project(root: Path, module: str = MODULE, test: str = TEST, test_file: str = "tests/io/test_load.py") -> Path:
    """A package with one module and its test."""
    files = {"mammorisk/__init__.py": "", "mammorisk/io/load.py": module, test_file: test}
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def main(measure, root: Path) -> int:
    """The status for a package whose rooms are ``io`` and the root, with no import upward argued for."""
    return measure.main(root, FLOORS, {})


def table(output: str) -> dict[str, str]:
    """Rows of the printed table: name -> ok or OVER."""
    rows = (line.rsplit(maxsplit=1) for line in output.splitlines() if line.endswith((" ok", " OVER")))
    return {row.split("  ")[0]: state for row, state in rows}


def test_a_tidy_package_passes(measure, tmp_path, capsys):
    assert main(measure, project(tmp_path)) == 0
    output = capsys.readouterr().out
    assert len(table(output)) == 17
    assert set(table(output).values()) == {"ok"}


@pytest.mark.parametrize(
    ("change", "row", "offender"),
    [
        ({"module": MODULE + "#\n" * 380}, "lines of a file, largest", "mammorisk/io/load.py: 402 (limit 400)"),
        (
            {"module": MODULE + LONG_FUNCTION, "test": TEST + "#\n" * 50},
            "lines of a function, largest",
            "mammorisk/io/load.py:24 long: 61 (limit 60)",
        ),
        (
            {"module": MODULE + f"\n\ndef _wide({', '.join('abcdefghi')}):\n    return a\n"},
            "parameters outside constructors",
            "mammorisk/io/load.py:24 _wide: 9 (limit 8)",
        ),
        (
            {"module": MODULE.replace('        """Public method."""\n', "")},
            "public names with a docstring",
            "mammorisk/io/load.py:10 Reader.read",
        ),
        (
            {"module": MODULE.replace("*rest: str", "*rest")},
            "public names fully annotated",
            "mammorisk/io/load.py:15 load",
        ),
        (
            {"module": MODULE.replace("limit: int) -> str", "limit: int)")},
            "public names fully annotated",
            "mammorisk/io/load.py:10 Reader.read",
        ),
        ({"test_file": "tests/test_load.py"}, "modules with a test file of their own", "mammorisk/io/load.py"),
        (
            {"test": TEST.replace("assert value", "print(value)")},
            "tests that assert something",
            "tests/io/test_load.py:2 test_load",
        ),
        (
            {"module": MODULE + "\n\ndef _late():\n    from mammorisk import evaluate\n"},
            "imports upward, not argued for",
            "mammorisk/io/load.py:25 imports mammorisk.evaluate: from io up to cli",
        ),
        (
            {"module": MODULE + "\n\ndef _run(config):\n    print()\n"},
            "functions with a whole config",
            "mammorisk/io/load.py:24 _run(config): hand down a section or values",
        ),
        (
            {"module": MODULE.replace("path", "learner")},
            "old words as names",
            "mammorisk/io/load.py:7 parameter learner: learner is unwrapped_model now",
        ),
        (
            {"module": MODULE.replace("A module", "What is read")},
            "module docstrings without a title",
            "mammorisk/io/load.py:1 begins with What: name the thing, then say why",
        ),
    ],
)
def test_what_passes_a_limit_is_named(measure, tmp_path, capsys, change, row, offender):
    assert main(measure, project(tmp_path, **change)) == 1
    output = capsys.readouterr().out
    assert f"{row}: {offender}" in output.splitlines()
    assert table(output)[row] == "OVER"


def test_rooms_that_import_each_other_are_named_with_their_lines(measure, tmp_path, capsys):
    root = project(tmp_path, module=MODULE + "\nfrom mammorisk.short import more\n")
    (root / "mammorisk/short.py").write_text('CLASS = "mammorisk.io.load.Reader"\n')
    assert main(measure, root) == 1
    output = capsys.readouterr().out
    assert table(output)["knots of rooms"] == "OVER"
    assert "knots of rooms: 2 rooms: io, short.py" in output.splitlines()
    assert (
        "knots of rooms:   io -> short.py: mammorisk/io/load.py:23 imports mammorisk.short.more" in output.splitlines()
    )
    assert (
        "knots of rooms:   short.py -> io: mammorisk/short.py:1 names mammorisk.io.load.Reader" in output.splitlines()
    )


def test_more_imports_upward_than_the_limit_fail_though_all_are_argued_for(measure, tmp_path, capsys):
    root = project(tmp_path, module='"""Names of the top."""\n')
    argued = {}
    for number in range(measure.ARGUED_MAX + 1):
        (root / f"mammorisk/io/climber_{number}.py").write_text("import mammorisk\n")
        argued[f"mammorisk.io.climber_{number}", "mammorisk"] = "why"
    measure.main(root, FLOORS, argued)
    rows = table(capsys.readouterr().out)
    assert (rows["imports upward, not argued for"], rows["imports upward, argued for"]) == ("ok", "OVER")


@pytest.mark.parametrize(
    ("change", "row"),
    [
        ({"module": MODULE.replace("self.path = path", "self.path = path\n" + "#\n" * 230)}, "lines of a file, median"),
        (
            {"module": '"""Doc."""\n' + "".join(f"\n\ndef _f{i}():\n" + "    print()\n" * 15 for i in range(3))},
            "lines of a function, median",
        ),
        ({"test": "def test_load():\n    assert True\n"}, "lines of tests per line of source"),
    ],
)
def test_totals_over_their_limit_fail(measure, tmp_path, capsys, change, row):
    assert main(measure, project(tmp_path, **change)) == 1
    assert table(capsys.readouterr().out)[row] == "OVER"


def test_what_is_exactly_at_its_limit_passes(measure, tmp_path):
    eight = MODULE + f"\n\ndef _wide({', '.join('abcdefgh')}):\n    return a\n"
    at_limit = eight + LONG_FUNCTION.replace("    print(path)\n", "", 1)
    filled = at_limit + "#\n" * (399 - at_limit.count("\n"))
    tested = project(tmp_path, module=filled, test=TEST + "#\n" * 300)
    (tested / "mammorisk/short.py").write_text("")  # two short files and a long one: a low median
    (tested / "tests/test_short.py").write_text("")
    assert main(measure, tested) == 0


def test_constructors_may_take_many_parameters(measure, tmp_path):
    many = MODULE.replace("self, path", f"self, path, {', '.join('abcdefghij')}")
    assert main(measure, project(tmp_path, module=many)) == 0


def test_a_folder_without_the_package_is_not_a_pass(measure, tmp_path, capsys):
    assert main(measure, tmp_path) == 1
    assert "no Python file" in capsys.readouterr().err
