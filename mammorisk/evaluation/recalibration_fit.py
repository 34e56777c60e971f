"""Fit of a recalibration on the validation split, and its file beside the checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mammorisk.errors import UserError
from mammorisk.evaluation.scored_split import ScoredSplit
from mammorisk.metrics.recalibration_scales import Platt, fit_isotonic, fit_platt
from mammorisk.prediction.recalibration import FORMAT, Recalibration
from mammorisk.runs.logs import LOGGER
from mammorisk.system.atomic_files import whole_file
from mammorisk.version import __version__


def fit_recalibration(method: str, split: ScoredSplit) -> Recalibration:
    """Fit scales to the predictions of the validation split.

    Args:
        method: platt or isotonic.
        split: of validation; weighted to its population if it has one.

    Raises:
        UserError: no year can be fitted.
    """
    rows = split.weighted
    scales: Recalibration = [*(fit_platt(rows) if method == "platt" else fit_isotonic(rows))]
    missing = [str(k + 1) for k, scale in enumerate(scales) if scale is None]
    if len(missing) == len(scales):
        raise UserError(
            f"recalibrate={method}: no year's risk can be fitted on the validation split of {len(rows.event)} samples, "
            f"{int(rows.event.sum())} of them with an event. Expected cases and controls whose risks overlap."
        )
    if missing:
        LOGGER.warning(
            "recalibration: no scale can be fitted for year %s; those risks stay as they are", ", ".join(missing)
        )
    falling = [str(k + 1) for k, scale in enumerate(scales) if isinstance(scale, Platt) and scale.slope <= 0]
    if falling:
        LOGGER.warning(
            "recalibration: in validation, cancers are not more frequent at higher risks of year %s: the fit "
            "reverses their order",
            ", ".join(falling),
        )
    return scales


def write_recalibration(path: Path, method: str, scales: Recalibration, origin: Mapping[str, Any]) -> None:
    """Write scales atomically, with the ``origin`` of the risks that they were fitted to.

    Raises:
        UserError: the folder cannot be written to.
    """
    years = {str(k + 1): None if scale is None else asdict(scale) for k, scale in enumerate(scales)}
    note = {"format": FORMAT, "version": __version__, "method": method, **origin, "years": years}
    try:
        with whole_file(path) as unfinished:
            unfinished.write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error}. Make the folder of the checkpoint writable.") from error
