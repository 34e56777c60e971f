"""List of all numeric settings: of the schemas, of the components in conf/, and of plug-ins' settings there."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable, Iterator
from typing import Any

import yaml
from hydra.utils import get_object

from mammorisk import config as schemas
from mammorisk.config import CONF_DIR
from mammorisk.preparation import schemas as of_prepare

PLUGINS = {"hydra/launcher": "hydra.launcher", "hydra/sweeper": "hydra.sweeper"}  # folder of conf/ -> place


def numbers_of_schemas() -> set[tuple[str, str]]:
    """(place, name) of every number in a schema; roots have the place ""."""
    found = set()
    roots = [each for module in (schemas, of_prepare) for each in vars(module).values() if _is_root(each, module)]
    stack = [("", root) for root in roots]
    while stack:
        place, schema = stack.pop()
        for name, hint in typing.get_type_hints(schema).items():
            if dataclasses.is_dataclass(hint):
                stack.append((name, hint))
            elif holds_number(hint):
                found.add((place, name))
    return found


def numbers_of_components() -> set[tuple[str, str]]:
    """(class, parameter) of every number that a component in conf/ takes."""
    found = set()
    for target in components():
        component = get_object(target)
        hints = typing.get_type_hints(component.__init__ if inspect.isclass(component) else component)
        found |= {(target, name) for name, hint in hints.items() if name != "return" and holds_number(hint)}
    return found


def numbers_of_plugins() -> set[tuple[str, str]]:
    """(place, name) of every number that conf/hydra sets in a launcher or sweeper itself."""
    found = set()
    for folder, place in PLUGINS.items():
        for path in (CONF_DIR / folder).glob("*.yaml"):
            values = yaml.safe_load(path.read_text()).items()
            found |= {(place, name) for name, value in values if type(value) in (int, float)}
    return found | {("hydra.launcher", "gpus_per_node")}  # null, where none is set


def components() -> set[str]:
    """Everything that conf/ names as ``_target_``; sweepers are plug-ins."""
    trees = [yaml.safe_load(path.read_text()) for path in CONF_DIR.rglob("*.yaml")]
    targets = {target for tree in trees for target in _targets(tree)}
    return {target for target in targets if not target.startswith("hydra_plugins.")}


def holds_number(hint: Any) -> bool:
    """Whether a value of this annotation is a number, or has numbers in it; a function that takes one has not."""
    if typing.get_origin(hint) in (Callable, typing.get_origin(Callable[[int], int])):
        return False
    return hint in (int, float) or any(holds_number(each) for each in typing.get_args(hint))


def _is_root(each: Any, module: Any) -> bool:
    return dataclasses.is_dataclass(each) and each.__module__ == module.__name__ and "Root" in str(each.__doc__)


def _targets(tree: Any) -> Iterator[str]:
    if isinstance(tree, dict):
        if "_target_" in tree:
            yield tree["_target_"]
        tree = list(tree.values())
    if isinstance(tree, list):
        for each in tree:
            yield from _targets(each)
