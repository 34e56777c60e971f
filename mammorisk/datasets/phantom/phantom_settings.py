"""Settings of the phantom in groups; the defaults are those of the benchmark."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mammorisk.bounds import require_in_bounds
from mammorisk.errors import UserError


def require(holds: bool, key: str, value: object, expected: str) -> None:
    """Raise UserError that names the key unless ``holds``."""
    if not holds:
        raise UserError(f"{key}={value}: expected {expected}.")


@dataclass(frozen=True)
class Group:
    """Group of settings; its constructor checks the numbers against the table of bounds."""

    group: ClassVar[str] = ""

    def __post_init__(self) -> None:
        kind = type(self)
        prefix = f"{self.group}." if self.group else ""
        require_in_bounds(f"{kind.__module__}.{kind.__qualname__}", vars(self), prefix)
        self.check()

    def check(self) -> None:
        """Raise UserError if settings contradict each other."""


@dataclass(frozen=True)
class Splits(Group):
    """Shares of the splits; a woman's split depends only on her number."""

    group: ClassVar[str] = "splits"
    train: float = 0.5
    val: float = 0.2
    test: float = 0.3

    def check(self) -> None:
        """Check that the shares sum to 1."""
        total = self.train + self.val + self.test
        shares = f"train {self.train}, val {self.val}, test {self.test}"
        require(abs(total - 1) < 1e-6, "splits", shares, f"shares that sum to 1, these sum to {total:g}")


@dataclass(frozen=True)
class DensityClass(Group):
    """Class of breast density."""

    group: ClassVar[str] = "woman.density_*"
    share: float  # of all women
    mean: float  # percent density, as a fraction
    sd: float


@dataclass(frozen=True)
class WomanSettings(Group):
    """Distributions of age, density and asymmetry."""

    group: ClassVar[str] = "woman"
    age_mean: float = 56.0  # years, at the first exam
    age_sd: float = 9.0
    age_min: float = 40.0
    age_max: float = 74.0
    density_a: DensityClass = DensityClass(0.12, 0.08, 0.03)
    density_b: DensityClass = DensityClass(0.40, 0.24, 0.05)
    density_c: DensityClass = DensityClass(0.38, 0.47, 0.07)
    density_d: DensityClass = DensityClass(0.10, 0.70, 0.07)
    asymmetry_sd: float = 0.30  # between the breasts, on the logit of percent density

    @property
    def densities(self) -> tuple[DensityClass, ...]:
        """Density classes A, B, C, D."""
        return self.density_a, self.density_b, self.density_c, self.density_d

    def check(self) -> None:
        """Check that ages are in order and shares of the density classes sum to 1."""
        require(self.age_min <= self.age_max, "woman.age_min", self.age_min, f"at most woman.age_max={self.age_max}")
        shares = [density.share for density in self.densities]
        require(abs(sum(shares) - 1) < 1e-6, "woman.density_*.share", shares, "shares that sum to 1")


@dataclass(frozen=True)
class PrecursorSettings(Group):
    """Onset and growth of every woman's latent lesion."""

    group: ClassVar[str] = "precursor"
    prevalence: float = 0.15  # share of women whose precursor started before the first exam
    onset_rate: float = 0.04  # per year, for the others
    growth: float = 0.5  # contrast per year, median over women
    growth_sd: float = 0.35  # of its logarithm
    contrast_max: float = 1.4  # limit of the growth


@dataclass(frozen=True)
class LesionSettings(Group):
    """Appearance of focal densities, benign ones and precursors."""

    group: ClassVar[str] = "lesion"
    benign_per_breast: float = 1.2  # mean of a Poisson number
    radius_min: float = 0.7  # cm
    radius_max: float = 1.5  # cm
    contrast: float = 0.9  # glandular units

    def check(self) -> None:
        """Check that the radii are in order."""
        limit = f"at most lesion.radius_max={self.radius_max}"
        require(self.radius_min <= self.radius_max, "lesion.radius_min", self.radius_min, limit)


@dataclass(frozen=True)
class HazardSettings(Group):
    """Coefficients of the log hazard ratio, and the share of women who get cancer during follow-up."""

    group: ClassVar[str] = "hazard"
    age: float = 0.20  # per 10 years
    density: float = 1.2  # per unit of the logit of percent density
    asymmetry: float = 0.40  # per standard deviation of the asymmetry
    contrast: float = 3.5  # per unit of the precursor's contrast
    frailty_sd: float = 0.3  # risk that no image shows
    event_rate: float = 0.18  # share of women with cancer before the end of follow-up


@dataclass(frozen=True)
class ScreeningSettings(Group):
    """Times of the exams and length of the follow-up."""

    group: ClassVar[str] = "screening"
    exams_min: int = 2  # planned; a diagnosis or the end of the study may come first
    exams_max: int = 5
    yearly_share: float = 0.55  # of intervals; the others take two years
    interval_sd: float = 0.06  # years
    followup_min: float = 5.0  # years from the first exam to the end of the study
    followup_max: float = 10.0

    def check(self) -> None:
        """Check that the limits are in order."""
        require(self.exams_min <= self.exams_max, "screening.exams_min", self.exams_min, "at most screening.exams_max")
        is_ordered = self.followup_min <= self.followup_max
        require(is_ordered, "screening.followup_min", self.followup_min, "at most screening.followup_max")


@dataclass(frozen=True)
class MotionSettings(Group):
    """Displacement of a breast between exams."""

    group: ClassVar[str] = "motion"
    displacement_rms: float = 0.18  # cm | smooth random part
    grid: int = 5  # its knots along the image
    translation_sd: float = 0.18  # cm
    rotation_sd: float = 1.5  # degrees
    scale_sd: float = 0.02  # of the logarithm of each axis' scale


@dataclass(frozen=True)
class PictureSettings(Group):
    """Image formation, from tissue to grey values."""

    group: ClassVar[str] = "picture"
    shared_texture: float = 0.75  # share of the variance that both breasts have in common
    fresh_texture: float = 0.08  # tissue that looks different at each exam
    involution: float = 0.012  # glandular tissue lost per year
    tissue_max: float = 1.5  # glandular units | thicker tissue is no brighter
    gain_sd: float = 0.06  # of the logarithm of brightness, from exam to exam
    gamma_sd: float = 0.08
    noise_sd: float = 0.012  # per pixel
    white: int = 65535  # grey value of the brightest tissue
