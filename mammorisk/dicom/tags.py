"""What the header of a DICOM file says about its image, as plain typed values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import UID

from mammorisk.dicom.tables import LookupTable, Window, read_tables

_CC, _MLO = ("R-10242", "399162004"), ("R-10226", "399368009")  # SNOMED codes of the views
_SIDES = {"L": "L", "LEFT": "L", "R": "R", "RIGHT": "R"}
PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


@dataclass(frozen=True)
class Tags:
    """The header; numbers that are missing are 0, words "" and upper-case."""

    transfer_syntax: str = ""
    sop_class: str = ""
    modality: str = ""
    intent: str = ""  # FOR PRESENTATION | FOR PROCESSING
    photometric: str = ""
    samples: int = 1
    frames: int = 1
    rows: int = 0
    columns: int = 0
    bits_allocated: int = 0
    bits_stored: int = 0
    high_bit: int = 0
    signed: bool = False
    laterality: str = ""  # L | R
    view: str = ""  # CC | MLO | another word
    patient_orientation: tuple[str, ...] = ()
    slope: float = 1.0
    intercept: float = 0.0
    modality_lut: LookupTable | None = None
    voi_luts: tuple[LookupTable, ...] = ()
    windows: tuple[Window, ...] = ()
    shape: str = ""  # presentation: IDENTITY | INVERSE
    padding: tuple[int, int] | None = None  # stored values from, to
    spacing: tuple[float, float] | None = None  # mm between rows, columns at the detector
    manufacturer: str = ""

    @property
    def stored_range(self) -> tuple[int, int]:
        """Lowest and highest value that a pixel can have."""
        half = 2 ** (self.bits_stored - 1)
        return (-half, half - 1) if self.signed else (0, 2 * half - 1)


def read_tags(dataset: Dataset, transfer_syntax: str) -> Tags:
    """Read the tags of a dataset; whatever pydicom raises for damaged ones is not caught here.

    Raises:
        Refused: a look-up table that contradicts itself.
    """
    little_endian = not transfer_syntax or UID(transfer_syntax).is_little_endian
    modality_luts = read_tables(dataset.get("ModalityLUTSequence"), little_endian)
    return Tags(
        transfer_syntax=transfer_syntax,
        sop_class=_word(dataset, "SOPClassUID"),
        modality=_word(dataset, "Modality"),
        intent=_word(dataset, "PresentationIntentType"),
        photometric=_word(dataset, "PhotometricInterpretation"),
        samples=_whole(dataset, "SamplesPerPixel", 1),
        frames=_whole(dataset, "NumberOfFrames", 1) or 1,
        rows=_whole(dataset, "Rows"),
        columns=_whole(dataset, "Columns"),
        bits_allocated=_whole(dataset, "BitsAllocated"),
        bits_stored=_whole(dataset, "BitsStored"),
        high_bit=_whole(dataset, "HighBit", _whole(dataset, "BitsStored") - 1),
        signed=_whole(dataset, "PixelRepresentation") == 1,
        laterality=side(_word(dataset, "ImageLaterality") or _word(dataset, "Laterality")),
        view=_view(dataset),
        patient_orientation=tuple(str(value).upper() for value in _many(dataset, "PatientOrientation")),
        slope=_number(dataset, "RescaleSlope", 1.0),
        intercept=_number(dataset, "RescaleIntercept", 0.0),
        modality_lut=modality_luts[0] if modality_luts else None,
        voi_luts=read_tables(dataset.get("VOILUTSequence"), little_endian),
        windows=_windows(dataset),
        shape=_word(dataset, "PresentationLUTShape"),
        padding=_padding(dataset),
        spacing=_spacing(dataset),
        manufacturer=_word(dataset, "Manufacturer"),
    )


def side(word: str) -> str:
    """L, R or "" of a laterality as files and tables write it."""
    return _SIDES.get(word.strip().upper(), "")


def _many(dataset: Dataset, name: str) -> list[Any]:
    value = dataset.get(name)
    if value is None or value == "":
        return []
    return [value] if isinstance(value, str | int | float) else list(value)


def _word(dataset: Dataset, name: str) -> str:
    return str((_many(dataset, name) or [""])[0]).strip().upper()


def _whole(dataset: Dataset, name: str, default: int = 0) -> int:
    return int((_many(dataset, name) or [default])[0])


def _number(dataset: Dataset, name: str, default: float) -> float:
    value = float((_many(dataset, name) or [default])[0])
    return value if math.isfinite(value) else default


def _view(dataset: Dataset) -> str:
    word = _word(dataset, "ViewPosition")
    if word:
        return word
    codes = [str(item.get("CodeValue", "")) for item in dataset.get("ViewCodeSequence") or ()]
    return "CC" if set(codes) & set(_CC) else "MLO" if set(codes) & set(_MLO) else ""


def _windows(dataset: Dataset) -> tuple[Window, ...]:
    function = _word(dataset, "VOILUTFunction") or "LINEAR"
    centres, widths = _many(dataset, "WindowCenter"), _many(dataset, "WindowWidth")
    return tuple(Window(float(c), float(w), function) for c, w in zip(centres, widths, strict=False))


def _padding(dataset: Dataset) -> tuple[int, int] | None:
    values = _many(dataset, "PixelPaddingValue")
    if not values:
        return None
    first = int(values[0])
    last = _whole(dataset, "PixelPaddingRangeLimit", first)
    return min(first, last), max(first, last)


def _spacing(dataset: Dataset) -> tuple[float, float] | None:
    values = [float(value) for value in _many(dataset, "ImagerPixelSpacing") or _many(dataset, "PixelSpacing")]
    return (values[0], values[1]) if len(values) == 2 and min(values) > 0 else None
