"""Formatting of findings in messages: a few examples, the CSV rows, the closest name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from mammorisk.system.printing import cited

if TYPE_CHECKING:  # importing pandas takes half a second, which processes that only need messages save
    import pandas as pd

_SHOWN = 5


def format_examples(values: Iterable[object], shown: int = _SHOWN) -> str:
    """List the first values, comma-separated, and the number of the others."""
    words = [cited(value) for value in values]
    more = f" and {len(words) - shown} more" if len(words) > shown else ""
    return ", ".join(words[:shown]) + more


def format_rows(csv_row: pd.Series) -> str:
    """Format row numbers of the CSV: ``CSV rows 2, 5, 9`` (the header is row 1)."""
    return f"CSV row{'s' if len(csv_row) > 1 else ''} {format_examples(csv_row)}"


def closest_match(word: str, words: Iterable[object]) -> str:
    """Suggest the most similar of ``words`` in a sentence; "" if none is similar."""
    by_fold = {str(other).casefold(): str(other) for other in words}
    close = difflib.get_close_matches(word.casefold(), list(by_fold), n=1, cutoff=0.5)
    return f" Did you mean '{cited(by_fold[close[0]])}'?" if close else ""
