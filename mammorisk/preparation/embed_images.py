"""EMBED's metadata table (a row per file): standard two-dimensional views, and reasons to leave out others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from mammorisk.bounds import COHORT
from mammorisk.datasets.attrition import Attrition, Counts
from mammorisk.errors import UserError
from mammorisk.messages import format_examples
from mammorisk.preparation import raw_values as values
from mammorisk.preparation.embed_clinical import ABSENT, Clinical
from mammorisk.preparation.outcomes import VIEW_CODES, keep_views
from mammorisk.preparation.raw_csv import RawTable, read_raw_csv

PATH = "anon_dicom_path"
REQUIRED = (
    "empi_anon", "acc_anon", "study_date_anon", PATH, "FinalImageType", "ImageLateralityFinal", "ViewPosition",
    "spot_mag", "BreastImplantPresent",
)  # fmt: skip
OPTIONAL = ("SeriesTime", "ManufacturerModelName")
Implants = Literal["drop_image", "drop_patient", "keep"]
# Kinds of images that are left out, in this order; 2D stays.
_KINDS = (
    "capture of a region of interest (ROI_SSC, ROI_SS)",
    "synthetic view from tomosynthesis (cview)",
    "tomosynthesis (3D)",
    "FinalImageType is other or missing",
)
_KIND_OF = {"2D": -1, "ROI_SSC": 0, "ROI_SS": 0, "cview": 1, "3D": 2, "other": 3, "": 3}
_YES_NO = {"YES": True, "Y": True, "1": True, "NO": False, "N": False, "0": False, "": False}


def read_metadata(csv_file: Path, accepted: Mapping[str, Sequence[str]]) -> tuple[RawTable, pd.DataFrame]:
    """Read and check the metadata table.

    Returns:
        The table as it is, and a frame with a row per file: ``patient_id``, ``exam_id`` (numbers of their words),
        ``kind``, ``side`` (0 L, 1 R, -1 missing), ``view`` (``VIEW_CODES``), ``is_spot``, ``has_implant``,
        ``date`` and ``order`` (time of day of the series, HHMMSS).

    Raises:
        UserError: it cannot be read or has unknown codes.
    """
    raw = read_raw_csv(csv_file, "raw.metadata", REQUIRED, OPTIONAL, texts=(PATH,))
    for name in ("empi_anon", "acc_anon"):
        values.check_ids(raw[name])
    columns = {
        "patient_id": raw["empi_anon"].codes,
        "exam_id": raw["acc_anon"].codes,
        "kind": values.coded(raw["FinalImageType"], _KIND_OF, accepted),
        "side": values.coded(raw["ImageLateralityFinal"], {"L": 0, "R": 1, "B": -1, "": -1}, accepted),
        "view": values.coded(raw["ViewPosition"], VIEW_CODES, accepted),
        "is_spot": values.coded(raw["spot_mag"], _YES_NO, accepted),
        "has_implant": values.coded(raw["BreastImplantPresent"], _YES_NO, accepted),
        "date": values.dates(raw["study_date_anon"], required=True).astype("datetime64[s]"),
        "order": np.full(raw.rows, np.nan),
    }
    if "SeriesTime" in raw.columns:
        columns["order"] = values.numbers(raw["SeriesTime"], COHORT["series_time"])
    return raw, pd.DataFrame(columns)


def keep_standard_views(images: pd.DataFrame, implants: Implants, attrition: Attrition) -> pd.DataFrame:
    """Keep two-dimensional CC and MLO views of a known side, without spot or magnification views and implants."""
    for kind, reason in enumerate(_KINDS):
        images = attrition.keep(images, images["kind"] != kind, "kind of image", reason)
    images = attrition.keep(images, ~images["is_spot"], "kind of image", "spot compression or magnification (spot_mag)")
    images = keep_views(images, "ImageLateralityFinal", "ViewPosition", attrition)
    if implants == "keep":
        return images
    has_one = images["has_implant"]
    reason = "breast implant (BreastImplantPresent)"
    if implants == "drop_patient":
        has_one, reason = images["patient_id"].isin(images.loc[has_one, "patient_id"]), f"woman with a {reason}"
    return attrition.keep(images, ~has_one, "implants", reason)


def join_exams(images: pd.DataFrame, raw: RawTable, clinical: Clinical, attrition: Attrition) -> pd.DataFrame:
    """Add ``exam`` and ``breast`` (indices in the clinical table) and ``time`` (its date of the exam).

    Images are joined by accession and side to one row per exam and breast, never to findings: several findings of a
    breast do not multiply its images.

    Raises:
        UserError: an accession number belongs to different patients in the two tables.
    """
    exam_of = pd.Index(clinical.exam_ids).get_indexer(pd.Index(raw["acc_anon"].words))
    patient_of = pd.Index(clinical.patient_ids).get_indexer(pd.Index(raw["empi_anon"].words))
    exam = exam_of[images["exam_id"].to_numpy()]
    images = attrition.keep(
        images.assign(exam=exam), pd.Series(exam >= 0, index=images.index), "clinical table",
        "the accession number is not in the clinical table",
    )  # fmt: skip
    exam = images["exam"].to_numpy()
    differs = clinical.patient[exam] != patient_of[images["patient_id"].to_numpy()]
    if differs.any():
        ids = np.unique(raw["acc_anon"].words[images.loc[differs, "exam_id"]].astype(str))
        raise UserError(
            f"{len(ids)} exams belong to one patient in {raw.csv_file} and to another in the clinical table: "
            f"{format_examples(ids)}.\nThe two tables are of different releases, or damaged; take both as downloaded."
        )
    time = clinical.date[exam].astype("datetime64[s]")
    images = images.assign(time=time, breast=exam * 2 + images["side"].to_numpy(), patient=clinical.patient[exam])
    _tell(images, images["date"] != time, "the two tables give different dates: the clinical one is taken", attrition)
    is_male = pd.Series(clinical.is_male[exam], index=images.index)
    return attrition.keep(images, ~is_male, "clinical table", "male (GENDER_DESC, or tissueden 5)")


def tell_joins(images: pd.DataFrame, clinical: Clinical, attrition: Attrition) -> None:
    """Record which images were joined to more or to less than one finding of their own side."""
    breast = images["breast"].to_numpy()
    several, absent = clinical.findings[breast] > 1, clinical.worst[breast] == ABSENT
    _tell(images, several, "several findings of the exam and breast: joined to one row", attrition)
    _tell(images, clinical.is_for_both[breast], "a finding without a side, or of both: counts for both", attrition)
    _tell(images, absent, "the exam has findings of the other breast only: added as negative", attrition)


def _tell(images: pd.DataFrame, is_meant: pd.Series | np.ndarray, reason: str, attrition: Attrition) -> None:
    affected = images[np.asarray(is_meant, dtype=bool)]
    if len(affected):
        attrition.changed("clinical table", reason, Counts.of(affected), Counts.of(images))
