#!/usr/bin/env python3
"""Time and memory of ``mammorisk-prepare cohort dataset=embed`` on tables of EMBED's full size.

Generates both tables (random outcomes, no images), runs the command in a process of its own and prints JSON.
usage: python benchmarks/prepare_cohort.py [--rows 3400000] [--extra-columns 20] [--folder FOLDER] [--keep]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

IMAGES_PER_EXAM, EXAMS_PER_WOMAN = 9.3, 3.1  # EMBED: 3.4 million files, 364,000 exams, 116,000 women
CHUNK = 200_000
# View, kind of image and spot_mag of an exam's files: two thirds are two-dimensional.
SLOTS = [
    ("R", "CC", "2D", ""), ("R", "MLO", "2D", ""), ("L", "CC", "2D", ""), ("L", "MLO", "2D", ""),
    ("R", "CC", "cview", ""), ("L", "MLO", "3D", ""), ("L", "CC", "2D", ""), ("R", "ML", "2D", "1.0"),
    ("L", "MLO", "cview", ""), ("R", "MLO", "2D", ""),
]  # fmt: skip
METADATA = (
    "empi_anon,acc_anon,cohort_num,study_date_anon,anon_dicom_path,FinalImageType,ImageLateralityFinal,ViewPosition,"
    "spot_mag,BreastImplantPresent,ManufacturerModelName,SeriesTime"
)


def main() -> None:
    """Generate, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=3_400_000, help="of the metadata table")
    parser.add_argument("--extra-columns", type=int, default=20, help="of the metadata table, which are not read")
    parser.add_argument("--folder", type=Path, default=None, help="of the tables; default: a temporary one")
    parser.add_argument("--keep", action="store_true", help="leave the tables there")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="mammorisk-benchmark-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        metadata, clinical = folder / "metadata.csv", folder / "clinical.csv"
        if not (metadata.exists() and clinical.exists()):
            write_tables(metadata, clinical, options.rows, options.extra_columns)
        found = {"metadata_rows": options.rows, "metadata_bytes": metadata.stat().st_size}
        print(json.dumps({**found, **measured(metadata, clinical, folder / "cohort.csv")}, indent=2))
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)


def measured(metadata: Path, clinical: Path, out: Path) -> dict[str, object]:
    """Run the command; return its time and memory."""
    words = ["cohort", "dataset=embed", f"raw.metadata={metadata}", f"raw.clinical={clinical}", f"out={out}"]
    command = [sys.executable, "-m", "mammorisk.cli.prepare", *words, "overwrite=true"]
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - start
    if status:
        sys.exit(f"the command failed:\n{printed}")
    record = json.loads(out.with_suffix(".json").read_text())
    return {
        "seconds": round(seconds, 1),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_rss_gb": round(usage.ru_maxrss * 1024 / 1e9, 2),
        "load_average_1_min": round(os.getloadavg()[0], 1),
        "cores": os.cpu_count(),
        "clinical_bytes": clinical.stat().st_size,
        "counts": record["counts"]["all"],
        "csv_bytes": out.stat().st_size,
        "python": platform.python_version(),
        "pandas": pd.__version__,
    }


def write_tables(metadata: Path, clinical: Path, rows: int, extra_columns: int) -> None:
    """Both tables, in order of women and exams, as the download has them."""
    draw = np.random.default_rng(0)
    exams = max(int(rows / IMAGES_PER_EXAM), 1)
    woman = np.sort(draw.integers(0, max(int(exams / EXAMS_PER_WOMAN), 1), exams))
    day = np.datetime64("2012-01-01") + draw.integers(0, 3000, exams)
    accession = [str(number) for number in 9_100_000_000_000_001 + 7919 * np.arange(exams)]
    patient, date = [str(number) for number in 10_000_000 + woman], np.datetime_as_string(day).tolist()
    is_screening = draw.random(exams) < 0.75
    _write_clinical(clinical, draw, patient, accession, date, is_screening)
    filler = "," + ",".join(["1.0"] * extra_columns) if extra_columns else ""
    names = "".join(f",unused_{number}" for number in range(extra_columns))
    exam = np.sort(draw.integers(0, exams, rows))
    first = np.searchsorted(exam, np.arange(exams))
    slot, clock = (np.arange(rows) - first[exam]) % len(SLOTS), draw.integers(70_000, 190_000, rows)
    with metadata.open("w", encoding="utf-8") as file:
        file.write(f"{METADATA}{names}\n")
        for start in range(0, rows, CHUNK):
            part = range(start, min(start + CHUNK, rows))
            triples = zip(part, exam[part].tolist(), slot[part].tolist(), clock[part].tolist(), strict=True)
            for row, number, place, hour in triples:
                who, acc, on = patient[number], accession[number], date[number]
                side, view, kind, spot = SLOTS[place]
                path = f"/mnt/NAS2/mammo/anon_dicom/cohort_1/extracted-images/{who}/{acc}/{acc}{row:024d}.dcm"
                file.write(f"{who},{acc},1,{on},{path},{kind},{side},{view},{spot},NO,Dimensions,{hour}.0{filler}\n")


def _write_clinical(
    clinical: Path,
    draw: np.random.Generator,
    patient: list[str],
    acc: list[str],
    date: list[str],
    screening: np.ndarray,
) -> None:
    """A row per exam, and a second finding for some; one exam in 200 has pathology of a cancer."""
    exams = len(acc)
    table = pd.DataFrame({"empi_anon": patient, "acc_anon": acc, "study_date_anon": date})
    table["desc"] = np.where(screening, "MG Screen Bilat w/Tomo/CAD", "MG Diagnostic Left w/ CAD")
    table["tissueden"] = draw.choice(["1.0", "2.0", "3.0", "4.0", ""], exams)
    table["asses"] = draw.choice(["N", "B", "A", "P", "S"], exams, p=[0.55, 0.3, 0.1, 0.03, 0.02])
    table["side"] = draw.choice(["B", "", "L", "R"], exams, p=[0.4, 0.3, 0.15, 0.15])
    has_cancer = (draw.random(exams) < 0.005) & ~screening
    table["path_severity"] = np.where(has_cancer, draw.choice(["0.0", "1.0"], exams), "")
    table["procdate_anon"] = np.where(has_cancer, table["study_date_anon"], "")
    table["RACE_DESC"] = draw.choice(["African American  or Black", "Caucasian or White", "Asian"], exams)
    table["age_at_study"] = draw.uniform(40, 80, exams).round(3)
    table["GENDER_DESC"] = "Female"
    for number in range(60):  # EMBED's clinical table is wide
        table[f"unused_{number}"] = ""
    second = table[draw.random(exams) < 0.1]
    pd.concat([table, second]).sort_index(kind="stable").to_csv(clinical, index=False)


if __name__ == "__main__":
    main()
