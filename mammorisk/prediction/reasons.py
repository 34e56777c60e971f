"""Reasons why a row of a CSV cannot be used, each about that row alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pandas as pd

from mammorisk.datasets.cohort_values import Codes, code_table
from mammorisk.datasets.problems import KINDS, CohortProblem

# Messages about one row; {key} is our column, {value} its content.
_OF_A_ROW = {
    "empty_id": "no {key}",
    "spoilt_id": "{key} '{value}' was turned into a number",
    "alike_id": "an identifier of this row looks like another one and is not the same text",
    "unknown_word": "unknown {key} '{value}'",
    "not_a_number": "{key} '{value}' is no number",
    "negative_number": "{key} {value} is negative",
    "out_of_range": "{key} {value} is out of range",
    "not_a_date": "{key} '{value}' is no date (YYYY-MM-DD)",
    "not_a_year": "{key} '{value}' is no calendar year",
    "not_a_code": "{key} '{value}' is no code",
    "several_dates": "the images of this exam have several dates",
    "duplicate_view": "several images of one exam, breast and view",
    "shared_file": "its file is named by another row, too: {file_name}",
    "missing_file": "image file missing: {file_name}",
}


def reasons_by_row(problems: Iterable[CohortProblem], rows: pd.DataFrame) -> dict[int, str]:
    """Map each CSV row to the first reason why it cannot be used.

    Args:
        problems: found while the CSV was read.
        rows: the CSV's text under our names, and csv_row.
    """
    by_row = {int(row): place for place, row in enumerate(rows["csv_row"])}
    found: dict[int, str] = {}
    for problem in problems:
        text = _OF_A_ROW.get(problem.kind, KINDS[problem.kind])
        for row in problem.csv_rows:
            if row in by_row and row not in found:
                found[row] = _filled(text, problem.key, rows.iloc[by_row[row]])
    return found


def as_ours(words: pd.Series, codes: Mapping[str, Codes]) -> pd.Series:
    """Laterality or view in our codes if known, else unchanged."""
    table = code_table(str(words.name), codes) or {}
    known = {str(word).casefold(): ours for word, ours in table.items()}
    return words.map({word: known.get(str(word).casefold()) or word for word in words.unique()})


def _filled(text: str, key: str, row: pd.Series) -> str:
    value = row.get(key, "")
    name = key.removeprefix("risk_factors.")
    if not value and "{value}" in text:
        text = "no {key}"
    return text.format(key=name, value=value, file_name=row.get("file_name") or "no name")
