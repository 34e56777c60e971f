"""Risk factors of Mirai: their names, their order and the classes of their one-hot vectors.

Factors and classes follow the published code (yala/Mirai, risk factor vectoriser, 2021): 34 risk factors, 100 numbers,
in the order of the released weights, with the spelling of the published names. A number is first truncated to a whole
number. It falls into the first class whose upper limit it does not exceed: an age of 40.9 becomes 40, which is in the
first class of (40, 50, ...).
"""

from __future__ import annotations

from dataclasses import dataclass

UNKNOWN = -1  # in place of the 0s and 1s of an unknown risk factor


@dataclass(frozen=True)
class RiskFactor:
    """One risk factor: a number with limits, a code with names, or (with neither) yes or no.

    Attributes:
        limits: upper limits (included) of all classes but the last, in the unit of the value.
        codes: meanings of the codes 1, 2, ....
        in_years_of_age: the value is the woman's age at an event, unknown at exams before it.
    """

    limits: tuple[int, ...] = ()
    codes: tuple[str, ...] = ()
    in_years_of_age: bool = False

    @property
    def size(self) -> int:
        """Length of the one-hot vector: one number per class; 1 for yes or no."""
        return len(self.limits) + 1 if self.limits else max(len(self.codes), 1)


_YES_NO = RiskFactor()
_HRT_YEARS = (1, 3, 5, 7)  # hormone replacement therapy
_RACES = (
    "White",
    "African American",
    "American Indian, Eskimo, Aleut",
    "Asian or Pacific Islander",
    "other race",
    "Caribbean or West Indian",
    "unknown",
    "Hispanic",
    "Chinese",
    "Japanese",
    "Filipino",
    "Hawaiian",
    "other Asian",
)
_RELATIVES = ("mom", "m_aunt", "p_aunt", "m_grandmother", "p_grantmother", "sister")  # m: mother's side, p: father's

# The order is that of the released weights; weight is in pounds, height in inches.
RISK_FACTORS: dict[str, RiskFactor] = {
    "density": RiskFactor(codes=("A", "B", "C", "D")),
    "binary_family_history": _YES_NO,
    "binary_biopsy_benign": _YES_NO,
    "binary_biopsy_LCIS": _YES_NO,
    "binary_biopsy_atypical_hyperplasia": _YES_NO,
    "age": RiskFactor(limits=(40, 50, 60, 70, 80)),
    "menarche_age": RiskFactor(limits=(10, 12, 14, 16), in_years_of_age=True),
    "menopause_age": RiskFactor(limits=(45, 50, 55, 60), in_years_of_age=True),
    "first_pregnancy_age": RiskFactor(limits=(20, 25, 30, 35, 40), in_years_of_age=True),
    "prior_hist": _YES_NO,
    "race": RiskFactor(codes=_RACES),
    "parous": _YES_NO,
    "menopausal_status": RiskFactor(codes=("pre", "peri", "post", "unknown")),
    "weight": RiskFactor(limits=(100, 130, 160, 190, 220, 250)),
    "height": RiskFactor(limits=(50, 55, 60, 65, 70, 75)),
    "ovarian_cancer": _YES_NO,
    "ovarian_cancer_age": RiskFactor(limits=(30, 40, 50, 60, 70), in_years_of_age=True),
    "ashkenazi": _YES_NO,
    "brca": RiskFactor(codes=("never tested or unknown", "negative", "BRCA1", "BRCA2")),
    **{f"{relative}_bc_cancer_history": _YES_NO for relative in _RELATIVES},
    **{f"{relative}_oc_cancer_history": _YES_NO for relative in _RELATIVES},
    "hrt_type": RiskFactor(codes=("combined", "oestrogen", "unknown")),
    "hrt_duration": RiskFactor(limits=_HRT_YEARS),
    "hrt_years_ago_stopped": RiskFactor(limits=_HRT_YEARS),
}
SIZES = [factor.size for factor in RISK_FACTORS.values()]
TOTAL = sum(SIZES)  # R, the width of all one-hot vectors side by side
