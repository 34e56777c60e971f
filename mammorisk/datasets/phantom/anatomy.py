"""Anatomy of a breast in one view, in reference position: outline, glandular tissue, fat, pectoral muscle.

Every breast is drawn as a left one, with the chest wall at x = 0, on a canvas a little larger than the image.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from mammorisk.datasets.phantom.noise import Floats, Grid, Region, band_noise, mixed_noise
from mammorisk.datasets.phantom.woman import (
    IMAGE_HEIGHT,
    IMAGE_WIDTH,
    LATERALITIES,
    VIEWS,
    BreastShape,
    FocalDensity,
    Laterality,
    Stream,
    View,
    Woman,
)

_MARGIN = 2.5  # cm around the picture
_CANVAS = Region(IMAGE_HEIGHT + 2 * _MARGIN, IMAGE_WIDTH + 2 * _MARGIN, -_MARGIN, -_MARGIN)
_DUCTS = Region(6.0, 12.0)  # distance from the nipple over _STRETCH; the full circle around it
_STRETCH = 4.0  # ducts are longer than wide
_REACH = 2.2  # radii within which a focal density fades out


@dataclass
class Anatomy:
    """One breast in one view."""

    view: View
    grid: Grid
    shape: BreastShape
    depth: Floats  # [H, W] cm | distance to the skin, negative outside
    gland: Floats  # [H, W] glandular units, benign focal densities included
    fat: Floats  # [H, W] grey | texture of fat and ligaments
    muscle: Floats | None  # [H, W] grey | pectoral muscle's own texture, MLO only
    is_muscle: Floats | None  # [H, W] 0-1

    def focus(self, density: FocalDensity, radius: float) -> tuple[tuple[slice, slice], Floats]:
        """Draw a focal density of unit contrast: its region on the canvas and its values there."""
        x, y = self.place(density)
        reach, pixel = _REACH * radius, self.grid.pixel
        top, bottom = (int(np.clip((edge + _MARGIN) / pixel, 0, self.grid.rows)) for edge in (y - reach, y + reach))
        left, right = (int(np.clip((edge + _MARGIN) / pixel, 0, self.grid.columns)) for edge in (x - reach, x + reach))
        patch = Grid(bottom - top, right - left, pixel, top * pixel - _MARGIN, left * pixel - _MARGIN)
        region = Region(2 * reach, 2 * reach, y - reach, x - reach)
        lumps = band_noise((*density.key, VIEWS.index(self.view)), patch, region, radius, octaves=4)
        down, across = patch.axes()
        down, across = down - np.float32(y), across - np.float32(x)
        cosine, sine = np.float32(np.cos(density.rotation)), np.float32(np.sin(density.rotation))
        along = (across * cosine + down * sine) / density.elongation
        aside = (down * cosine - across * sine) * density.elongation
        distance = np.sqrt(along**2 + aside**2) / radius * (1 + 0.18 * lumps)
        return (slice(top, bottom), slice(left, right)), np.exp(-0.7 * distance**4) * (1 + 0.15 * lumps)

    def place(self, density: FocalDensity) -> tuple[float, float]:
        """Centre (x, y) of a focal density, cm; equally far from the chest wall in both views."""
        height = density.height[self.view]
        reach = self.shape.upper if height < 0 else self.shape.lower
        if self.view == "MLO" and height < 0:
            reach *= 0.62  # the axillary tail holds little tissue
        return density.depth * self.shape.depth, self.shape.centre + height * reach


def picture_grid(image_height: int) -> Grid:
    """Pixel grid of an image with ``image_height`` rows."""
    return Grid(image_height, round(image_height * IMAGE_WIDTH / IMAGE_HEIGHT), IMAGE_HEIGHT / image_height)


def on_canvas(places: Floats, grid: Grid) -> Floats:
    """Convert positions in cm, [H, W, 2] as (x, y), to pixels of the canvas ``grid`` in OpenCV's convention."""
    return (places + np.float32(_MARGIN)) / np.float32(grid.pixel) - np.float32(0.5)


def build_anatomies(woman: Woman, view: View, pixel: float, shared_texture: float) -> dict[Laterality, Anatomy]:
    """Build both breasts of one view, with pixels of ``pixel`` cm."""
    grid = Grid(round(_CANVAS.height / pixel), round(_CANVAS.width / pixel), pixel, -_MARGIN, -_MARGIN)
    lumps, polar, branches = _draw_textures(woman, view, grid, shared_texture)
    anatomies = {}
    for number, laterality in enumerate(LATERALITIES):
        textures = lumps[number], polar[number], branches[number]
        shape = _shape_of(woman, view, laterality)
        anatomy = _build(shape, view, grid, textures, woman.density_of(laterality))
        for density in woman.benign[laterality]:
            where, values = anatomy.focus(density, density.radius)
            anatomy.gland[where] += density.contrast * values
        anatomies[laterality] = anatomy
    return anatomies


def fresh_texture(key: tuple[int, ...], grid: Grid) -> Floats:
    """Draw the texture of a single exam on the canvas ``grid``, [H, W]."""
    return band_noise((int(Stream.FRESH_TEXTURE), *key), grid, _CANVAS, 2.5, octaves=5)


def _shape_of(woman: Woman, view: View, laterality: Laterality) -> BreastShape:
    shape = woman.shapes[view]
    if laterality == "L":
        return shape
    size = woman.right_scale
    parts = {"depth": shape.depth * size, "upper": shape.upper * size, "lower": shape.lower * size}
    return BreastShape(**{**vars(shape), **parts})


def _draw_textures(woman: Woman, view: View, grid: Grid, shared: float) -> list[list[Floats]]:
    """Draw lumps [H, W], ducts on the polar raster and branches [H, W], each for the right and the left breast.

    Both breasts share a part of the noise.
    """
    mix = np.sqrt([[shared, shared], [1 - shared, 0], [0, 1 - shared]])
    polar = Grid(round(_DUCTS.height / grid.pixel), round(_DUCTS.width / grid.pixel), grid.pixel)
    kinds = [(grid, _CANVAS, 5.0, 3.0), (polar, _DUCTS, 1.6, 2.6), (grid, _CANVAS, 2.2, 2.4)]
    key = (int(Stream.TEXTURE), woman.seed, woman.index, VIEWS.index(view))
    return [
        mixed_noise([(*key, kind, part) for part in range(len(mix))], mix, *arguments)
        for kind, arguments in enumerate(kinds)
    ]


def _build(shape: BreastShape, view: View, grid: Grid, textures: tuple[Floats, ...], density: float) -> Anatomy:
    y, x = grid.axes()
    depth = _depth(shape, y, x)
    lumps, polar, branches = textures
    ducts = _around_nipple(polar, shape, grid)
    is_muscle = muscle = None
    score = _envelope(shape, y, x, depth) + 0.55 * lumps + 0.30 * ducts
    inside = (depth > 0.3) & (x > 0)
    if shape.pectoral is not None:
        is_muscle = _pectoral(shape.pectoral, y, x, lumps)
        muscle = 0.80 + 0.05 * lumps + 0.04 * ducts
        score -= 2.5 * is_muscle
        inside &= is_muscle < 0.3
    threshold = np.float32(np.quantile(score[inside], 1 - density))
    gland = _sigmoid((score - threshold) / 0.16) * (0.62 + 0.16 * lumps + 0.16 * ducts)
    ridges = np.exp(-5 * np.abs(branches)) + 0.8 * np.exp(-6 * np.abs(ducts))
    fat = 0.05 * ducts + 0.10 * ridges + 0.03 * lumps
    return Anatomy(view, grid, shape, depth, gland, fat, muscle, is_muscle)


def _depth(shape: BreastShape, y: Floats, x: Floats) -> Floats:
    """Distance to the skin, [H, W] cm: a superellipse with a slightly wavy outline, and a nipple on it."""
    across, down = np.maximum(x, 0), y - np.float32(shape.centre)
    half = np.where(down < 0, np.float32(shape.upper), np.float32(shape.lower))
    n = shape.exponent
    radius = ((across / shape.depth) ** n + (np.abs(down) / half) ** n) ** (1 / n)  # 1 on the outline
    angle = np.arctan2(down, across + np.float32(1e-3))
    second, second_phase, third, third_phase = shape.waves
    radius *= 1 + second * np.cos(2 * angle + second_phase) + third * np.cos(3 * angle + third_phase)
    to_outline = np.sqrt(across**2 + down**2) / np.maximum(radius, 1e-3)
    nipple_x, nipple_y = _nipple(shape)
    to_nipple = np.sqrt((x - nipple_x) ** 2 + (y - nipple_y) ** 2)
    to_skin: Floats = np.maximum((1 - radius) * np.maximum(to_outline, 3), 0.55 - to_nipple)
    return to_skin


def _nipple(shape: BreastShape) -> tuple[np.float32, np.float32]:
    return np.float32(shape.depth * 0.985), np.float32(shape.centre + shape.nipple)


def _around_nipple(polar: Floats, shape: BreastShape, grid: Grid) -> Floats:
    """Lay polar noise (distance, angle) around a point behind the nipple, [H, W]."""
    y, x = grid.axes()
    nipple_x, nipple_y = _nipple(shape)
    behind = nipple_x + np.float32(1.5) - x
    angle = np.arctan2(y - nipple_y, behind) / np.float32(np.pi) * np.float32(0.5) + np.float32(0.5)
    distance = np.sqrt(behind**2 + (y - nipple_y) ** 2) / np.float32(_STRETCH)
    column = angle * np.float32(_DUCTS.width / grid.pixel) - np.float32(0.5)
    row = distance / np.float32(grid.pixel) - np.float32(0.5)
    ducts = cv2.remap(polar, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(ducts, np.float32)


def _envelope(shape: BreastShape, y: Floats, x: Floats, depth: Floats) -> Floats:
    """Relative density of glandular tissue, [H, W]: high behind the nipple, low under the skin."""
    half = np.where(y < shape.centre, np.float32(shape.upper), np.float32(shape.lower))
    across = (x - np.float32(shape.tissue * shape.depth)) / np.float32(0.50 * shape.depth)
    down = (y - np.float32(shape.centre)) / (np.float32(0.55) * half)
    under_skin = np.exp(np.minimum((0.3 - depth) / np.float32(0.5), 30))
    return np.asarray(-0.8 * (across**2 + down**2 + under_skin), np.float32)


def _pectoral(size: tuple[float, float], y: Floats, x: Floats, lumps: Floats) -> Floats:
    """Pectoral muscle, [H, W] 0-1: a triangle at the upper chest wall with a slightly curved edge."""
    width, length = (np.float32(each) for each in size)
    curve = 0.10 * np.sin(np.float32(np.pi) * np.clip(y / length, 0, 1))
    return _sigmoid(45 * (1 - x / width - y / length + curve + 0.015 * lumps))


def _sigmoid(value: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(value, -30, 30))), np.float32)
