"""Orientation of a breast in its image, and the turn to the wanted orientation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from mammorisk.dicom.breast import Mask
from mammorisk.dicom.conversion_settings import Conversion
from mammorisk.dicom.refusals import Refused

Side = Literal["left", "right"]
_EDGE = 0.05  # of the columns: a chest wall touches them, a nipple hardly does
_CLEAR = 0.1  # difference of the edges, in shares of their pixels


@dataclass(frozen=True)
class Turn:
    """Steps that turn an image, in this order."""

    transposed: bool = False  # rows and columns exchanged
    upside_down: bool = False
    mirrored: bool = False  # left and right exchanged
    chest: Side = "left"  # where the chest wall is afterwards
    laterality: str = ""  # from table, tag or image
    remark: str = ""

    def apply(self, image: np.ndarray) -> np.ndarray:
        """Turn an image [H, W]."""
        image = image.T if self.transposed else image
        image = image[::-1] if self.upside_down else image
        return np.ascontiguousarray(image[:, ::-1] if self.mirrored else image)


def find_turn(mask: Mask, orientation: tuple[str, ...], image: tuple[str, str], conversion: Conversion) -> Turn:
    """Find how an image must be turned.

    The side of the chest wall comes from the image. PatientOrientation (the directions of rows and columns: A anterior,
    P posterior, R, L, H, F) shows whether it is upside down. If the tag contradicts the image, it is wrong and not
    used.

    Args:
        mask: the breast, as in the file.
        orientation: PatientOrientation, may be empty.
        image: laterality and view, "" if unknown.
        conversion: orientation, patient_orientation, unknown_laterality.

    Raises:
        Refused: the laterality is needed and unknown.
    """
    laterality, view = image
    if conversion.orientation == "as_is":
        return Turn(chest=chest_side(mask) or "left", laterality=laterality)
    directions = _directions(orientation) if conversion.patient_orientation == "use" else None
    transposed = directions is not None and directions[0][0] not in "AP" and directions[1][0] in "AP"
    if directions is not None and transposed:
        directions, mask = (directions[1], directions[0]), mask.T
    tagged = {"A": "left", "P": "right"}.get(directions[0][0]) if directions is not None else None
    seen, remark = chest_side(mask), ""
    if directions is not None and tagged is not None and seen not in (None, tagged):
        directions, remark = None, f"PatientOrientation {'/'.join(orientation)} contradicts the image"
    found: Side = seen or ("right" if tagged == "right" else "left")
    if not laterality and conversion.orientation == "native":
        if conversion.unknown_laterality == "refuse":
            raise Refused(
                "laterality",
                "neither the table nor ImageLaterality has the laterality. Give a column laterality, "
                "or conversion.unknown_laterality=from_image.",
            )
        laterality, remark = ("L" if found == "left" else "R"), "laterality from the image"
    wanted = _wanted(conversion, laterality)
    upside_down = directions is not None and _is_upside_down(directions[1], laterality, view)
    return Turn(transposed, upside_down, found != wanted, wanted, laterality, remark)


def chest_side(mask: Mask) -> Side | None:
    """Side of the image that the breast touches; None if it touches both or neither."""
    width = max(1, round(_EDGE * mask.shape[1]))
    left, right = float(mask[:, :width].mean()), float(mask[:, -width:].mean())
    if abs(left - right) >= _CLEAR:
        return "left" if left > right else "right"
    half = mask.shape[1] // 2  # it touches neither: a strip is missing, or black
    left, right = float(mask[:, :half].mean()), float(mask[:, -half:].mean())
    if abs(left - right) >= _CLEAR:
        return "left" if left > right else "right"
    return None


def _wanted(conversion: Conversion, laterality: str) -> Side:
    if conversion.orientation == "native":
        return "right" if laterality == "R" else "left"
    return "right" if conversion.orientation == "right" else "left"


def _directions(orientation: tuple[str, ...]) -> tuple[str, str] | None:
    """The two words of PatientOrientation, if they are valid."""
    words = tuple(word.strip() for word in orientation)
    if len(words) != 2 or not all(word and set(word) <= set("APRLHF") for word in words):
        return None
    return words[0], words[1]


def _is_upside_down(down: str, laterality: str, view: str) -> bool:
    """Whether rows run up the body, or in a CC view away from its middle."""
    if "H" in down or "F" in down:
        return "H" in down
    if view not in ("CC", "") or laterality not in ("L", "R") or down[0] not in "LR":
        return False
    return down[0] == laterality  # its outer side belongs on top
