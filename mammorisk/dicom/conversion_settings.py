"""Settings of the conversion from DICOM to images: each contested choice is a key of ``conf/conversion/``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args, get_type_hints

from mammorisk.bounds import require_in_bounds
from mammorisk.dicom.refusals import ALLOWABLE
from mammorisk.errors import UserError
from mammorisk.messages import closest_match


@dataclass(frozen=True)
class Conversion:
    """The settings of one conversion.

    Attributes:
        image_size: rows and columns of the images; null: as large as the crop.
        orientation: side of the chest wall. native: left in left breasts, right in right ones; left | right: always
            there, breasts of the other side mirrored; as_is: nothing is turned.
        patient_orientation: use | ignore the tag that shows which images are upside down or on their side.
        crop: breast: to the breast's bounding box; none: the whole frame.
        mask: whether everything outside the breast (labels, markers, noise) becomes 0.
        voi: values of interest. first: the VOI look-up table if there is one, else the window, else all values;
            lut | window: that one, and files without it are refused; none: all values that can be stored.
        voi_index: index of the alternative, from 0 on.
        invert: auto: MONOCHROME1 and the presentation shape INVERSE, once; always | never: for files with wrong tags.
        padding: background: pixels of the padding value become black; as_pixel: they are treated as others.
        intensity: range that is spread over 0..65535. breast: the grey values of the breast; window: the whole output
            range of the VOI step, the same for all images.
        percentiles: of the breast's grey values that become 0 and 65535 (intensity: breast).
        unknown_laterality: refuse | from_image (it follows from the side of the chest wall).
        allow: kinds of files that are otherwise refused: other_modality, for_processing, bit_depth.

    Raises:
        UserError: a value is not allowed; names its key.
    """

    image_size: Sequence[int] | None = (2048, 1664)
    orientation: Literal["native", "left", "right", "as_is"] = "native"
    patient_orientation: Literal["use", "ignore"] = "use"
    crop: Literal["breast", "none"] = "breast"
    mask: bool = True
    voi: Literal["first", "lut", "window", "none"] = "first"
    voi_index: int = 0
    invert: Literal["auto", "always", "never"] = "auto"
    padding: Literal["background", "as_pixel"] = "background"
    intensity: Literal["breast", "window"] = "breast"
    percentiles: Sequence[float] = (0.0, 100.0)
    unknown_laterality: Literal["refuse", "from_image"] = "refuse"
    allow: Sequence[str] = ()

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for each in fields(self):
            choices, value = get_args(hints[each.name]), getattr(self, each.name)
            if isinstance(each.default, str):
                _require(value in choices, each.name, value, " or ".join(choices), choices)
        require_in_bounds("mammorisk.dicom.conversion_settings.Conversion", vars(self), "conversion.")
        low, high = self.percentiles
        _require(low < high, "percentiles", [low, high], "two different numbers, the lower one first")
        _require(isinstance(self.mask, bool), "mask", self.mask, "true or false")
        allow = self.allow
        _require(not isinstance(allow, str), "allow", allow, "a list, [bit_depth]")
        for word in allow:
            _require(word in ALLOWABLE, "allow", word, "some of " + ", ".join(ALLOWABLE), ALLOWABLE)

    @property
    def needs_breast(self) -> bool:
        """Whether the breast must be segmented."""
        whole = (self.orientation, self.crop, self.mask, self.intensity) == ("as_is", "none", False, "window")
        return not whole

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        plain = asdict(self)
        return {
            key: list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
            for key, value in plain.items()
        }


def _require(holds: bool, key: str, value: object, expected: str, words: Sequence[str] = ()) -> None:
    if not holds:
        raise UserError(f"conversion.{key}={value}: expected {expected}.{closest_match(str(value), words)}")
