"""mammorisk-sweep-report as a user runs it."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from helpers.evaluated_checkpoints import command
from helpers.sweep_directories import mixed_sweep
from helpers.training_runs import only_run, start, train, wait_for


def test_the_files_stand_in_the_sweep_and_agree(tmp_path):
    sweep = mixed_sweep(tmp_path / "sweep")
    printed = command("sweep_report", tmp_path, "sweep")
    assert "3 finished, 1 preempted, 2 failed, 1 not started" in printed
    document = json.loads((sweep / "sweep.json").read_text())
    table = pd.read_csv(sweep / "sweep.csv", float_precision="round_trip")
    assert list(table["folder"]) == [job["folder"] for job in document["jobs"]]
    assert table["Validation C-index"].max() == document["jobs"][3]["best"]["Validation C-index"] == 0.9
    assert '<a href="a_job_0_x/"' in (sweep / "sweep.html").read_text()
    again = command("sweep_report", tmp_path, sweep, "--out", "report")
    assert "3 finished" in again
    assert '<a href="../sweep/a_job_0_x/"' in (tmp_path / "report" / "sweep.html").read_text()


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (["nowhere"], 1, "nowhere: expected the directory of a sweep; there is no such folder."),
        (["empty"], 1, "empty is no sweep's directory: expected jobs in it"),
        (["file"], 1, "file: expected the directory of a sweep"),
        (["sweep", "--out", "file/below"], 1, "cannot be written to file/below"),
        ([], 2, "the following arguments are required: DIR"),
    ],
)
def test_mistakes_end_in_a_message(tmp_path, words, status, told):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    mixed_sweep(tmp_path / "sweep")
    printed = command("sweep_report", tmp_path, *words, status=status)
    assert told in printed
    assert "Traceback" not in printed


@pytest.mark.slow
def test_a_sweep_is_reported_while_it_is_under_way_and_afterwards(tmp_path):
    words = ["-m", "model=mirai", "seed=1,2", "trainer.num_epochs=8"]  # Hydra's own sweeper
    process = start(tmp_path, *words)
    try:
        wait_for(lambda: len(list(tmp_path.glob("outputs/*/*/metrics.csv"))) == 2, process)
        sweep = only_run(tmp_path)
        assert "1 finished, 1 running" in command("sweep_report", tmp_path, sweep)
    finally:
        process.kill()
        process.communicate()
    assert "1 finished, 1 preempted" in command("sweep_report", tmp_path, sweep)
    train(tmp_path, *words, f"hydra.sweep.dir={sweep}", "trainer.resume_from=auto")
    command("sweep_report", tmp_path, sweep)
    document = json.loads((sweep / "sweep.json").read_text())
    assert document["states"]["finished"] == 2
    for job in document["jobs"]:
        rows = pd.read_csv(sweep / job["folder"] / "metrics.csv", float_precision="round_trip")
        assert job["best"]["Validation C-index"] == rows["Validation C-index"].max()
        assert job["best"] == rows.loc[rows["Validation C-index"].idxmax()].drop("epoch").to_dict()
