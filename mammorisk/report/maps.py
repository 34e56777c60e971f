"""Maps of a model over mammograms, as small PNGs."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

COLOURS = "viridis"  # perceptually uniform, distinguishable with every kind of colour vision
STRONGEST = 0.6  # opacity of a map where it is highest: the mammogram shows through
PANEL_WIDTH, DPI, PALETTE = 2.0, 100, 128


@dataclass(frozen=True)
class Panel:
    """One mammogram of a picture, in the orientation of display."""

    title: str
    image: NDArray[np.float32]  # [H, W] in [0, 1]
    overlay: NDArray[np.float32] | None = None  # [h, w] >= 0 | over the whole image, whatever its size


def draw_panels(panels: Sequence[Panel], columns: int, unit: str = "") -> bytes:
    """Mammograms in rows of ``columns``, the maps over them in one scale with one colour bar.

    Args:
        panels: row by row.
        columns: panels of a row.
        unit: of the maps, beside the colour bar.

    Returns:
        A PNG with a palette.

    Raises:
        ValueError: no panels.
    """
    if not panels:
        raise ValueError("Expected at least one panel to draw, found none.")
    rows = -(-len(panels) // columns)
    height, width = panels[0].image.shape
    size = (columns * PANEL_WIDTH + 0.8, rows * (PANEL_WIDTH * height / width + 0.3))
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    canvas: Any = FigureCanvasAgg(figure)  # not typed
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    maps = [panel.overlay for panel in panels if panel.overlay is not None]
    scale = Normalize(0.0, max([float(each.max()) for each in maps], default=0.0) or 1.0)
    for place in axes:
        place.set_axis_off()
    for place, panel in zip(axes, panels, strict=False):
        rows_, columns_ = panel.image.shape
        extent = (0.0, float(columns_), float(rows_), 0.0)
        place.imshow(panel.image, cmap="gray", vmin=0, vmax=1, extent=extent)
        place.set_title(panel.title, fontsize=8)
        if panel.overlay is not None:
            opacity = STRONGEST * np.clip(scale(panel.overlay), 0, 1)
            place.imshow(panel.overlay, cmap=COLOURS, norm=scale, alpha=np.asarray(opacity), extent=extent)
    if maps:
        bar = figure.colorbar(ScalarMappable(scale, COLOURS), ax=list(axes), shrink=0.8, aspect=30)
        bar.set_label(unit, fontsize=8)
        bar.ax.tick_params(labelsize=7)
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").quantize(PALETTE)
    written = io.BytesIO()
    picture.save(written, "PNG", optimize=True)
    return written.getvalue()
