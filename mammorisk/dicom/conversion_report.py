"""Reports of a conversion run: the source of each image, refused files with reasons, and the settings."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mammorisk.dicom.conversion_settings import Conversion
from mammorisk.dicom.refusals import KINDS
from mammorisk.dicom.work import Outcome
from mammorisk.system.atomic_files import whole_file
from mammorisk.system.printing import cited
from mammorisk.version import __version__

IMAGES, REPORT, RECORD = "images.csv", "images_report.csv", "images.json"
_COLUMNS = (
    "laterality", "view", "rows", "columns", "bits", "transfer_syntax", "photometric", "inverted", "voi", "transposed",
    "upside_down", "mirrored", "crop", "scale", "millimetres", "remark",
)  # fmt: skip


def write_reports(out: Path, outcomes: Sequence[Outcome], conversion: Conversion, source: dict[str, Any]) -> None:
    """Write ``images.csv``, ``images_report.csv`` and ``images.json``; an interrupted and resumed run writes the same.

    Args:
        out: the folder of PNGs.
        outcomes: of all jobs.
        conversion: settings of the conversion.
        source: origin of the files, for the record.
    """
    made = [(outcome.job, outcome.note) for outcome in outcomes if outcome.note is not None]
    rows = ([job.name, job.source, *(_cell(note.get(name)) for name in _COLUMNS)] for job, note in made)
    _write_csv(out / IMAGES, ("file_name", "dicom_path", *_COLUMNS), rows)
    bad = [
        [cited(outcome.job.source), cited(outcome.job.name), outcome.kind, outcome.reason]
        for outcome in outcomes
        if outcome.kind
    ]
    _write_csv(out / REPORT, ("dicom_path", "file_name", "kind", "reason"), bad)
    record = {
        "mammorisk": __version__,
        "source": source,
        "conversion": conversion.as_dict(),
        "counts": {"files": len(outcomes), "images": len(made), "refused": refusals(outcomes)},
    }
    with whole_file(out / RECORD) as unfinished:
        unfinished.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def refusals(outcomes: Iterable[Outcome]) -> dict[str, int]:
    """Number of refused files for each kind of reason, in the order of ``KINDS``."""
    counts = Counter(outcome.kind for outcome in outcomes if outcome.kind)
    return {kind: counts[kind] for kind in KINDS if counts[kind]}


def summary(out: Path, outcomes: Sequence[Outcome]) -> str:
    """Summary of a run, in a few lines."""
    made = [outcome for outcome in outcomes if outcome.note is not None]
    earlier = sum(not outcome.is_new for outcome in made)
    before = f" ({earlier:,} of them were there already)" if earlier else ""
    lines = [f"{out}: {len(made):,} of {len(outcomes):,} files are images{before}."]
    counts = refusals(outcomes)
    if counts:
        lines.append(f"{sum(counts.values()):,} were refused, listed with their reasons in {out / REPORT}:")
        lines += [f"  {count:>7,}  {kind}: {KINDS[kind]}" for kind, count in counts.items()]
    remarks = sum(bool(outcome.note.get("remark")) for outcome in made if outcome.note)
    if remarks:
        lines.append(f"{remarks:,} have a remark in {out / IMAGES}: check them.")
    lines.append(f"Look through {out / 'contact_sheets'}: each file before and after.")
    return "\n".join(lines)


def _cell(value: object) -> object:
    if isinstance(value, list):
        return " ".join(str(each) for each in value)
    return "" if value is None else value


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with (
        whole_file(path) as unfinished,
        unfinished.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
