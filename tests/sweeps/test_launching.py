"""Sweeps as a user runs them: interrupted, with failures, and the same command again."""

from __future__ import annotations

import signal

import pandas as pd
import pytest
from runs import only_run, start, train
from sweeping import interrupted, jobs_of, starts, wait_for

from mammorisk.sweeps.record import read_record
from mammorisk.sweeps.states import FAILED, FINISHED, NOT_STARTED, PREEMPTED, progress_of

GRID = ["hparams=grid", "model=mirai", "optim.learning_rate=1e-3"]


@pytest.mark.slow
def test_a_killed_sweep_goes_on_with_the_same_command(tmp_path):
    words = [*GRID, "seed=1,2,3", "trainer.num_epochs=6", "optim.warmup_steps=2"]
    _, status = interrupted(tmp_path, words, signal.SIGKILL)
    assert status == -signal.SIGKILL
    sweep = only_run(tmp_path)
    first, second, third = jobs_of(sweep)
    assert [progress_of(job).state for job in (first, second, third)] == [FINISHED, PREEMPTED, NOT_STARTED]
    untouched = {path: path.stat().st_mtime_ns for path in first.rglob("*") if path.is_file()}

    printed = train(tmp_path, *words, "dataset.num_workers=1", "trainer.save_every_minutes=9")
    assert "1 of 3 jobs are finished" in printed
    assert only_run(tmp_path) == sweep
    assert jobs_of(sweep) == [first, second, third]
    assert sorted(path for path in sweep.iterdir() if path.is_dir()) == sorted([first, second, third])
    assert [progress_of(job).state for job in (first, second, third)] == [FINISHED] * 3
    assert untouched == {path: path.stat().st_mtime_ns for path in first.rglob("*") if path.is_file()}
    assert [starts(job) for job in (first, second, third)] == [1, 2, 1]
    assert "resumed from" in next(second.glob("*.log")).read_text()
    assert list(pd.read_csv(second / "metrics.csv")["epoch"]) == [1, 2, 3, 4, 5, 6]

    printed = train(tmp_path, *words)
    assert "3 of 3 jobs are finished" in printed
    assert [starts(job) for job in (first, second, third)] == [1, 2, 1]

    more = [word.replace("seed=1,2,3", "seed=0,1,3") for word in words]  # a job that is new before the others
    printed = train(tmp_path, *more, f"hydra.sweep.dir={sweep}", "trainer.num_epochs=6")
    assert "2 of 3 jobs are finished" in printed
    assert len(jobs_of(sweep)) == 4


@pytest.mark.slow
def test_a_signal_to_stop_is_for_the_whole_sweep(tmp_path):
    words = [*GRID, "seed=1,2,3", "trainer.num_epochs=6", "optim.warmup_steps=2"]
    printed, status = interrupted(tmp_path, words, signal.SIGTERM)
    assert status == 128 + signal.SIGTERM
    assert "Traceback" not in printed
    first, second, third = jobs_of(only_run(tmp_path))
    found = [progress_of(job) for job in (first, second, third)]
    assert [each.state for each in found] == [FINISHED, PREEMPTED, NOT_STARTED]
    assert found[1].reason.startswith("stopped by SIGTERM")
    train(tmp_path, *words)
    assert [progress_of(job).state for job in (first, second, third)] == [FINISHED] * 3


@pytest.mark.slow
def test_a_job_that_fails_leaves_the_others_alone(tmp_path):
    words = ["hparams=grid", "model=mirai", "seed=1", "optim.learning_rate=1e30,-1,1e-3", "trainer.num_epochs=1"]
    printed = train(tmp_path, *words, status=1)
    assert "2 of the sweep's jobs failed" in printed
    assert "optim.learning_rate=-1.0: expected above 0" in printed
    assert "The training loss is nan" in printed
    assert "Traceback" not in printed
    sweep = only_run(tmp_path)
    diverged, wrong, well = jobs_of(sweep)
    assert [progress_of(job).state for job in (diverged, wrong, well)] == [FAILED, NOT_STARTED, FINISHED]
    assert [bool(record.error) for record in read_record(sweep)] == [True, True, False]
    printed = train(tmp_path, *words, status=1)
    assert "1 of 3 jobs are finished" in printed
    assert [starts(job) for job in (diverged, well)] == [2, 1]


@pytest.mark.slow
def test_a_sweep_is_worked_on_by_one_process(tmp_path):
    sweep = tmp_path / "sweep"
    words = [*GRID, "seed=1", "trainer.num_epochs=50", f"hydra.sweep.dir={sweep}"]
    process = start(tmp_path, *words)
    try:
        wait_for(lambda: (sweep / "jobs.json").exists(), process)
        printed = train(tmp_path, *words, status=1)
        assert "Another process is working on the sweep" in printed
        assert "Traceback" not in printed
    finally:
        process.kill()
        process.communicate()
