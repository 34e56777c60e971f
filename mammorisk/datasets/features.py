"""What a frozen image encoder says of the images of a split, where it need not be asked while training."""

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
    """Gives the features of an image; loader workers ask it."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, h, w) of all its features."""
        ...

    def read(self, row: int) -> Floats:
        """The features [C, h, w] of the image in a row of the split's cohort table.

        Raises:
            UserError: they cannot be read.
        """
        ...


@dataclass(frozen=True)
class FeatureRequest:
    """Of which images of a split features are wanted, and in what form the encoder gets them."""

    table: pd.DataFrame  # the split's cohort table
    rows: Ints  # [P] | of it
    image_size: tuple[int, int]  # (H, W) of the images
    orientation: str  # native | left: right breasts are mirrored

    @property
    def mirrored(self) -> npt.NDArray[np.bool_]:
        """[rows of the table], which images the encoder is given mirrored."""
        return mirrored(self.table, self.orientation)


def shown_rows(samples: SampleTable) -> Ints:
    """Rows of the images that samples show, each once, [P]."""
    rows: Ints = np.unique(samples.images[samples.images >= 0]).astype(np.int64)
    return rows
