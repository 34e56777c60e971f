"""Population of the phantom: women, times of their exams, cancers, and each exam's labels and true risk."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mammorisk.datasets.phantom.hazard import Doubles, Hazard, Women
from mammorisk.datasets.phantom.phantom_settings import HazardSettings, ScreeningSettings
from mammorisk.datasets.phantom.woman import Settings, Stream, Woman, draw_woman

DAYS_PER_YEAR = 365.25
# Of a reference population, so that the baseline does not depend on the cohort.
_REFERENCE_SEED, _REFERENCE_WOMEN = 2**32, 3000
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Exams:
    """Table of E exams, in the order of women and of time."""

    woman: Ints  # [E] | index of the woman
    number: Ints  # [E] | 0 for her first
    day: Ints  # [E] | days from her first exam
    years_to_cancer: Doubles  # [E] | whole years, NaN none seen
    years_to_last_followup: Ints  # [E] | whole years that were observed to their end
    true_risk: Doubles  # [E, 5] | true risk within 1 ... 5 years

    @property
    def time(self) -> Doubles:
        """Years from the first exam, [E]."""
        return self.day / DAYS_PER_YEAR


@dataclass(frozen=True)
class Population:
    """Women of a cohort, with exams and outcomes."""

    women: list[Woman]
    hazard: Hazard
    time_of_cancer: Doubles  # [N] | years from the first exam, observed or not
    followup: Doubles  # [N] | years from the first exam to the end of the study
    exams: Exams

    @property
    def is_case(self) -> NDArray[np.bool_]:
        """Flag the women with cancer before the end of the study, [N]."""
        return self.time_of_cancer <= self.followup


def draw_population(
    settings: Settings, hazard_settings: HazardSettings, screening: ScreeningSettings, seed: int, num_women: int
) -> Population:
    """Draw women 0 ... N-1 and their exams; the first n of them are the same for every N."""
    reference = [draw_woman(settings, _REFERENCE_SEED, index) for index in range(_REFERENCE_WOMEN)]
    hazard = Hazard(hazard_settings, settings.precursor).calibrated(
        Women.of(reference, hazard_settings, settings.woman), _followup(reference, screening)
    )
    women = [draw_woman(settings, seed, index) for index in range(num_women)]
    values, followup = Women.of(women, hazard_settings, settings.woman), _followup(women, screening)
    cancer = hazard.time_of_cancer(values)
    exams = _exams(screening, seed, cancer, followup, hazard, values)
    return Population(women, hazard, cancer, followup, exams)


def _followup(women: list[Woman], screening: ScreeningSettings) -> Doubles:
    share = np.array([woman.followup for woman in women])
    return screening.followup_min + share * (screening.followup_max - screening.followup_min)


def _exams(
    screening: ScreeningSettings, seed: int, cancer: Doubles, followup: Doubles, hazard: Hazard, values: Women
) -> Exams:
    planned = [_planned_days(screening, seed, index) for index in range(len(cancer))]
    counts = np.array([len(days) for days in planned])
    woman = np.repeat(np.arange(len(cancer)), counts)
    number = np.concatenate([np.arange(count) for count in counts])
    day = np.concatenate(planned)
    time = day / DAYS_PER_YEAR
    # No exam after the diagnosis, nor in the last year of the study: every exam is followed for a whole year.
    taken = (number == 0) | ((time < cancer[woman]) & (time + 1 <= followup[woman]))
    woman, number, day, time = woman[taken], number[taken], day[taken], time[taken]
    observed = np.floor(followup[woman] - time).astype(np.int64)
    years = np.ceil(cancer[woman] - time)
    return Exams(
        woman=woman,
        number=number,
        day=day,
        # A cancer in a year that the study does not fully cover is not counted, because that year's women without
        # cancer are not counted either: the observed risk of the year would be too high.
        years_to_cancer=np.where(years <= observed, np.maximum(years, 1), np.nan),
        years_to_last_followup=observed,
        true_risk=hazard.true_risk(_rows(values, woman), time),
    )


def _planned_days(screening: ScreeningSettings, seed: int, index: int) -> Ints:
    """Days from the first exam of the exams planned for a woman who is never diagnosed."""
    draw = np.random.default_rng([Stream.SCREENING, seed, index])
    count = int(draw.integers(screening.exams_min, screening.exams_max + 1))
    years = np.where(draw.random(count - 1) < screening.yearly_share, 1.0, 2.0)
    years = np.maximum(years + screening.interval_sd * draw.standard_normal(count - 1), 0.25)
    return np.rint(np.append(0.0, np.cumsum(years)) * DAYS_PER_YEAR).astype(np.int64)


def _rows(women: Women, rows: Ints) -> Women:
    return Women(women.score[rows], women.frailty[rows], women.threshold[rows], women.onset[rows], women.growth[rows])
