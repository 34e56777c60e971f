"""Jobs of a conversion (DICOM file -> PNG), from a table or from all files below a folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from mammorisk.datasets.spelling import spelling_key
from mammorisk.dicom.tags import side
from mammorisk.dicom.work import Job
from mammorisk.errors import UserError
from mammorisk.messages import format_examples
from mammorisk.system.regular_files import check_regular, open_regular

REQUIRED, OPTIONAL = ("dicom_path", "file_name"), ("laterality", "view")
_SUFFIXES = (".dcm", ".dicom", ".dic", ".ima")
_OURS = ("contact_sheets",)


def jobs_of_table(csv_file: Path, columns: Mapping[str, str | None]) -> list[Job]:
    """Make the jobs of a table, in its order.

    Args:
        csv_file: comma-separated, one row per image.
        columns: dicom_path, file_name, laterality, view -> the CSV's name; ``A|B`` takes the first that is there.

    Raises:
        UserError: no such table, a missing column, or names that cannot be used.
    """
    try:
        check_regular(csv_file)
        table = pd.read_csv(csv_file, dtype=str, na_filter=False, encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise UserError(f"csv_file: there is no file {csv_file}.") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{csv_file} cannot be read: {error}\nExpected a comma-separated table in UTF-8.") from error
    found: dict[str, str] = {}
    for key in (*REQUIRED, *OPTIONAL):
        names = str(columns.get(key) or key).split("|")
        present = [name for name in names if name in table.columns]
        if present:
            found[key] = present[0]
        elif key in REQUIRED:
            there = format_examples(table.columns, 20)
            raise UserError(
                f"{csv_file} has no column '{' or '.join(names)}' (columns.{key}).\nColumns found: {there}.\nIt says "
                f"{'which DICOM file an image comes from' if key == 'dicom_path' else 'how the PNG is called'}."
            )
    values = pd.DataFrame({key: table[name].str.strip() for key, name in found.items()}).drop_duplicates()
    values = values.reindex(columns=[*REQUIRED, *OPTIONAL], fill_value="")
    jobs = [Job(source, name, _side(word), view.upper()) for source, name, word, view in values.itertuples(index=False)]
    _check_names(jobs, f"{csv_file}, column '{found['file_name']}'")
    return jobs


def jobs_of_folder(root: Path, out: Path) -> list[Job]:
    """Make a job for every DICOM file below ``root``, with the same name; files below ``out`` are left out.

    Raises:
        UserError: there is none, or two would get the same name.
    """
    sources = [path.relative_to(root) for path in dicom_files(root) if out not in path.parents]
    if not sources:
        raise UserError(
            f"dicom_root: no DICOM files below {root} (known by DICM at byte 128, or {format_examples(_SUFFIXES)})."
        )
    jobs = [Job(str(source), str(source.with_suffix(".png"))) for source in sources]
    _check_names(jobs, f"dicom_root={root}")
    return jobs


def dicom_files(root: Path) -> list[Path]:
    """Find the DICOM files below ``root`` by DICM at byte 128 or by suffix, dead links and pipes included."""
    return [path for path in sorted(root.rglob("*")) if not path.is_dir() and _is_dicom(path)]


def _is_dicom(path: Path) -> bool:
    if path.name.upper() == "DICOMDIR":
        return False
    if path.suffix.lower() in _SUFFIXES:
        return True
    try:
        with open_regular(path) as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _side(word: str) -> str:
    """Laterality, L or R; another word stays as it is, and its row is reported."""
    return side(word) or word


def _check_names(jobs: list[Job], where: str) -> None:
    """Check that every job has a source, and its own place inside the PNG folder."""
    for job in jobs:
        parts = Path(job.name).parts
        if not job.source or not parts or Path(job.name).is_absolute() or ".." in parts or parts[0] in _OURS:
            raise UserError(f"{where}: '{job.name}' (from '{job.source}'): expected a name below the folder of PNGs.")
        if Path(job.name).suffix.lower() != ".png":
            raise UserError(f"{where}: '{job.name}': expected a name that ends with .png.")
    names = pd.Series([spelling_key(str(Path(job.name))) for job in jobs], dtype=object)
    twice = names[names.duplicated()].unique()
    if len(twice):
        sources = [job.source for job in jobs if spelling_key(str(Path(job.name))) == twice[0]]
        raise UserError(
            f"{where}: {len(twice)} images would be written by several DICOM files: {format_examples(twice, 3)} "
            f"(from {format_examples(sources, 3)}). Give each its own name, in a column file_name."
        )
