"""Gate of stored configurations: the components that a file may name, and the values they may have.

A checkpoint's configuration names classes. The author of the file chose the names, so none is imported before the
whole configuration has passed. A table, *slot -> exact dotted names*, lists the components allowed in each place. It
is built from the packaged ``conf/`` alone; a slot is the key of a component (model, encoder, registration, loss,
generator, ...). Names are compared as whole strings: a prefix such as ``mammorisk.`` would also allow everything that
its modules import.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import itertools
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mammorisk.bounds import out_of_bounds
from mammorisk.component_values import PATHS, is_path, takes_component, value_problem
from mammorisk.config import CONF_DIR
from mammorisk.errors import UserError
from mammorisk.system.printing import cited
from mammorisk.system.regular_files import read_text
from mammorisk.system.strict_yaml import read_strict_yaml

TARGET, PARTIAL = "_target_", "_partial_"
# Parts of a stored configuration that become objects: dotted key -> slot. Everything else stays data.
BUILT = {"model": "model", "registration": "registration", "dataset.generator": "generator"}
_GROUPS = {"model": "model", "registration": "registration", "phantom": "generator"}  # folders of conf/ -> slot
_WHOLE = ("register.yaml", "recipe", "experiment", "experiment_overrides")  # of conf/: keys as in a whole configuration
# Packages that no lab writes itself: ``allow_modules`` is not suggested for a name in one of them.
_NOBODYS_OWN = {
    *sys.stdlib_module_names,
    "mammorisk",
    "hydra",
    "numpy",
    "omegaconf",
    "pandas",
    "scipy",
    "sympy",
    "torch",
}
_KEYWORDS = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_NUMBERS = ("model", "registration", "dataset", "seed", "id_training")  # checked against their bounds
MOST_REASONS = 20
_REFERENCE = re.compile(r"\$\{(\w+)\}")
# Parameters that depend on the machine, with the value that replaces the file's: compiling writes and loads native
# code.
_MACHINE = {"compile": False, "num_workers": None}
# Slots that a user's own components may fill, with their base class; see ``_own``.
_BASES = {
    "model": "mammorisk.models.base.RiskModel",
    "encoder": "torch.nn.Module",
    "registration": "torch.nn.Module",
    "network": "torch.nn.Module",
}


@dataclass
class Slot:
    """Components allowed in one place of a configuration."""

    names: set[str] = field(default_factory=set)  # exact dotted names
    partial: set[str] = field(default_factory=set)  # those of them that stand there as a partial factory


class GateError(ValueError):
    """Refusal of a configuration; one line for each reason."""


@functools.cache
def slots() -> Mapping[str, Slot]:
    """Build the table of slots from the packaged configuration files."""
    table: dict[str, Slot] = {}
    aliases: dict[str, str] = {}  # network: ${registration}
    for group, slot in _GROUPS.items():
        for path in sorted((CONF_DIR / group).rglob("*.yaml")):
            text = read_text(path)
            whole = "@package _global_" in text.partition("\n")[0] and group != "phantom"
            _enter(table, aliases, read_strict_yaml(text, str(path)), None if whole else slot)
    for name in _WHOLE:
        place = CONF_DIR / name
        for path in sorted(place.rglob("*.yaml")) if place.is_dir() else [place]:
            _enter(table, aliases, read_strict_yaml(read_text(path), str(path)), None)
    for slot, group in aliases.items():
        if group in table:
            table.setdefault(slot, table[group])
    return table


def _enter(table: dict[str, Slot], aliases: dict[str, str], node: Any, slot: str | None) -> None:
    """Add the targets of a node to the table, under their keys."""
    if not isinstance(node, dict):
        reference = _REFERENCE.fullmatch(node) if isinstance(node, str) else None
        if reference is not None and slot is not None:
            aliases[slot] = reference.group(1)
        return
    if TARGET in node and slot is not None:
        entry = table.setdefault(slot, Slot())
        entry.names.add(node[TARGET])
        if node.get(PARTIAL) is True:
            entry.partial.add(node[TARGET])
    for key, value in node.items():
        _enter(table, aliases, value, key)


def check_components(config: Mapping[str, Any], allow_modules: Sequence[str] = ()) -> None:
    """Check the components of a configuration. Nothing is imported before all names have passed.

    Args:
        config: plain data without references.
        allow_modules: exact names of modules whose own classes (and functions, as losses) may also be named.

    Raises:
        GateError: a name is not in the table for its place, a keyword is unknown to the constructor, or a value has
            another type, is out of bounds, or is missing.
    """
    if isinstance(allow_modules, str):
        raise GateError(f"allow_modules={allow_modules}: expected a list of names, [{allow_modules}]")
    nodes = [(key, slot, node) for key, slot in BUILT.items() if (node := _at(config, key)) is not None]
    names = (line for key, slot, node in nodes for line in _bad_names(node, key, slot, tuple(allow_modules)))
    problems = list(itertools.islice(names, MOST_REASONS))
    if problems:
        raise GateError("\n".join(dict.fromkeys(problems)))
    sections = {name: config[name] for name in _NUMBERS if name in config}
    problems = list(out_of_bounds(sections))
    for key, slot, node in nodes:
        problems += _bad_values(node, key, slot, tuple(allow_modules))
    if problems:
        raise GateError("\n".join(dict.fromkeys(problems)))


def build(node: Mapping[str, Any], slot: str, allow_modules: Sequence[str] = ()) -> Any:
    """Build the component of a node that has passed ``check_components``.

    Args:
        node: plain data.
        slot: the place of the component.
        allow_modules: as for the check.

    Raises:
        GateError: the name is not allowed in its place, so that no unchecked component is built.
        UserError: the constructor refuses its settings.
    """
    component = _component(node, slot, tuple(allow_modules))
    settings = {
        key: build(value, key, allow_modules) if _is_component(value) else value
        for key, value in node.items()
        if not key.startswith("_")
    }
    return functools.partial(component, **settings) if node.get(PARTIAL) is True else component(**settings)


def without_files(node: Any, slot: str, allow_modules: Sequence[str] = ()) -> Any:
    """Remove the paths from a component's node: null if the constructor takes null, else its default.

    Raises:
        GateError: as ``build``, or neither null nor a default is possible for a path.
    """
    if not _is_component(node):
        return node
    component = _component(node, slot, tuple(allow_modules))
    found: dict[str, Any] = {}
    parameters, own = _parameters(component), node[TARGET] not in _names(slot)
    for key, value in node.items():
        if _is_component(value):
            found[key] = without_files(value, key, allow_modules)
        elif key in parameters and is_path(key, value, parameters[key], own):
            if value_problem(None, parameters[key]) is None:
                found[key] = None
            elif key not in PATHS or parameters[key].default is inspect.Parameter.empty:
                raise GateError(
                    f"{slot}.{key}={cited(value, 100)}: it looks like a path, and no path of a file is followed. "
                    f"If it is a choice, annotate it in {node[TARGET]}: {key}: Literal[...]"
                )
        elif key in _MACHINE and key in parameters and value_problem(_MACHINE[key], parameters[key]) is None:
            found[key] = _MACHINE[key]
        else:
            found[key] = value
    return found


def own_modules(config: Mapping[str, Any]) -> list[str]:
    """List the modules of components outside the table, as ``allow_modules`` must name them."""
    found: dict[str, None] = {}

    def walk(node: Any, slot: str) -> None:
        if isinstance(node, Mapping):
            target = node.get(TARGET)
            if isinstance(target, str) and target not in _names(slot):
                found[target.rpartition(".")[0]] = None
            for key, value in node.items():
                walk(value, str(key))

    for key, slot in BUILT.items():
        walk(_at(config, key), slot)
    return list(found)


def _at(config: Mapping[str, Any], key: str) -> Any:
    node: Any = config
    for part in key.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return node


def _is_component(node: Any) -> bool:
    return isinstance(node, Mapping) and TARGET in node


def _names(slot: str) -> set[str]:
    entry = slots().get(slot)
    return set() if entry is None else entry.names


def _bad_names(node: Any, where: str, slot: str | None, allowed: tuple[str, ...]) -> Iterator[str]:
    """Find the bad names in a node, of components and of special keys; nothing is imported.

    A slot of None is a place within plain data, where no component may stand.
    """
    if where in BUILT and not _is_component(node):
        yield f"{where}: expected a component with a {TARGET}"
    if isinstance(node, list):
        for i, each in enumerate(node):
            yield from _bad_names(each, f"{where}[{i}]", None, allowed)
        return
    if not isinstance(node, Mapping):
        return
    if TARGET in node and slot is None:
        yield f"{where}.{TARGET}={cited(node[TARGET], 200)}: a component stands under a keyword of another one alone"
    elif TARGET in node:
        yield from _bad_target(node, where, slot or "", allowed)
    for key, value in node.items():
        if key.startswith("_") and not (TARGET in node and key in (TARGET, PARTIAL)):
            yield f"{where}.{cited(key, 100)}: there is no such key of a component"
        yield from _bad_names(value, f"{where}.{cited(key, 100)}", key if TARGET in node else None, allowed)


def _bad_target(node: Mapping[str, Any], where: str, slot: str, allowed: tuple[str, ...]) -> Iterator[str]:
    target, entry = node[TARGET], slots().get(slot, Slot())
    if not isinstance(target, str):
        yield f"{where}.{TARGET}: expected a dotted name, found {target!r}"
        return
    is_known = target in entry.names
    if not is_known and not (target.rpartition(".")[0] in allowed and all(map(str.isidentifier, target.split(".")))):
        module = target.rpartition(".")[0]
        is_own = module and module.partition(".")[0] not in _NOBODYS_OWN
        hint = f". If {module} is your own and you trust it, name it: allow_modules=[{module}]" if is_own else ""
        if target.startswith("mammorisk."):
            hint = ". If you have added it to this checkout: a file of conf/ must name it (CONTRIBUTING.md, A new loss)"
        yield f"{where}.{TARGET}={cited(target, 200)}: no component of mammorisk for this place{hint}"
    if PARTIAL in node and not (node[PARTIAL] is True and (not is_known or target in entry.partial)):
        yield f"{where}.{PARTIAL}: {target} is not made that way here: no file of conf/ names it so"
    if is_known and target in entry.partial and PARTIAL not in node:
        yield f"{where}.{PARTIAL}: {target} needs it here, true"


def _bad_values(node: Any, where: str, slot: str, allowed: tuple[str, ...]) -> Iterator[str]:
    """Find the bad keywords and values of a component and of those in it; imports the components."""
    if not _is_component(node):
        return
    try:
        component = _component(node, slot, allowed)
    except GateError as error:
        yield f"{where}: {error}"
        return
    parameters, own = _parameters(component), node[TARGET] not in _names(slot)
    yield from _out_of_inherited_bounds(component, node, where) if own else ()
    for key, value in node.items():
        if key.startswith("_"):
            continue
        if key not in parameters:
            yield f"{where}.{cited(key, 100)}: {node[TARGET]} has no such parameter"
        elif _is_component(value):
            if not takes_component(parameters[key]):
                yield f"{where}.{key}: {node[TARGET]} takes no component there"
            yield from _bad_values(value, f"{where}.{key}", key, allowed)
        elif not is_path(key, value, parameters[key], own):
            problem = value_problem(value, parameters[key])
            if problem is not None:
                yield f"{where}.{cited(key, 100)}={cited(value, 100)}: {problem}"
    for key, parameter in parameters.items() if PARTIAL not in node else ():
        if parameter.default is inspect.Parameter.empty and key not in node:
            yield f"{where}.{key}: {node[TARGET]} needs it"


def _out_of_inherited_bounds(component: Callable[..., Any], node: Mapping[str, Any], where: str) -> Iterator[str]:
    """Check a user's own class against the bounds of the mammorisk classes that it is derived from."""
    plain = {key: value for key, value in node.items() if not isinstance(value, Mapping | str)}
    for base in inspect.getmro(component)[1:] if inspect.isclass(component) else ():
        yield from out_of_bounds({**plain, TARGET: f"{base.__module__}.{base.__qualname__}"}, f"{where}.")


def _component(node: Mapping[str, Any], slot: str, allowed: tuple[str, ...]) -> Callable[..., Any]:
    """Import the class or function that a node names.

    Raises:
        GateError: it is neither in the table nor allowed by ``allow_modules``.
    """
    target = str(node[TARGET])
    module, _, name = target.rpartition(".")
    if target in _names(slot):
        component: Callable[..., Any] = getattr(importlib.import_module(module), name)
        return component
    if module in allowed:
        return _own(module, name, slot, PARTIAL in node)
    raise GateError(f"{target}: no component of mammorisk for this place")


def _own(module: str, name: str, slot: str, is_partial: bool) -> Callable[..., Any]:
    """Import a class that the user's module itself defines at its top level, or a function as a loss.

    A function in any other place would run with arguments from a file.

    Raises:
        GateError: the module has none of that name, only imported it, or it does not fit its place.
    """
    try:
        found: Any = vars(importlib.import_module(module)).get(name)
    except ImportError as error:
        raise GateError(f"allow_modules=[{module}]: it cannot be imported: {error}") from error
    is_defined_there = (inspect.isclass(found) or inspect.isfunction(found)) and (
        found.__module__ == module and found.__qualname__ == name
    )
    if not is_defined_there:
        raise GateError(
            f"{module}.{name}: {module} defines no class or function of this name at its top; one that it imports does "
            "not count"
        )
    if is_partial and slot == "loss" and inspect.isfunction(found):
        return found
    if not _fits_slot(found, slot) or is_partial:
        wanted = _BASES.get(slot, "torch.nn.Module" if slot not in slots() else "a component of mammorisk")
        raise GateError(f"{module}.{name}: expected for {slot} a class derived from {wanted}, and no partial of it")
    component: Callable[..., Any] = found
    return component


def _fits_slot(found: Any, slot: str) -> bool:
    """Whether a user's own class fits its slot; slots outside the table take ``torch.nn.Module``."""
    if not inspect.isclass(found):
        return False
    if slot == "generator":
        return callable(getattr(found, "write", None))
    if slot in slots() and slot not in _BASES:
        return slot == "loss" and issubclass(found, _imported("torch.nn.Module"))
    return issubclass(found, _imported(_BASES.get(slot, "torch.nn.Module")))


def _imported(name: str) -> type:
    module, _, last = name.rpartition(".")
    found = getattr(importlib.import_module(module), last)
    if not isinstance(found, type):
        raise TypeError(f"{name} is no class")
    return found


def _parameters(component: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Keyword parameters of a constructor or function, with evaluated annotations.

    For a class with ``**more``, they include the parameters of the constructor that receives it.
    """
    found: dict[str, inspect.Parameter] = {}
    classes: Sequence[Any] = inspect.getmro(component) if inspect.isclass(component) else ()
    for part in [each for each in classes if "__init__" in vars(each)] or [component]:
        listed = inspect.signature(part, eval_str=True).parameters.values()
        found = {each.name: each for each in listed if each.kind in _KEYWORDS} | found
        if not any(each.kind is inspect.Parameter.VAR_KEYWORD for each in listed):
            break
    return found


def refusal(source: str, error: Exception) -> UserError:
    """Message for a file whose configuration does not pass."""
    lines = "\n".join(f"  {line}" for line in str(error).splitlines()[:20])
    return UserError(
        f"{source}: its configuration is refused. Nothing of it was run.\n{lines}\nDo not use the file if it comes "
        "from someone you do not know."
    )
