"""Resolution of the references ``${a.b}`` in a stored configuration, without OmegaConf's resolvers.

OmegaConf's own interpolation calls any resolver that a text names: ``${oc.env:TOKEN}`` reveals an environment
variable. Here a reference is a dotted key of the same configuration and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

MISSING = "???"  # as OmegaConf writes a value that must be given
MAX_CHAIN = 8  # length of a chain of references
MAX_NODES, MAX_CHARACTERS = 20_000, 1_000_000  # of the result
_REFERENCE = re.compile(r"\$\{([A-Za-z_]\w*(?:\.[A-Za-z_0-9]\w*)*)\}")


def is_plain_reference(text: str) -> bool:
    """Whether all ``${…}`` of a text are dotted keys and no backslash escapes one."""
    return "${" not in _REFERENCE.sub("", text) and "\\$" not in text


class ReferencesError(ValueError):
    """Refused reference; the message names its key."""


class References:
    """Values of one configuration with their references replaced.

    Args:
        settings: plain data, as ``strict_yaml`` reads it.
        strict: top-level keys in which only plain references are allowed; elsewhere others count as missing.
    """

    def __init__(self, settings: dict[str, Any], strict: Sequence[str]) -> None:
        self._settings, self._strict = settings, tuple(strict)
        self._nodes = self._characters = 0

    def resolved(self) -> dict[str, Any]:
        """Replace all references of the configuration.

        Raises:
            ReferencesError: a key or a component's ``_`` key holds a reference; a reference is refused, leads to
                nothing, in a circle or too far; or the result is too large.
        """
        return {name: self._value(value, name, 0) for name, value in self._settings.items()}

    def _value(self, value: Any, key: str, chain: int) -> Any:
        self._count(value, key)
        if isinstance(value, dict):
            for name in value:
                if "${" in name:
                    raise ReferencesError(f"{key}: its key {name} holds a reference")
                if name.startswith("_") and isinstance(value[name], str) and "${" in value[name]:
                    raise ReferencesError(f"{key}.{name}={value[name]}: a component is named by a reference")
            return {name: self._value(each, f"{key}.{name}", chain) for name, each in value.items()}
        if isinstance(value, list):
            return [self._value(each, f"{key}[{i}]", chain) for i, each in enumerate(value)]
        return self._text(value, key, chain) if isinstance(value, str) and "${" in value else value

    def _text(self, text: str, key: str, chain: int) -> Any:
        if not is_plain_reference(text):
            return self._no_reference(text, key)
        whole = _REFERENCE.fullmatch(text)
        if whole is not None:
            return self._named(whole.group(1), key, chain)
        found = {name: self._named(name, key, chain) for name in _REFERENCE.findall(text)}
        if any(isinstance(value, dict | list) for value in found.values()):
            raise ReferencesError(f"{key}={text}: a part of a text refers to more than a value")
        if MISSING in found.values():
            return self._missing(text, key)
        result = _REFERENCE.sub(lambda match: str(found[match.group(1)]), text)  # as OmegaConf does
        self._count(result, key)
        return self._no_reference(text, key) if "${" in result else result

    def _named(self, name: str, key: str, chain: int) -> Any:
        """Value at a dotted key, its own references replaced."""
        if chain >= MAX_CHAIN:
            raise ReferencesError(f"{key}: its references lead in a circle, or further than {MAX_CHAIN} steps")
        value: Any = self._settings
        for part in name.split("."):
            if isinstance(value, str) and "${" in value:  # a key below a reference: ${model.registration.window}
                value = self._text(value, key, chain + 1)
            if not isinstance(value, dict) or part not in value:
                raise ReferencesError(f"{key}: it refers to {name}, which is not there")
            value = value[part]
        found = self._value(value, key, chain + 1)
        return self._missing(f"${{{name}}}", key) if found == MISSING else found

    def _no_reference(self, text: str, key: str) -> str:
        if key.partition(".")[0] in self._strict:
            raise ReferencesError(f"{key}={text}: expected a value or a plain reference, as ${{dataset.image_size}}")
        return MISSING

    def _missing(self, text: str, key: str) -> str:
        if key.partition(".")[0] in self._strict:
            raise ReferencesError(f"{key}={text}: it refers to a value that the file does not hold")
        return MISSING

    def _count(self, value: Any, key: str) -> None:
        self._nodes += 1
        self._characters += len(value) if isinstance(value, str) else 0
        if self._nodes > MAX_NODES or self._characters > MAX_CHARACTERS:
            raise ReferencesError(f"{key}: with its references the configuration is too large")
