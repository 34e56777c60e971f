"""Matplotlib figures as inline SVG, in the colours of the page's style, light or dark."""

from __future__ import annotations

import re
from collections.abc import Sequence
from io import StringIO
from typing import Any, cast

import matplotlib
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

# Drawn in these colours, which the SVG replaces by the page's variables.
INK, QUIET, GRID = "#010203", "#020304", "#030405"
SERIES = ("#040506", "#050607", "#060708", "#070809", "#08090a")
LINES = ("-", (0, (5, 1.5)), (0, (2, 1)), (0, (6, 1.5, 1, 1.5)), (0, (1, 1)))  # distinguishable in grey as well
MARKS = ("o", "s", "^", "D", "v")
_VARIABLES = {INK: "ink", QUIET: "quiet", GRID: "grid"} | {
    colour: f"series-{number + 1}" for number, colour in enumerate(SERIES)
}
_STYLE = {
    "svg.fonttype": "none",  # text stays text, for screen readers, search and copying
    "svg.hashsalt": "mammorisk",  # the same figure is the same text
    "font.family": "sans-serif",
    "font.size": 10,
    "text.parse_math": False,  # names come from cohorts and checkpoints: two $ in one would be read as a formula
    "text.color": INK,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.titlesize": 10,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "axes.axisbelow": True,
}


class Drawing:
    """A figure with its axes; ``with`` sets its style."""

    def __init__(self, width: float, height: float, rows: int = 1, columns: int = 1) -> None:
        self.size, self.shape = (width, height), (rows, columns)  # inches

    def __enter__(self) -> Drawing:
        self._context = matplotlib.rc_context(cast(Any, _STYLE))
        self._context.__enter__()
        self.figure = Figure(figsize=self.size, layout="constrained")
        FigureCanvasSVG(self.figure)
        self.panels: Sequence[Axes] = list(self.figure.subplots(*self.shape, squeeze=False).ravel())
        return self

    def __exit__(self, *error: object) -> None:
        self._context.__exit__(None, None, None)

    def svg(self, name: str, title: str) -> Markup:
        """The figure as an element; inside ``with``.

        Args:
            name: prefix of every id, unique in the page.
            title: for readers who do not see it.
        """
        text = StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        self.figure.savefig(text, format="svg", transparent=True, metadata=nothing)
        return Markup(_inline(text.getvalue(), name, title))


def _inline(text: str, name: str, title: str) -> str:
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r'\b(id="|url\(#|href="#)', rf"\g<1>{name}-", text)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*pt"', r"\1", re.sub(r'(<svg[^>]*?) height="[^"]*pt"', r"\1", text))
    text = text.replace("'DejaVu Sans', ", "").replace("'Bitstream Vera Sans', ", "")
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var(--{variable})")
    label = f'role="img" aria-labelledby="{name}-title"'
    return re.sub(r"<svg([^>]*)>", rf'<svg\1 {label}><title id="{name}-title">{escape(title)}</title>', text, count=1)
