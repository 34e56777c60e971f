"""Conversion of one DICOM file to one image: the steps in their order, and facts about them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammorisk.dicom.breast import Mask, find_breast
from mammorisk.dicom.conversion_settings import Conversion
from mammorisk.dicom.framing import Box, fit
from mammorisk.dicom.grey import grey_table, interest_name, is_inverse
from mammorisk.dicom.orientation import Turn, chest_side, find_turn
from mammorisk.dicom.reading import read_dicom
from mammorisk.dicom.refusals import Refused
from mammorisk.dicom.tables import Floats
from mammorisk.dicom.tags import Tags

CONVERSION_VERSION = 1  # raise it when the same file and settings give other pixels
Pixels = NDArray[np.uint16]


@dataclass(frozen=True)
class Converted:
    """A converted image, and its origin."""

    pixels: Pixels  # [H, W]
    laterality: str  # L | R | "" where unknown
    view: str  # CC | MLO | another word, "" where unknown
    facts: dict[str, Any]  # plain values, nothing that identifies a woman
    before: Pixels  # [h, w] | the file as a viewer shows it


def convert(path: Path, conversion: Conversion, laterality: str = "", view: str = "") -> Converted:
    """Convert one file to an image.

    Args:
        path: a DICOM file.
        conversion: settings.
        laterality: L or R from a table; else the file's own tag is taken.
        view: likewise.

    Raises:
        Refused: the file is not converted; holds the reason.
    """
    tags, stored = read_dicom(path, conversion)
    table = grey_table(tags, conversion)
    before = _rounded(table)[stored]
    mask = find_breast(before) if conversion.needs_breast else np.ones(stored.shape, np.bool_)
    known = (laterality or tags.laterality, view or tags.view)
    turn = find_turn(mask, tags.patient_orientation, known, conversion)
    spread = _spread(table, stored[mask], conversion)
    pixels, mask = turn.apply(_rounded(spread)[stored]), turn.apply(mask)
    if conversion.mask:
        pixels[~mask] = 0
    box = Box.around(mask) if conversion.crop == "breast" else Box.whole(pixels)
    pixels, scale = fit(box.of(pixels), conversion.image_size, turn.chest)
    facts = {
        "rows": tags.rows,
        "columns": tags.columns,
        "bits": tags.bits_stored,
        "transfer_syntax": tags.transfer_syntax,
        "photometric": tags.photometric,
        "inverted": is_inverse(tags) if conversion.invert == "auto" else conversion.invert == "always",
        "voi": interest_name(tags, conversion),
        "transposed": turn.transposed,
        "upside_down": turn.upside_down,
        "mirrored": turn.mirrored,
        "crop": [box.top, box.left, box.bottom, box.right],
        "scale": round(scale, 6),
        "millimetres": None if tags.spacing is None else [round(mm / scale, 6) for mm in tags.spacing],
        "remark": _remark(turn, tags, laterality, mask),
    }
    return Converted(pixels, turn.laterality, known[1], facts, before)


def _spread(table: Floats, breast: Pixels, conversion: Conversion) -> Floats:
    """Map every stored value to a grey value, with the chosen range spread over 0..1.

    Raises:
        Refused: the breast has only one grey.
    """
    if conversion.intensity == "window":
        return table
    counts = np.bincount(breast, minlength=65536)
    there = np.flatnonzero(counts)
    order = there[np.argsort(table[there], kind="stable")]
    shares = np.cumsum(counts[order]) / breast.size * 100
    low, high = (
        float(table[order[min(int(np.searchsorted(shares, percentile)), len(order) - 1)]])
        for percentile in conversion.percentiles
    )
    if not high > low:
        raise Refused("no_breast", "no breast found: the region has a single grey value.")
    return np.asarray(np.clip((table - low) / (high - low), 0, 1))


def _rounded(table: Floats) -> Pixels:
    return np.rint(table * 65535).astype(np.uint16)


def _remark(turn: Turn, tags: Tags, laterality: str, mask: Mask) -> str:
    remarks = [turn.remark] if turn.remark else []
    if laterality and tags.laterality and laterality != tags.laterality:
        remarks.append(f"table {laterality}, ImageLaterality {tags.laterality}")
    if chest_side(mask) is None and not mask.all():
        remarks.append("the chest wall is on no side")
    return "; ".join(remarks)
