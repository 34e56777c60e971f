"""CSAW-CC: its table (a row per image, years without dates) to the cohort table with outcomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from mammorisk.bounds import COHORT, require_in_bounds
from mammorisk.datasets.attrition import Attrition, Counts
from mammorisk.errors import UserError
from mammorisk.preparation import outcomes
from mammorisk.preparation import raw_values as values
from mammorisk.preparation.outcomes import VIEW_CODES, VIEWS, AfterDiagnosis, DuplicateView, Labels, keep_views
from mammorisk.preparation.prepared import Prepared
from mammorisk.preparation.raw_csv import RawTable, read_raw_csv

FILE = "anon_filename"
REQUIRED = (
    "anon_patientid", "exam_year", "x_case", "x_cancer_laterality", "x_type", "rad_timing", "imagelaterality",
    "viewposition", "libra_percentdensity", FILE,
)  # fmt: skip
_SIDES = {"Left": 0, "L": 0, "Right": 1, "R": 1, "": -1}
_SIDE_WORDS = np.array(["Left", "Right"], dtype=object)
_SCREEN_DETECTED, _INTERVAL, _PRIOR = 1, 2, 3
_TIMINGS = {"": 0, "1": _SCREEN_DETECTED, "2": _INTERVAL, "3": _PRIOR}
_TYPES = {"": np.nan, "1": 1.0, "2": 2.0, "3": 3.0}


class CsawDownload:
    """The table of CSAW-CC, and the rules that make it a cohort. Its x_* and rad_* columns are outcomes.

    The year of a cancer is that of the last exam with ``rad_timing`` 1 (screen-detected), and one or two later if it is
    2 (interval cancer), but never after ``last_year``.

    Args:
        csv: ``CSAW-CC_breast_cancer_screening_data.csv``.
        interval_rule: ``plus1`` or ``plus2`` years to an interval cancer.
        last_year: the last year in which diagnoses were registered.
        after_diagnosis: see ``settle_after_diagnosis``.
        labels: ``breast``: a cancer is that breast's; ``woman``: both of her breasts are cases.
        follow_up: ``last_exam``, or ``last_seen``: the last exam or the year of the diagnosis, whichever is later.
        duplicate_view: image that stays of several of one year, breast and view, by the number in the file name.
        accepted_codes: column -> words that its code table lacks, taken as missing.

    Raises:
        UserError: an impossible year.
    """

    def __init__(
        self,
        csv: str,
        interval_rule: Literal["plus1", "plus2"] = "plus1",
        last_year: int = 2016,
        after_diagnosis: AfterDiagnosis = "drop",
        labels: Labels = "breast",
        follow_up: Literal["last_exam", "last_seen"] = "last_exam",
        duplicate_view: DuplicateView = "newest",
        accepted_codes: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        require_in_bounds("mammorisk.preparation.csaw.CsawDownload", {"last_year": last_year}, "raw.")
        self.csv = Path(csv).expanduser()
        self.interval_years, self.last_year = int(interval_rule.removeprefix("plus")), last_year
        self.after_diagnosis, self.labels, self.follow_up = after_diagnosis, labels, follow_up
        self.duplicate_view, self.accepted_codes = duplicate_view, accepted_codes or {}

    @property
    def files(self) -> Sequence[Path]:
        """The table."""
        return (self.csv,)

    def prepare(self) -> Prepared:
        """Read the table and build the images' table.

        Raises:
            UserError: it cannot be read or has unknown codes.
        """
        raw = read_raw_csv(self.csv, "raw.csv", REQUIRED, texts=(FILE,))
        images = self._images(raw)
        attrition = Attrition()
        attrition.read(images, str(self.csv))
        images = _with_women(images)
        images = self._with_outcomes(images)
        images = keep_views(images, "imagelaterality", "viewposition", attrition)
        images = _keep_clear_women(images, attrition)
        images = outcomes.settle_after_diagnosis(images, self.after_diagnosis, attrition)
        self._tell(images, attrition)
        reason = "another image of the same year, breast and view"
        keys = ["patient_id", "time", "side", "view"]
        images = outcomes.settle_duplicates(images, keys, self.duplicate_view, reason, attrition)
        return Prepared(self._named(images, raw), attrition)

    def _images(self, raw: RawTable) -> pd.DataFrame:
        """A row per image; ``exam_id`` is the number of the combination of woman and year."""
        values.check_ids(raw["anon_patientid"])
        year = values.numbers(raw["exam_year"], COHORT["exam_year"])
        if np.isnan(year).any() or (year % 1 != 0).any():
            raise UserError(f"{raw['exam_year'].where} has rows without a whole year. Every image needs its year.")
        number = pd.Series(raw.texts[FILE].take(np.arange(raw.rows)), dtype=object).str.extract(
            r"_(\d{1,9})\.\w+$", expand=False
        )
        patient = raw["anon_patientid"].codes
        accepted = self.accepted_codes
        return pd.DataFrame(
            {
                "patient_id": patient,
                "exam_id": patient * 10_000 + year.astype(np.int64),
                "time": year,
                "side": values.coded(raw["imagelaterality"], _SIDES, accepted),
                "view": values.coded(raw["viewposition"], VIEW_CODES, accepted),
                "case": values.coded(raw["x_case"], {"": -1, "0": 0, "1": 1}, accepted),
                "cancer_side": values.coded(raw["x_cancer_laterality"], _SIDES, accepted),
                "cancer_type": values.coded(raw["x_type"], _TYPES, accepted),
                "timing": values.coded(raw["rad_timing"], _TIMINGS, accepted),
                "density": values.numbers(raw["libra_percentdensity"], COHORT["percent_density"]),
                "order": number.astype(np.float64),
            }
        )

    def _with_outcomes(self, images: pd.DataFrame) -> pd.DataFrame:
        """``first_diagnosis`` of the woman and ``diagnosis`` of the breast, in years."""
        detected = images[images["timing"].isin([_SCREEN_DETECTED, _INTERVAL])].sort_values(["time", "timing"])
        last = detected.groupby("patient_id")[["time", "timing"]].last()
        year = last["time"] + np.where(last["timing"] == _INTERVAL, self.interval_years, 0)
        year = year.clip(upper=self.last_year)
        first = images["patient_id"].map(year).where(images["case"] == 1)
        own = first if self.labels == "woman" else first.where(images["side"] == images["cancer_side"])
        followed = images.groupby("patient_id")["time"].transform("max")
        if self.follow_up == "last_seen":
            followed = followed.where(~(first > followed), first)
        return images.assign(first_diagnosis=first, diagnosis=own, last=followed)

    def _tell(self, images: pd.DataFrame, attrition: Attrition) -> None:
        interval = images[images["is_interval"] & images["diagnosis"].notna()]
        if len(interval):
            reason = f"interval cancer: {self.interval_years} after the last exam, {self.last_year} at most"
            attrition.changed("outcome", reason, Counts.of(interval), Counts.of(images))

    def _named(self, images: pd.DataFrame, raw: RawTable) -> pd.DataFrame:
        """The columns of the cohort table."""
        patient = raw["anon_patientid"].words[images["patient_id"]]
        year = images["time"].astype(np.int64).astype(str).to_numpy(dtype=object)
        path = pd.Series(raw.texts[FILE].take(images.index.to_numpy()), dtype=object)
        is_case = images["diagnosis"].notna()
        table = {
            "patient_id": patient,
            "exam_id": patient + "_" + year,
            "exam_year": year,
            "laterality": _SIDE_WORDS[images["side"]],
            "view": VIEWS[images["view"]],
            "years_to_cancer": (images["diagnosis"] - images["time"]).to_numpy(),
            "years_to_last_followup": (images["last"] - images["time"]).to_numpy(),
            "percent_density": images["density"].to_numpy(),
            "cancer_type": images["cancer_type"].where(is_case).to_numpy(),
            "dicom_path": path,
            "file_name": path.str.replace(r"\.[^./]*$", "", regex=True) + ".png",
        }
        whole = ("years_to_cancer", "years_to_last_followup", "cancer_type")
        return pd.DataFrame(table).astype(dict.fromkeys(whole, "Int64"))


def _with_women(images: pd.DataFrame) -> pd.DataFrame:
    """Add a woman's case status, side and type of cancer to all her rows; ``is_torn`` where they differ."""
    women = images["patient_id"]
    rows = images.assign(cancer_side=images["cancer_side"].where(images["cancer_side"] >= 0))
    by_woman = rows.groupby("patient_id")
    lowest = by_woman[["case", "cancer_side"]].transform("min")
    case, side = by_woman["case"].transform("max"), by_woman["cancer_side"].transform("max")
    is_torn = (lowest["case"] != case) | (side.notna() & (lowest["cancer_side"] != side))
    return images.assign(
        case=case,
        cancer_side=side.fillna(-1).astype(np.int64),
        cancer_type=by_woman["cancer_type"].transform("max"),
        is_torn=is_torn,
        has_timing=(images["timing"] > 0).groupby(women).transform("max"),
        is_interval=_last_timing(images) == _INTERVAL,
    )


def _last_timing(images: pd.DataFrame) -> pd.Series:
    detected = images[images["timing"].isin([_SCREEN_DETECTED, _INTERVAL])].sort_values(["time", "timing"])
    return images["patient_id"].map(detected.groupby("patient_id")["timing"].last())


def _keep_clear_women(images: pd.DataFrame, attrition: Attrition) -> pd.DataFrame:
    """Keep the women whose outcome columns are consistent and complete."""
    is_case = images["case"] == 1
    lines = (
        (images["is_torn"], "a woman's rows contradict each other (x_case, x_cancer_laterality)"),
        (images["case"] < 0, "x_case is missing"),
        (~is_case & images["has_timing"], "x_case is 0, but there is a rad_timing"),
        (is_case & (images["cancer_side"] < 0), "case without x_cancer_laterality"),
        (is_case & images["first_diagnosis"].isna(), "case without an exam of rad_timing 1 or 2: year not known"),
    )
    for is_out, reason in lines:
        images = attrition.keep(images, ~is_out.loc[images.index], "neither case nor control", reason)
    return images
