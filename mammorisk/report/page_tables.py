"""Tables of a page: the measures of each section of the registry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mammorisk.metrics.definitions import DISCRIMINATION, SECTIONS
from mammorisk.metrics.registry import YEARLY, find_measure, is_ranking


@dataclass(frozen=True)
class YearTable:
    """Measures of one section, a column for each year."""

    heading: str
    years: list[int]
    rows: dict[str, dict[int, str]]  # by measure: its full name in each year

    def is_weighted(self, made: Mapping[str, Any]) -> bool:
        """Whether all of its measures are weighted to a population."""
        return all(is_weighted(name, made) for name in self.rows)


def year_tables(measures: Iterable[str]) -> list[YearTable]:
    """Tables of the yearly measures, by section."""
    found: dict[str, dict[str, dict[int, str]]] = {}
    for name in measures:
        if match := YEARLY.fullmatch(name):
            known = find_measure(name)  # a document of another version may have others
            section = DISCRIMINATION if known is None else known.section
            found.setdefault(section, {}).setdefault(match[2], {})[int(match[1])] = name
    return [
        YearTable(heading, sorted({year for row in found[heading].values() for year in row}), found[heading])
        for heading in SECTIONS
        if heading in found
    ]


def is_weighted(measure: str, made: Mapping[str, Any]) -> bool:
    """Whether a measure is weighted to a population; measures of ranking never are."""
    return made.get("population_incidence") is not None and not is_ranking(measure)
