"""Reader of the tables of a download: millions of rows, every value as its text, each text stored once."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv as arrow_csv

from mammorisk.datasets.cohort_csv import MISSING_WORDS
from mammorisk.errors import UserError
from mammorisk.messages import closest_match
from mammorisk.system.regular_files import check_regular, open_regular

Words = NDArray[np.object_]
Ints = NDArray[np.int64]
_REPEATING = pa.dictionary(pa.int32(), pa.string())


@dataclass(frozen=True)
class Column:
    """A column as distinct texts (stripped; "" for missing) and the index of each row's text."""

    name: str
    csv_file: Path
    words: Words  # [W] | distinct
    codes: Ints  # [R] | index into words

    @property
    def where(self) -> str:
        """``column 'side' of clinical.csv``."""
        return f"column '{self.name}' of {self.csv_file}"

    def spread(self, by_word: NDArray[Any]) -> NDArray[Any]:
        """Value of each row [R], from the value of each word."""
        return by_word[self.codes]

    def rows_of(self, is_word: NDArray[np.bool_]) -> pd.Series:
        """Lines of the CSV with one of these words (the header is line 1, empty lines do not count)."""
        return pd.Series(np.flatnonzero(is_word[self.codes]) + 2)


@dataclass(frozen=True)
class Texts:
    """A column whose values rarely repeat, unchanged."""

    values: Any  # pyarrow.ChunkedArray of R texts

    def take(self, rows: Ints) -> Words:
        """Stripped texts of some rows."""
        found = self.values.take(pa.array(rows)).to_pandas().astype(object).str.strip()
        return np.asarray(found.to_numpy(dtype=object))


@dataclass(frozen=True)
class RawTable:
    """The needed columns of a CSV."""

    csv_file: Path
    rows: int
    columns: Mapping[str, Column]
    texts: Mapping[str, Texts]

    def __getitem__(self, name: str) -> Column:
        return self.columns[name]


def read_raw_csv(
    csv_file: Path, setting: str, required: Sequence[str], optional: Sequence[str] = (), texts: Sequence[str] = ()
) -> RawTable:
    """Read some columns of a CSV.

    Args:
        csv_file: comma-separated, UTF-8, one header line.
        setting: key of the setting, for messages.
        required: columns that must be there.
        optional: columns that are read if they exist.
        texts: of the required ones, those whose values rarely repeat (file names).

    Raises:
        UserError: no such file, not a CSV, no rows, or a column is missing.
    """
    header = _read(csv_file, setting, _header)
    missing = [name for name in required if name not in header]
    if missing:
        lines = "\n".join(f"  '{name}'{closest_match(name, header)}" for name in missing)
        found = ", ".join(map(repr, header[:40])) + (" …" if len(header) > 40 else "")
        raise UserError(f"{csv_file} ({setting}) lacks columns:\n{lines}\nColumns found: {found}.")
    names = [*required, *(name for name in optional if name in header)]
    twice = [name for name in names if header.count(name) > 1]
    if twice:
        raise UserError(f"{csv_file} ({setting}) has the column '{twice[0]}' twice. Take the table as downloaded.")
    last = header[-1]
    types = {name: pa.string() if name in texts else _REPEATING for name in dict.fromkeys([*names, last])}
    table = _read(csv_file, setting, lambda path: _arrow_table(path, types))
    if not table.num_rows:
        raise UserError(f"{csv_file} ({setting}) holds no rows: expected the table of the download, with a header.")
    if "\n" in str(table[last][-1]) and not _tail(csv_file).endswith(b'"'):  # elsewhere the row would lack values
        raise UserError(f"{csv_file} ({setting}): a quotation mark is opened and never closed; the file is damaged.")
    columns = {name: Column(name, csv_file, *_cleaned(table[name])) for name in names if name not in texts}
    return RawTable(csv_file, table.num_rows, columns, {name: Texts(table[name]) for name in texts})


def _read(csv_file: Path, setting: str, how: Any) -> Any:
    hint = "Expected the table as downloaded: comma-separated text in UTF-8 with a header."
    try:
        check_regular(csv_file)
        return how(csv_file)
    except FileNotFoundError as error:
        raise UserError(f"{setting}: there is no file {csv_file}.") from error
    except (OSError, ValueError, csv.Error) as error:  # pyarrow's errors and UnicodeError are ValueErrors
        raise UserError(f"{csv_file} ({setting}) cannot be read: {error}\n{hint}") from error


def _header(csv_file: Path) -> list[str]:
    with csv_file.open(encoding="utf-8-sig", newline="") as file:
        return next(csv.reader(file), [])


def _tail(csv_file: Path) -> bytes:
    with open_regular(csv_file) as file:
        file.seek(max(csv_file.stat().st_size - 1000, 0))
        return file.read().rstrip()


def _arrow_table(csv_file: Path, types: Mapping[str, Any]) -> Any:
    return arrow_csv.read_csv(
        csv_file,
        parse_options=arrow_csv.ParseOptions(newlines_in_values=True),
        convert_options=arrow_csv.ConvertOptions(
            column_types=types, include_columns=list(types), strings_can_be_null=False
        ),
    )


def _cleaned(column: Any) -> tuple[Words, Ints]:
    """Distinct stripped words of a dictionary column, and the word of each row."""
    chunks = column.unify_dictionaries().chunks
    found = pd.Series(chunks[0].dictionary.to_pylist(), dtype=object).str.strip()
    found = found.mask(found.str.lower().isin(MISSING_WORDS), "")
    codes, words = pd.factorize(found.to_numpy(dtype=object))
    index = np.concatenate([chunk.indices.to_numpy(zero_copy_only=False) for chunk in chunks])
    return words, codes[index].astype(np.int64)
