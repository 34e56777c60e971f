"""Check for functions that take the whole configuration where a section or a value would do.

A command may take the whole configuration, and so may modules that build from it, store it or check it. Other
functions take a section or values, named accordingly. Needs nothing but the standard library.
"""

from __future__ import annotations

import ast
import copy
import re
from pathlib import Path

FOLDERS = ("mammorisk", "hydra_plugins")
MAY_TAKE_IT = (  # paths, or their beginnings
    "hydra_plugins/",  # Hydra calls them with it
    "mammorisk/cli/",
    "mammorisk/training/setup.py",
    "mammorisk/training/checkpoint.py",
    "mammorisk/training/trained_model.py",
    "mammorisk/prediction/settings.py",
    "mammorisk/evaluation/settings.py",
    # their subject is the configuration itself: schema, bounds, checks, storage
    "mammorisk/config.py",
    "mammorisk/config_check.py",
    "mammorisk/bounds.py",
    "mammorisk/component_gate.py",
    "mammorisk/plain_references.py",
    "mammorisk/training/stored_config.py",
)
NAMES = ("config", "cfg")
ROOTS = re.compile(r"\b(DictConfig|(Train|Register|Predict|Evaluate|Compare|Measuring)Config)\b")
HYDRAS = ("_root_", "hydra_context")  # parameters of functions that Hydra calls, with its signature


def takers(root: Path) -> list[str]:
    """List functions of the package that take the whole configuration and may not."""
    found = []
    for folder in FOLDERS:
        for file in sorted((root / folder).rglob("*.py")):
            path = file.relative_to(root)
            if not path.as_posix().startswith(MAY_TAKE_IT):
                for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"), str(path))):
                    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (taken := _taken(node)):
                        found.append(f"{path}:{node.lineno} {node.name}({taken}): hand down a section or values")
    return found


def _taken(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str | None:
    """The parameter that holds a whole configuration."""
    starred = [each for each in (node.args.vararg, node.args.kwarg) if each is not None]
    parameters = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, *starred]
    if any(parameter.arg in HYDRAS for parameter in parameters):
        return None
    for parameter in parameters:
        annotation = _own_type(parameter)
        if parameter.arg in NAMES or ROOTS.search(annotation):
            return ast.unparse(parameter)
    return None


def _own_type(parameter: ast.arg) -> str:
    """The annotation without functions that are handed over: what they take and give is their own affair."""
    return ast.unparse(_NoCallable().visit(copy.deepcopy(parameter.annotation))) if parameter.annotation else ""


class _NoCallable(ast.NodeTransformer):
    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        """Put an empty name in the place of ``Callable[...]``."""
        return ast.Name("_") if ast.unparse(node.value) == "Callable" else self.generic_visit(node)
