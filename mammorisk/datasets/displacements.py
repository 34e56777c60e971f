"""The displacement between the last two exams of a sample, where it need not be found while training."""

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
    """Gives the displacement of a pair of images of one breast and view; loader workers ask it."""

    @property
    def size(self) -> tuple[int, int]:
        """(h, w) of all its fields."""
        ...

    def read(self, current: int, prior: int) -> Floats:
        """Where each place of the current image lies in the prior one: (dy, dx) in pixels of h x w, [2, h, w].

        Args:
            current: row of the split's cohort table.
            prior: likewise.

        Raises:
            UserError: it cannot be read.
        """
        ...


@dataclass(frozen=True)
class DisplacementRequest:
    """For which pairs of images of a split fields are wanted, and in what form."""

    table: pd.DataFrame  # the split's cohort table
    pairs: Ints  # [P, 2] | rows of it: current, prior
    image_size: tuple[int, int]  # (H, W) of the images the model is given
    orientation: str  # native | left: right breasts are mirrored
    field_size: tuple[int, int]  # (h, w) of the grid on which the model warps

    @property
    def mirrored(self) -> npt.NDArray[np.bool_]:
        """[rows], which images the model is given mirrored."""
        return mirrored(self.table, self.orientation)


def mirrored(table: pd.DataFrame, orientation: str) -> npt.NDArray[np.bool_]:
    """[rows], which images of a cohort table are mirrored on loading: with ``left``, those of right breasts."""
    is_right: npt.NDArray[np.bool_] = (table["laterality"] == "R").to_numpy()
    return is_right & (orientation == "left")


def last_pairs(samples: SampleTable) -> Ints:
    """Rows (current, prior) of the pairs of images in the last two exams of samples, each pair once, [P, 2].

    Views that lack one of the two, and exams that stand in for their own prior (``zero_gap``), make no pair.
    """
    images = samples.images[:, -2:]  # [N, T, V] -> [N, 2, V]
    if images.shape[1] < 2:
        return np.empty((0, 2), dtype=np.int64)
    prior, current = images[:, 0].ravel(), images[:, 1].ravel()
    pairs = np.stack((current, prior), axis=1)[(prior >= 0) & (current >= 0) & (prior != current)]
    return np.unique(pairs, axis=0)
