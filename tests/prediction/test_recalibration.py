from __future__ import annotations

import json

import numpy as np
import pytest

from mammorisk.errors import UserError
from mammorisk.prediction.recalibration import apply, read_recalibration


def test_files_that_are_none_and_other_years_are_messages(tmp_path):
    (tmp_path / "x.json").write_text('{"format": 1}')
    (tmp_path / "deep.json").write_text("[" * 100_000)
    for name in ("x.json", "deep.json", "nothing.json"):
        with pytest.raises(UserError, match="cannot be read as a recalibration"):
            read_recalibration(tmp_path / name)
    with pytest.raises(UserError, match="1 years"):
        apply([None], np.zeros((2, 5)))


@pytest.mark.parametrize(
    ("method", "year"),
    [
        ("platt", {"slope": float("nan"), "intercept": 0.0}),
        ("platt", {"slope": 10**400, "intercept": 0.0}),
        ("isotonic", {"risk": [0.1, 0.2], "observed": [0.1]}),
        ("isotonic", {"risk": [], "observed": []}),
        ("isotonic", {"risk": [0.1, 0.2], "observed": [-3.0, 0.2]}),
        ("isotonic", {"risk": [0.2, 0.1], "observed": [0.1, 0.2]}),
    ],
)
def test_scales_that_give_no_risks_are_a_message(tmp_path, method, year):
    note = {"format": 1, "method": method, "years": {"1": year}}
    (tmp_path / "x.json").write_text(json.dumps(note))
    with pytest.raises(UserError, match="cannot be read as a recalibration"):
        read_recalibration(tmp_path / "x.json")
