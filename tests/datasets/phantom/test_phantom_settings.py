import pytest

from mammorisk.datasets.phantom.phantom_settings import (
    DensityClass,
    HazardSettings,
    LesionSettings,
    ScreeningSettings,
    Splits,
    WomanSettings,
)
from mammorisk.errors import UserError


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: HazardSettings(event_rate=1.2), "hazard.event_rate=1.2: expected a number from 0.0001 to 0.9"),
        (lambda: HazardSettings(frailty_sd=-0.1), "hazard.frailty_sd=-0.1"),
        (lambda: HazardSettings(age="old"), "hazard.age=old"),  # type: ignore[arg-type]
        (lambda: ScreeningSettings(exams_min=2.5), "screening.exams_min=2.5: expected a whole number"),  # type: ignore[arg-type]
        (lambda: ScreeningSettings(exams_min=6), "screening.exams_min=6: expected at most screening.exams_max"),
        (lambda: ScreeningSettings(followup_min=11.0), "screening.followup_min=11.0"),
        (lambda: LesionSettings(radius_min=2.0), "lesion.radius_min=2.0: expected at most lesion.radius_max=1.5"),
        (lambda: Splits(0.5, 0.2, 0.2), "splits=train 0.5, val 0.2, test 0.2: expected shares that sum to 1"),
        (lambda: WomanSettings(age_min=80.0), "woman.age_min=80.0"),
        (lambda: WomanSettings(density_a=DensityClass(0.5, 0.1, 0.1)), "woman.density_*.share"),
        (lambda: DensityClass(0.5, 1.1, 0.1), "mean=1.1"),
    ],
)
def test_bad_value_is_named(make, named):
    with pytest.raises(UserError) as error:
        make()
    assert named in str(error.value)


@pytest.mark.parametrize("value", [True, float("nan"), float("inf"), None, "3"])
def test_only_finite_numbers_are_numbers(value):
    with pytest.raises(UserError, match=r"lesion\.contrast="):
        LesionSettings(contrast=value)


def test_whole_numbers_are_numbers_where_fractions_are_wanted():
    assert HazardSettings(age=1, contrast=3).contrast == 3
