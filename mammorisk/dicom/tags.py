"""Tags of a DICOM header that describe the image, as plain typed values."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.uid import UID

from mammorisk.dicom.elements import number, values, whole, word
from mammorisk.dicom.tables import LookupTable, read_tables
from mammorisk.dicom.window import Window, read_windows

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
        """Lowest and highest possible value of a pixel."""
        half = 2 ** (self.bits_stored - 1)
        return (-half, half - 1) if self.signed else (0, 2 * half - 1)


def read_tags(dataset: Dataset, transfer_syntax: str) -> Tags:
    """Read the tags of a dataset; exceptions of pydicom for damaged ones are not caught here.

    Raises:
        Refused: a look-up table that contradicts itself.
    """
    little_endian = not transfer_syntax or UID(transfer_syntax).is_little_endian
    modality_luts = read_tables(dataset.get("ModalityLUTSequence"), little_endian)
    return Tags(
        transfer_syntax=transfer_syntax,
        sop_class=word(dataset, "SOPClassUID"),
        modality=word(dataset, "Modality"),
        intent=word(dataset, "PresentationIntentType"),
        photometric=word(dataset, "PhotometricInterpretation"),
        samples=whole(dataset, "SamplesPerPixel", 1),
        frames=whole(dataset, "NumberOfFrames", 1) or 1,
        rows=whole(dataset, "Rows"),
        columns=whole(dataset, "Columns"),
        bits_allocated=whole(dataset, "BitsAllocated"),
        bits_stored=whole(dataset, "BitsStored"),
        high_bit=whole(dataset, "HighBit", whole(dataset, "BitsStored") - 1),
        signed=whole(dataset, "PixelRepresentation") == 1,
        laterality=side(word(dataset, "ImageLaterality") or word(dataset, "Laterality")),
        view=_view(dataset),
        patient_orientation=tuple(str(value).upper() for value in values(dataset, "PatientOrientation")),
        slope=number(dataset, "RescaleSlope", 1.0),
        intercept=number(dataset, "RescaleIntercept", 0.0),
        modality_lut=modality_luts[0] if modality_luts else None,
        voi_luts=read_tables(dataset.get("VOILUTSequence"), little_endian),
        windows=read_windows(dataset),
        shape=word(dataset, "PresentationLUTShape"),
        padding=_padding(dataset),
        spacing=_spacing(dataset),
        manufacturer=word(dataset, "Manufacturer"),
    )


def side(laterality: str) -> str:
    """Laterality as L, R or "", from the spellings of files and tables."""
    return _SIDES.get(laterality.strip().upper(), "")


def _view(dataset: Dataset) -> str:
    position = word(dataset, "ViewPosition")
    if position:
        return position
    codes = [str(item.get("CodeValue", "")) for item in dataset.get("ViewCodeSequence") or ()]
    return "CC" if set(codes) & set(_CC) else "MLO" if set(codes) & set(_MLO) else ""


def _padding(dataset: Dataset) -> tuple[int, int] | None:
    padding = values(dataset, "PixelPaddingValue")
    if not padding:
        return None
    first = int(padding[0])
    last = whole(dataset, "PixelPaddingRangeLimit", first)
    return min(first, last), max(first, last)


def _spacing(dataset: Dataset) -> tuple[float, float] | None:
    spacing = [float(value) for value in values(dataset, "ImagerPixelSpacing") or values(dataset, "PixelSpacing")]
    return (spacing[0], spacing[1]) if len(spacing) == 2 and min(spacing) > 0 else None
