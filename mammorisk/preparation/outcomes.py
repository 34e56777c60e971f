"""Rules of outcomes that EMBED and CSAW-CC share: views, exams after the diagnosis, years, duplicate views."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd

from mammorisk.datasets.attrition import Attrition
from mammorisk.datasets.cohort_values import DAYS_PER_YEAR, DEFAULT_CODES
from mammorisk.errors import UserError
from mammorisk.messages import format_rows

AfterDiagnosis = Literal["drop", "keep_other_breast", "error"]
Labels = Literal["breast", "woman"]
YearRule = Literal["within", "completed", "calendar"]
DuplicateView = Literal["newest", "oldest"]
SIDES = np.array(["L", "R"], dtype=object)
VIEWS = np.array(["CC", "MLO"], dtype=object)
NO_VIEW, OTHER_VIEW = -1, 2
# Name of a view -> its place in VIEWS, or one of the above. ML is not MLO.
VIEW_CODES = {"": NO_VIEW, **dict.fromkeys(DEFAULT_CODES["view"], OTHER_VIEW), "CC": 0, "MLO": 1}


def keep_views(images: pd.DataFrame, sides: str, views: str, attrition: Attrition) -> pd.DataFrame:
    """Keep images of a known ``side`` (0, 1; missing: -1) and ``view`` (``VIEW_CODES``), read from these columns."""
    images = attrition.keep(images, images["side"] >= 0, "laterality", f"{sides} does not tell one side")
    images = attrition.keep(images, images["view"] != NO_VIEW, "view", f"{views} is missing")
    return attrition.keep(images, images["view"] != OTHER_VIEW, "view", "another view than CC or MLO (ML is not MLO)")


def settle_after_diagnosis(images: pd.DataFrame, rule: AfterDiagnosis, attrition: Attrition) -> pd.DataFrame:
    """Apply the rule for exams after the diagnosis: they show treatment, and a risk has no meaning there.

    Args:
        images: indexed by their row in the download; ``time`` of the exam, ``diagnosis`` of the breast (or of the
            woman, by ``labels``) and ``first_diagnosis`` of either breast, in one unit, missing where there is none.
        rule: ``drop`` all images of both breasts, ``keep_other_breast``, or ``error``.
        attrition: record of what is left out.

    Raises:
        UserError: the rule is ``error`` and there are some.
    """
    is_after = images["time"] > images["diagnosis" if rule == "keep_other_breast" else "first_diagnosis"]
    if rule == "error" and bool(is_after.any()):
        after = images[is_after]
        where = format_rows(after.index.to_series() + 2)
        raise UserError(
            f"{len(after)} images of {after['patient_id'].nunique()} women were taken after the diagnosis ({where}).\n"
            "Choose raw.after_diagnosis=drop, or keep_other_breast to keep the breast without cancer."
        )
    return attrition.keep(images, ~is_after, "after the diagnosis", "the exam is later than the diagnosis")


def years_between(start: pd.Series, end: pd.Series, rule: YearRule, until_event: bool) -> pd.Series:
    """Whole years from exam days to days of diagnosis or of the last exam, NaN where the latter is missing.

    Args:
        start: datetime64.
        end: datetime64 or NaT.
        rule: ``within``: a cancer in the k-th year after the exam gets k (0 on the same day), a follow-up counts the
            years that were observed to their end; ``completed``: whole years that have passed, for both;
            ``calendar``: the difference of the calendar years, for both.
        until_event: whether ``end`` is a diagnosis.
    """
    if rule == "calendar":
        return pd.Series(end.dt.year - start.dt.year, dtype=np.float64)
    years = (end - start).dt.days / DAYS_PER_YEAR
    rounded = np.ceil(years) if rule == "within" and until_event else np.floor(years)
    return pd.Series(rounded, dtype=np.float64)


def settle_duplicates(
    images: pd.DataFrame, keys: list[str], rule: DuplicateView, reason: str, attrition: Attrition
) -> pd.DataFrame:
    """Keep one image for each combination of ``keys``, by ``order`` (missing: oldest), then by the table's order."""
    twice = images.duplicated(keys, keep=False)
    if not bool(twice.any()):
        return images
    several = images[twice].sort_values("order", kind="stable", na_position="first")
    extra = several.duplicated(keys, keep="last" if rule == "newest" else "first")
    is_extra = extra.reindex(images.index, fill_value=False)
    return attrition.keep(images, ~is_extra, "duplicates", f"{reason} is {'newer' if rule == 'newest' else 'older'}")
