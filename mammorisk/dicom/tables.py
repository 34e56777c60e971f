"""Look-up tables of a DICOM file, as plain numbers (PS3.3 C.11.1, C.11.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from mammorisk.dicom.refusals import Refused

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LookupTable:
    """Look-up table; the first and last entry also hold for all inputs beyond them."""

    first: int  # input value of the first entry
    entries: NDArray[np.int64]
    bits: int  # per entry: the output goes from 0 to top

    @property
    def top(self) -> int:
        """Largest possible output."""
        return int(2**self.bits - 1)

    def apply(self, values: Floats) -> Floats:
        """Look up values (PS3.3 C.11.1.1.1)."""
        places = np.clip(np.floor(values) - self.first, 0, len(self.entries) - 1)
        return np.asarray(self.entries[places.astype(np.int64)], dtype=np.float64)


def read_tables(items: Sequence[Dataset] | None, little_endian: bool) -> tuple[LookupTable, ...]:
    """Read the tables of a Modality or VOI LUT sequence.

    Raises:
        Refused: a table whose description and length do not agree.
    """
    return tuple(_read_table(item, little_endian) for item in items or ())


def _read_table(item: Dataset, little_endian: bool) -> LookupTable:
    count, first, bits = (int(value) for value in item.LUTDescriptor)
    count = (count & 0xFFFF) or 65536  # 16 bits cannot hold 65536
    data = item.LUTData
    if isinstance(data, bytes):
        width = "u1" if len(data) in (count, count + 1) and bits <= 8 and count > 1 else "u2"
        kind = np.dtype(width).newbyteorder("<" if little_endian else ">")
        entries = np.frombuffer(data[: len(data) - len(data) % kind.itemsize], kind).astype(np.int64)
    else:
        entries = np.atleast_1d(np.asarray(data, dtype=np.int64)) & 0xFFFF
    if not 1 <= bits <= 16 or len(entries) < count:
        raise Refused(
            "grey_scale",
            f"a look-up table declares {count} entries of {bits} bits, but holds {len(entries)} entries; try "
            "conversion.voi=window or none.",
        )
    entries = entries[:count]
    if entries.max() >= 2**bits:
        raise Refused(
            "grey_scale",
            f"a look-up table of {bits}-bit entries holds {entries.max()}; try conversion.voi=window or none.",
        )
    return LookupTable(first, entries, bits)
