"""What can be set in the phantom, group by group; the values are those of the benchmark."""

from __future__ import annotations

import math
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, ClassVar

from mammorisk.errors import UserError


def setting(default: Any, low: float = 0.0, high: float = math.inf) -> Any:
    """A dataclass field that holds a number from ``low`` to ``high``; a whole number if its default is one."""
    return field(default=default, metadata={"low": low, "high": high})


def check_number(key: str, value: object, low: float, high: float, whole: bool) -> None:
    """Raise UserError unless ``value`` is a finite number from ``low`` to ``high``."""
    kinds = int if whole else (int, float)
    is_number = isinstance(value, kinds) and not isinstance(value, bool) and math.isfinite(value)
    if is_number and low <= value <= high:  # type: ignore[operator]
        return
    limits = f"from {low:g} to {high:g}" if math.isfinite(high) else f"of at least {low:g}"
    raise UserError(f"{key}={value}: expected a {'whole ' if whole else ''}number {limits}.")


def require(holds: bool, key: str, value: object, expected: str) -> None:
    """Raise UserError that names the key unless ``holds``."""
    if not holds:
        raise UserError(f"{key}={value}: expected {expected}.")


@dataclass(frozen=True)
class Group:
    """A group of settings; it checks its bounded fields when it is made."""

    group: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for each in fields(self):
            if "low" in each.metadata:
                whole = each.default is not MISSING and isinstance(each.default, int)
                key, bounds = f"{self.group}.{each.name}".lstrip("."), each.metadata
                check_number(key, getattr(self, each.name), bounds["low"], bounds["high"], whole)
        self.check()

    def check(self) -> None:
        """Raise UserError where settings contradict each other."""


@dataclass(frozen=True)
class Splits(Group):
    """Shares of the women; a woman's split depends on her number alone."""

    group: ClassVar[str] = "splits"
    train: float = setting(0.5, high=1)
    val: float = setting(0.2, high=1)
    test: float = setting(0.3, high=1)

    def check(self) -> None:
        """The shares sum to 1."""
        total = self.train + self.val + self.test
        shares = f"train {self.train}, val {self.val}, test {self.test}"
        require(abs(total - 1) < 1e-6, "splits", shares, f"shares that sum to 1, these sum to {total:g}")


@dataclass(frozen=True)
class DensityClass(Group):
    """One class of breast density."""

    group: ClassVar[str] = "woman.density_*"
    share: float = field(metadata={"low": 0, "high": 1})  # of all women
    mean: float = field(metadata={"low": 0, "high": 1})  # percent density, as a fraction
    sd: float = field(metadata={"low": 0, "high": 1})


@dataclass(frozen=True)
class WomanSettings(Group):
    """Who is screened."""

    group: ClassVar[str] = "woman"
    age_mean: float = setting(56.0)  # years, at the first exam
    age_sd: float = setting(9.0)
    age_min: float = setting(40.0)
    age_max: float = setting(74.0)
    density_a: DensityClass = DensityClass(0.12, 0.08, 0.03)
    density_b: DensityClass = DensityClass(0.40, 0.24, 0.05)
    density_c: DensityClass = DensityClass(0.38, 0.47, 0.07)
    density_d: DensityClass = DensityClass(0.10, 0.70, 0.07)
    asymmetry_sd: float = setting(0.30, low=1e-6)  # between the breasts, on the logit of percent density

    @property
    def densities(self) -> tuple[DensityClass, ...]:
        """A, B, C, D."""
        return self.density_a, self.density_b, self.density_c, self.density_d

    def check(self) -> None:
        """Ages in order; shares of the density classes sum to 1."""
        require(self.age_min <= self.age_max, "woman.age_min", self.age_min, f"at most woman.age_max={self.age_max}")
        shares = [density.share for density in self.densities]
        require(abs(sum(shares) - 1) < 1e-6, "woman.density_*.share", shares, "shares that sum to 1")


@dataclass(frozen=True)
class PrecursorSettings(Group):
    """The latent lesion of every woman: when it starts, how it grows."""

    group: ClassVar[str] = "precursor"
    prevalence: float = setting(0.15, high=1)  # share of women whose precursor started before the first exam
    onset_rate: float = setting(0.04, low=1e-6)  # per year, for the others
    growth: float = setting(0.5, low=1e-6)  # contrast per year, median over women
    growth_sd: float = setting(0.35)  # of its logarithm
    contrast_max: float = setting(1.4, low=1e-6)  # growth ends there


@dataclass(frozen=True)
class LesionSettings(Group):
    """How focal densities look, benign ones and precursors."""

    group: ClassVar[str] = "lesion"
    benign_per_breast: float = setting(1.2)  # mean of a Poisson number
    radius_min: float = setting(0.7, low=0.05)  # cm
    radius_max: float = setting(1.5, low=0.05)  # cm
    contrast: float = setting(0.9)  # glandular units

    def check(self) -> None:
        """Radii in order."""
        limit = f"at most lesion.radius_max={self.radius_max}"
        require(self.radius_min <= self.radius_max, "lesion.radius_min", self.radius_min, limit)


@dataclass(frozen=True)
class HazardSettings(Group):
    """The logarithm of the hazard ratio, and how many women get cancer while they are followed."""

    group: ClassVar[str] = "hazard"
    age: float = setting(0.20, low=-10, high=10)  # per 10 years
    density: float = setting(1.2, low=-10, high=10)  # per unit of the logit of percent density
    asymmetry: float = setting(0.40, low=-10, high=10)  # per standard deviation of the asymmetry
    contrast: float = setting(3.5, high=10)  # per unit of the precursor's contrast
    frailty_sd: float = setting(0.3, high=3)  # what no image shows
    event_rate: float = setting(0.18, low=1e-4, high=0.9)  # share of women with cancer before the end of follow-up


@dataclass(frozen=True)
class ScreeningSettings(Group):
    """When women are screened and how long they are followed."""

    group: ClassVar[str] = "screening"
    exams_min: int = setting(2, low=1, high=50)  # planned; a diagnosis or the end of the study comes first
    exams_max: int = setting(5, low=1, high=50)
    yearly_share: float = setting(0.55, high=1)  # of intervals; the others take two years
    interval_sd: float = setting(0.06, high=0.2)  # years
    followup_min: float = setting(5.0, low=1)  # years from the first exam to the end of the study
    followup_max: float = setting(10.0, low=1)

    def check(self) -> None:
        """Limits in order."""
        require(self.exams_min <= self.exams_max, "screening.exams_min", self.exams_min, "at most screening.exams_max")
        is_ordered = self.followup_min <= self.followup_max
        require(is_ordered, "screening.followup_min", self.followup_min, "at most screening.followup_max")


@dataclass(frozen=True)
class MotionSettings(Group):
    """How far the same breast is displaced from one exam to another."""

    group: ClassVar[str] = "motion"
    displacement_rms: float = setting(0.18, high=2)  # cm | smooth random part
    grid: int = setting(5, low=1, high=50)  # its knots along the image
    translation_sd: float = setting(0.18, high=3)  # cm
    rotation_sd: float = setting(1.5, high=20)  # degrees
    scale_sd: float = setting(0.02, high=0.2)  # of the logarithm of each axis' scale


@dataclass(frozen=True)
class PictureSettings(Group):
    """From tissue to grey values."""

    group: ClassVar[str] = "picture"
    shared_texture: float = setting(0.75, high=1)  # share of the variance that both breasts have in common
    fresh_texture: float = setting(0.08, high=4)  # tissue that looks different at each exam
    involution: float = setting(0.012, high=1)  # glandular tissue lost per year
    tissue_max: float = setting(1.5, low=0.1)  # glandular units | thicker tissue is no brighter
    gain_sd: float = setting(0.06, high=1)  # of the logarithm of brightness, from exam to exam
    gamma_sd: float = setting(0.08, high=1)
    noise_sd: float = setting(0.012, high=1)  # per pixel
    white: int = setting(65535, low=255, high=65535)  # grey value of the brightest tissue
