"""Registry of measures: computation, names and order of all numbers of a report.

To add one, define and compute it in a module of its own, and add a line to ``FAMILIES``. JSON document, terminal,
pages, comparisons and docs/statistics.md (``make tables``) take it from here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from mammorisk.metrics import calibration, decisions, ranking
from mammorisk.metrics.censoring import Floats
from mammorisk.metrics.definitions import Measure, names_of
from mammorisk.metrics.draw_sums import CohortDraws, YearDraws

YEARLY = re.compile(r"Year (\d+) (.+)")


@dataclass(frozen=True)
class Family:
    """Measures that one function computes: each value [R] under its whole name, such as ``Year 1 AUC``."""

    measures: tuple[Measure, ...]
    of_cohort: Callable[[CohortDraws], dict[str, Floats]] | None = None  # called once
    of_year: Callable[[YearDraws], dict[str, Floats]] | None = None  # called for each year


FAMILIES: tuple[Family, ...] = (
    Family(ranking.MEASURES, lambda draws: ranking.ranking(draws.pairs, draws.pair_counts, draws.weights)),
    Family(calibration.BRIER_MEASURES, lambda draws: calibration.brier(draws.risks, draws.pair_counts, draws.weights)),
    Family(
        calibration.MEASURES,
        of_year=lambda year: calibration.calibration(
            year.risks, year.counts, year.bins, year.pair_counts, year.weights
        ),
    ),
    Family(
        decisions.OPERATING_POINTS,
        of_year=lambda year: decisions.operating_points(year.counts, year.bins, year.pair_counts, year.shares),
    ),
    Family(
        decisions.NET_BENEFITS,
        of_year=lambda year: decisions.net_benefit(year.counts, year.bins, year.pair_counts, year.thresholds),
    ),
)


def all_measures() -> list[Measure]:
    """Every measure, in the order of reports."""
    return [measure for family in FAMILIES for measure in family.measures]


def find_measure(name: str) -> Measure | None:
    """Find the definition of ``Year 1 AUC`` or ``AUC``; None if it is not registered."""
    return next((measure for measure in all_measures() if measure.is_called(name)), None)


def is_ranking(name: str) -> bool:
    """Whether a measure depends on the order of risks alone: never weighted to a population."""
    measure = find_measure(name)
    return measure is not None and measure.is_ranking


def headlines(names: Iterable[str], *, in_terminal: bool = False) -> list[str]:
    """Headline measures among ``names``, in the order of reports.

    Args:
        names: of all measures there are.
        in_terminal: leave out those for the page alone.
    """
    measures = [measure for measure in all_measures() if measure.in_terminal or not in_terminal]
    return _there([measure.headline_name for measure in measures], names)


def group_measures(names: Iterable[str]) -> list[str]:
    """Measures of the table of subgroups among ``names``."""
    return _there([measure.by_group for measure in all_measures()], names)


def last_year(names: Iterable[str]) -> int:
    """Last year of follow-up that is measured; 0 if there is none."""
    return max((int(match[1]) for name in names if (match := YEARLY.fullmatch(name))), default=0)


def _there(templates: Iterable[str], names: Iterable[str]) -> list[str]:
    there = list(names)
    last = last_year(there)
    return [name for template in templates for name in names_of(template, last) if name in there]
