"""Recalibration of risks with scales from a file beside a checkpoint."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mammorisk.errors import UserError
from mammorisk.metrics.recalibration_scales import Isotonic, Platt, Scale, recalibrated
from mammorisk.system.regular_files import read_text

FORMAT = 1
Recalibration = list[Scale | None]  # a scale for each year; None: as it is


def read_recalibration(path: Path | str) -> Recalibration:
    """Scales from a file of ``write_recalibration``.

    Raises:
        UserError: no such file, or not one of ``mammorisk-evaluate``.
    """
    place = Path(path).expanduser()
    try:
        note = json.loads(read_text(place))
        if note["format"] != FORMAT:
            raise ValueError(f"format {note['format']}, expected {FORMAT}")
        years = [note["years"][str(k + 1)] for k in range(len(note["years"]))]
        return [None if year is None else _scale(note["method"], year) for year in years]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise UserError(
            f"{place} cannot be read as a recalibration: {error}. Expected a file that "
            "mammorisk-evaluate recalibrate=… wrote."
        ) from error


def apply(scales: Recalibration, risk: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Apply the scales to risks [N, Y]; the result does not fall from year to year.

    Raises:
        UserError: another number of years.
    """
    values = np.asarray(risk, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != len(scales):
        raise UserError(f"The recalibration is for risks of {len(scales)} years; found an array {values.shape}.")
    return recalibrated(values, scales)


def _scale(method: str, year: Mapping[str, Any]) -> Scale:
    if method == "platt":
        return Platt(*_numbers([year["slope"], year["intercept"]], -math.inf, math.inf))
    risk, observed = (_numbers(year[key], 0, 1) for key in ("risk", "observed"))
    if len(risk) != len(observed) or not risk or any(sorted(each) != list(each) for each in (risk, observed)):
        raise ValueError("expected as many risks as observed ones, both rising")
    return Isotonic(risk, observed)


def _numbers(values: Sequence[Any], low: float, high: float) -> tuple[float, ...]:
    found = tuple(map(float, values))
    if not all(math.isfinite(value) and low <= value <= high for value in found):
        raise ValueError(f"expected numbers from {low:g} to {high:g}")
    return found
