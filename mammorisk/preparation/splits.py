"""Splits into train, val and test by a hash of the woman's id, which stay the same when a table grows."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pandas as pd

from mammorisk.bounds import out_of_bounds
from mammorisk.errors import UserError
from mammorisk.preparation.schemas import SplitConfig

SPLITS = ("train", "val", "test")
RULES = ("threshold", "exact")
_HEX = 13  # digits of the hash: 52 bits, what a float holds exactly


def split_patients(patient_id: pd.Series, is_case: pd.Series, split: SplitConfig) -> pd.Series:
    """Assign each row to ``train``, ``val`` or ``test``; all rows of a woman have one split.

    A woman's place is a number from 0 to 1, made from SHA-256 of the seed and her id. A split cannot be
    both stable and exactly stratified, so there are two rules:

    ``threshold``: her place is compared with fixed limits, 0.5 and 0.7, the same for cases and controls. She never
        moves when women are added or become cases. Each stratum has the shares on average; n cases in a split of share
        p differ from n p by about sqrt(n p (1 - p)), 6 for 200 cases and p = 0.2.
    ``exact``: her rank by place among the cases or among the controls. Each stratum has the shares to within one
        woman, also in a small cohort. More rows of known women move no one; new women move those near a limit.

    Args:
        patient_id: [rows] text.
        is_case: [rows] whether the row shows that she is a case.
        split: shares, seed and rule.

    Raises:
        UserError: shares that do not sum to 1, an unknown rule, or a split without women or without cases.
    """
    _check(split)
    codes, patients = pd.factorize(patient_id)
    case = np.bincount(codes, weights=is_case.to_numpy(dtype=np.float64), minlength=len(patients)) > 0
    place = np.array([_place(split.seed, str(patient)) for patient in patients])
    if split.rule == "exact":
        place = _ranks(place, case)
    chosen = np.searchsorted([split.train, split.train + split.val], place, side="right")
    _require_cases(chosen, case, split)
    return pd.Series(np.array(SPLITS, dtype=object)[chosen][codes], index=patient_id.index)


def _place(seed: int, patient: str) -> float:
    return int(hashlib.sha256(f"{seed}:{patient}".encode()).hexdigest()[:_HEX], 16) / 16.0**_HEX


def _ranks(place: np.ndarray, case: np.ndarray) -> np.ndarray:
    """Ranks within cases and within controls, (rank - 1/2) / n."""
    table = pd.DataFrame({"place": place, "case": case})
    by_case = table.groupby("case")["place"]
    rank = (by_case.rank(method="first") - 0.5) / by_case.transform("size")
    return np.asarray(rank, dtype=np.float64)


def _check(split: SplitConfig) -> None:
    shares = [split.train, split.val, split.test]
    if wrong := list(out_of_bounds({"split": vars(split)})):
        raise UserError("\n".join(f"{line}." for line in wrong))
    if not math.isclose(sum(shares), 1, abs_tol=1e-6):
        raise UserError(f"split: train {shares[0]}, val {shares[1]}, test {shares[2]}: expected shares that sum to 1.")
    if split.rule not in RULES:
        raise UserError(f"split.rule={split.rule}: expected {' or '.join(RULES)}.")


def _require_cases(chosen: np.ndarray, case: np.ndarray, split: SplitConfig) -> None:
    women, cases = (np.bincount(chosen[women], minlength=len(SPLITS)) for women in (slice(None), case))
    if women.min() > 0 and cases.min() > 0:
        return
    found = ", ".join(f"{name} {n} women, {k} cases" for name, n, k in zip(SPLITS, women, cases, strict=True))
    advice = "Choose another split.seed" + (", or split.rule=exact" if split.rule == "threshold" else "")
    raise UserError(
        f"A split has no women with cancer: {found}.\nNothing could be trained or measured there. {advice}; with fewer "
        "than three cases in all, see the attrition table for where they went."
    )
