"""Two hundred runs started in the same moment in one folder keep apart."""

from __future__ import annotations

import subprocess
import sys

import pandas as pd
import psutil
import pytest
from helpers.places import TESTS
from helpers.training_runs import TINY, environment, run_directories

MOST = 200
OWN = 110e6  # bytes that a child has for itself
ONE_STEP = ["trainer.num_epochs=1", "trainer.samples_per_epoch=8", "trainer.validation_samples=32"]


@pytest.mark.slow
def test_200_runs_started_at_once_in_one_folder_keep_apart(tmp_path):
    # Half of the memory is for the tests beside this one; two hundred take 22 GB
    count = min(MOST, int(psutil.virtual_memory().available / 2 / OWN))
    assert count > 20
    words = [str(count), *TINY, "model=mirai", *ONE_STEP, "dataset.cache=./cache"]
    command = [sys.executable, str(TESTS / "helpers" / "many_runs.py"), *words]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=1800)
    logs = [(tmp_path / f"run_{number}.log").read_text() for number in range(count)]
    assert done.returncode == 0, done.stderr + "".join(
        log for log in logs if "mammorisk stopped" in log or "Traceback" in log
    )
    runs = run_directories(tmp_path)
    assert len(runs) == count
    expected = {path.name for path in runs[0].iterdir()}
    for run in runs:
        assert {path.name for path in run.iterdir()} == expected
        assert len(pd.read_csv(run / "metrics.csv")) == 1
    for log in logs:  # each spoke of its own directory, and of no other
        assert sum(run.name in log for run in runs) == 1
