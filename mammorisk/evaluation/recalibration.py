"""Scales of recalibrated risks as JSON numbers beside a checkpoint: written by evaluate, applied by predict."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mammorisk import __version__
from mammorisk.errors import UserError
from mammorisk.evaluation.measuring import outcome, risks
from mammorisk.metrics.recalibration import Isotonic, Platt, Scale, fit_isotonic, fit_platt, recalibrated
from mammorisk.metrics.rows import read_rows
from mammorisk.runs.logs import LOGGER
from mammorisk.system.atomic_files import whole_file
from mammorisk.system.regular_files import read_text

FORMAT = 1
Recalibration = list[Scale | None]  # a scale for each year; None: as it is


def fit_recalibration(method: str, table: pd.DataFrame, weight: npt.NDArray[np.float64] | None) -> Recalibration:
    """Scales that fit the predictions of the validation split.

    Args:
        method: platt or isotonic.
        table: of predictions.
        weight: of each row in the population, or None.

    Raises:
        UserError: no year can be fitted.
    """
    rows = read_rows(risks(table), *outcome(table), weight)
    scales: Recalibration = [*(fit_platt(rows) if method == "platt" else fit_isotonic(rows))]
    missing = [str(k + 1) for k, scale in enumerate(scales) if scale is None]
    if len(missing) == len(scales):
        raise UserError(
            f"recalibrate={method}: no year's risk can be fitted on the validation split of {len(table)} samples, "
            f"{int(table['event'].sum())} of them with an event. Expected cases and controls whose risks overlap."
        )
    if missing:
        LOGGER.warning("recalibration: no scale fits best for year %s; those risks stay", ", ".join(missing))
    falling = [str(k + 1) for k, scale in enumerate(scales) if isinstance(scale, Platt) and scale.slope <= 0]
    if falling:
        LOGGER.warning(
            "recalibration: in validation cancers are not more frequent at higher risks of year %s: the fit turns "
            "their order round",
            ", ".join(falling),
        )
    return scales


def write_recalibration(path: Path, method: str, scales: Recalibration, origin: Mapping[str, Any]) -> None:
    """Write scales, with the ``origin`` of the risks they are for; the file appears whole or not at all.

    Raises:
        UserError: the folder cannot be written to.
    """
    years = {str(k + 1): None if scale is None else asdict(scale) for k, scale in enumerate(scales)}
    note = {"format": FORMAT, "version": __version__, "method": method, **origin, "years": years}
    try:
        with whole_file(path) as unfinished:
            unfinished.write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error}. It belongs beside its checkpoint.") from error


def read_recalibration(path: Path | str) -> Recalibration:
    """Scales from a file of ``write_recalibration``.

    Raises:
        UserError: no such file, or none of evaluate's.
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
    """Risks [N, Y] on the scales, not falling from year to year.

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
