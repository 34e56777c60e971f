"""Which measures stand in which table of a page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

_YEARLY = re.compile(r"Year (\d+) (.+)")
_SECTIONS = {  # heading: what the names of its measures have in them; the first that fits
    "Risk by tenth of predicted risk": (", decile",),
    "Net benefit": ("net benefit",),
    "Highest-risk shares": (", top",),
    "Calibration": ("risk", "expected/observed", "calibration"),
    "Discrimination and error": ("",),
}
_ORDER = ("Discrimination and error", "Calibration", "Highest-risk shares", "Net benefit", "Risk by tenth of predicted risk")


@dataclass(frozen=True)
class YearTable:
    """Measures of one kind, a column a year."""

    heading: str
    years: list[int]
    rows: dict[str, dict[int, str]]  # by what is measured: the whole name of each year


def year_tables(measures: Iterable[str]) -> list[YearTable]:
    """Measures that are taken each year, by kind."""
    found: dict[str, dict[str, dict[int, str]]] = {}
    for name in measures:
        if match := _YEARLY.fullmatch(name):
            kind = next(heading for heading, words in _SECTIONS.items() if any(word in match[2] for word in words))
            found.setdefault(kind, {}).setdefault(match[2], {})[int(match[1])] = name
    return [
        YearTable(heading, sorted({year for row in found[heading].values() for year in row}), found[heading])
        for heading in _ORDER
        if heading in found
    ]


def last_year(measures: Iterable[str]) -> int:
    """The last year of follow-up that is measured; 0 where there is none."""
    return max((int(match[1]) for name in measures if (match := _YEARLY.fullmatch(name))), default=0)


def headlines(measures: Iterable[str]) -> list[str]:
    """The measures a reader looks for first, those that there are."""
    names = list(measures)
    last = last_year(names)
    wanted = [
        "C-index",
        "C-index (literature)",
        *(f"Year {year} AUC" for year in range(1, last + 1)),
        "Integrated Brier score",
        *(f"Year {last} {each}" for each in ("expected/observed", "calibration slope", "calibration intercept")),
        *(f"Year {last} {each}, top 10 %" for each in ("sensitivity", "specificity", "PPV")),
    ]
    return [name for name in wanted if name in names]


def subgroup_measures(measures: Iterable[str]) -> list[str]:
    """The measures of the table of subgroups."""
    names = list(measures)
    last = last_year(names)
    return [name for name in ("C-index", f"Year {last} AUC", f"Year {last} expected/observed") if name in names]


def is_weighted(measure: str, made: Mapping[str, Any]) -> bool:
    """Whether a measure stands for a population instead of the cohort: never one of the order of risks alone."""
    return made.get("population_incidence") is not None and not ("C-index" in measure or "AUC" in measure)
