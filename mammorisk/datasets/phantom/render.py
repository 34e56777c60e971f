"""Rendering of a woman's exams as images, with the true displacement from each to the one before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from mammorisk.datasets.phantom.anatomy import Anatomy, build_anatomies, fresh_texture, on_canvas, picture_grid
from mammorisk.datasets.phantom.motion import Motion, draw_motion, true_displacement
from mammorisk.datasets.phantom.noise import Floats, Grid
from mammorisk.datasets.phantom.phantom_settings import (
    LesionSettings,
    MotionSettings,
    PictureSettings,
    PrecursorSettings,
)
from mammorisk.datasets.phantom.woman import LATERALITIES, VIEWS, Laterality, Stream, View, Woman

_BRIGHTEST = 1.3  # intensity of white
_SKIN = 0.55  # cm | length over which the breast thickens behind its outline


@dataclass(frozen=True)
class PictureRules:
    """Groups of settings for the images of a woman."""

    precursor: PrecursorSettings = field(default=PrecursorSettings())
    lesion: LesionSettings = field(default=LesionSettings())
    motion: MotionSettings = field(default=MotionSettings())
    picture: PictureSettings = field(default=PictureSettings())


@dataclass(frozen=True)
class Conditions:
    """Conditions of one exposure."""

    time: float  # years from the woman's first exam
    key: tuple[int, ...]  # of its noise
    gain: float  # brightness
    gamma: float
    motion: Motion


@dataclass(frozen=True)
class Picture:
    """Image as it is written: chest wall left in left breasts, right in right breasts."""

    exam: int
    laterality: Laterality
    view: View
    pixels: NDArray[np.uint16]  # [H, W]
    displacement: Floats | None  # [2, H, W] (dy, dx) pixels | to the exam before; None for the first exam


def render_woman(
    woman: Woman, times: Sequence[float], rules: PictureRules, image_height: int, displacements: bool = False
) -> Iterator[Picture]:
    """Render all images of a woman.

    Args:
        woman: the woman.
        times: years of her exams from the first.
        rules: settings.
        image_height: rows.
        displacements: whether to compute the true displacements.
    """
    grid = picture_grid(image_height)
    exposures = [_draw_exposure(woman, exam, rules.picture) for exam in range(len(times))]
    for view in VIEWS:
        anatomies = build_anatomies(woman, view, grid.pixel, rules.picture.shared_texture)
        for laterality in LATERALITIES:
            prior: Floats | None = None
            for exam, time in enumerate(times):
                taken = _draw_conditions(woman, exam, time, (laterality, view), rules, exposures[exam])
                places = taken.motion.places(grid)
                pixels = _draw(anatomies[laterality], woman, laterality, taken, places, grid, rules)
                moved = true_displacement(places, prior, grid) if displacements and prior is not None else None
                yield _as_taken(exam, laterality, view, pixels, moved)
                prior = places


def _as_taken(
    exam: int, laterality: Laterality, view: View, pixels: NDArray[np.uint16], displacement: Floats | None
) -> Picture:
    if laterality == "R":  # mirrored: columns count the other way, and so do displacements along them
        pixels = np.ascontiguousarray(pixels[:, ::-1])
        if displacement is not None:
            displacement = displacement[:, :, ::-1] * np.array([1, -1], np.float32)[:, None, None]
    return Picture(exam, laterality, view, pixels, displacement)


def _draw_exposure(woman: Woman, exam: int, picture: PictureSettings) -> tuple[float, float]:
    """Draw the logarithms of gain and gamma that all images of an exam share."""
    draw = np.random.default_rng([Stream.EXAM, woman.seed, woman.index, exam])
    return float(picture.gain_sd * draw.standard_normal()), float(picture.gamma_sd * draw.standard_normal())


def _draw_conditions(
    woman: Woman,
    exam: int,
    time: float,
    image: tuple[Laterality, View],
    rules: PictureRules,
    exposure: tuple[float, float],
) -> Conditions:
    laterality, view = image
    key = (woman.seed, woman.index, exam, LATERALITIES.index(laterality), VIEWS.index(view))
    draw = np.random.default_rng([Stream.EXAM, *key])
    spread = np.array([rules.picture.gain_sd, rules.picture.gamma_sd]) / 2
    gain, gamma = np.exp(np.array(exposure) + spread * draw.standard_normal(2))
    motion = draw_motion(draw, rules.motion, woman.shapes[view].centre)
    return Conditions(time, key, float(gain), float(gamma), motion)


def _draw(
    anatomy: Anatomy,
    woman: Woman,
    laterality: Laterality,
    taken: Conditions,
    places: Floats,
    grid: Grid,
    rules: PictureRules,
) -> NDArray[np.uint16]:
    """Draw one image as of a left breast, [H, W]."""
    gland = _gland(anatomy, woman, laterality, taken, rules)
    where = on_canvas(places, anatomy.grid)
    layers = [anatomy.depth, gland, anatomy.fat]
    if anatomy.is_muscle is not None and anatomy.muscle is not None:
        layers += [anatomy.is_muscle, anatomy.muscle]
    depth, gland, fat, *rest = (_look_up(layer, where) for layer in layers)
    gland = np.minimum(gland, np.float32(rules.picture.tissue_max))
    tissue = np.float32(0.29) + fat + np.float32(0.50) * gland
    if rest:
        is_muscle, muscle = rest
        tissue = tissue * (1 - is_muscle) + is_muscle * np.maximum(0.85 * muscle, 0.9 * tissue)
    return _expose(tissue, depth, taken, grid, rules.picture)


def _look_up(layer: Floats, where: Floats) -> Floats:
    values: Floats = cv2.remap(layer, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
    return values


def _gland(anatomy: Anatomy, woman: Woman, laterality: Laterality, taken: Conditions, rules: PictureRules) -> Floats:
    """Glandular tissue at the time of the exam, on the canvas: less of it with time, and the precursor."""
    gland = anatomy.gland * np.float32(np.exp(-rules.picture.involution * taken.time))
    precursor, lesion = woman.precursor, rules.lesion
    contrast = precursor.contrast(taken.time, rules.precursor.contrast_max)
    if precursor.laterality == laterality and contrast > 0.01:
        growth = precursor.size * min(1.1, 0.4 + 0.6 * contrast)
        radius = lesion.radius_min + (lesion.radius_max - lesion.radius_min) * growth
        where, values = anatomy.focus(precursor.focus, radius)
        gland[where] += contrast * lesion.contrast * values
    if rules.picture.fresh_texture:
        texture = fresh_texture(taken.key, anatomy.grid)
        gland *= 1 + np.float32(0.25 * rules.picture.fresh_texture) * texture
    return gland


def _expose(
    tissue: Floats, depth: Floats, taken: Conditions, grid: Grid, picture: PictureSettings
) -> NDArray[np.uint16]:
    """Compute the grey values of the tissue of a compressed breast, [H, W]."""
    thickness = 1 - np.exp(-np.maximum(depth, 0) / np.float32(_SKIN))
    thickness *= 0.82 + 0.18 * np.clip(depth / 3, 0, 1)
    inside = np.clip(depth / np.float32(grid.pixel) + np.float32(0.5), 0, 1)  # an anti-aliased edge
    skin = 0.16 * np.exp(-(((depth - 0.12) / 0.10) ** 2))
    intensity = np.clip(tissue * thickness + skin, 0, _BRIGHTEST) * inside
    intensity = np.float32(taken.gain) * intensity ** np.float32(taken.gamma)
    noise = np.random.default_rng([Stream.NOISE, *taken.key]).standard_normal(intensity.shape, dtype=np.float32)
    intensity += inside * (np.float32(picture.noise_sd) * noise)
    grey: NDArray[np.uint16] = np.clip(intensity / _BRIGHTEST * picture.white, 0, picture.white).astype(np.uint16)
    return grey
