"""Parsing of a download's columns: identifiers, strict codes, numbers, dates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mammorisk.bound import Bound
from mammorisk.bounds import COHORT
from mammorisk.datasets.cohort_csv import NUMBER_FORMATTED
from mammorisk.datasets.days import as_days, years_of
from mammorisk.errors import UserError
from mammorisk.messages import closest_match, format_examples, format_rows
from mammorisk.preparation.raw_csv import Column

Days = NDArray[np.datetime64]
Doubles = NDArray[np.float64]


def check_ids(column: Column) -> None:
    """Raise UserError if an identifier is missing, or was turned into a number by a spreadsheet or data frame."""
    words = pd.Series(column.words, dtype=object)
    _refuse(column, words == "", "have no value", "Every row needs its patient and its exam.")
    _refuse(
        column,
        words.str.fullmatch(NUMBER_FORMATTED),
        "hold identifiers that were turned into numbers",
        "Identifiers are text, of up to 16 digits; take the table as downloaded.",
    )


def coded(column: Column, known: Mapping[str, Any], accepted: Mapping[str, Sequence[str]] | None = None) -> Any:
    """Look up values [R] in a strict table, text -> value; case and a trailing ``.0`` do not matter.

    Args:
        column: the text.
        known: words and their values; that of "" is the value of a missing one.
        accepted: column -> further words, which are taken as missing (``raw.accepted_codes``).

    Raises:
        UserError: words that are not in the table, all listed.
    """
    table = {_fold(word): value for word, value in known.items()}
    table.update({_fold(str(word)): known[""] for word in (accepted or {}).get(column.name) or ()})
    unknown = np.array([_fold(word) not in table for word in column.words], dtype=bool)
    if unknown.any():
        listed = [f"'{word}'" for word in column.words[unknown]]
        lines = column.rows_of(unknown)
        near = closest_match(str(column.words[unknown][0]), [word for word in known if word])
        raise UserError(
            f"{len(lines)} rows have unknown values in {column.where}: {format_examples(listed, 10)} "
            f"({format_rows(lines)}).\n"
            f"Known: {format_examples([word for word in known if word], 30)}.{near} Correct the CSV, or, if "
            "they are words for "
            f"nothing that is wanted here, 'raw.accepted_codes.{column.name}=[{column.words[unknown][0]}]' takes them "
            "as missing."
        )
    return column.spread(np.array([table[_fold(word)] for word in column.words]))


def numbers(column: Column, bound: Bound) -> Doubles:
    """Parse numbers [R], NaN where there is none; raises UserError for other text and numbers out of bounds."""
    words = pd.Series(column.words, dtype=object)
    parsed = pd.to_numeric(words, errors="coerce").astype(np.float64)
    takes = parsed.between(bound.low, bound.high) & (not bound.whole or parsed % 1 == 0)
    _refuse(column, (words != "") & ~takes, "hold no such number", f"Expected {bound}, or nothing.")
    values: Doubles = column.spread(parsed.to_numpy())
    return values


def dates(column: Column, required: bool) -> Days:
    """Parse days [R], NaT where there is none; raises UserError for other text and, if ``required``, for none."""
    words = pd.Series(column.words, dtype=object)
    day = words.str.extract(r"^(\d{4}-\d{2}-\d{2})(?:[ T].*)?$", expand=False)
    parsed, year = as_days(day), COHORT["exam_date"]
    within = pd.Series(years_of(parsed), index=words.index).between(year.low, year.high)
    may_miss = (words == "") & (not required)
    advice = f"Expected dates as YYYY-MM-DD, of the years {year.low} to {year.high}."
    _refuse(column, ~within & ~may_miss, "hold no date", advice)
    values: Days = column.spread(parsed)
    return values


def _fold(word: str) -> str:
    return word.removesuffix(".0").casefold()


def _refuse(column: Column, wrong: pd.Series, what: str, advice: str) -> None:
    is_wrong = wrong.fillna(False).to_numpy(dtype=bool)
    if is_wrong.any():
        lines = column.rows_of(is_wrong)
        words = format_examples((f"'{word}'" if word else "(empty)" for word in column.words[is_wrong]), 5)
        raise UserError(f"{len(lines)} rows {what} in {column.where}: {words} ({format_rows(lines)}).\n{advice}")
