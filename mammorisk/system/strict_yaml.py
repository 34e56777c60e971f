"""Strict reading of untrusted YAML: plain data of bounded size, or a message.

YAML has aliases (a file of a megabyte can expand beyond any memory), tags (which name classes), merge keys and
duplicate keys (the last one silently wins). A configuration needs none of them, and each is refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import yaml
from omegaconf._utils import get_yaml_loader

from mammorisk.errors import UserError

MAX_BYTES = 256 * 1024  # of the text
MAX_DEPTH = 12  # nested mappings and lists
MAX_SCALAR = 64  # characters of a number
MAX_KEY = 200  # characters
_PARSER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C parser gives the same events many times faster


class StrictYamlError(ValueError):
    """Refused text; the message gives the reason."""


def read_strict_yaml(text: str, source: str) -> Any:
    """Read plain data (mappings with text keys, lists, text, numbers, booleans, null) from a YAML text.

    Numbers and words are recognised as in OmegaConf, so that a file it wrote gives the same values.

    Args:
        text: one YAML document.
        source: origin of the text, for the message.

    Raises:
        UserError: the text is larger than ``MAX_BYTES`` or deeper than ``MAX_DEPTH``, is not YAML, or has an alias, an
            anchor, a tag, a merge key, a key twice, a key that is not text, or a number that is not finite.
    """
    try:
        return _read(text)
    except (StrictYamlError, yaml.YAMLError, RecursionError, ValueError) as error:
        reason = error.problem if isinstance(error, yaml.MarkedYAMLError) else str(error)
        raise UserError(
            f"{source}: its configuration cannot be read: {reason or type(error).__name__}. Expected YAML of plain "
            f"mappings, lists and values, at most {MAX_BYTES // 1024} KB and {MAX_DEPTH} levels deep, without aliases "
            "and tags. Use the file as the training wrote it."
        ) from error


def _read(text: str) -> Any:
    size = len(text.encode("utf-8", errors="replace"))
    if size > MAX_BYTES:
        raise StrictYamlError(f"it has {size:,} bytes")
    resolver = get_yaml_loader()("")  # only for its rules of numbers; nothing is read with it
    events = _content(yaml.parse(text, Loader=_PARSER))
    first = next(events, None)
    value = None if first is None else _value(first, events, resolver, 1)
    if next(events, None) is not None:
        raise StrictYamlError("it has more than one document")
    return value


def _content(events: Iterator[yaml.Event]) -> Iterator[yaml.Event]:
    """Yield the events of values, without the start and end of stream and document."""
    frame = (yaml.StreamStartEvent, yaml.StreamEndEvent, yaml.DocumentStartEvent, yaml.DocumentEndEvent)
    return (event for event in events if not isinstance(event, frame))


def _value(event: yaml.Event, events: Iterator[yaml.Event], resolver: Any, depth: int) -> Any:
    if isinstance(event, yaml.AliasEvent):
        raise StrictYamlError(f"it has an alias, *{event.anchor}")
    if getattr(event, "anchor", None) is not None:
        raise StrictYamlError(f"it has an anchor, &{event.anchor}")  # type: ignore[attr-defined]
    if getattr(event, "tag", None) is not None:
        raise StrictYamlError(f"it has a tag, {event.tag}")  # type: ignore[attr-defined]
    if isinstance(event, yaml.ScalarEvent):
        return _scalar(event, resolver)
    if depth > MAX_DEPTH:
        raise StrictYamlError(f"it is more than {MAX_DEPTH} levels deep")
    if isinstance(event, yaml.SequenceStartEvent):
        return list(_items(events, yaml.SequenceEndEvent, resolver, depth))
    return _mapping(events, resolver, depth)


def _items(events: Iterator[yaml.Event], end: type, resolver: Any, depth: int) -> Iterator[Any]:
    while not isinstance(event := next(events), end):
        yield _value(event, events, resolver, depth + 1)


def _mapping(events: Iterator[yaml.Event], resolver: Any, depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    while not isinstance(event := next(events), yaml.MappingEndEvent):
        key = _value(event, events, resolver, depth + 1)
        if not isinstance(key, str):
            raise StrictYamlError(f"it has a key that is no text, {str(key)[:MAX_SCALAR]}")
        if len(key) > MAX_KEY:
            raise StrictYamlError(f"it has a key of {len(key):,} characters")
        if key == "<<":
            raise StrictYamlError("it has a merge key, <<")
        if key in found:
            raise StrictYamlError(f"it has the key {key[:MAX_SCALAR]} twice")
        found[key] = _value(next(events), events, resolver, depth + 1)
    return found


def _scalar(event: yaml.ScalarEvent, resolver: Any) -> Any:
    text: str = event.value
    if not event.implicit[0]:  # quoted
        return text
    tag = resolver.resolve(yaml.ScalarNode, text, (True, False)).rpartition(":")[2]
    if tag in ("str", "merge", "value"):
        return text
    if len(text) > MAX_SCALAR:
        raise StrictYamlError(f"it has a number of {len(text):,} characters")
    node = yaml.ScalarNode(f"tag:yaml.org,2002:{tag}", text)
    with suppress(yaml.YAMLError):
        value = resolver.construct_object(node)
        if value is None or isinstance(value, bool | int | str):
            return value
        if isinstance(value, float) and math.isfinite(value):
            return value
    raise StrictYamlError(f"it has a value that is no finite number, {text}")
