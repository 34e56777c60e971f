"""Random woman: risk factors, breasts, benign focal densities and a latent precursor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from math import exp, log
from typing import Literal

import numpy as np

from mammorisk.datasets.phantom.phantom_settings import LesionSettings, PrecursorSettings, WomanSettings

Laterality = Literal["L", "R"]
View = Literal["CC", "MLO"]
LATERALITIES: tuple[Laterality, ...] = ("R", "L")
VIEWS: tuple[View, ...] = ("CC", "MLO")
IMAGE_HEIGHT, IMAGE_WIDTH = 24.0, 19.5  # cm
RACES = {"White": 0.45, "Black": 0.35, "Asian": 0.08, "Hispanic": 0.09, "Other": 0.03}
_DAYS_OF_START = 6 * 365  # first exams are spread over six years


class Stream(IntEnum):
    """Purpose of random numbers, the first part of their key, so that no two purposes share a stream."""

    WOMAN = 1
    SCREENING = 2
    EXAM = 3
    TEXTURE = 4
    LESION = 5
    NOISE = 6
    FRESH_TEXTURE = 7


@dataclass(frozen=True)
class Settings:
    """Groups of settings for a woman."""

    woman: WomanSettings = field(default=WomanSettings())
    precursor: PrecursorSettings = field(default=PrecursorSettings())
    lesion: LesionSettings = field(default=LesionSettings())


@dataclass(frozen=True)
class FocalDensity:
    """Lumpy focal density in both views of a breast."""

    key: tuple[int, ...]  # of its texture
    depth: float  # 0 chest wall ... 1 nipple, the same in both views
    height: Mapping[View, float]  # -1 upper ... 1 lower edge of the breast
    radius: float  # cm
    contrast: float  # glandular units
    rotation: float  # radians
    elongation: float


@dataclass(frozen=True)
class Precursor:
    """A lesion that may become cancer."""

    laterality: Laterality
    onset: float  # years from the first exam, negative: before it
    growth: float  # contrast per year
    size: float  # 0-1 | final radius between lesion.radius_min and radius_max
    focus: FocalDensity

    def contrast(self, time: float, limit: float) -> float:
        """Contrast at ``time`` years after the first exam: 0 before the onset, then linear up to ``limit``."""
        return min(max((time - self.onset) * self.growth, 0.0), limit)


@dataclass(frozen=True)
class BreastShape:
    """Outline of a breast in one view: a slightly wavy superellipse at the chest wall (x = 0)."""

    depth: float  # cm | chest wall to nipple
    upper: float  # cm | centre to the upper edge
    lower: float
    centre: float  # cm below the image's upper edge
    exponent: float
    nipple: float  # cm below the centre
    tissue: float  # centre of the glandular tissue, share of the depth
    waves: tuple[float, float, float, float]  # amplitude and phase of the second and the third harmonic
    pectoral: tuple[float, float] | None = None  # cm | width at the top and length along the chest wall


@dataclass(frozen=True)
class Woman:
    """Attributes of a woman that do not change from exam to exam."""

    seed: int
    index: int
    age: float  # years, at the first exam
    race: str
    density_class: int  # 1-4 = A-D
    percent_density: float  # mean of both breasts, 0-1
    asymmetry: float  # left minus right, half the difference of the logits of percent density
    shapes: Mapping[View, BreastShape]
    right_scale: float  # size of the right breast, left = 1
    benign: Mapping[Laterality, tuple[FocalDensity, ...]]
    precursor: Precursor
    frailty: float  # risk that no image shows, in standard deviations of the log hazard ratio
    threshold: float  # cumulative hazard at which she gets cancer, Exp(1)
    followup: float  # 0-1 | between the shortest and the longest follow-up
    first_exam: int  # days after the first day of the study
    cancer_type: int  # 1 in situ, 2 invasive <= 15 mm, 3 invasive > 15 mm, if she gets cancer

    @property
    def density_logit(self) -> float:
        """Logit of percent density."""
        return logit(self.percent_density)

    def density_of(self, laterality: Laterality) -> float:
        """Percent density of one breast, 0-1."""
        sign = 1.0 if laterality == "L" else -1.0
        return 1 / (1 + exp(-self.density_logit - sign * self.asymmetry))


def logit(share: float) -> float:
    """Compute log(p / (1 - p))."""
    return log(share / (1 - share))


def draw_woman(settings: Settings, seed: int, index: int) -> Woman:
    """Draw the woman number ``index``; she depends only on the settings, the seed and her number."""
    draw = np.random.default_rng([Stream.WOMAN, seed, index])
    group = settings.woman
    shares = np.array([density.share for density in group.densities])
    density_class = int(draw.choice(len(shares), p=shares / shares.sum()))
    density = group.densities[density_class]
    keys = iter(range(10**6))
    return Woman(
        seed=seed,
        index=index,
        age=float(np.clip(draw.normal(group.age_mean, group.age_sd), group.age_min, group.age_max)),
        race=str(draw.choice(list(RACES), p=list(RACES.values()))),
        density_class=density_class + 1,
        percent_density=float(np.clip(draw.normal(density.mean, density.sd), 0.03, 0.85)),
        asymmetry=float(draw.normal(0, group.asymmetry_sd)),
        threshold=float(draw.exponential()),
        followup=float(draw.random()),
        frailty=float(draw.normal()),
        first_exam=int(draw.integers(_DAYS_OF_START)),
        cancer_type=int(draw.choice([1, 2, 3], p=[0.25, 0.45, 0.30])),
        shapes=_draw_shapes(draw),
        right_scale=float(np.clip(draw.normal(1, 0.025), 0.93, 1.07)),
        precursor=_draw_precursor(draw, settings, (seed, index, next(keys))),
        benign={
            side: tuple(
                _draw_focus(draw, settings.lesion, (seed, index, next(keys)))
                for _ in range(draw.poisson(settings.lesion.benign_per_breast))
            )
            for side in LATERALITIES
        },
    )


def _draw_shapes(draw: np.random.Generator) -> dict[View, BreastShape]:
    size = float(np.clip(draw.normal(10.2, 1.7), 7, 14))
    waves = (draw.normal(0, 0.015), draw.uniform(0, 6.3), draw.normal(0, 0.012), draw.uniform(0, 6.3))
    cc = BreastShape(
        depth=size,
        upper=size * draw.uniform(0.85, 1.05),
        lower=size * draw.uniform(0.85, 1.05),
        centre=12 + draw.normal(0, 0.5),
        exponent=draw.uniform(2.0, 2.35),
        nipple=draw.normal(0, 0.4),
        tissue=draw.uniform(0.42, 0.55),
        waves=waves,
    )
    centre = 14.3 + draw.normal(0, 0.6)
    mlo = BreastShape(
        depth=size * draw.uniform(0.98, 1.1),
        upper=draw.uniform(16.5, 19.5),
        lower=min(size * draw.uniform(0.72, 0.85), IMAGE_HEIGHT - centre - 0.6),
        centre=centre,
        exponent=draw.uniform(1.9, 2.2),
        nipple=draw.normal(0.3, 0.4),
        tissue=draw.uniform(0.45, 0.58),
        waves=waves,
        pectoral=(size * draw.uniform(0.50, 0.68), draw.uniform(10.5, 15)),
    )
    return {"CC": cc, "MLO": mlo}


def _draw_focus(draw: np.random.Generator, lesion: LesionSettings, key: tuple[int, ...]) -> FocalDensity:
    return FocalDensity(
        key=(int(Stream.LESION), *key),
        depth=float(draw.uniform(0.22, 0.75)),
        height={view: float(draw.uniform(-0.5, 0.5)) for view in VIEWS},
        radius=float(draw.uniform(lesion.radius_min, lesion.radius_max)),
        contrast=float(draw.uniform(0.3, 1.2)) * lesion.contrast,
        rotation=float(draw.uniform(0, np.pi)),
        elongation=float(draw.uniform(1, 1.25)),
    )


def _draw_precursor(draw: np.random.Generator, settings: Settings, key: tuple[int, ...]) -> Precursor:
    group = settings.precursor
    is_prevalent, before, after = draw.random() < group.prevalence, draw.uniform(-3, 0), draw.exponential()
    return Precursor(
        laterality="L" if draw.random() < 0.5 else "R",
        onset=float(before if is_prevalent else after / group.onset_rate),
        growth=float(group.growth * np.exp(draw.normal(0, group.growth_sd))),
        size=float(draw.uniform(0.6, 1)),
        focus=_draw_focus(draw, settings.lesion, key),
    )
