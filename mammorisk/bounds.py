"""Bounds of the numbers of a cohort and of a configuration, in one table.

``check_config`` holds the command line to it, and the gate of stored configurations (``component_gate``) a stranger's
checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Bound:
    """The values that a number may have, both ends included."""

    low: float
    high: float

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int | float) and self.low <= value <= self.high


BOUNDS: dict[str, Bound] = {
    "dataset.batch_size": Bound(1, 4096),  # samples per process and step
}


def out_of_bounds(config: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """What is wrong with the numbers of a plain configuration, a sentence each.

    Args:
        config: nested mappings, as YAML gives them.
        prefix: of the keys, as ``dataset.``.
    """
    for name, value in config.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping):
            yield from out_of_bounds(value, f"{key}.")
        elif key in BOUNDS and isinstance(value, int | float) and value not in BOUNDS[key]:
            yield f"{key}={value}: expected {BOUNDS[key].low} to {BOUNDS[key].high}"
