"""Definition of a measure: name, meaning, and place in reports.

A new measure is defined in its own module, beside its formula, and listed in ``registry.py``. Reports follow by
themselves; its test, ``make tables`` and a row in tests/README.md remain.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

SHARE, FINE, PLAIN = ".1%", ".4f", ".3f"  # Python's formats of values
DISCRIMINATION, CALIBRATION, TOP_SHARES, NET_BENEFIT, DECILES = SECTIONS = (  # tables of the page, in their order
    "Discrimination and error",
    "Calibration",
    "Highest-risk shares",
    "Net benefit",
    "Risk by tenth of predicted risk",
)
BETTER = ("", "higher", "lower", "0", "1")
_CUT = re.compile(r"<\w+>")
_YEAR = re.compile(r"Year \d+ ")


@dataclass(frozen=True)
class Measure:
    """A measure of the report.

    ``Year k `` stands before the name of a yearly measure. ``<share>`` in a name stands for any number. A headline
    is a whole name in which ``{year}`` stands for each year and ``{last}`` for the last one: ``Year {last} AUC``.
    """

    name: str
    meaning: str  # a line of docs/statistics.md
    source: str = ""  # papers
    better: str = ""  # higher, lower, or the ideal value; "": neither is better
    yearly: bool = True
    is_ranking: bool = False  # of the order of risks alone: never weighted to a population, nor recalibrated
    section: str = DISCRIMINATION  # table of the page, of yearly measures
    form: str = PLAIN
    headline: str = ""  # on the page and in the terminal; a measure that is not yearly always has one
    in_terminal: bool = True  # whether its headline is also printed in the terminal
    by_group: str = ""  # name, as of a headline, in the page's table of subgroups

    def __post_init__(self) -> None:
        """Refuse a definition that no report could show.

        Raises:
            ValueError: no such section or direction.
        """
        if self.section not in SECTIONS or self.better not in BETTER:
            raise ValueError(
                f"{self.name}: expected a section of {SECTIONS} and better of {BETTER}; found {self.section!r} and "
                f"{self.better!r}."
            )

    @property
    def headline_name(self) -> str:
        """The headline; "" if there is none."""
        return self.headline or ("" if self.yearly else self.name)

    def is_called(self, name: str) -> bool:
        """Whether ``name`` is the name of this measure, with or without its year."""
        return self._pattern.fullmatch(_YEAR.sub("", name, count=1)) is not None

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile(r"[\d.e+-]+".join(map(re.escape, _CUT.split(self.name))))


def names_of(template: str, last: int) -> list[str]:
    """The names that a headline stands for, of ``last`` years."""
    years = range(1, last + 1) if "{year}" in template else [last]
    return [template.format(year=year, last=last) for year in years] if template else []
