"""Grey scale: stored values to grey values, in the order of the standard: modality, values of interest, presentation.

Every step maps single values, so one table of all 65,536 values, in float64, serves a whole image. It is rounded once,
at the end.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mammorisk.dicom.conversion_settings import Conversion
from mammorisk.dicom.refusals import Refused
from mammorisk.dicom.tables import Floats, LookupTable
from mammorisk.dicom.tags import Tags
from mammorisk.dicom.window import Window


def grey_table(tags: Tags, conversion: Conversion) -> Floats:
    """Table of the grey value of every stored value, 0 (black) to 1 (white).

    Args:
        tags: of the file.
        conversion: voi, voi_index, invert, padding.

    Returns:
        [65536]: indexed with stored values as uint16, those of signed files in two's complement.

    Raises:
        Refused: look-up table or window that is missing, or cannot be applied.
    """
    stored = np.arange(65536, dtype=np.uint16)
    values = (stored.view(np.int16) if tags.signed else stored).astype(np.float64)
    values = np.clip(values, *tags.stored_range)
    grey = _interest(_modality(values, tags), tags, conversion)
    if is_inverse(tags) if conversion.invert == "auto" else conversion.invert == "always":
        grey = 1 - grey
    if conversion.padding == "background" and tags.padding is not None:
        first, last = _as_stored(tags.padding[0], tags), _as_stored(tags.padding[1], tags)
        grey = np.where((values >= first) & (values <= last), 0.0, grey)
    return grey


def is_inverse(tags: Tags) -> bool:
    """Whether low values are bright, by either tag; both together are one inversion (docs/pitfalls.md#p16)."""
    return tags.photometric == "MONOCHROME1" or tags.shape == "INVERSE"


def interest_name(tags: Tags, conversion: Conversion) -> str:
    """VOI step of a file: ``lut``, ``window`` (with its function) or ``none``."""
    chosen = _chosen(tags, conversion)
    if chosen is None:
        return "none"
    return "lut" if isinstance(chosen, LookupTable) else f"window {chosen.function}"


def _modality(values: Floats, tags: Tags) -> Floats:
    if tags.modality_lut is not None:
        return _signed_first(tags.modality_lut, tags.signed).apply(values)
    return values * tags.slope + tags.intercept


def _modality_range(tags: Tags) -> tuple[float, float]:
    """Range of the output of the modality step."""
    if tags.modality_lut is not None:
        return 0.0, float(tags.modality_lut.top)
    ends = [value * tags.slope + tags.intercept for value in tags.stored_range]
    return min(ends), max(ends)


def _interest(values: Floats, tags: Tags, conversion: Conversion) -> Floats:
    chosen = _chosen(tags, conversion)
    low, high = _modality_range(tags)
    if isinstance(chosen, Window):
        return chosen.apply(values)
    if chosen is not None:
        return _signed_first(chosen, low < 0).apply(values) / chosen.top
    if not (np.isfinite([low, high]).all() and high > low):
        raise Refused("grey_scale", f"RescaleSlope {tags.slope:g} leaves no range of values.")
    return (values - low) / (high - low)


def _chosen(tags: Tags, conversion: Conversion) -> LookupTable | Window | None:
    there: dict[str, tuple[LookupTable | Window, ...]] = {"lut": tags.voi_luts, "window": tags.windows}
    name = conversion.voi
    if name == "first":  # the standard leaves the choice; a table is more specific
        name = "lut" if tags.voi_luts else "window" if tags.windows else "none"
    if name == "none":
        return None
    alternatives, index = there[name], conversion.voi_index
    if not alternatives:
        raise Refused("grey_scale", f"conversion.voi={name}: the file has none; voi=first takes what there is.")
    if index >= len(alternatives):
        raise Refused("grey_scale", f"conversion.voi_index={index}: the file has {len(alternatives)}, counted from 0.")
    return alternatives[index]


def _signed_first(table: LookupTable, signed: bool) -> LookupTable:
    """Read the first input of a table as the input's kind of number, which the file does not declare."""
    first = table.first & 0xFFFF
    return replace(table, first=first - 65536 if signed and first > 32767 else first)


def _as_stored(value: int, tags: Tags) -> int:
    """Read a padding value as the pixels' kind of number."""
    value &= 0xFFFF
    return value - 65536 if tags.signed and value > 32767 else value
