"""Reading a table of a download: millions of rows, every value still the text it was, each text kept once."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mammorisk.datasets.citation import nearest
from mammorisk.datasets.cohort_csv import MISSING_WORDS
from mammorisk.errors import UserError

CHUNK = 200_000  # rows; larger ones take more memory and no less time
Words = NDArray[np.object_]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Column:
    """A column as its distinct texts, without blanks around them and "" for missing, and which row has which."""

    name: str
    csv_file: Path
    words: Words  # [W] | distinct
    codes: Ints  # [R] | index into words

    @property
    def where(self) -> str:
        """``column 'side' of clinical.csv``."""
        return f"column '{self.name}' of {self.csv_file}"

    def spread(self, by_word: NDArray[Any]) -> NDArray[Any]:
        """[R] the value of each row, from the value of each word."""
        return by_word[self.codes]

    def rows_of(self, is_word: NDArray[np.bool_]) -> pd.Series:
        """Lines of the CSV (the header is 1) whose word is meant."""
        return pd.Series(np.flatnonzero(is_word[self.codes]) + 2)


@dataclass(frozen=True)
class RawTable:
    """The columns of a CSV that are needed."""

    csv_file: Path
    rows: int
    columns: Mapping[str, Column]
    texts: Mapping[str, Words]  # [R] | columns whose values rarely repeat, as they are

    def __getitem__(self, name: str) -> Column:
        return self.columns[name]


def read_raw_csv(
    csv_file: Path, setting: str, required: Sequence[str], optional: Sequence[str] = (), texts: Sequence[str] = ()
) -> RawTable:
    """Read some columns of a CSV.

    Args:
        csv_file: comma-separated, UTF-8, one header line.
        setting: the setting that names it, for messages.
        required: columns that must be there.
        optional: columns that are read where they are there.
        texts: of the required ones, those whose values rarely repeat (file names).

    Raises:
        UserError: no such file, not a CSV, no rows, or a column is missing.
    """
    header = [str(name) for name in next(_read(csv_file, setting, None, 0)).columns]
    missing = [name for name in required if name not in header]
    if missing:
        lines = "\n".join(f"  '{name}'{nearest(name, header)}" for name in missing)
        found = ", ".join(map(repr, header[:40])) + (" …" if len(header) > 40 else "")
        raise UserError(f"{csv_file} ({setting}) lacks columns:\n{lines}\nColumns found: {found}.")
    names = [*required, *(name for name in optional if name in header)]
    parts: dict[str, list[tuple[Ints, Words]]] = {name: [] for name in names if name not in texts}
    as_they_are: dict[str, list[Words]] = {name: [] for name in texts}
    rows = 0
    for chunk in _read(csv_file, setting, names, None):
        rows += len(chunk)
        for name, found_so_far in parts.items():
            codes, words = pd.factorize(chunk[name].fillna("").to_numpy(dtype=object))
            found_so_far.append((codes, words))
        for name, values in as_they_are.items():
            values.append(chunk[name].fillna("").to_numpy(dtype=object))
    if not rows:
        raise UserError(f"{csv_file} ({setting}) holds no rows: expected the table of the download, with a header.")
    columns = {name: Column(name, csv_file, *_joined(found)) for name, found in parts.items()}
    return RawTable(csv_file, rows, columns, {name: np.concatenate(each) for name, each in as_they_are.items()})


def _read(csv_file: Path, setting: str, columns: list[str] | None, rows: int | None) -> Iterator[pd.DataFrame]:
    hint = "Expected the table as downloaded: comma-separated text in UTF-8 with a header."
    how: dict[str, Any] = {"chunksize": CHUNK} if rows is None else {"nrows": rows}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # lines longer than the header
            read = pd.read_csv(
                csv_file, dtype=str, na_filter=False, usecols=columns, index_col=False, encoding="utf-8-sig",
                low_memory=False, **how,
            )  # fmt: skip
            yield from [read] if isinstance(read, pd.DataFrame) else read
    except FileNotFoundError as error:
        raise UserError(f"{setting}: there is no file {csv_file}.") from error
    except (OSError, ValueError, pd.errors.ParserWarning) as error:  # ParserError and UnicodeError are ValueErrors
        raise UserError(f"{csv_file} ({setting}) cannot be read: {error}\n{hint}") from error


def _joined(parts: Sequence[tuple[Ints, Words]]) -> tuple[Words, Ints]:
    """Distinct cleaned words of all chunks, and the word of each row."""
    found = pd.Series(np.concatenate([words for _, words in parts]), dtype=object).str.strip()
    found = found.mask(found.str.lower().isin(MISSING_WORDS), "")
    of_part, words = pd.factorize(found.to_numpy(dtype=object))
    starts = np.cumsum([0, *(len(each) for _, each in parts)])
    codes = [of_part[start + codes] for start, (codes, _) in zip(starts, parts, strict=False)]
    return words, np.concatenate(codes).astype(np.int64)
