"""Detection of identifiers that look alike but differ as text: one woman would count as two, perhaps in two splits.

Unicode has several forms of one letter (``é``, or ``e`` with a combining accent), and some characters are invisible.
"""

from __future__ import annotations

import unicodedata

import pandas as pd

from mammorisk.datasets.problems import CohortProblem
from mammorisk.messages import format_examples, format_rows

_UNSEEN = ("Cf", "Cc")  # zero-width and direction marks, soft hyphens; controls


def spelling_key(text: str) -> str:
    """Normalise an identifier: NFC, without invisible characters and outer blanks; equal for all its spellings."""
    if text.isascii() and text.isprintable():
        return text.strip()
    seen = "".join(letter for letter in text if unicodedata.category(letter) not in _UNSEEN)
    return unicodedata.normalize("NFC", seen).strip()


def spelling_keys(values: pd.Series) -> pd.Series:
    """Apply ``spelling_key`` to each value; by unique value, for speed."""
    codes, unique = pd.factorize(values)
    keys = pd.Series([spelling_key(str(word)) for word in unique], dtype=object)
    return pd.Series(keys.to_numpy()[codes], index=values.index, dtype=object) if len(keys) else values


def check_spelling(values: pd.Series, csv_row: pd.Series, where: str) -> None:
    """Check that no two values of a column look alike.

    Args:
        values: text; "" for none.
        csv_row: of each.
        where: the column, for the message.

    Raises:
        CohortProblem: some look alike.
    """
    unique = pd.Series(values.unique(), dtype=object)
    keys = pd.Series([spelling_key(str(word)) for word in unique], dtype=object)
    if not bool(keys.duplicated().any()):
        return
    alike = unique[keys.duplicated(keep=False)].groupby(keys).agg(list)
    shown = format_examples([" and ".join(_spelled(word, values, csv_row) for word in words) for words in alike], 3)
    bad = csv_row[values.isin(unique[keys.duplicated(keep=False)])]
    text = f"{len(alike)} identifiers in {where} are written in several ways that look alike: {shown}."
    advice = (
        "They differ in invisible characters, or in Unicode's form of a letter, and would be taken for "
        "different ones. Write each in one way."
    )
    raise CohortProblem("alike_id", len(alike), text, advice, bad)


def _spelled(word: str, values: pd.Series, csv_row: pd.Series) -> str:
    return f"{word!a} ({format_rows(csv_row[values == word])})"
