"""Dataset of samples as tensors, the same class for every model and every cohort."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from typing import Any, cast

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from mammorisk.batch import Batch, collate, unit_range
from mammorisk.datasets.displacements import DisplacementSource, mirrored
from mammorisk.datasets.features import FeatureSource
from mammorisk.datasets.images import ImageSource, decode_image, read_file
from mammorisk.datasets.samples import WORDS, SampleTable
from mammorisk.errors import UserError


class RiskDataset(Dataset[Batch]):
    """Samples of one split with their images.

    Args:
        samples: sample table of the split.
        table: cohort table of the split from which ``samples`` were built (one row per image).
        image_size: H, W of the images given to the model.
        orientation: ``native``, or ``left``: right breasts are mirrored so that every chest wall is at the left, as
            in the training of Mirai's encoder (docs/pitfalls.md#p31).
        displacements: source of the displacement between the last two exams; None: samples have none.
        store: source of decoded images, equal to their files to the last bit; None: files are decoded.
        features: source of a frozen encoder's features; None: samples have none.
        with_images: whether images are read; else those of a sample have no pixels, [T, V, 1, 0, 0].
    """

    def __init__(
        self,
        samples: SampleTable,
        table: pd.DataFrame,
        image_size: tuple[int, int],
        orientation: str = "native",
        displacements: DisplacementSource | None = None,
        store: ImageSource | None = None,
        features: FeatureSource | None = None,
        with_images: bool = True,
    ) -> None:
        if orientation not in ("native", "left"):
            raise ValueError(f"orientation: expected native or left, found {orientation!r}")
        height, width = image_size
        self.samples = samples
        self.image_size = (int(height), int(width))
        # Not as Python objects: reading one changes its reference count, so that a worker copies the memory page that
        # all processes shared. Millions of strings would cost hundreds of megabytes per worker.
        self._file = pa.array(table["file"], pa.large_string())
        self._words = {name: pa.array(getattr(samples, name), pa.large_string()) for name in WORDS}
        self._csv_row = table["csv_row"].to_numpy()
        self._mirror = mirrored(table, orientation)
        self._displacements, self._store = displacements, store
        self._features, self._with_images = features, with_images

    def __len__(self) -> int:
        """Number of samples, N."""
        return len(self.samples)

    def __iter__(self) -> Iterator[Batch]:
        """Iterate over each sample once; by ``__getitem__`` alone, iteration would never end."""
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Batch:
        """Read a sample as a batch without the leading B (images [T, V, 1, H, W], lists of length 1).

        Args:
            index: i + k N for the k-th draw of sample i in an epoch.

        Raises:
            UserError: an image or displacement cannot be read; the message names the file and the row of the CSV.
        """
        sample = self._sample(index, torch.empty(self._images_of_one, dtype=torch.uint16))
        return replace(sample, images=unit_range(sample.images))

    def batch(self, indices: Sequence[int]) -> Batch:
        """Read samples as one batch for the loader; the images stay 16-bit values until ``Batch.to``.

        Args:
            indices: as for one sample.

        Raises:
            UserError: as for one sample.
        """
        images = _blank((len(indices), *self._images_of_one))
        return collate([self._sample(index, out) for index, out in zip(indices, images, strict=True)], images)

    @property
    def bytes_of_one(self) -> int:
        """Bytes of a sample in a batch of the loader: images, features and displacements."""
        exams, views = self.samples.images.shape[1:]
        size = 2 * math.prod(self._images_of_one)
        if self._features is not None:
            size += 4 * exams * views * math.prod(self._features.shape)
        if self._displacements is not None:
            size += 4 * views * 2 * math.prod(self._displacements.size)
        return size

    @property
    def _images_of_one(self) -> tuple[int, ...]:
        exams, views = self.samples.images.shape[1:]
        return exams, views, 1, *(self.image_size if self._with_images else (0, 0))

    def _sample(self, index: int, images: Tensor) -> Batch:
        """Build the sample of ``index``; its images are read into ``images`` [T, V, 1, H, W] uint16."""
        draw, index = divmod(index, len(self))
        one = self.samples.labels(np.array([index]), named=False)
        sample: dict[str, Any] = {
            f.name: value[0] for f in fields(Batch) if isinstance(value := getattr(one, f.name), Tensor)
        }
        sample |= {name: [words[index].as_py()] for name, words in self._words.items()}
        rows = self.samples.images[index]
        sample |= {"draw": [draw], "images": images}
        if self._with_images:
            _each_once(rows, images, self._read)
        if self._features is not None:
            sample["features"] = torch.empty((*rows.shape, *self._features.shape))
            _each_once(rows, sample["features"], self._read_features)
        if self._displacements is not None:
            sample["displacement"] = self._displacement(rows, self._displacements)
        return replace(one, **sample)

    @staticmethod
    def _displacement(rows: np.ndarray, source: DisplacementSource) -> Tensor:
        """Read the displacement of the last two exams, [T, V] table rows -> [V, 2, h, w]; zero for one exam twice."""
        displacement = torch.zeros((rows.shape[1], 2, *source.size))
        for view, (prior, current) in enumerate(rows[-2:].T):
            if prior >= 0 and current >= 0 and prior != current:
                displacement[view] = torch.from_numpy(source.read(int(current), int(prior)))
        return displacement

    def _read(self, row: int, out: np.ndarray) -> None:
        """Read the image of a row into ``out`` [1, H, W]."""
        file = self._file[row].as_py()
        with self._naming(row):
            if self._store is not None:
                pixels = self._store.pixels(file)
            else:
                pixels = decode_image(file, read_file(file), self.image_size)
        if self._mirror[row]:
            cv2.flip(pixels, 1, dst=out[0])
        else:
            out[0] = pixels

    def _read_features(self, row: int, out: np.ndarray) -> None:
        """Read the features of a row's image into ``out`` [C, h, w]."""
        features = cast(FeatureSource, self._features)
        with self._naming(row):
            out[...] = features.read(row)

    @contextmanager
    def _naming(self, row: int) -> Iterator[None]:
        """Add the image's row of the CSV to an error."""
        try:
            yield
        except UserError as error:
            raise UserError(
                f"{error}\nIt is named in row {self._csv_row[row]} of the cohort CSV. dataset.on_error=skip leaves out "
                "images that cannot be read, and counts them."
            ) from error


def _each_once(rows: np.ndarray, values: Tensor, read: Callable[[int, np.ndarray], None]) -> None:
    """Fill ``values`` [T, V, ...] of table rows [T, V] by ``read``, each row read once; zeros if there is no row."""
    for absent in np.argwhere(rows < 0):
        values[tuple(absent)] = 0
    for row in np.unique(rows[rows >= 0]):
        first, *others = map(tuple, np.argwhere(rows == row))
        read(int(row), values[first].numpy())
        for other in others:
            values[other] = values[first]


def _blank(shape: tuple[int, ...]) -> Tensor:
    """Allocate 16-bit values; a loader's worker uses shared memory, so that the training process needs no copy."""
    if get_worker_info() is None:
        return torch.empty(shape, dtype=torch.uint16)
    shared = torch.empty(0, dtype=torch.uint16)
    shared.set_(torch.UntypedStorage._new_shared(2 * math.prod(shape)))  # type: ignore # as torch's own collating does
    return shared.reshape(shape)
