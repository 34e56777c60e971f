"""Source of a frozen encoder's features of a split's images, for a training that does not compute them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from mammorisk.datasets.displacements import mirrored
from mammorisk.datasets.samples import SampleTable

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


class FeatureSource(Protocol):
    """Source of an image's features; loader workers read from it."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape (C, h, w) of all its features."""
        ...

    def read(self, row: int) -> Floats:
        """Read the features [C, h, w] of the image in a row of the split's cohort table.

        Raises:
            UserError: they cannot be read.
        """
        ...


@dataclass(frozen=True)
class FeatureRequest:
    """Request for the features of a split's images, with the form in which the encoder gets them."""

    table: pd.DataFrame  # the split's cohort table
    rows: Ints  # [P] | of it
    image_size: tuple[int, int]  # (H, W) of the images
    orientation: str  # native | left: right breasts are mirrored

    @property
    def mirrored(self) -> npt.NDArray[np.bool_]:
        """Flag the images that the encoder gets mirrored, [rows of the table]."""
        return mirrored(self.table, self.orientation)


def shown_rows(samples: SampleTable) -> Ints:
    """List the rows of the images in samples, each once, [P]."""
    rows: Ints = np.unique(samples.images[samples.images >= 0]).astype(np.int64)
    return rows
