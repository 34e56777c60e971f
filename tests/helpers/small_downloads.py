"""Tables of a few rows in the form of the downloads, for rules that are checked by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from mammorisk.preparation.csaw import CsawDownload
from mammorisk.preparation.embed import EmbedDownload
from mammorisk.preparation.prepared import Prepared

FINDING = {
    "empi_anon": "10", "acc_anon": "9100000000000001", "study_date_anon": "2015-03-01 00:00:00",
    "desc": "MG Screen Bilat",
    "tissueden": "2.0", "asses": "N", "side": "", "path_severity": "", "procdate_anon": "", "RACE_DESC": "Asian",
    "age_at_study": "51.5", "GENDER_DESC": "Female",
}  # fmt: skip
IMAGE = {
    "empi_anon": "10", "acc_anon": "9100000000000001", "study_date_anon": "2015-03-01",
    "anon_dicom_path": "/mnt/NAS2/mammo/anon_dicom/cohort_1/a.dcm", "FinalImageType": "2D", "ImageLateralityFinal": "L",
    "ViewPosition": "CC", "spot_mag": "", "BreastImplantPresent": "NO", "SeriesTime": "101500.0",
}  # fmt: skip
CSAW = {
    "anon_patientid": "00007", "exam_year": "2012", "x_case": "0", "x_cancer_laterality": "", "x_type": "",
    "rad_timing": "", "imagelaterality": "Left", "viewposition": "CC", "libra_percentdensity": "21.5",
    "anon_filename": "00007_20990909_L_CC_1.dcm",
}  # fmt: skip
BREASTS = ({"ImageLateralityFinal": "L"}, {"ImageLateralityFinal": "R"})


def written(path: Path, default: dict[str, str], rows: list[dict[str, Any]]) -> Path:
    """A CSV whose rows are the default with changes."""
    pd.DataFrame([{**default, **row} for row in rows]).to_csv(path, index=False)
    return path


def exam(acc: str, date: str, *findings: dict[str, Any], **finding: Any) -> tuple[list[dict], list[dict]]:
    """Rows of the clinical and of the metadata table of one exam with an image of each breast."""
    same = {"acc_anon": acc, "study_date_anon": date}
    clinical = [{**same, **finding, **each} for each in findings or ({},)]
    images = [{**same, **breast, "anon_dicom_path": f"{acc}{breast['ImageLateralityFinal']}"} for breast in BREASTS]
    return clinical, images


def embed(folder: Path, *exams: tuple[list[dict], list[dict]], **options: Any) -> Prepared:
    """Result of ``EmbedDownload`` for some exams."""
    clinical = written(folder / "clinical.csv", FINDING, [row for rows, _ in exams for row in rows])
    metadata = written(folder / "metadata.csv", IMAGE, [row for _, rows in exams for row in rows])
    return EmbedDownload(str(metadata), str(clinical), **options).prepare()


def csaw(folder: Path, rows: list[dict[str, Any]], **options: Any) -> Prepared:
    """Result of ``CsawDownload`` for some rows."""
    return CsawDownload(str(written(folder / "csaw.csv", CSAW, rows)), **options).prepare()


def years(prepared: Prepared, column: str = "years_to_cancer") -> dict[tuple[str, str], float | None]:
    """(exam, side) -> a column, None where it is missing."""
    found = prepared.images
    values = [None if pd.isna(value) else float(value) for value in found[column]]
    sides = [str(side)[0] for side in found["laterality"]]
    return dict(zip(zip(found["exam_id"], sides, strict=True), values, strict=True))


def reasons(prepared: Prepared) -> dict[str, int]:
    """Reason -> images, of the attrition table."""
    return {step.reason: step.counts.images for step in prepared.attrition.steps if step.action != "read"}
