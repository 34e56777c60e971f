"""EMBED: its metadata and clinical tables to one row per screening image, with outcomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from mammorisk.bounds import require_in_bounds
from mammorisk.datasets.attrition import Attrition, Counts
from mammorisk.errors import UserError
from mammorisk.messages import format_examples
from mammorisk.preparation import outcomes
from mammorisk.preparation.embed_clinical import INCOMPLETE, MISSING, Clinical, read_clinical
from mammorisk.preparation.embed_images import (
    PATH,
    Implants,
    join_exams,
    keep_standard_views,
    read_metadata,
    tell_joins,
)  # fmt: skip
from mammorisk.preparation.embed_outcomes import (
    Diagnoses,
    DiagnosisDate,
    FollowUp,
    find_diagnoses,
    find_resolved,
    last_seen,
)  # fmt: skip
from mammorisk.preparation.outcomes import SIDES, VIEWS, AfterDiagnosis, DuplicateView, Labels, YearRule
from mammorisk.preparation.prepared import Prepared
from mammorisk.preparation.raw_csv import RawTable

_FOLDER = "anon_dicom/"


class EmbedDownload:
    """The tables of EMBED's open data, and the rules that make them a cohort.

    Args:
        metadata: ``EMBED_OpenData_metadata.csv``, a row per file.
        clinical: ``EMBED_OpenData_clinical.csv``, a row per finding.
        exams: ``screening`` keeps exams that are screening by ``desc``, ``all`` diagnostic ones too.
        diagnosis_date: ``procedure`` or ``exam``, see ``find_diagnoses``.
        carry_back_days: days over which pathology is carried back to a screening exam.
        resolve_days: days within which an incomplete exam (A) must be found N or B to be a control.
        unresolved: ``drop`` or ``keep`` exams of breasts without cancer that are no controls: unresolved A, P, S, M and
            exams without an assessment.
        after_diagnosis: see ``settle_after_diagnosis``.
        labels: ``breast``: a cancer is that breast's; ``woman``: both of her breasts are cases.
        year_rule: see ``years_between``.
        follow_up: see ``last_seen``.
        implants: drop the image, the patient, or nothing.
        duplicate_view: image that stays of several of one exam, breast and view, by SeriesTime.
        path_prefix: start of ``anon_dicom_path`` that stands for the folder of DICOMs; None: all up to ``anon_dicom/``,
            as in the open data.
        accepted_codes: column -> words that its code table lacks, taken as missing.

    Raises:
        UserError: a number of days is out of bounds.
    """

    def __init__(
        self,
        metadata: str,
        clinical: str,
        exams: Literal["screening", "all"] = "screening",
        diagnosis_date: DiagnosisDate = "procedure",
        carry_back_days: int = 180,
        resolve_days: int = 180,
        unresolved: Literal["drop", "keep"] = "drop",
        after_diagnosis: AfterDiagnosis = "drop",
        labels: Labels = "breast",
        year_rule: YearRule = "within",
        follow_up: FollowUp = "last_exam",
        implants: Implants = "drop_image",
        duplicate_view: DuplicateView = "newest",
        path_prefix: str | None = None,
        accepted_codes: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        days = {"carry_back_days": carry_back_days, "resolve_days": resolve_days}
        require_in_bounds("mammorisk.preparation.embed.EmbedDownload", days, "raw.")
        self.metadata, self.clinical = Path(metadata).expanduser(), Path(clinical).expanduser()
        self.exams, self.unresolved, self.after_diagnosis = exams, unresolved, after_diagnosis
        self.diagnosis_date, self.carry_back_days, self.resolve_days = diagnosis_date, carry_back_days, resolve_days
        self.labels, self.year_rule, self.follow_up = labels, year_rule, follow_up
        self.implants, self.duplicate_view, self.path_prefix = implants, duplicate_view, path_prefix
        self.accepted_codes = accepted_codes or {}

    @property
    def files(self) -> Sequence[Path]:
        """Both tables."""
        return self.metadata, self.clinical

    def prepare(self) -> Prepared:
        """Read both tables and build the images' table.

        Raises:
            UserError: a table cannot be read, has unknown codes, or contradicts the other.
        """
        clinical = read_clinical(self.clinical, self.accepted_codes)
        raw, images = read_metadata(self.metadata, self.accepted_codes)
        attrition = Attrition()
        attrition.read(images, str(self.metadata))
        images = keep_standard_views(images, self.implants, attrition)
        images = join_exams(images, raw, clinical, attrition)
        tell_joins(images, clinical, attrition)
        diagnoses = find_diagnoses(clinical, self.diagnosis_date, self.carry_back_days)
        images = self._with_outcomes(images, clinical, diagnoses)
        images = self._settle(images, clinical, diagnoses, attrition)
        images = self._without_duplicates(images, attrition)
        return Prepared(self._named(images, raw, clinical), attrition)

    def _with_outcomes(self, images: pd.DataFrame, clinical: Clinical, diagnoses: Diagnoses) -> pd.DataFrame:
        dates = diagnoses.date.astype("datetime64[s]").reshape(-1, 2)
        first = pd.DataFrame(dates).min(axis=1).to_numpy()  # [2P] -> [P]
        patient, side = images["patient"].to_numpy(), images["side"].to_numpy()
        own, severities = dates[patient, side], diagnoses.severity.reshape(-1, 2)
        severity = severities[patient, side]
        if self.labels == "woman":
            is_other = np.isnat(own) | (own > first[patient])
            own, severity = first[patient], np.where(is_other, severities[patient, 1 - side], severity)
        last = last_seen(clinical, diagnoses, self.follow_up).astype("datetime64[s]")[patient]
        last = np.fmax(last, images["time"].to_numpy())  # she was followed at least to the exam itself
        return images.assign(first_diagnosis=first[patient], diagnosis=own, severity=severity, last=last)

    def _settle(
        self, images: pd.DataFrame, clinical: Clinical, diagnoses: Diagnoses, attrition: Attrition
    ) -> pd.DataFrame:
        """Leave out exams that are not screening, after the diagnosis, or neither case nor control."""
        if self.exams == "screening":
            is_screening = pd.Series(clinical.is_screening[images["exam"]], index=images.index)
            images = attrition.keep(images, is_screening, "exams", "not a screening exam (desc)")
        images = outcomes.settle_after_diagnosis(images, self.after_diagnosis, attrition)
        carried = images[diagnoses.is_carried_back[images["breast"]]]
        if len(carried):
            reason = "pathology of a later exam was carried back to this screening exam"
            attrition.changed("outcome", reason, Counts.of(carried), Counts.of(images))
        return images if self.unresolved == "keep" else self._without_unresolved(images, clinical, attrition)

    def _without_unresolved(self, images: pd.DataFrame, clinical: Clinical, attrition: Attrition) -> pd.DataFrame:
        resolved = find_resolved(clinical, self.resolve_days)
        for is_open, reason in (
            ((clinical.worst == INCOMPLETE) & ~resolved, f"A, and not found N or B within {self.resolve_days} days"),
            (clinical.worst > INCOMPLETE, "P, S or M, and no cancer found"),
            (clinical.worst == MISSING, "no assessment"),
        ):
            is_out = pd.Series(is_open[images["breast"]], index=images.index) & images["diagnosis"].isna()
            images = attrition.keep(images, ~is_out, "neither case nor control", reason)
        resolved = resolved[images["breast"]] & images["diagnosis"].isna()
        if bool(resolved.any()):
            counts = Counts.of(images[resolved])
            attrition.changed("outcome", "A, later found N or B: a control", counts, Counts.of(images))
        return images

    def _without_duplicates(self, images: pd.DataFrame, attrition: Attrition) -> pd.DataFrame:
        rule, reason = self.duplicate_view, "another image of the same exam, breast and view"
        images = outcomes.settle_duplicates(images, ["exam", "side", "view"], rule, reason, attrition)
        reason = "the same view of another exam on the same day"
        return outcomes.settle_duplicates(images, ["patient_id", "time", "side", "view"], rule, reason, attrition)

    def _named(self, images: pd.DataFrame, raw: RawTable, clinical: Clinical) -> pd.DataFrame:
        """The columns of the cohort table."""
        exam, start = images["exam"].to_numpy(), images["time"]
        patient, side = clinical.patient_ids[clinical.patient[exam]], SIDES[images["side"]]
        date, view = start.dt.strftime("%Y-%m-%d").to_numpy(dtype=object), VIEWS[images["view"]]
        density, severity = pd.Series(clinical.density[exam]), images["severity"].reset_index(drop=True)
        table = {
            "patient_id": patient,
            "exam_id": clinical.exam_ids[exam],
            "exam_date": date,
            "laterality": side,
            "view": view,
            "years_to_cancer": outcomes.years_between(start, images["diagnosis"], self.year_rule, True).to_numpy(),
            "years_to_last_followup": outcomes.years_between(start, images["last"], self.year_rule, False).to_numpy(),
            "density": density.where(density > 0).astype("Int64"),
            "cancer_type": severity.astype("Int64"),
            "race": clinical.race[exam],
            "age": clinical.age[exam],
            "dicom_path": self._relative(raw.texts[PATH].take(images.index.to_numpy())),
            "file_name": patient + "_" + side + "_" + view + "_" + date + "_1.png",
        }
        if "ManufacturerModelName" in raw.columns:
            model = raw["ManufacturerModelName"]
            table["ManufacturerModelName"] = model.words[model.codes[images.index.to_numpy()]]
        years = ("years_to_cancer", "years_to_last_followup")
        return pd.DataFrame(table).astype(dict.fromkeys(years, "Int64"))

    def _relative(self, paths: np.ndarray) -> pd.Series:
        """``anon_dicom_path`` below the folder of DICOMs."""
        path, prefix = pd.Series(paths, dtype=object), self.path_prefix
        if prefix is None:
            prefix = "".join(str(next(iter(paths), "")).partition(_FOLDER)[:2])
            prefix = prefix if prefix.endswith(_FOLDER) else ""
        relative = path.str.removeprefix(prefix)
        wrong = relative[relative.str.startswith("/") | (relative == "")]
        if len(wrong):
            raise UserError(
                f"{len(wrong)} values of {PATH} do not start with raw.path_prefix={prefix or 'null'}: "
                f"{format_examples(repr(each) for each in path[wrong.index])}.\nGive the part of the paths "
                "that stands for the "
                "folder of DICOMs, for example raw.path_prefix=/data/anon_dicom/"
            )
        return relative
