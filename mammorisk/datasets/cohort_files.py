"""Assignment of image files to the rows of a cohort: by a column of names, or by a pattern of file names."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from mammorisk.datasets.attrition import Attrition
from mammorisk.datasets.cohort_csv import TIMES, Source
from mammorisk.datasets.days import as_days
from mammorisk.datasets.problems import CohortProblem
from mammorisk.errors import UserError
from mammorisk.messages import format_examples

MISSING = "the image file is missing"  # in the attrition table


def find_named_files(table: pd.DataFrame, data_root: Path | None) -> pd.DataFrame:
    """Add ``file`` (absolute path, None where missing) from the column ``file_name``.

    A name is absolute, or relative to ``data_root`` or to ``data_root/<split>``. Each folder is listed once, because
    one system call per file is slow.

    Raises:
        UserError: relative names without a usable ``data_root``.
    """
    name = table["file_name"]
    absolute = pd.Series([word.startswith("/") for word in name], index=name.index, dtype=bool)
    if bool(absolute.all()):
        return table.assign(file=name.where(_are_files(name), None))
    root = usable_root(data_root)
    prefix = f"{root}/"
    file = (prefix + name).where(~absolute, name)
    found = _are_files(file) & (name != "")
    for folder in (table["split_word"], table["split"]):
        if bool(found.all()):
            break
        other = prefix + folder + "/" + name
        is_other = ~found & ~absolute & (name != "") & _are_files(other)
        file, found = file.where(~is_other, other), found | is_other
    return table.assign(file=file.where(found, None))


def find_matching_files(
    table: pd.DataFrame, data_root: Path | None, pattern: str, attrition: Attrition
) -> pd.DataFrame:
    """Add ``file`` by matching file names below ``data_root`` with a pattern, and ``file_number`` (NaN without).

    The named groups of ``pattern`` that are columns of the cohort (patient_id, laterality, view, and exam_id,
    exam_date or exam_year) identify the row of a file. A row may get several files (group ``number``). If the CSV has
    only years, the group exam_date also gives the exam its date. Repeated rows of one image, and files that already
    belong to another exam of the same day, are left out and counted.

    Raises:
        UserError: bad pattern, no usable ``data_root``, or no file that matches (docs/pitfalls.md#p28).
    """
    regex = _compiled(pattern)
    files = _matched(usable_root(data_root), regex)
    repeated = table.duplicated(["patient_id", "exam_id", "laterality", "view"])
    table = attrition.keep(table, ~repeated, "files", "another row describes the same exam, breast and view")
    left, right = _time_keys(table, files)
    keys = ["patient_id", "laterality", "view", "_time", *({"exam_id"} & set(files))]
    files = files.assign(_time=right, laterality=files["laterality"].str.upper())
    files = files[[*keys, "file", "file_number", "file_date", "folder"]]
    merged = _each_file_once(table.assign(_time=left).merge(files, how="left", on=keys), attrition)
    if "exam_date" in regex.groupindex:
        file_date = pd.Series(as_days(merged["file_date"]).astype("datetime64[s]"), index=merged.index)
        merged["exam_date"] = merged["exam_date"].fillna(file_date)
    merged = merged.drop(columns=["_time", "folder", "file_date"])
    return merged.sort_values(["csv_row", "file_number"], kind="stable").reset_index(drop=True)


def _each_file_once(merged: pd.DataFrame, attrition: Attrition) -> pd.DataFrame:
    """Give each file name to one row: its own split's folder before others, then the first exam of that day."""
    folder = merged["folder"].fillna("")
    elsewhere = (folder != "") & (folder != merged["split_word"]) & (folder != merged["split"])
    merged = merged.assign(_elsewhere=elsewhere).sort_values(["_elsewhere", "exam_id"], kind="stable")
    names = [file.rpartition("/")[2] if isinstance(file, str) else "" for file in merged["file"]]
    name = pd.Series(names, index=merged.index, dtype=object)
    reason = "the file is a copy in another folder, or belongs to another exam of that day"
    merged = attrition.keep(merged, merged["file"].isna() | ~name.duplicated(), "files", reason)
    return merged.drop(columns="_elsewhere")


def refuse_or_skip_missing(table: pd.DataFrame, data_root: Path | None, source: Source, skip: bool) -> pd.Series:
    """Flag the rows that have a file, [rows] bool.

    Raises:
        CohortProblem: files are missing and ``skip`` is false, or all are missing.
    """
    found = table["file"].notna()
    missing = table[~found]
    if missing.empty or (skip and bool(found.any())):
        return found
    first = missing.head(5)
    if "file_name" in table:
        words = [f"'{name}' (CSV row {row})" for name, row in zip(first["file_name"], first["csv_row"], strict=True)]
        looked = f"Looked for them in {data_root} and in its folders named like the split."
        check = "Check dataset.data_root and dataset.columns.file_name"
    else:
        parts = zip(first["patient_id"], first["laterality"], first["view"], first["csv_row"], strict=True)
        words = [f"{patient} {side} {view} (CSV row {row})" for patient, side, view, row in parts]
        looked = f"Looked for files that match dataset.file_pattern below {data_root}."
        check = "Check dataset.data_root, dataset.file_pattern and the exam dates"
    example = _example(data_root)
    text = (
        f"{len(missing)} of {len(table)} images of {source.csv_file} have no file: {format_examples(words)}"
        f"{' …' if len(missing) > 5 else ''}.\n{looked}" + (f" An existing file: {example}." if example else "")
    )
    advice = f"{check}; dataset.on_error=skip leaves them out and counts them."
    raise CohortProblem("missing_file", len(missing), text, advice, missing["csv_row"])


def usable_root(data_root: Path | None) -> Path:
    """Return ``data_root`` as an absolute path.

    Raises:
        CohortProblem: it is not set, not a folder, or holds no files.
    """
    if data_root is None:
        text = "dataset.data_root is not set: give the folder that holds the images."
        raise CohortProblem("data_root", 1, text)
    root = data_root.absolute()
    if not root.is_dir():
        raise CohortProblem("data_root", 1, f"dataset.data_root: there is no folder {root}.")
    if _example(root) is None:
        text = f"dataset.data_root: the folder {root} holds no files. Expected the cohort's PNG images."
        raise CohortProblem("data_root", 1, text)
    return root


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        regex = re.compile(pattern)
    except re.error as error:
        raise UserError(f"dataset.file_pattern is no regular expression: {error}\n  {pattern}") from error
    missing = {"patient_id", "laterality", "view"} - regex.groupindex.keys()
    if missing or not regex.groupindex.keys() & set(TIMES):
        raise UserError(
            "dataset.file_pattern needs the named groups patient_id, laterality, view and exam_id, exam_date or "
            f"exam_year, as in (?P<patient_id>\\d+); found {format_examples(regex.groupindex) or 'none'}:\n  {pattern}"
        )
    return regex


def _matched(root: Path, regex: re.Pattern[str]) -> pd.DataFrame:
    """List the files below ``root`` whose whole name matches: the groups, file, folder, file_number, file_date."""
    listed = [(folder, name) for folder, names in _walk(str(root)) for name in names]
    listing = pd.DataFrame(sorted(listed), columns=["folder", "name"], dtype=object)
    anchored = re.compile(f"(?:{regex.pattern})\\Z", regex.flags)
    groups = list(regex.groupindex)
    parts = [hit.group(*groups) if (hit := anchored.match(name)) else None for name in listing["name"]]
    matched = listing[[part is not None for part in parts]].reset_index(drop=True)
    if matched.empty:
        text = f"None of the {len(listing)} files below {root} matches dataset.file_pattern:\n  {regex.pattern}"
        raise CohortProblem("data_root", len(listing), text, f"An existing file: {_example(root)}.")
    found = pd.DataFrame([part for part in parts if part is not None], columns=groups, dtype=object)
    found["file_number"] = pd.to_numeric(found["number"], errors="coerce") if "number" in found else np.nan
    found["file_date"] = found.get("exam_date")
    found["file"] = matched["folder"] + "/" + matched["name"]
    found["folder"] = matched["folder"].str.slice(len(str(root)) + 1)
    return found


def _time_keys(table: pd.DataFrame, files: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """Time of each exam as text, in the form that the table and the file names share."""
    if "exam_date" in files and bool(table["exam_date"].notna().all()):
        return table["exam_date"].dt.strftime("%Y-%m-%d"), files["exam_date"]
    if "exam_date" in files and bool(table["exam_year"].notna().all()):
        return table["exam_year"].astype(int).astype(str), files["exam_date"].str.slice(0, 4)
    if "exam_year" in files and bool(table["exam_year"].notna().all()):
        return table["exam_year"].astype(int).astype(str), files["exam_year"]
    if "exam_id" in files:
        return pd.Series("", index=table.index), pd.Series("", index=files.index)
    text = "dataset.file_pattern distinguishes exams by their date, but the cohort CSV gives none: "
    raise CohortProblem("missing_column", 1, f"{text}map dataset.columns.exam_date or dataset.columns.exam_year.")


def _are_files(paths: pd.Series) -> pd.Series:
    """Flag the paths that are files; each folder is listed once."""
    folders = dict.fromkeys(path.rpartition("/")[0] for path in paths)
    there = {f"{folder}/{name}" for folder in folders for name in _file_names(folder or "/")}
    return pd.Series([path in there for path in paths], index=paths.index, dtype=bool)


def _file_names(folder: str) -> Iterable[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if entry.is_file()]
    except (OSError, ValueError):  # ValueError: no possible path
        return []


def _walk(root: str) -> Iterator[tuple[str, list[str]]]:
    """Walk the folders below ``root``, with the files in each."""
    for folder, _, names in os.walk(root, followlinks=True):
        yield folder, names


def _example(root: Path | None) -> str | None:
    """Example of a file below ``root``, for messages; a PNG if the first folder with files has one."""
    folders = [str(root)] if root is not None else []
    while folders:
        folder, other = folders.pop(0), None
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir():
                        folders.append(entry.path)
                    elif entry.name.lower().endswith(".png"):
                        return entry.path
                    else:
                        other = entry.path
        except OSError:
            continue
        if other is not None:
            return other
    return None
