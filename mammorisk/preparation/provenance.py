"""Provenance of a table: options, counts and the hashes of its inputs, in a JSON beside it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from pyarrow import csv as arrow_csv

from mammorisk.datasets.attrition import Attrition, Counts
from mammorisk.errors import UserError
from mammorisk.system.atomic_files import whole_file
from mammorisk.system.regular_files import open_regular, read_text
from mammorisk.version import __version__

Record = Mapping[str, Any]


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, as hex digits; raises OSError."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def record_of(images: pd.DataFrame, attrition: Attrition, options: Record, hashes: Mapping[str, str]) -> dict[str, Any]:
    """Make the record beside a table.

    Args:
        images: the table under our names, with ``split``.
        attrition: who was left out.
        options: every setting that the table depends on.
        hashes: input file -> SHA-256.
    """
    by_split = {name: images[images["split"] == name] for name in ("train", "val", "test")}
    return {
        "mammorisk": __version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "options": options,
        "inputs": [{"file": file, "sha256": digest} for file, digest in hashes.items()],
        "counts": {"all": _counts(images), **{name: _counts(part) for name, part in by_split.items()}},
        "attrition": [asdict(step) for step in attrition.steps],
    }


def refuse_other(out: Path, options: Record) -> None:
    """Raise UserError, before any work, if ``out`` exists and was made with other options."""
    if not out.exists():
        return
    try:
        record = json.loads(read_text(_beside(out)))
        is_same = record["options"] == json.loads(json.dumps(options))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        is_same = False
    if not is_same:
        raise UserError(f"{out} is there already, and was made with other options. {_HOW_TO_FIX}")


def write_all(table: pd.DataFrame, out: Path, record: Record, attrition: Attrition, overwrite: bool) -> bool:
    """Write the CSV, its JSON and its attrition table; each appears whole or not at all, the CSV last.

    Returns:
        Whether the CSV was written now; False: the same table was there already.

    Raises:
        UserError: another table is there and ``overwrite`` is false, or the place cannot be written to.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(out) as unfinished:
            arrow_csv.write_csv(pa.Table.from_pandas(table, preserve_index=False), unfinished)  # text in quotes
            digest = sha256_of(unfinished)
            is_there = out.exists()
            is_same = is_there and sha256_of(out) == digest
            if is_there and not is_same and not overwrite:
                raise UserError(f"{out} is there already, and holds another table. {_HOW_TO_FIX}")
            with whole_file(_beside(out)) as note:
                note.write_text(json.dumps({**record, "sha256": digest}, indent=2) + "\n", encoding="utf-8")
            attrition.to_csv(out.with_name(f"{out.stem}_attrition.csv"))
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error}. Give another place, out=PATH.csv.") from error
    return not is_same


def _beside(out: Path) -> Path:
    return out.with_suffix(".json")


def _counts(images: pd.DataFrame) -> dict[str, int]:
    cases = images.loc[images["years_to_cancer"].notna(), "patient_id"].nunique()
    return {**asdict(Counts.of(images)), "patients_with_cancer": int(cases)}


def checked_out(out: str) -> Path:
    """Path of the CSV to write; raises UserError if its name does not end with .csv."""
    path = Path(out).expanduser()
    if path.suffix != ".csv":
        raise UserError(f"out={out}: expected a name that ends with .csv, for example out=cohort.csv")
    if path.is_dir():
        raise UserError(f"out={out} is a folder: expected a file, for example out={out}/cohort.csv")
    return path


def check_inputs_apart(out: Path, inputs: Sequence[Path]) -> None:
    """Raise UserError if the table would replace one of the tables that it is made from."""
    for path in inputs:
        if path.exists() and out.exists() and path.samefile(out):
            raise UserError(f"out={out} is a table of the download. Give another name.")


_HOW_TO_FIX = "Give another name, or overwrite=true to replace it."
