"""Two hundred epochs take no more memory than fifty, and no epoch longer than another."""

from __future__ import annotations

import statistics
import time
from itertools import pairwise

import psutil
import pytest
from helpers.tiny_training import tiny_parts

from mammorisk.training import loop
from mammorisk.training.loop import fit
from mammorisk.training.risk import RISK
from mammorisk.training.tracking import Tracker

EPOCHS = 200
SETTINGS = ["model=lmv_net", f"trainer.num_epochs={EPOCHS}", "trainer.samples_per_epoch=8", "trainer.patience=1000"]
SETTINGS += ["trainer.validation_samples=32", f"trainer.checkpoint_every={EPOCHS}"]


@pytest.mark.slow
def test_memory_and_time_do_not_grow_with_the_epochs(tmp_path, monkeypatch):
    memory, ends = [], []
    end_epoch = loop.end_epoch

    def noted(*given) -> None:
        end_epoch(*given)
        memory.append(psutil.Process().memory_info().rss / 1e6)
        ends.append(time.process_time())

    monkeypatch.setattr(loop, "end_epoch", noted)
    parts, files = tiny_parts(tmp_path, *SETTINGS)
    with Tracker(parts.config.tracking, files, {}, RISK) as tracker:
        fit(parts, files, tracker)
    assert len(memory) == EPOCHS
    assert statistics.median(memory[-20:]) - statistics.median(memory[40:60]) < 15  # MB
    spent = [after - before for before, after in pairwise(ends)]
    # The learning curve has two hundred points instead of fifty; an epoch of hundreds of batches would not notice
    assert statistics.median(spent[-40:]) < 1.5 * statistics.median(spent[30:70])
