"""Measures of a cohort and of its groups, each with a bootstrap interval over patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike

from mammorisk.metrics.bootstrap import Interval, drawn_patients, percentile_interval, smallest_stratum
from mammorisk.metrics.censoring import Bools, Floats
from mammorisk.metrics.measures import SHARES, THRESHOLDS, AllMeasures, cohort_cuts, measured
from mammorisk.metrics.registry import find_measure
from mammorisk.metrics.rows import Rows, read_rows

COHORT = "all"  # the group of all rows


@dataclass(frozen=True)
class Settings:
    """Settings of the bootstrap and of the measures; ``memory`` and ``workers`` do not change the numbers."""

    bootstrap_samples: int = 2000
    seed: int = 0
    confidence: float = 0.95
    min_group_size: int = 5  # patients with an event, and without, that a group needs to be measured
    shares: Sequence[float] = SHARES
    thresholds: Sequence[float] = THRESHOLDS
    memory: int = 64 * 2**20  # bytes of a chunk of bootstrap samples, per worker
    workers: int = 1  # groups measured at the same time


@dataclass(frozen=True)
class GroupMeasures:
    """Measures of a group of rows."""

    samples: int
    events: int  # samples with an event
    patients: int
    patients_with_event: int
    measures: dict[str, Interval] = field(repr=False)
    reason: str = ""  # why it is too small: its measures are NaN; those of the whole cohort are given, but unreliable


@dataclass(frozen=True)
class Draws:
    """Counts of a group, and each of its measures [1 + bootstrap samples], the estimate first."""

    group: GroupMeasures  # without measures
    values: dict[str, Floats]


def evaluate_risk(
    risk: ArrayLike,
    event: ArrayLike,
    time: ArrayLike,
    patient: ArrayLike,
    groups: Mapping[str, ArrayLike] | None = None,
    weight: ArrayLike | None = None,
    settings: Settings = Settings(),
) -> dict[str, GroupMeasures]:
    """Measure the cohort and each group, with expanded percentile intervals from the same bootstrap samples.

    Args:
        risk: [N, Y] risk of cancer within 1 ... Y years, 0 ... 1.
        event: [N] true: cancer; false: censored.
        time: [N] 0-based year of the cancer, or the last year known free of it.
        patient: [N] whose row it is; numbers or strings.
        groups: masks [N] by name; they may overlap (``subgroups.py``).
        weight: [N] number of women of the population that a row represents, as in a case-control study; None: 1.
        settings: of the bootstrap.

    Returns:
        By group, ``all`` first; measures by name (``docs/statistics.md``), NaN where they are not defined.

    Raises:
        ValueError: wrong shapes or values (``rows.read_rows``), a mask of another length, a group called ``all``.
    """
    return evaluate_rows(read_rows(risk, event, time, patient, weight), groups or {}, settings)


def evaluate_rows(rows: Rows, groups: Mapping[str, ArrayLike], settings: Settings) -> dict[str, GroupMeasures]:
    """Measure parsed rows, as ``evaluate_risk``.

    Raises:
        ValueError: a mask of another length, a group called ``all``, or settings out of range.
    """
    found = draw_measures(rows, groups, settings)
    return {name: with_intervals(draws.group, draws.values, settings.confidence) for name, draws in found.items()}


def draw_measures(rows: Rows, groups: Mapping[str, ArrayLike], settings: Settings) -> dict[str, Draws]:
    """Compute each measure in each bootstrap sample, by group, ``all`` first; a group too small has NaN.

    Raises:
        ValueError: a mask of another length, a group called ``all``, settings out of range, or a measure that has no
            definition.
    """
    masks: dict[str, Bools] = {COHORT: np.ones(len(rows.event), dtype=np.bool_)}
    for name, mask in groups.items():
        masks[name] = np.asarray(mask, dtype=np.bool_)
        if name == COHORT or masks[name].shape != rows.event.shape:
            raise ValueError(
                f"Expected a mask of {len(rows.event)} rows not called {COHORT!r}; found {name!r}, {masks[name].shape}."
            )
    cuts = cohort_cuts(rows, settings.shares, settings.thresholds)
    counts = drawn_patients(rows.case, settings.bootstrap_samples, settings.seed)

    def of_group(name: str) -> Draws:
        part, present = rows.part(masks[name])
        group = _counted(part, settings.min_group_size)
        if group.reason and name != COHORT:
            return Draws(group, {})
        return Draws(group, measured(AllMeasures(part, cuts), counts[present], settings.memory))

    with ThreadPoolExecutor(settings.workers) as pool:
        found = dict(zip(masks, pool.map(of_group, masks), strict=True))
    unknown = [name for name in found[COHORT].values if find_measure(name) is None]
    if unknown:
        raise ValueError(f"metrics/registry.py defines no {', '.join(unknown)}: no report could show it.")
    undefined = {name: np.full(1 + settings.bootstrap_samples, np.nan) for name in found[COHORT].values}
    return {name: draws if draws.values else Draws(draws.group, undefined) for name, draws in found.items()}


def with_intervals(group: GroupMeasures, values: Mapping[str, Floats], confidence: float) -> GroupMeasures:
    """Add intervals of the measures [1 + bootstrap samples] to a group, wider with few patients with an event."""
    fewest = smallest_stratum(group.patients, group.patients_with_event)
    measures = {name: percentile_interval(each[0], each[1:], confidence, fewest) for name, each in values.items()}
    return replace(group, measures=measures)


def _counted(part: Rows, min_group_size: int) -> GroupMeasures:
    with_event = int(part.case.sum())
    without = part.patients - with_event
    reason = ""
    if min(with_event, without) < min_group_size:
        reason = (
            f"{with_event} patients with an event and {without} without; at least {min_group_size} of each are needed"
        )
    return GroupMeasures(len(part.event), int(part.event.sum()), part.patients, with_event, {}, reason)
