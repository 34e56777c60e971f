from __future__ import annotations

from mammorisk.training.risk import RISK
from mammorisk.training.task import Task


def test_the_column_that_chooses_the_best_epoch_is_the_validation_goal():
    assert Task("Registration Loss", "NCC", measure=lambda *_: {}).monitor_key == "Validation NCC"
    assert (RISK.loss, RISK.monitor_key, RISK.chance_level) == ("Risk Loss", "Validation C-index", 0.5)
