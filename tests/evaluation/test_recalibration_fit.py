from __future__ import annotations

import json
import logging

import numpy as np
import pytest
from helpers.evaluated_checkpoints import phantom_predictions

from mammorisk.errors import UserError
from mammorisk.evaluation.recalibration_fit import fit_recalibration, write_recalibration
from mammorisk.evaluation.scored_split import parse_split, risks
from mammorisk.prediction.recalibration import apply, read_recalibration
from mammorisk.prediction.splits import RISK_COLUMNS
from mammorisk.runs.logs import LOGGER

COLUMNS = list(RISK_COLUMNS)


def too_high():
    """The oracle's odds times three."""
    table = phantom_predictions().copy()
    odds = 3 * table[COLUMNS] / (1 - table[COLUMNS])
    table[COLUMNS] = odds / (1 + odds)
    return table


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_scales_mend_risks_and_come_back_from_their_file(method, tmp_path):
    table = too_high()
    scales = fit_recalibration(method, parse_split(table))
    write_recalibration(tmp_path / "scales.json", method, scales, {"split": "val"})
    again = read_recalibration(tmp_path / "scales.json")
    risk = risks(table)
    mended = apply(again, risk)
    np.testing.assert_array_equal(mended, apply(scales, risk))
    assert json.loads((tmp_path / "scales.json").read_text())["split"] == "val"
    truth = risks(phantom_predictions())
    assert abs(mended - truth).mean() < 0.2 * abs(risk - truth).mean()


def test_a_turned_order_is_said(caplog):
    table = phantom_predictions().copy()
    table[COLUMNS] = 0.5 * (1 - table[COLUMNS].to_numpy())
    LOGGER.addHandler(caplog.handler)
    try:
        with caplog.at_level(logging.WARNING, "mammorisk"):
            fit_recalibration("platt", parse_split(table))
    finally:
        LOGGER.removeHandler(caplog.handler)
    assert "not more frequent at higher risks of year" in caplog.text


def test_what_cannot_be_fitted_or_written_is_said(tmp_path):
    with pytest.raises(UserError, match="no year's risk can be fitted"):
        fit_recalibration("platt", parse_split(phantom_predictions().assign(event=0)))
    with pytest.raises(UserError, match="folder of the checkpoint writable"):
        write_recalibration(tmp_path / "no" / "x.json", "platt", [None], {})
