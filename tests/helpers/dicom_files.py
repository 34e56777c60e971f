"""Small mammograms as DICOM files: any photometric interpretation, table, window, depth and compression."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, generate_uid
from pydicom.uid import DigitalMammographyXRayImageStorageForPresentation as ForPresentation

LITTLE, BIG = str(ExplicitVRLittleEndian), str(ExplicitVRBigEndian)
DEFLATED = "1.2.840.10008.1.2.1.99"


def dataset(pixels: np.ndarray, bits: int = 12, syntax: str = LITTLE, **tags: Any) -> FileDataset:
    """A mammogram FOR PRESENTATION of left CC view; ``tags`` replaces or, with None, removes any tag.

    Args:
        pixels: stored values [H, W], int16 for signed ones.
        bits: stored, in 16 allocated (8 in 8).
        syntax: UID of the transfer syntax; compressed ones are encoded by pydicom's plug-ins.
        tags: by keyword.
    """
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ForPresentation
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[str(pixels.shape), str(sorted(tags))])
    meta.TransferSyntaxUID = syntax if syntax == BIG else LITTLE
    is_little = syntax != BIG
    made = FileDataset("", {}, preamble=b"\0" * 128, file_meta=meta, is_implicit_VR=False, is_little_endian=is_little)
    made.SOPClassUID, made.SOPInstanceUID = ForPresentation, meta.MediaStorageSOPInstanceUID
    made.Modality, made.PresentationIntentType = "MG", "FOR PRESENTATION"
    made.PatientID, made.PatientName = "secret", "Secret^Name"
    made.ImageLaterality, made.ViewPosition = "L", "CC"
    made.Rows, made.Columns = pixels.shape[:2]
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated = 16 if bits > 8 else 8
    made.BitsStored, made.HighBit = bits, bits - 1
    made.PixelRepresentation = int(pixels.dtype.kind == "i")
    made.ImagerPixelSpacing = [0.07, 0.07]
    kind = np.dtype(("i" if pixels.dtype.kind == "i" else "u") + str(made.BitsAllocated // 8))
    data = pixels.astype(kind.newbyteorder(">" if syntax == BIG else "<")).tobytes()
    made.PixelData = data + b"\0" * (len(data) % 2)
    made["PixelData"].VR = "OW" if bits > 8 else "OB"
    for name, value in tags.items():
        if value is None:
            del made[name]
        else:
            setattr(made, name, value)
    if UID(syntax).is_compressed and syntax != DEFLATED:
        made.compress(syntax)
    made.file_meta.TransferSyntaxUID = syntax
    return made


def write(path: Path, pixels: np.ndarray, bits: int = 12, syntax: str = LITTLE, **tags: Any) -> Path:
    """Write such a mammogram and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset(pixels, bits, syntax, **tags).save_as(path, enforce_file_format=True)
    return path


def write_lossless_jpeg(path: Path, pixels: np.ndarray, bits: int = 12, first_order: bool = True) -> Path:
    """Write such a mammogram as lossless JPEG, which pydicom does not encode and GDCM does."""
    import gdcm  # imported here: one test's need

    plain = write(path.with_suffix(".plain"), pixels, bits)
    reader, writer, change = gdcm.ImageReader(), gdcm.ImageWriter(), gdcm.ImageChangeTransferSyntax()
    reader.SetFileName(str(plain))
    assert reader.Read()
    kind = gdcm.TransferSyntax.JPEGLosslessProcess14_1 if first_order else gdcm.TransferSyntax.JPEGLosslessProcess14
    change.SetTransferSyntax(gdcm.TransferSyntax(kind))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    writer.SetFileName(str(path))
    assert writer.Write()
    plain.unlink()
    return path


def table(entries: Sequence[int], first: int, bits: int, signed: bool = False) -> list[Dataset]:
    """A Modality or VOI LUT sequence with one table."""
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if signed else "US", [len(entries) % 65536, first, bits])
    item.add_new("LUTData", "OW", struct.pack(f"<{len(entries)}H", *entries))
    return [item]


def every_value(bits: int, signed: bool = False) -> np.ndarray:
    """An image that holds every stored value once, [2^(bits/2), ...]."""
    low = -(2 ** (bits - 1)) if signed else 0
    values = np.arange(low, low + 2**bits).astype(np.int16 if signed else np.uint16)
    return values.reshape(-1, 2 ** (bits // 2))


@lru_cache(maxsize=8)
def _breast(rows: int, columns: int) -> np.ndarray:
    """Intensities 0..1 of a left breast: a half ellipse with a soft edge and texture, the chest wall at the left."""
    y, x = np.mgrid[0:rows, 0:columns].astype(np.float64)
    depth = 1 - ((x / (0.62 * columns)) ** 2 + ((y - 0.52 * rows) / (0.36 * rows)) ** 2)
    noise = np.random.default_rng(5).standard_normal((rows, columns))
    texture = cv2.GaussianBlur(noise, (0, 0), rows / 60) * rows / 60
    body = np.clip(depth * 6, 0, 1) * (0.45 + 0.12 * texture + 0.2 * np.clip(depth, 0, 1))
    return np.clip(body, 0, 1)


def breast(
    rows: int = 160, columns: int = 120, bits: int = 12, laterality: str = "L", marker: Mapping[str, Any] | bool = False
) -> np.ndarray:
    """Stored values [rows, columns] of a breast, with a view marker in the far corner if wanted."""
    image = _breast(rows, columns).copy()
    if marker:
        top, left = int(0.05 * rows), int(0.75 * columns)
        image[top : top + rows // 10, left : left + columns // 6] = 1.0
    if laterality == "R":
        image = image[:, ::-1]
    return np.ascontiguousarray(np.rint(image * (2**bits - 1)).astype(np.uint16))
