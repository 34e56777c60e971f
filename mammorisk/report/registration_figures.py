"""Pictures of registered pairs: the warped prior exam, and where the displacement stretches or folds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mammorisk.registration.objectives import jacobian_determinant, ncc
from mammorisk.registration.scores import folded_percent
from mammorisk.system.atomic_files import whole_file
from mammorisk.warping import warp

Pixels = NDArray[np.float32]

_PANELS = ("current", "prior", "warped", "grid", "before", "after", "jacobian")
_COLUMN = 2.3  # inches | width of a panel
_CELLS = 26  # of the grid, along the longer side
_FOLD = _GRID = "#FFD400"  # yellow is neither in a grey picture nor in the red and blue of the determinant
_BEYOND = "#2F5D8A"  # outside of the prior image: no tissue to compare, not a difference
_NARROWEST = 0.1  # half the width of the determinant's colours at least: rounding must not look like motion


@dataclass(frozen=True)
class PairPicture:
    """A pair of images of one breast and view, and the displacement that registers them."""

    current: Pixels  # [H, W], 0 or more | the fixed image
    prior: Pixels  # [H, W], in the same unit | the moving image
    displacement: Pixels  # [2, H, W] pixels | (dy, dx): current(r, c) lies at prior(r + dy, c + dx)
    name: str = ""  # title of the picture


@dataclass(frozen=True)
class _Panels:
    """The contents of a pair's panels."""

    pair: PairPicture
    warped: Pixels  # [H, W]
    beyond: NDArray[np.bool_]  # [H, W] | the displacement leaves the prior image
    determinant: Pixels  # [H-1, W-1]
    ncc: tuple[float, float]  # before, after
    folded: float  # %
    white: float  # grey value drawn white
    unlike: float  # difference drawn white
    spread: float  # of the determinant, on either side of 1


def registration_picture(pair: PairPicture, path: Path) -> None:
    """Draw a pair as one PNG: current, prior, warped prior, grid; differences before and after, Jacobian determinant.

    Both differences have one grey scale, and so have the three images. The grid is that of the current image, drawn
    at its place in the prior one. Blue: outside of the prior image; yellow: folds, drawn wide enough to be seen.

    Args:
        pair: images and displacement.
        path: the PNG, written atomically; its folder exists.

    Raises:
        ValueError: images and displacement differ in size.
    """
    panels = _prepare(pair)
    rows, columns = pair.current.shape
    height = _COLUMN * rows / columns
    figure = _figure((4 * _COLUMN + 0.6, 2 * height + 1.1))
    if pair.name:
        figure.suptitle(pair.name, fontsize=11)
    places = [["current", "prior", "warped", "grid"], ["before", "after", "jacobian", "scale"]]
    axes: dict[str, Axes] = figure.subplot_mosaic(places)  # type: ignore[arg-type]
    colours = _draw(axes, panels)
    axes["scale"].axis("off")
    _label(axes, panels)
    for name, place, words in (
        ("after", (0.10, 0.08, 0.06, 0.84), "|difference|"),
        ("jacobian", (0.60, 0.08, 0.06, 0.84), "determinant (yellow: folds)"),
    ):
        bar = figure.colorbar(
            colours[name], cax=axes["scale"].inset_axes(place), extend="max" if name == "after" else "both"
        )
        bar.set_label(words, fontsize=8)
        bar.ax.tick_params(labelsize=7)
    _save(figure, path)


def registration_contact(pairs: Sequence[PairPicture], path: Path) -> None:
    """Draw several pairs into one PNG, a row each, with the panels of ``registration_picture``.

    Args:
        pairs: images and displacements of any size, drawn at one size.
        path: the PNG, written atomically; its folder exists.

    Raises:
        ValueError: no pairs, or images and displacement of one differ in size.
    """
    if not pairs:
        raise ValueError("Expected at least one pair; found none.")
    rows, columns = pairs[0].current.shape
    height = 0.75 * _COLUMN * rows / columns + 0.2
    figure = _figure((0.75 * _COLUMN * len(_PANELS) + 0.3, height * len(pairs) + 0.3))
    grid = figure.subplots(len(pairs), len(_PANELS), squeeze=False)
    for number, (line, pair) in enumerate(zip(grid, pairs, strict=True)):
        panels, axes = _prepare(pair), dict(zip(_PANELS, line, strict=True))
        _draw(axes, panels)
        _label(axes, panels, size=7, named=number == 0)
        line[0].set_ylabel(pair.name, fontsize=7)
    _save(figure, path)


def _prepare(pair: PairPicture) -> _Panels:
    current, prior, displacement = (
        torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))[None]
        for values in (pair.current[None], pair.prior[None], pair.displacement)
    )
    warped = warp(prior, displacement)  # raises unless the sizes agree
    beyond = (warp(torch.ones_like(prior), displacement) < 0.99)[0, 0].numpy()  # partly outside is too dark as well
    determinant = jacobian_determinant(displacement)[0].numpy()
    off = np.abs(determinant - 1)[determinant > 0]
    before, after = ((current - other).abs()[0, 0].numpy() for other in (prior, warped))
    return _Panels(
        pair,
        warped[0, 0].numpy(),
        beyond,
        determinant,
        (float(ncc(current, prior)), float(ncc(current, warped))),
        float(folded_percent(displacement)),
        white=_top(torch.stack((current, prior)).numpy()),
        unlike=_top(np.stack((before, np.where(beyond, 0, after)))),
        spread=float(np.clip(np.quantile(off, 0.99), _NARROWEST, 1)) if off.size else 1.0,
    )


def _top(values: Pixels) -> float:
    """The value drawn white: a high quantile, since a single pixel may be an outlier; 1 if all are 0."""
    return float(np.quantile(values, 0.998)) or float(values.max()) or 1.0


def _draw(axes: Mapping[str, Axes], panels: _Panels) -> dict[str, ScalarMappable]:
    """Fill the axes of ``_PANELS``; return the mappables by name, for colour bars."""
    pair = panels.pair
    grey: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": panels.white}
    difference = grey | {"vmax": panels.unlike}
    drawn: dict[str, ScalarMappable] = {
        "current": axes["current"].imshow(pair.current, **grey),
        "prior": axes["prior"].imshow(pair.prior, **grey),
        "warped": axes["warped"].imshow(panels.warped, **grey),
        "before": axes["before"].imshow(np.abs(pair.current - pair.prior), **difference),
        "after": axes["after"].imshow(np.abs(pair.current - panels.warped), **difference),
    }
    for name in ("warped", "after"):
        _mark(axes[name], panels.beyond, _BEYOND)
    axes["grid"].imshow(pair.prior, **grey | {"vmax": 1.6 * panels.white})  # darker, for the lines
    _draw_grid(axes["grid"], pair.displacement)
    drawn["jacobian"] = _draw_determinant(axes["jacobian"], panels)
    for name in _PANELS:
        axes[name].set_xticks([])
        axes[name].set_yticks([])
    return drawn


def _draw_grid(axes: Axes, displacement: Pixels) -> None:
    """Draw the lines of the current image's grid at their places in the prior one."""
    rows, columns = displacement.shape[1:]
    r, c = np.mgrid[0:rows, 0:columns]
    places = np.stack((c + displacement[1], r + displacement[0]), axis=-1)  # [H, W, 2] as (x, y)
    step = max(1, round(max(rows, columns) / _CELLS))
    lines = [*places[step // 2 :: step], *places.transpose(1, 0, 2)[step // 2 :: step]]
    axes.add_collection(LineCollection(lines, colors=_GRID, linewidths=0.5), autolim=False)
    axes.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5))


def _draw_determinant(axes: Axes, panels: _Panels) -> ScalarMappable:
    """White at 1, red where the prior is spread out, blue where it is pressed together; folds in one bright colour."""
    determinant = panels.determinant
    colours = axes.imshow(determinant, cmap="RdBu", vmin=1 - panels.spread, vmax=1 + panels.spread)
    side = 1 + 2 * math.ceil(max(determinant.shape) / 400)  # a panel has fewer pixels than the image
    folds = cv2.dilate((~(determinant > 0)).astype(np.uint8), np.ones((side, side), np.uint8))
    _mark(axes, folds > 0, _FOLD)
    return colours


def _mark(axes: Axes, where: NDArray[np.bool_], colour: str) -> None:
    layer = np.ma.masked_where(~where, np.ones(where.shape))
    axes.imshow(layer, cmap=ListedColormap([colour]), interpolation="nearest")


def _label(axes: Mapping[str, Axes], panels: _Panels, size: int = 9, named: bool = True) -> None:
    before, after = panels.ncc
    titles = {  # title and score of a panel
        "current": ("current", ""),
        "prior": ("prior", ""),
        "warped": ("prior, warped", ""),
        "grid": ("current's grid in the prior", ""),
        "before": ("|difference| before", f"NCC {before:.3f}"),
        "after": ("|difference| after", f"NCC {after:.3f}"),
        "jacobian": ("Jacobian determinant", f"{panels.folded:.2f} % folded"),
    }
    for name, (title, score) in titles.items():
        words = [title, score] if named else [score]
        axes[name].set_title("\n".join(word for word in words if word), fontsize=size, pad=3)


def _figure(size: tuple[float, float]) -> Figure:
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Figure, path: Path) -> None:
    with whole_file(path) as unfinished:
        figure.savefig(unfinished, format="png", dpi=130)
