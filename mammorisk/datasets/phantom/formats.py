"""Table formats of the phantom: the project's own, and those of EMBED and CSAW-CC."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from mammorisk.datasets.phantom.hazard import YEARS
from mammorisk.datasets.phantom.phantom_settings import Splits
from mammorisk.datasets.phantom.population import Ints, Population
from mammorisk.datasets.phantom.woman import LATERALITIES, VIEWS

IMAGES = "images"  # folder of the images, beside the table
_FIRST_DAY = np.datetime64("2008-01-01")
Written = tuple[pd.DataFrame, list[str]]  # the cohort CSV, and the file of each row below the CSV's folder
_GOLDEN = (np.sqrt(5) - 1) / 2
_FIRST_PATIENT = 10_000_000
_EMBED_COLUMNS = {
    "exam_date": "study_date_anon",
    "laterality": "ImageLateralityFinal",
    "years_to_cancer": "Time_to_Cancer_Years",
    "years_to_last_followup": "years_last_followup",
    "cancer_type": "path_severity",
    "race": "RACE_DESC",
    "age": "age_at_study",
}
_CSAW_COLUMNS = {"view": "viewposition", "percent_density": "libra_percentdensity", "cancer_type": "x_type"}


def image_table(population: Population, splits: Splits) -> pd.DataFrame:
    """Build the table with one row per image: our own columns, and those that the other formats need.

    The rows are ordered by woman, exam, breast (R, L) and view (CC, MLO). Additional columns: ``woman`` and ``exam``
    (numbers), ``exam_year`` (a different year for every exam of a woman), ``type`` (1-3 as in CSAW-CC),
    ``percent_density``.
    """
    exams = _exam_table(population, splits)
    images = exams.loc[exams.index.repeat(len(LATERALITIES) * len(VIEWS))].reset_index(drop=True)
    images["laterality"] = np.tile(np.repeat(LATERALITIES, len(VIEWS)), len(exams))
    images["view"] = np.tile(VIEWS, len(exams) * len(LATERALITIES))
    woman = images["woman"].to_numpy()
    is_affected = images["laterality"] == np.array([w.precursor.laterality for w in population.women])[woman]
    images["years_to_cancer"] = images["years_to_cancer"].where(is_affected)
    images["type"] = images["type"].where(images["years_to_cancer"].notna())
    images["cancer_type"] = images["type"].map({1: 1, 2: 0, 3: 0})  # EMBED's codes: 0 invasive, 1 in situ
    density = {side: [100 * w.density_of(side) for w in population.women] for side in LATERALITIES}
    by_side = [np.array(density[side])[woman] for side in LATERALITIES]
    images["percent_density"] = np.where(images["laterality"] == LATERALITIES[0], *by_side).round(3)
    _add_breast_true_risk(images, population, is_affected.to_numpy())
    whole = ["years_to_cancer", "cancer_type", "type"]
    return images.astype(dict.fromkeys(whole, "Int64"))


def _exam_table(population: Population, splits: Splits) -> pd.DataFrame:
    exams, women = population.exams, population.women
    woman = exams.woman
    first = np.array([w.first_exam for w in women])[woman]
    date = _FIRST_DAY + (first + exams.day).astype("timedelta64[D]")
    patient = pd.Series(_FIRST_PATIENT + woman).astype(str)
    table = {
        "woman": woman,
        "exam": exams.number,
        "patient_id": patient,
        "exam_id": patient.str.cat(pd.Series(exams.number + 1).astype(str).str.zfill(8)),  # 16 digits, as EMBED's
        "exam_date": np.datetime_as_string(date, unit="D"),
        "exam_year": _years(population, first),
        "split": _split(woman, splits),
        "years_to_cancer": exams.years_to_cancer,
        "years_to_last_followup": exams.years_to_last_followup,
        "density": np.array([w.density_class for w in women])[woman],
        "type": np.array([w.cancer_type for w in women])[woman],
        "race": np.array([w.race for w in women])[woman],
        "age": np.floor(np.array([w.age for w in women])[woman] + exams.time).astype(np.int64),
    }
    true_risk = {f"true_risk_{year + 1}y": exams.true_risk[:, year].round(9) for year in range(YEARS)}
    return pd.DataFrame({**table, **true_risk})


def _years(population: Population, first: Ints) -> Ints:
    """Calendar year of each exam: the first exam's plus the rounded interval, each at least one after the last."""
    exams = population.exams
    start = (_FIRST_DAY + first.astype("timedelta64[D]")).astype("datetime64[Y]").astype(np.int64) + 1970
    gap = np.maximum(np.rint(np.diff(exams.time, prepend=0.0)), 1).astype(np.int64)
    since = pd.Series(np.where(exams.number == 0, 0, gap)).groupby(exams.woman).cumsum()
    return np.asarray(start + since.to_numpy(), dtype=np.int64)


def _split(woman: Ints, splits: Splits) -> list[str]:
    """Split of each woman; every range of consecutive women has nearly the same shares."""
    place = (woman + 1) * _GOLDEN % 1
    names = np.array(["train", "val", "test"])
    edges = [splits.train, splits.train + splits.val]
    return [str(name) for name in names[np.searchsorted(edges, place, side="right")]]


def _add_breast_true_risk(images: pd.DataFrame, population: Population, is_affected: np.ndarray) -> None:
    """Add the true risk of each breast; the risks of a woman's two breasts sum to the exam's.

    A present precursor puts all risk on its own breast; a future one may be in either.
    """
    exams = population.exams
    onset = np.array([w.precursor.onset for w in population.women])[exams.woman]
    is_visible = np.repeat(onset <= exams.time, len(LATERALITIES) * len(VIEWS))
    share = np.where(is_visible, is_affected.astype(float), 0.5)
    for year in range(1, YEARS + 1):
        images[f"true_risk_breast_{year}y"] = (images[f"true_risk_{year}y"] * share).round(9)


def own_format(images: pd.DataFrame) -> Written:
    """Build the cohort CSV in our own format; ``file_name`` is relative to its folder."""
    block = (images["woman"] // 100).map("{:05d}".format)  # a hundred women to a folder
    stem = images["exam_id"] + "_" + images["laterality"] + "_" + images["view"]
    files = IMAGES + "/" + block + "/" + stem + ".png"
    true_risks = [name for name in images.columns if name.startswith("true_risk_")]
    columns = ["patient_id", "exam_id", "exam_date", "laterality", "view", "file_name", "split", "years_to_cancer"]
    columns += ["years_to_last_followup", "density", "cancer_type", "race", "age", *true_risks]
    return images.assign(file_name=files)[columns], files.tolist()


def embed_format(images: pd.DataFrame) -> Written:
    """Build a cohort CSV with EMBED's columns; the files are in a folder per split and found by their names."""
    breast = images["patient_id"] + "_" + images["laterality"] + "_" + images["view"]
    files = IMAGES + "/" + images["split"] + "/" + breast + "_" + images["exam_date"] + "_1.png"
    columns = ["patient_id", "exam_id", "ImageLateralityFinal", "view", "study_date_anon", "Time_to_Cancer_Years"]
    columns += ["years_last_followup", "density", "path_severity", "RACE_DESC", "age_at_study", "split"]
    return images.rename(columns=_EMBED_COLUMNS)[columns], files.tolist()


def csaw_format(images: pd.DataFrame) -> Written:
    """Build a cohort CSV with CSAW-CC's columns: only years, dummy dates in file names, a folder per split."""
    breast = images["patient_id"] + "_20990909_" + images["laterality"] + "_" + images["view"]
    names = breast + "_" + (images["exam"] + 1).astype(str) + ".png"
    files = IMAGES + "/" + images["split"] + "/" + names
    side = images["laterality"].map({"L": "Left", "R": "Right"})
    table = images.assign(file_name=names, laterality=side, cancer_type=images["type"])
    columns = ["patient_id", "exam_year", "laterality", "viewposition", "file_name", "years_to_cancer"]
    columns += ["years_to_last_followup", "libra_percentdensity", "x_type", "age", "split"]
    return table.rename(columns=_CSAW_COLUMNS)[columns], files.tolist()


FORMATS: dict[str, Callable[[pd.DataFrame], Written]] = {"own": own_format, "embed": embed_format, "csaw": csaw_format}
