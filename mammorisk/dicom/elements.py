"""Values of the elements of a DICOM dataset, as plain Python types."""

from __future__ import annotations

import math
from typing import Any

from pydicom.dataset import Dataset


def values(dataset: Dataset, name: str) -> list[Any]:
    """All values of an element; empty if it is missing or has none."""
    value = dataset.get(name)
    if value is None or value == "":
        return []
    return [value] if isinstance(value, str | int | float) else list(value)


def word(dataset: Dataset, name: str) -> str:
    """The first value in upper case; "" if there is none."""
    return str((values(dataset, name) or [""])[0]).strip().upper()


def whole(dataset: Dataset, name: str, default: int = 0) -> int:
    """The first value as a whole number."""
    return int((values(dataset, name) or [default])[0])


def number(dataset: Dataset, name: str, default: float) -> float:
    """The first value as a number; the default if it is not finite."""
    value = float((values(dataset, name) or [default])[0])
    return value if math.isfinite(value) else default
