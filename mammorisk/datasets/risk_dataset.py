"""The one dataset class: a row of a sample table to tensors, for every model and every cohort."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from torch import Tensor
from torch.utils.data import Dataset

from mammorisk.batch import Batch
from mammorisk.datasets.fields import FieldSource, mirrored
from mammorisk.datasets.image_store import ImageStore
from mammorisk.datasets.images import read_image
from mammorisk.datasets.samples import WORDS, SampleTable
from mammorisk.errors import UserError


class RiskDataset(Dataset[Batch]):
    """Samples of one split with their images.

    Args:
        samples: who is shown with whom.
        table: the cohort table of the split from which ``samples`` were built (one row per image).
        image_size: H, W of the images given to the model.
        orientation: ``native``, or ``left``: right breasts are mirrored so that every chest wall is at the left, as
            Mirai's encoder was trained (specs: pitfall 31).
        fields: where the displacement between the last two exams is known from; None: samples come without.
        store: decoded images to read instead of their files, the same to the last bit; None: there is none.
    """

    def __init__(
        self,
        samples: SampleTable,
        table: pd.DataFrame,
        image_size: tuple[int, int],
        orientation: str = "native",
        fields: FieldSource | None = None,
        store: ImageStore | None = None,
    ) -> None:
        if orientation not in ("native", "left"):
            raise ValueError(f"orientation: expected native or left, found {orientation!r}")
        height, width = image_size
        self.samples = samples
        self.image_size = (int(height), int(width))
        # Not as Python's objects: a worker that looks at one writes to it (its count of users), and so comes to own a
        # copy of the page that all processes shared. With millions of words that is hundreds of megabytes a worker.
        self._file = pa.array(table["file"], pa.large_string())
        self._words = {name: pa.array(getattr(samples, name), pa.large_string()) for name in WORDS}
        self._csv_row = table["csv_row"].to_numpy()
        self._mirror = mirrored(table, orientation)
        self._fields, self._store = fields, store

    def __len__(self) -> int:
        """N, the number of samples."""
        return len(self.samples)

    def __iter__(self) -> Iterator[Batch]:
        """Each sample once; without this, iteration would go on to further draws for ever."""
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Batch:
        """The sample as a batch without the leading B (images [T, V, 1, H, W], lists of length 1).

        Args:
            index: i + k N for the k-th draw of sample i in an epoch.

        Raises:
            UserError: an image or a field cannot be read; the message names the file and the row of the CSV.
        """
        draw, index = divmod(index, len(self))
        one = self.samples.labels(np.array([index]), named=False)
        sample: dict[str, Any] = {
            f.name: value[0] for f in fields(Batch) if isinstance(value := getattr(one, f.name), Tensor)
        }
        sample |= {name: [words[index].as_py()] for name, words in self._words.items()}
        rows = self.samples.images[index]
        sample |= {"images": self._images(rows), "draw": [draw]}
        if self._fields is not None:
            sample["displacement"] = self._displacement(rows, self._fields)
        return replace(one, **sample)

    def _images(self, rows: np.ndarray) -> Tensor:
        """[T, V] table rows -> [T, V, 1, H, W]; a repeated image is read once."""
        images = torch.empty((*rows.shape, 1, *self.image_size))
        images[torch.from_numpy(rows < 0)] = 0
        for row in np.unique(rows[rows >= 0]):
            first, *others = map(tuple, np.argwhere(rows == row))
            self._read(int(row), images[first].numpy())
            for other in others:
                images[other] = images[first]
        return images

    @staticmethod
    def _displacement(rows: np.ndarray, source: FieldSource) -> Tensor:
        """[T, V] table rows -> [V, 2, h, w], of the last two exams; an exam that is its own prior has not moved."""
        displacement = torch.zeros((rows.shape[1], 2, *source.size))
        for view, (prior, current) in enumerate(rows[-2:].T):
            if prior >= 0 and current >= 0 and prior != current:
                displacement[view] = torch.from_numpy(source.read(int(current), int(prior)))
        return displacement

    def _read(self, row: int, out: np.ndarray) -> None:
        """Read the image of a row into ``out`` [1, H, W]."""
        file, mirror = self._file[row].as_py(), bool(self._mirror[row])
        try:
            if self._store is not None:
                self._store.image(file, mirror, out)
            else:
                read_image(file, self.image_size, mirror, out)
        except UserError as error:
            raise UserError(
                f"{error}\nIt is named in row {self._csv_row[row]} of the cohort CSV. dataset.on_error=skip leaves out "
                "images that cannot be read, and counts them."
            ) from error
