"""Yearly risks of one exam from its DICOM files and those of earlier exams."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import pandas as pd

from mammorisk.datasets.cohort_values import DAYS_PER_YEAR
from mammorisk.dicom.conversion_settings import Conversion
from mammorisk.dicom.work import Job, Order, carry_out
from mammorisk.errors import UserError
from mammorisk.prediction.api import predict
from mammorisk.prediction.dicom_views import DicomView, check_one_exam, earlier_exams, read_dicom_views
from mammorisk.prediction.loaded_model import TrainedModel, load_model
from mammorisk.prediction.splits import RISK_COLUMNS
from mammorisk.version import __version__

FORMAT = 1  # of the answer
CURRENT = "current"
_OURS = ("patient_id", "exam_id", "exam_date", "laterality", "view", "file_name")


def predict_dicom(
    model: TrainedModel | str | Path,
    dicom: Sequence[str | Path],
    prior_dicom: Sequence[str | Path] = (),
    conversion: Conversion | None = None,
    recalibration: str | Path | None = None,
    allow_modules: Sequence[str] = (),
) -> dict[str, Any]:
    """Predict the risks of one exam, with the preprocessing of ``mammorisk-prepare images``.

    Args:
        model: from ``load_model``, or a checkpoint's path.
        dicom: files of one exam, or their folder.
        prior_dicom: files of earlier exams of the woman, distinguished by their dates.
        conversion: as for the images of the training; None: the defaults.
        recalibration: a file that ``mammorisk-evaluate recalibrate=…`` wrote.
        allow_modules: as ``load_model``'s.

    Returns:
        The output of ``mammorisk-predict dicom=...`` (docs/prediction.md); nothing in it identifies the woman.

    Raises:
        UserError: the checkpoint or a file cannot be used, files do not belong together, a view or a prior that the
            model needs is missing.
    """
    trained = model if isinstance(model, TrainedModel) else load_model(model, allow_modules=allow_modules)
    dicom_views = read_dicom_views(dicom, "dicom")
    check_one_exam(dicom_views, "dicom")
    exams = {CURRENT: dicom_views}
    if prior_dicom and trained.inputs.exams > 1:
        priors = earlier_exams(read_dicom_views(prior_dicom, "prior_dicom"), dicom_views[0])
        exams |= {f"prior_{len(priors) - place}": exam for place, exam in enumerate(priors)}
    with tempfile.TemporaryDirectory(prefix="mammorisk-") as folder:
        rows = _images(exams, Path(folder), conversion or Conversion())
        columns = {name: name for name in rows}
        dataset = {"columns": columns, "num_workers": 0, "duplicate_view": "error"}
        risks = predict(trained, rows, folder, dataset, recalibration)
    risks = risks[risks["exam_id"] == CURRENT]
    if risks["risk_1y"].isna().all():
        given = ", ".join(f"{image.path.name} ({image.laterality} {image.view})" for image in dicom_views)
        reasons = "\n".join(f"  {reason}" for reason in risks["reason"].unique())
        raise UserError(f"The model cannot score this exam (input: {trained.inputs}):\n{reasons}\nGiven: {given}.")
    return _answer(trained, risks, exams)


def _images(exams: dict[str, list[DicomView]], folder: Path, conversion: Conversion) -> pd.DataFrame:
    """PNGs of all files in ``folder``, and the table that names them."""
    rows = []
    with _one_thread():
        for exam, dicom_views in exams.items():
            for number, image in enumerate(dicom_views):
                if not image.usable:
                    continue
                name = f"{exam}_{number}.png"
                outcome = carry_out(Order(Job(str(image.path), name), folder, folder, conversion))
                if outcome.note is None:
                    raise UserError(f"{image.path}: {outcome.reason}")
                rows.append(("woman", exam, image.day, image.laterality, image.view, name))
    if not any(row[1] == CURRENT for row in rows):
        raise UserError(f"dicom: none of the {len(exams[CURRENT])} files is a CC or MLO view.")
    table = pd.DataFrame(rows, columns=list(_OURS))
    return table if table["exam_date"].notna().all() else table.drop(columns="exam_date")


def _answer(model: TrainedModel, risks: pd.DataFrame, exams: dict[str, list[DicomView]]) -> dict[str, Any]:
    places = [name for name in ("laterality", "view") if name in risks]
    scores = []
    for row in risks.to_dict("records"):
        known = pd.notna(row["risk_1y"])
        risk = {str(year): float(row[name]) for year, name in enumerate(RISK_COLUMNS, start=1)} if known else None
        scores.append({**{name: row[name] for name in places}, "risk": risk, "reason": row["reason"]})
    return {
        "format": FORMAT,
        "made": {
            "version": __version__,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "model": type(model.network).__name__,
            "inputs": str(model.inputs),
            "checkpoint": str(model.checkpoint),
            "checkpoint_sha256": model.sha256,
        },
        "risks": scores,
        "exams": {name: _describe(exam, exams[CURRENT][0]) for name, exam in exams.items()},
        "caution": "For research only. Not a medical device; not for decisions about patients.",
    }


def _describe(exam: list[DicomView], current: DicomView) -> dict[str, Any]:
    first, years = exam[0], None
    if first.day is not None and current.day is not None:
        years = (current.day - first.day).days / DAYS_PER_YEAR
    files = [
        {"file": image.path.name, "laterality": image.laterality, "view": image.view, "used": image.usable}
        for image in exam
    ]
    return {"years_before": years, "files": files}


@contextmanager
def _one_thread() -> Iterator[None]:
    """Restore OpenCV's number of threads, which conversion sets to one."""
    threads = cv2.getNumThreads()
    try:
        yield
    finally:
        cv2.setNumThreads(threads)
