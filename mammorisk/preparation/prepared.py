"""Result of reading a download: the images under our names, and the record of what was left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pandas as pd

from mammorisk.datasets.attrition import Attrition


@dataclass(frozen=True)
class Prepared:
    """A row per image: the columns of the cohort table except ``split``, and ``dicom_path`` and ``file_name``.

    ``dicom_path`` is relative to the folder of DICOMs, ``file_name`` is the PNG to be made from it.
    """

    images: pd.DataFrame
    attrition: Attrition
    notes: Sequence[str] = field(default=())  # sentences to print once


class Download(Protocol):
    """A component of ``conf/raw/``."""

    @property
    def files(self) -> Sequence[Path]:
        """The tables of the download."""

    def prepare(self) -> Prepared:
        """Read them and build the images' table; raises UserError for mistakes in them."""
