"""Masks of subgroups, for ``risk_measures.evaluate_risk``."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from mammorisk.metrics.censoring import Bools

MISSING = ("", "None", "nan", "NaT", "<NA>")  # as text


def by_category(values: ArrayLike) -> dict[str, Bools]:
    """Make a group for each value, in their order as text; rows without one (None, NaN, empty) are in none.

    Args:
        values: [N] labels or codes.
    """
    labels = np.array([str(value) for value in np.asarray(values, dtype=object)], dtype=np.str_)
    return {str(label): labels == label for label in np.unique(labels) if str(label) not in MISSING}


def by_band(values: ArrayLike, edges: Sequence[float], unit: str = "") -> dict[str, Bools]:
    """Make groups ``below 50``, ``50 to below 60`` … ``70 or more`` with edges 50, 60, 70; NaN is in none.

    Args:
        values: [N] numbers, such as ages.
        edges: one or more, ascending.
        unit: behind every name.

    Raises:
        ValueError: no edges, or they do not ascend.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if not len(edges) or (np.diff(edges) <= 0).any():
        raise ValueError(f"Expected one or more ascending edges; found {list(edges)}.")
    after = f" {unit}" if unit else ""
    groups = {f"below {edges[0]:g}{after}": numbers < edges[0]}
    for low, high in pairwise(edges):
        groups[f"{low:g} to below {high:g}{after}"] = (numbers >= low) & (numbers < high)
    return groups | {f"{edges[-1]:g} or more{after}": numbers >= edges[-1]}


def by_quartile(values: ArrayLike) -> dict[str, Bools]:
    """Make groups ``quartile 1`` … ``quartile 4`` of the rows' own values, such as percent density; NaN is in none.

    A value equal to a quartile belongs to the group above it; with many equal values groups differ in size, and may be
    empty.

    Args:
        values: [N] numbers.
    """
    numbers = np.asarray(values, dtype=np.float64)
    known = numbers[~np.isnan(numbers)]
    if not len(known):
        return {}
    group = np.searchsorted(np.quantile(known, [0.25, 0.5, 0.75]), numbers, side="right")
    return {f"quartile {number + 1}": (group == number) & ~np.isnan(numbers) for number in range(4)}


def by_cancer_type(types: ArrayLike, event: ArrayLike) -> dict[str, Bools]:
    """Make a group for each type: its cases and all rows without an event (docs/pitfalls.md#p26).

    Args:
        types: [N] type of the cancer; read of rows with an event only.
        event: [N] true: cancer.
    """
    happened = np.asarray(event, dtype=np.bool_)
    labels = np.where(happened, np.asarray(types, dtype=object), np.array(None, dtype=object))
    return {label: mask | ~happened for label, mask in by_category(labels).items()}
