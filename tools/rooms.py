"""Check of the imports between the rooms of the package: no import cycle of rooms, no import to a higher floor.

A room is the first folder below ``mammorisk/``; each module of the root is a room of its own. The package itself,
``__main__``, ``cli/`` and ``hydra_plugins/`` are the top. An import inside a function counts, and so does a string
that names a module or something in one (``"mammorisk.models.lmv_net.LMVNet"``); an import for type checkers does not.
Needs nothing but the standard library.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PACKAGE, PLUGINS, TOP = "mammorisk", "hydra_plugins", "cli"
Floors = Sequence[Sequence[str]]
FLOORS: Floors = (  # top to ground; CONTRIBUTING.md, "Floors", names the same
    (TOP,),
    ("evaluation", "sweeps"),
    ("prediction", "report"),
    ("training",),
    ("caching",),
    ("preparation", "registration", "dicom"),
    ("datasets",),
    ("cluster", "models", "weights", "runs", "distributed", "config_check.py"),
    ("augment", "optim", "metrics", "losses", "component_gate.py", "messages.py"),
    ("system",),
    (
        *("batch.py", "bound.py", "bounds.py", "component_values.py", "config.py", "errors.py"),
        *("plain_references.py", "risk_factors.py", "version.py", "warping.py"),
    ),
)
Argued = Mapping[tuple[str, str], str]
ARGUED: Argued = {  # (module, its import from a higher floor): reason. A string may name anything below the import
    ("mammorisk.bounds", "mammorisk"): (
        "One table holds the bounds of all components, keyed by their names. It imports none of them: the gate must "
        "know what a component allows before it imports that component."
    ),
    ("mammorisk.component_gate", "mammorisk.models.base"): (
        "The gate holds a stored model to this class. It imports the class by its name, and only when it has read "
        "that a model is asked for."
    ),
    ("mammorisk.weights.formats", "mammorisk.models"): (
        "A format of weights names the network that it fits. The network is imported when a file of that format is "
        "checked; the network itself reads weights."
    ),
    ("mammorisk.weights.formats", "mammorisk.registration.mammoregnet"): (
        "MammoRegNet's weights are one of the formats, and MammoRegNet loads weights."
    ),
}
# Modules below the commands that import a name which they compute, and why.
COMPUTING = {"mammorisk.component_gate": "It imports what a configuration names, when the gate has let the name pass."}
DOTTED = re.compile(rf"(?:{PACKAGE}|{PLUGINS})(?:\.\w+)+[.:]?\w*")


@dataclass(frozen=True)
class Tie:
    """One import, or one string that names a module."""

    importer: str
    imported: str
    path: Path  # relative to the root
    line: int
    name: str  # the imported name, as far as the line shows it
    by_string: bool = False

    def __str__(self) -> str:
        return f"{self.path}:{self.line} {'names' if self.by_string else 'imports'} {self.name}"


@dataclass
class House:
    """Modules of the package and of its plugins, and the ties between them."""

    modules: dict[str, Path]  # dotted name -> file, relative to the root
    ties: list[Tie]
    computed: list[tuple[str, str]]  # module, and path:line of an import whose name no text holds

    def room(self, module: str) -> str:
        """The room of a module; a module of the root is called by its file's name."""
        parts = self.modules[module].parts
        if parts[0] == PLUGINS or module in (PACKAGE, f"{PACKAGE}.__main__"):
            return TOP
        return parts[1]

    def pairs(self, ties: Iterable[Tie]) -> dict[tuple[str, str], list[Tie]]:
        """Ties by the pair of rooms that they connect; those within a room are left out."""
        found = defaultdict(list)
        for tie in ties:
            pair = self.room(tie.importer), self.room(tie.imported)
            if pair[0] != pair[1]:
                found[pair].append(tie)
        return dict(found)


def read_house(root: Path) -> House:
    """Read every module below ``root`` and find its ties."""
    files = [path for folder in (PACKAGE, PLUGINS) for path in sorted((root / folder).rglob("*.py"))]
    modules = {_dotted(path.relative_to(root)): path.relative_to(root) for path in files}
    ties: list[Tie] = []
    computed = []
    for module, path in modules.items():
        tree = ast.parse((root / path).read_text(encoding="utf-8"), str(path))
        base = module if path.name == "__init__.py" else module.rpartition(".")[0]
        ties += [
            Tie(module, imported, path, line, name, by_string)
            for imported, line, name, by_string in _references(tree, base, modules)
            if imported != module
        ]
        computed += [(module, f"{path}:{node.lineno}") for node in _code(tree) if _is_computed_import(node)]
    return House(modules, ties, computed)


def knots(house: House, argued: Argued = ARGUED) -> list[str]:
    """List every import cycle of rooms, with an example of each pair that ties it.

    A string that is argued for does not count, since it imports nothing. An import counts, argued for or not.
    """
    pairs = house.pairs(tie for tie in house.ties if not (tie.by_string and _argument(tie, argued)))
    found = []
    for circle in components(pairs):
        found.append(f"{len(circle)} rooms: {', '.join(circle)}")
        for (above, below), ties in sorted(pairs.items()):
            if above in circle and below in circle:
                first = min(ties, key=lambda tie: tie.by_string)
                more = f" and {len(ties) - 1} more" if len(ties) > 1 else ""
                found.append(f"  {above} -> {below}: {first}{more}")
    return found


def upward(house: House, floors: Floors = FLOORS, argued: Argued = ARGUED) -> list[str]:
    """List imports to a higher floor without an argument, arguments without an import, and rooms without a floor."""
    height = {room: level for level, rooms in enumerate(reversed(floors)) for room in rooms}
    rooms = sorted({house.room(module) for module in house.modules})
    found = [f"{room} stands on no floor: give it one in tools/rooms.py" for room in rooms if room not in height]
    needed = {key for tie in _knotted(house) if tie.by_string and (key := _argument(tie, argued))}
    for (low, high), ties in sorted(house.pairs(house.ties).items()):
        if low not in height or high not in height or height[high] <= height[low]:
            continue
        for tie in ties:
            key = _argument(tie, argued)
            if key is None:
                found.append(f"{tie}: from {low} up to {high}")
            else:
                needed.add(key)
    unneeded = [key for key in argued if key not in needed]
    return found + [f"{low} -> {high} is argued for in tools/rooms.py and no longer needed" for low, high in unneeded]


def computed_imports(house: House, argued: Mapping[str, str] = COMPUTING) -> list[str]:
    """List imports of computed names below the commands: no tie shows them."""
    return [
        f"{where} imports a name that it computes: write it in full"
        for module, where in house.computed
        if house.room(module) != TOP and module not in argued
    ]


def components(pairs: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Strongly connected components of more than one node, sorted (Tarjan 1972)."""
    below: dict[str, list[str]] = defaultdict(list)
    for one, other in sorted(pairs):
        below[one].append(other)
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        order[node] = lowest[node] = len(order)
        stack.append(node)
        for other in below.get(node, ()):
            if other not in order:
                visit(other)
            if other in stack:
                lowest[node] = min(lowest[node], lowest[other])
        if lowest[node] == order[node]:
            circle = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(circle) > 1:
                found.append(sorted(circle))

    for node in list(below):
        if node not in order:
            visit(node)
    return sorted(found)


def _knotted(house: House) -> Iterator[Tie]:
    """The ties of all import cycles, argued for or not."""
    pairs = house.pairs(house.ties)
    for circle in components(pairs):
        for (above, below), ties in pairs.items():
            if above in circle and below in circle:
                yield from ties


def _argument(tie: Tie, argued: Argued) -> tuple[str, str] | None:
    """The entry that argues for a tie: for the same import, or for a string below the name in the entry."""
    for importer, imported in argued:
        below = tie.by_string and tie.imported.startswith(f"{imported}.")
        if tie.importer == importer and (tie.imported == imported or below):
            return importer, imported
    return None


def _is_computed_import(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call) or ast.unparse(node.func).rpartition(".")[2] not in (
        "import_module",
        "__import__",
    ):
        return False
    name = node.args[0] if node.args else None
    is_text = isinstance(name, ast.Constant) and isinstance(name.value, str)
    return not (is_text and name.value[:1] != ".")


def _dotted(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _references(tree: ast.Module, base: str, modules: Mapping[str, Path]) -> Iterator[tuple[str, int, str, bool]]:
    """References of a module to our modules: the module, the line, the full name, and whether it is a string."""
    for node in _code(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parent = ".".join(base.split(".")[: len(base.split(".")) - node.level + 1]) if node.level else ""
            origin = ".".join(part for part in (parent, node.module) if part)
            names = [f"{origin}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and DOTTED.fullmatch(node.value):
            names = [node.value.replace(":", ".").rstrip(".")]
        else:
            continue
        by_string = isinstance(node, ast.Constant)
        for name in names:
            module = _module_of(name, modules)
            if module is not None and not (by_string and module == PACKAGE):
                yield module, node.lineno, name, by_string


def _module_of(name: str, modules: Mapping[str, Path]) -> str | None:
    """The longest beginning of a dotted name that is a module of ours."""
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return name or None


def _code(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes below one, without docstrings and without branches for type checkers."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
            continue
        if isinstance(child, ast.If) and re.fullmatch(r"(\w+\.)?TYPE_CHECKING", ast.unparse(child.test)):
            for branch in child.orelse:
                yield branch
                yield from _code(branch)
            continue
        yield child
        yield from _code(child)
