"""Refusals of DICOM files: a kind to count by, and a sentence for users."""

from __future__ import annotations

from mammorisk.errors import UserError
from mammorisk.system.printing import cited

# Kinds of refusals, in the order of the checks. Those that ``Conversion.allow`` may name: ALLOWABLE.
KINDS: dict[str, str] = {
    "missing": "there is no such file",
    "not_a_file": "a folder, pipe, socket or device in place of a file",
    "unreadable": "no DICOM file, or a damaged one",
    "no_pixels": "holds no image",
    "other_modality": "no mammogram (Modality is not MG)",
    "for_processing": "raw detector values (FOR PROCESSING), not what a reader sees",
    "multi_frame": "several frames: tomosynthesis or a series",
    "colour": "colour",
    "bit_depth": "fewer than 10 or more than 16 bits a pixel, or bits in an unusual place",
    "too_large": "more pixels than any mammogram",
    "transfer_syntax": "a compression for which there is no decoder",
    "damaged_pixels": "the pixels cannot be decoded",
    "grey_scale": "look-up table or window that cannot be applied",
    "laterality": "left or right is not known",
    "no_breast": "no breast found",
    "inverted": "bright background: the grey scale seems inverted",
    "not_ours": "the PNG to write is there and comes from elsewhere",
    "name": "a name that cannot be written: not UTF-8, too long, or with control characters",
    "leads_out": "its place lies behind a symbolic link that leads out of the folder",
    "crashed": "the decoder crashed or hung",
}
ALLOWABLE = ("other_modality", "for_processing", "bit_depth")


class Refused(UserError):  # noqa: N818  a refusal is no error of ours
    """A file that is not converted; ``kind`` is one of ``KINDS``."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(kind, reason)
        if kind not in KINDS:
            raise ValueError(f"expected one of {', '.join(KINDS)}, got {kind}")
        self.kind = kind
        self.reason = cited(reason)  # it may cite damaged tags

    def __str__(self) -> str:
        return self.reason
