"""The window of a DICOM file: WindowCenter, WindowWidth and VOILUTFunction, read and applied (PS3.3 C.11.2.1.2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset

from mammorisk.dicom.elements import values, word
from mammorisk.dicom.refusals import Refused
from mammorisk.dicom.tables import Floats

FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")


@dataclass(frozen=True)
class Window:
    """Centre, width and function of a window."""

    centre: float
    width: float
    function: str = "LINEAR"

    def apply(self, values: Floats) -> Floats:
        """Map values to 0..1; PS3.3 C.11.2.1.2.1 (LINEAR), C.11.2.1.3.1 (SIGMOID), C.11.2.1.3.2 (LINEAR_EXACT).

        Raises:
            Refused: unknown function, or a width for which it is undefined.
        """
        if self.function not in FUNCTIONS:
            raise Refused(
                "grey_scale",
                f"VOILUTFunction {self.function}: expected {', '.join(FUNCTIONS)}; try conversion.voi=none.",
            )
        smallest = 1 if self.function == "LINEAR" else np.finfo(float).tiny
        if not (np.isfinite([self.centre, self.width]).all() and self.width >= smallest):
            raise Refused(
                "grey_scale",
                f"a {self.function} window of width {self.width:g} is not defined; try conversion.voi=none.",
            )
        if self.function == "SIGMOID":
            exponent = np.clip(-4 * (values - self.centre) / self.width, -700, 700)
            return np.asarray(1 / (1 + np.exp(exponent)))
        less = 1.0 if self.function == "LINEAR" else 0.0  # pixels of width 1 against a continuous scale
        centre, width = self.centre - less / 2, self.width - less
        if width == 0:
            return np.asarray(values > centre, dtype=np.float64)
        return np.asarray(np.clip((values - centre) / width + 0.5, 0, 1))


def read_windows(dataset: Dataset) -> tuple[Window, ...]:
    """Read the alternative windows of a dataset; a centre without a width is left out."""
    function = word(dataset, "VOILUTFunction") or "LINEAR"
    centres, widths = values(dataset, "WindowCenter"), values(dataset, "WindowWidth")
    return tuple(Window(float(c), float(w), function) for c, w in zip(centres, widths, strict=False))
