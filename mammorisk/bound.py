"""Bound of a number in a configuration or a cohort, with its text for messages."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

_LONGEST = 60  # characters of a value in a message


@dataclass(frozen=True)
class Bound:
    """Set of values that a number, or each number of a list, may have.

    NaN and infinity are never in it; true and false are not numbers.

    Attributes:
        low: smallest value.
        high: largest value.
        whole: whole numbers only.
        above: exclude ``low`` itself.
        below: exclude ``high`` itself.
        null: also accept null.
        count: smallest and largest length of a list; None: one number.
        rising: each number of the list is at least the one before it.
        among: the only values allowed, if they are few.
    """

    low: float
    high: float
    whole: bool = False
    above: bool = False
    below: bool = False
    null: bool = False
    count: tuple[int, int] | None = None
    rising: bool = False
    among: tuple[int, ...] = ()

    def __contains__(self, value: object) -> bool:
        """Whether a value is a number (with ``count``, a list of numbers) within the bound."""
        if value is None:
            return self.null
        if self.count is None:
            return self._takes(value)
        if not isinstance(value, Sequence) or isinstance(value, str | bytes):
            return False
        fits = self.count[0] <= len(value) <= self.count[1] and all(self._takes(each) for each in value)
        return fits and (not self.rising or list(value) == sorted(value))

    def _takes(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, numbers.Integral if self.whole else numbers.Real):
            return False
        # Integers are not converted: one of 400 digits does not fit a float. NaN fails both comparisons.
        number = cast(float, value)
        over = self.low < number if self.above else self.low <= number
        under = number < self.high if self.below else number <= self.high
        return bool(over and under) and (not self.among or value in self.among)

    def __str__(self) -> str:
        """Text of the bound: ``a whole number from 1 to 4096, or null``."""
        one = "a whole number" if self.whole else "a number"
        end = ", or null" if self.null else ""
        if self.count is None:
            return f"{one} {self._limits()}{end}"
        least, most = self.count
        how_many = f"{least}" if least == most else f"{least} to {most}"
        order = ", in rising order" if self.rising else ""
        return f"a list of {how_many} {one.removeprefix('a ')}s, each {self._limits()}{order}{end}"

    def _limits(self) -> str:
        if self.among:
            return "that is " + " or ".join(map(str, self.among))
        low, high = _short(self.low), _short(self.high)
        if self.above and self.below:
            return f"between {low} and {high}, both left out"
        if self.above:
            return f"above {low}, at most {high}"
        return f"from {low} to below {high}" if self.below else f"from {low} to {high}"


def shown(value: object) -> str:
    """Format a value for a message: short, and printable whatever a file holds."""
    try:
        text = str(value)
    except ValueError:  # an integer with more digits than Python prints
        text = f"a number of {value.bit_length()} bits" if isinstance(value, int) else type(value).__name__
    text = text if text.isprintable() else ascii(text)[1:-1]
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _short(limit: float) -> str:
    return str(limit) if isinstance(limit, int) else f"{limit:g}"
