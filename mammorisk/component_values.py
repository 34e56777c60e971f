"""Type checks of a component's parameters: plain data of the annotated type, a choice, a path, or a component."""

from __future__ import annotations

import inspect
import math
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

# Parameters that are a path, a URL or the name of a file on a hub, in every component of mammorisk.
PATHS = frozenset({"cache", "checkpoint", "folder", "pretrained"})
_PLAIN = (bool, int, float, str, type(None))
MAX_TEXT = 1000  # characters of a value
_PATH = re.compile(r"[/\\~]|\.\.|\.[A-Za-z]\w*$")  # a folder, a URL, or a name with an ending


def value_problem(value: Any, parameter: inspect.Parameter) -> str | None:
    """Describe the problem of a plain value for a parameter; None if there is none."""
    hint = parameter.annotation
    if hint is inspect.Parameter.empty:
        hint = Any
    if isinstance(value, str) and (len(value) > MAX_TEXT or value == "???"):
        return "expected a value"
    return None if fits(value, hint) else f"expected {words(hint)}"


def fits(value: Any, hint: Any) -> bool:
    """Whether plain data is of the annotated type; false for a type that plain data cannot have."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return _is_plain(value)
    if origin is typing.Literal:
        return any(type(value) is type(choice) and value == choice for choice in arguments)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, argument) for argument in arguments)
    if hint in (None, type(None)):
        return value is None
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint in (bool, str):
        return isinstance(value, hint)
    if inspect.isclass(origin) and issubclass(origin, Sequence):
        return isinstance(value, list) and _items_fit(value, origin, arguments)
    if inspect.isclass(origin) and issubclass(origin, Mapping):
        item = arguments[1] if len(arguments) == 2 else Any
        return isinstance(value, dict) and all(fits(each, item) for each in value.values())
    return hint in (list, dict) and isinstance(value, hint) and _is_plain(value)


def takes_component(parameter: inspect.Parameter) -> bool:
    """Whether a parameter's annotation allows an object: it is not of plain values alone."""
    return parameter.annotation is inspect.Parameter.empty or _is_of_objects(parameter.annotation)


def is_path(name: str, value: Any, parameter: inspect.Parameter, own: bool) -> bool:
    """Whether a parameter's value is a path, a URL or a name on a hub.

    Args:
        name: of the parameter.
        value: of the parameter, from a file.
        parameter: with its annotation.
        own: whether the component is a user's own; its text counts as a path if it looks like one.
    """
    if own and _mentions(parameter.annotation, typing.Literal):
        return False
    if isinstance(value, str | None) and (name in PATHS or _mentions(parameter.annotation, Path)):
        return True
    return own and _looks_like_a_path(value)


def words(hint: Any) -> str:
    """Describe an annotated type for a message."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return " or ".join(map(str, arguments))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(words, arguments))
    if inspect.isclass(origin) and issubclass(origin, Sequence):
        return f"a list of {words(arguments[0])}" if arguments else "a list"
    names = {float: "a number", int: "a whole number", bool: "true or false", str: "text", type(None): "null"}
    return names.get(hint, f"a component ({getattr(hint, '__name__', hint)})")


def _looks_like_a_path(value: Any) -> bool:
    if isinstance(value, list | dict):
        return any(map(_looks_like_a_path, [*value, *value.values()] if isinstance(value, dict) else value))
    return isinstance(value, str) and _PATH.search(value) is not None


def _items_fit(value: list[Any], origin: type, arguments: tuple[Any, ...]) -> bool:
    if origin is tuple and arguments and arguments[-1] is not Ellipsis:
        return len(value) == len(arguments) and all(map(fits, value, arguments))
    item = arguments[0] if arguments else Any
    return all(fits(each, item) for each in value)


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | dict):
        return all(map(_is_plain, value.values() if isinstance(value, dict) else value))
    return isinstance(value, _PLAIN)


def _is_of_objects(hint: Any) -> bool:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return any(map(_is_of_objects, typing.get_args(hint)))
    if typing.get_origin(hint) is Callable or hint is Any:
        return True
    origin = typing.get_origin(hint) or hint
    return inspect.isclass(origin) and origin not in _PLAIN and not issubclass(origin, str | Path | Sequence | Mapping)


def _mentions(hint: Any, what: Any) -> bool:
    origin = typing.get_origin(hint)
    return hint is what or origin is what or any(_mentions(each, what) for each in typing.get_args(hint))
