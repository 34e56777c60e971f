"""Randomly damaged DICOM files: bytes, lengths, tags, ends."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pydicom

from helpers.dicom_files import BIG, DEFLATED, LITTLE, breast, table, write, write_lossless_jpeg

SYNTAXES = (LITTLE, BIG, DEFLATED, "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90")
_HEADER = 1500  # bytes: tags, tables and the beginning of the pixels


def damaged_files(folder: Path, count: int, seed: int) -> list[Path]:
    """Write ``count`` damaged files, the same for the same seed."""
    whole = [path.read_bytes() for path in _whole_files(folder / "whole")]
    draw = np.random.default_rng(seed)
    paths = []
    for number in range(count):
        path = folder / "d" / f"{number:04d}.dcm"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(_damaged(whole[number % len(whole)], draw))
        paths.append(path)
    return paths


def _whole_files(folder: Path) -> list[Path]:
    pixels, paths = breast(120, 90), []
    for syntax in SYNTAXES:
        tags = {"WindowCenter": [2000, 1000], "WindowWidth": [3000, 2000]}
        if syntax != BIG:
            tags["VOILUTSequence"] = table(list(range(0, 4096, 64)), 100, 12)  # type: ignore[assignment]
        paths.append(write(folder / f"{len(paths)}.dcm", pixels, syntax=syntax, **tags))
    return [*paths, write_lossless_jpeg(folder / "jpeg.dcm", pixels)]


def _damaged(data: bytes, draw: np.random.Generator) -> bytes:
    how = draw.integers(6)
    if how == 5:
        return _other_tags(data, draw)
    if how == 4:
        return data[: draw.integers(len(data))]
    bytes_ = bytearray(data)
    first, last = ((132, _HEADER), (_HEADER, len(data)), (132, len(data)), (132, 600))[how]
    for _ in range(int(draw.integers(1, 25))):
        place = int(draw.integers(first, last))
        if draw.random() < 0.2:  # lengths and counts
            bytes_[place : place + 2] = bytes(draw.choice([0, 1, 255, 127], 2).astype(np.uint8))
        else:
            bytes_[place] = int(draw.integers(256))
    return bytes(bytes_)


def _other_tags(data: bytes, draw: np.random.Generator) -> bytes:
    """Remove or change some tags of a file that stays well-formed."""
    dataset = pydicom.dcmread(io.BytesIO(data))
    numbers = ("Rows", "Columns", "BitsStored", "BitsAllocated", "HighBit", "SamplesPerPixel", "PixelRepresentation")
    for _ in range(int(draw.integers(1, 4))):
        name = str(draw.choice([element.keyword for element in dataset if element.keyword]))
        if draw.random() < 0.4:
            del dataset[name]
        elif name in numbers:
            setattr(dataset, name, int(draw.choice([0, 1, 2, 7, 8, 12, 13, 16, 32, 119, 60000])))
        else:
            dataset.PhotometricInterpretation = str(draw.choice(["MONOCHROME1", "RGB", "MONOCHROME3"]))
            dataset.WindowWidth = [int(draw.integers(-3, 4)), 0]
            dataset.NumberOfFrames = int(draw.choice([0, 1, 2, 99999]))
    made = io.BytesIO()
    pydicom.dcmwrite(made, dataset)
    return made.getvalue()
