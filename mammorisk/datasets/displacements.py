"""Source of displacements between the last two exams of a sample, for a training that does not compute them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from mammorisk.datasets.samples import SampleTable

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


class DisplacementSource(Protocol):
    """Source of the displacement of two images of one breast and view; loader workers read from it."""

    @property
    def size(self) -> tuple[int, int]:
        """Grid (h, w) of all its displacements."""
        ...

    def read(self, current: int, prior: int) -> Floats:
        """Read the displacement from the current to the prior image: (dy, dx) in pixels of h x w, [2, h, w].

        Args:
            current: row of the split's cohort table.
            prior: likewise.

        Raises:
            UserError: it cannot be read.
        """
        ...


@dataclass(frozen=True)
class DisplacementRequest:
    """Request for the displacements of a split's image pairs, with their form."""

    table: pd.DataFrame  # the split's cohort table
    pairs: Ints  # [P, 2] | rows of it: current, prior
    image_size: tuple[int, int]  # (H, W) of the model's input images
    orientation: str  # native | left: right breasts are mirrored
    field_size: tuple[int, int]  # (h, w) of the grid on which the model warps

    @property
    def mirrored(self) -> npt.NDArray[np.bool_]:
        """Flag the images that the model gets mirrored, [rows]."""
        return mirrored(self.table, self.orientation)


def mirrored(table: pd.DataFrame, orientation: str) -> npt.NDArray[np.bool_]:
    """Flag the images of a cohort table that are mirrored on loading, [rows]: with ``left``, those of right breasts."""
    is_right: npt.NDArray[np.bool_] = (table["laterality"] == "R").to_numpy()
    return is_right & (orientation == "left")


def last_pairs(samples: SampleTable) -> Ints:
    """List the image pairs of the last two exams of samples as rows (current, prior), each pair once, [P, 2].

    A view that lacks one of the two images makes no pair, nor does an exam that is its own prior (``zero_gap``).
    """
    images = samples.images[:, -2:]  # [N, T, V] -> [N, 2, V]
    if images.shape[1] < 2:
        return np.empty((0, 2), dtype=np.int64)
    prior, current = images[:, 0].ravel(), images[:, 1].ravel()
    pairs = np.stack((current, prior), axis=1)[(prior >= 0) & (current >= 0) & (prior != current)]
    return np.unique(pairs, axis=0)
