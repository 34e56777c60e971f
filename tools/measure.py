#!/usr/bin/env python3
"""Measure the package against the limits of CONTRIBUTING.md, "Measures".

Prints a table of values and limits, then every offender by name; ends with status 1 if a limit is passed.
The rooms are in ``rooms.py`` beside it, the words in ``words.py``, whole configurations in ``whole_config.py``.
Needs nothing but the standard library. usage: python tools/measure.py [ROOT]
"""

from __future__ import annotations

import ast
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rooms import ARGUED, FLOORS, Argued, Floors, computed_imports, knots, read_house, upward
from whole_config import takers
from words import old_words, untitled_modules

PACKAGE, TESTS = "mammorisk", "tests"
FILE_MEDIAN, FILE_MAX = 120, 400  # lines
FUNCTION_MEDIAN, FUNCTION_MAX = 15, 60  # lines
PARAMETERS_MAX = 8  # of a function; a constructor has a parameter for each key of its YAML
TESTS_PER_SOURCE = 0.6  # lines
ARGUED_MAX = 6  # imports to a higher floor
CHECK_NAMES = ("raises", "warns", "fail")  # besides everything that starts with ...
CHECK_PREFIXES = ("assert", "check", "expect")

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass
class Measure:
    """A row of the table: a value, its limit in words, whether it holds, and the offenders."""

    name: str
    value: str
    limit: str
    holds: bool
    offenders: list[str] = field(default_factory=list)


@dataclass
class Source:
    """A Python file, read once."""

    path: Path  # relative to the root
    lines: int
    tree: ast.Module

    def functions(self) -> Iterator[Function]:
        """Every function of the file: nested, private and methods too."""
        return (node for node in ast.walk(self.tree) if isinstance(node, Function))

    def public(self) -> Iterator[tuple[str, Function | ast.ClassDef]]:
        """Public functions and classes at the top level, and the public methods of the latter."""
        for node in self.tree.body:
            if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
                yield node.name, node
                for method in node.body if isinstance(node, ast.ClassDef) else ():
                    if isinstance(method, Function) and not method.name.startswith("_"):
                        yield f"{node.name}.{method.name}", method

    def at(self, node: Function | ast.ClassDef, name: str | None = None) -> str:
        """The place of a function or class, in the form that editors open."""
        return f"{self.path}:{node.lineno} {name or node.name}"


def main(root: Path, floors: Floors = FLOORS, argued: Argued = ARGUED) -> int:
    """Print the measures of ``root``; return 1 if a limit is passed, else 0."""
    sources, tests = read(root, PACKAGE, "*.py"), read(root, TESTS, "test_*.py")
    if not sources:
        print(f"no Python file in {root / PACKAGE}", file=sys.stderr)
        return 1
    measures = [
        *sizes(sources),
        *habits(sources),
        *tested(sources, tests),
        *plan(root, floors, argued),
        *language(root),
    ]
    width = max(len(measure.name) for measure in measures)
    for measure in measures:
        print(f"{measure.name:{width}}  {measure.value:>9}  {measure.limit:>7}  {'ok' if measure.holds else 'OVER'}")
    for measure in measures:
        for offender in measure.offenders:
            print(f"{measure.name}: {offender}")
    return 0 if all(measure.holds for measure in measures) else 1


def read(root: Path, folder: str, pattern: str) -> list[Source]:
    """The files of ``folder`` that match ``pattern``; the last empty line counts, as in an editor."""
    texts = {path: path.read_text(encoding="utf-8") for path in sorted((root / folder).rglob(pattern))}
    return [
        Source(path.relative_to(root), text.count("\n") + 1, ast.parse(text, str(path))) for path, text in texts.items()
    ]


def sizes(sources: list[Source]) -> list[Measure]:
    """Lengths of files and functions, and numbers of parameters."""
    files = {str(source.path): source.lines for source in sources}
    functions = {source.at(node): length(node) for source in sources for node in source.functions()}
    parameters = {
        source.at(node): len(arguments(node))
        for source in sources
        for node in source.functions()
        if node.name != "__init__"
    }
    return [
        _median("lines of a file, median", list(files.values()), FILE_MEDIAN),
        _largest("lines of a file, largest", files, FILE_MAX),
        _median("lines of a function, median", list(functions.values()), FUNCTION_MEDIAN),
        _largest("lines of a function, largest", functions, FUNCTION_MAX),
        _largest("parameters outside constructors", parameters, PARAMETERS_MAX),
    ]


def habits(sources: list[Source]) -> list[Measure]:
    """Docstrings and annotations of public names."""
    documented = {
        source.at(node, name): ast.get_docstring(node) is not None
        for source in sources
        for name, node in source.public()
    }
    annotated = {
        source.at(node, name): isinstance(node, ast.ClassDef) or is_annotated(node)
        for source in sources
        for name, node in source.public()
    }
    return [_all("public names with a docstring", documented), _all("public names fully annotated", annotated)]


def tested(sources: list[Source], tests: list[Source]) -> list[Measure]:
    """Mirror files of tests, length of tests relative to the package, and tests with an assertion."""
    there = {test.path for test in tests}
    mirrored = {
        str(source.path): mirror(source.path) in there for source in sources if not source.path.stem.startswith("__")
    }
    ratio = sum(test.lines for test in tests) / sum(source.lines for source in sources)
    asserting = {
        test.at(node): asserts_something(node)
        for test in tests
        for node in test.functions()
        if node.name.startswith("test_")
    }
    return [
        _all("modules with a test file of their own", mirrored),
        Measure(
            "lines of tests per line of source", f"{ratio:.2f}", f">= {TESTS_PER_SOURCE}", ratio >= TESTS_PER_SOURCE
        ),
        _all("tests that assert something", asserting),
    ]


def plan(root: Path, floors: Floors, argued: Argued) -> list[Measure]:
    """Circles of rooms, imports upward, and functions that take a whole configuration."""
    house = read_house(root)
    circles = knots(house, argued)
    count = sum(not line.startswith(" ") for line in circles)
    return [
        Measure("knots of rooms", str(count), "none", not circles, circles),
        _none("imports upward, not argued for", upward(house, floors, argued)),
        _none("imports of computed names", computed_imports(house)),
        Measure("imports upward, argued for", str(len(argued)), f"<= {ARGUED_MAX}", len(argued) <= ARGUED_MAX),
        _none("functions with a whole config", takers(root)),
    ]


def language(root: Path) -> list[Measure]:
    """Old names, and module docstrings without a title."""
    return [
        _none("old words as names", old_words(root)),
        _none("module docstrings without a title", untitled_modules(root)),
    ]


def length(node: Function) -> int:
    """Lines from ``def`` to the end of the body."""
    return (node.end_lineno or node.lineno) - node.lineno + 1


def arguments(node: Function) -> list[ast.arg]:
    """The named parameters, without ``self`` and ``cls``."""
    named = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
    return [argument for argument in named if argument.arg not in ("self", "cls")]


def is_annotated(node: Function) -> bool:
    """Whether the return value and every parameter, ``*args`` too, has a type."""
    starred = [argument for argument in (node.args.vararg, node.args.kwarg) if argument is not None]
    return node.returns is not None and all(a.annotation is not None for a in arguments(node) + starred)


def mirror(module: Path) -> Path:
    """The test file of a module: mammorisk/a/b.py -> tests/a/test_b.py."""
    return Path(TESTS, *module.parts[1:-1], f"test_{module.name}")


def asserts_something(node: Function) -> bool:
    """Whether a test has an ``assert``, or calls a function whose name is that of a check."""
    for part in ast.walk(node):
        if isinstance(part, ast.Assert):
            return True
        if isinstance(part, ast.Call):
            name = ast.unparse(part.func).rpartition(".")[2]
            if name in CHECK_NAMES or name.startswith(CHECK_PREFIXES):
                return True
    return False


def _median(name: str, values: list[int], limit: int) -> Measure:
    median = statistics.median(values or [0])
    return Measure(name, f"{median:g}", f"<= {limit}", median <= limit)


def _largest(name: str, values: dict[str, int], limit: int) -> Measure:
    over = [f"{where}: {value} (limit {limit})" for where, value in values.items() if value > limit]
    return Measure(name, str(max(values.values(), default=0)), f"<= {limit}", not over, over)


def _all(name: str, values: dict[str, bool]) -> Measure:
    offenders = [where for where, holds in values.items() if not holds]
    return Measure(name, f"{sum(values.values())}/{len(values)}", "all", not offenders, offenders)


def _none(name: str, offenders: list[str]) -> Measure:
    return Measure(name, str(len(offenders)), "none", not offenders, offenders)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()))
