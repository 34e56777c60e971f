"""Differences between the jobs of a sweep: choices of options, then values that do not follow from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from mammorisk.errors import UserError
from mammorisk.runs.directory import COPY, comparable, read_config
from mammorisk.system.regular_files import read_text
from mammorisk.system.strict_yaml import read_strict_yaml

Settings = Mapping[str, Any]
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def settings_of(folder: Path, overrides: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A job's choices of options and its single values, as far as they can be read.

    Args:
        folder: its run directory, which need not exist, or be whole.
        overrides: of the job, for values that cannot be read.
    """
    config = read_config(folder / ".hydra" / "config.yaml") or read_config(folder / COPY)
    values = dict(_leaves(comparable(config, ("out_dir",)))) if config else _given(overrides)
    return _choices(folder), values


def overridden(folder: Path, overrides: Sequence[str]) -> set[str]:
    """The keys that a job's command sets."""
    found = _read(folder / ".hydra" / "overrides.yaml")
    words = [*overrides, *(found if isinstance(found, list) else [])]
    return {str(word).lstrip("+").partition("=")[0] for word in words}


def differences(
    choices: Sequence[Settings], values: Sequence[Settings], given: set[str]
) -> tuple[list[str], list[dict[str, Any]]]:
    """The keys in which jobs differ, and each job's values of these.

    Args:
        choices: of each job: group -> option; empty where they are not known.
        values: of each job: key -> value; those of a job that never started come from its command.
        given: keys that commands set; of a group whose option differs, no other key is listed.
    """
    groups = [group for group in _names(choices) if _differ(group, choices)]
    below = tuple(f"{group.rpartition('@')[2].replace('/', '.')}." for group in groups)
    keys = [key for key in _names(values) if key not in groups and (key in given or not key.startswith(below))]
    keys = [key for key in keys if _differ(key, values)]
    order = [*groups, *sorted(keys, key=lambda key: (key == "seed", key))]  # seeds last: tables average over them
    found = [{**value, **choice} for choice, value in zip(choices, values, strict=True)]
    return order, [{key: each[key] for key in order if key in each} for each in found]


def _choices(folder: Path) -> dict[str, Any]:
    found = _read(folder / ".hydra" / "hydra.yaml")
    try:
        choices = found["hydra"]["runtime"]["choices"]
        return {str(group): option for group, option in choices.items() if not str(group).startswith("hydra/")}
    except (KeyError, TypeError, AttributeError):
        return {}


def _read(path: Path) -> Any:
    try:
        return read_strict_yaml(read_text(path), str(path))
    except (OSError, UnicodeDecodeError, UserError):  # none yet, or half of one
        return None


def _given(overrides: Sequence[str]) -> dict[str, Any]:
    found = {}
    for word in overrides:
        key, _, text = word.lstrip("+").partition("=")
        try:
            value = yaml.load(text, _LOADER)
        except yaml.YAMLError:
            value = text
        found[key] = value if isinstance(value, str | int | float | bool) else text
    return found


def _leaves(node: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(node, dict) or not node:
        return {prefix.removesuffix("."): node if isinstance(node, str | int | float | bool | None) else str(node)}
    return {key: value for name, part in node.items() for key, value in _leaves(part, f"{prefix}{name}.").items()}


def _names(parts: Sequence[Settings]) -> list[str]:
    return list(dict.fromkeys(name for part in parts for name in part))


def _differ(key: str, parts: Sequence[Settings]) -> bool:
    """Whether jobs with a key differ in its value."""
    return len({str(part[key]) for part in parts if key in part}) > 1
