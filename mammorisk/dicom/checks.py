"""Checks of a header before pixels are decoded, each with its own reason for refusal."""

from __future__ import annotations

from collections.abc import Callable

from mammorisk.dicom.conversion_settings import Conversion
from mammorisk.dicom.refusals import Refused
from mammorisk.dicom.tags import Tags

MAX_PIXELS = 80_000_000  # the largest detectors have 28 million
_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.2.1"  # Digital Mammography X-Ray Image Storage - For Processing
_TOMOSYNTHESIS = "1.2.840.10008.5.1.4.1.1.13.1.3"  # Breast Tomosynthesis Image Storage
_GREY = ("MONOCHROME1", "MONOCHROME2")


def check_tags(tags: Tags, conversion: Conversion) -> None:
    """Refuse a header of a file that is not converted.

    Raises:
        Refused: with the first reason of: other_modality, for_processing, multi_frame, colour, bit_depth, too_large.
    """
    for kind, check in _CHECKS.items():
        reason = check(tags)
        if reason and kind not in conversion.allow:
            raise Refused(kind, reason)
    if tags.bits_allocated not in (8, 16) or not 1 <= tags.bits_stored <= tags.bits_allocated:
        raise Refused("bit_depth", _bits(tags) + ": expected at most 16 bits, in 8 or 16.")


def _other_modality(tags: Tags) -> str:
    if tags.modality == "MG":
        return ""
    found = tags.modality or "is not given"
    return f"Modality {found}: expected MG, a mammogram (conversion.allow=[other_modality] takes others)."


def _for_processing(tags: Tags) -> str:
    if tags.intent != "FOR PROCESSING" and tags.sop_class != _PROCESSING:
        return ""
    return (
        "FOR PROCESSING: raw detector values. Expected the image FOR PRESENTATION of the same exposure "
        "(conversion.allow=[for_processing] takes raw ones)."
    )


def _multi_frame(tags: Tags) -> str:
    if tags.frames == 1 and tags.sop_class != _TOMOSYNTHESIS:
        return ""
    return f"{tags.frames} frames: tomosynthesis or a series. Expected a single 2D mammogram."


def _colour(tags: Tags) -> str:
    if tags.samples == 1 and tags.photometric in _GREY:
        return ""
    found = tags.photometric or "no photometric interpretation"
    return f"{found}, {tags.samples} samples a pixel. Expected MONOCHROME1 or MONOCHROME2, one sample."


def _bit_depth(tags: Tags) -> str:
    if 10 <= tags.bits_stored <= 16 and tags.high_bit == tags.bits_stored - 1:
        return ""
    return (
        f"{_bits(tags)}: expected 10 to 16 bits, the highest being one less. A mammogram of 8 bits was written by a "
        "viewer; find the original (conversion.allow=[bit_depth] takes such files)."
    )


def _too_large(tags: Tags) -> str:
    if tags.rows < 1 or tags.columns < 1:
        return f"{tags.rows} rows and {tags.columns} columns."
    if tags.rows * tags.columns <= MAX_PIXELS:
        return ""
    return f"{tags.rows} x {tags.columns} pixels: expected at most {MAX_PIXELS / 1e6:g} million."


def _bits(tags: Tags) -> str:
    return f"{tags.bits_stored} bits stored in {tags.bits_allocated}, high bit {tags.high_bit}"


_CHECKS: dict[str, Callable[[Tags], str]] = {
    "other_modality": _other_modality,
    "for_processing": _for_processing,
    "multi_frame": _multi_frame,
    "colour": _colour,
    "bit_depth": _bit_depth,
    "too_large": _too_large,
}
