"""Sweeps as a user runs them: interrupted, with failures, and the same command again."""

from __future__ import annotations

import signal

import pandas as pd
import psutil
import pytest
from helpers.interrupted_sweeps import interrupted, jobs_of, starts
from helpers.training_runs import SECONDS, TORCHRUN, only_run, start, train, wait_for

from mammorisk.sweeps.record import read_record
from mammorisk.sweeps.states import FAILED, FINISHED, NOT_STARTED, PREEMPTED, progress_of

GRID = ["hparams=grid", "model=mirai", "optim.learning_rate=1e-3"]


@pytest.mark.slow
def test_a_killed_sweep_goes_on_with_the_same_command(tmp_path):
    words = [*GRID, "seed=1,2,3", "trainer.num_epochs=6", "optim.warmup_steps=2"]
    interrupted(tmp_path, words, signal.SIGKILL)
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
    printed = interrupted(tmp_path, words, signal.SIGTERM)
    assert "Traceback" not in printed
    first, second, third = jobs_of(only_run(tmp_path))
    found = [progress_of(job) for job in (first, second, third)]
    assert [each.state for each in found] == [FINISHED, PREEMPTED, NOT_STARTED]
    assert found[1].reason.startswith("stopped by SIGTERM")
    train(tmp_path, *words)
    assert [progress_of(job).state for job in (first, second, third)] == [FINISHED] * 3


@pytest.mark.slow
def test_a_job_that_fails_leaves_the_others_alone(tmp_path):
    words = ["hparams=grid", "model=mirai", "seed=1", "model.encoder.input_std=1e-38,-1,10000", "trainer.num_epochs=1"]
    printed = train(tmp_path, *words, status=1)
    assert "2 of the sweep's jobs failed" in printed
    assert "model.encoder.input_std=-1: expected a number above 0" in printed
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
    words = [*GRID, "seed=1", "trainer.num_epochs=1000", "trainer.patience=1000", f"hydra.sweep.dir={sweep}"]
    process = start(tmp_path, *words)
    try:
        wait_for(lambda: (sweep / "jobs.json").exists(), process)
        printed = train(tmp_path, *words, status=1)
        assert "Another process is working on the sweep" in printed
        assert "Traceback" not in printed
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_jobs_of_a_launcher_run_side_by_side_and_one_that_is_killed_goes_on(tmp_path):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    words = [*GRID, "seed=1,2", "trainer.num_epochs=6", "optim.warmup_steps=2", "hydra/launcher=submitit_local"]
    process = start(tmp_path, *words)
    wait_for(lambda: len(list(tmp_path.glob("outputs/sweep_*/*/metrics.csv"))) == 2, process)
    first, second = jobs_of(only_run(tmp_path))
    holders = [each for each in psutil.process_iter(["open_files"]) if holds(each, second / ".lock")]
    assert len(holders) == 1
    holders[0].kill()
    printed, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 1, printed
    assert "1 of the sweep's jobs failed" in printed
    assert [progress_of(job).state for job in (first, second)] == [FINISHED, PREEMPTED]
    assert "1 of 2 jobs are finished" in train(tmp_path, *words)
    assert [progress_of(job).state for job in (first, second)] == [FINISHED] * 2
    assert "resumed from" in next(second.glob("*.log")).read_text()


def holds(process, path) -> bool:
    return any(found.path == str(path) for found in process.info["open_files"] or ())


@pytest.mark.slow
def test_two_processes_agree_on_what_is_finished(tmp_path):
    words = [*GRID, "seed=1,2", "trainer.num_epochs=1", "dataset.batch_size=4", "trainer.num_processes=2"]
    train(tmp_path, *words, launcher=TORCHRUN)
    first, second = jobs_of(only_run(tmp_path))
    (second / "model_risk_prediction_training_id_1_last_epoch.pth").unlink()
    printed = train(tmp_path, *words, launcher=TORCHRUN)
    assert printed.count("1 of 2 jobs are finished") == 1
    assert [starts(job) for job in (first, second)] == [1, 2]
