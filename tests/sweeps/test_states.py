from __future__ import annotations

import math
import subprocess
import sys

import pytest
from helpers.sweep_directories import ENDED, LOG, STARTED, write_job

from mammorisk.sweeps.states import FAILED, FINISHED, NOT_STARTED, PREEMPTED, RUNNING, is_running, progress_of

STOPPED = ENDED.format(text="stopped by SIGUSR1; the training is saved and goes on with trainer.resume_from=auto")
MISTAKE = ENDED.format(text="The cohort has no cases.\nGive another one.")
DEFECT = "2030-01-01 10:05:00,123 DEBUG ended by an exception\nTraceback (most recent call last):\n  ...\nKeyError: 1\n"
HOLD = """
import sys
from filelock import FileLock
lock = FileLock(sys.argv[1])
lock.acquire()
print("held", flush=True)
input()
"""
HALVES = ["", "epoch,Validation C-i", "epoch,Validation C-index\n1,0.5\n2,0.", "\0\x01", "1\n2\n"]


@pytest.mark.parametrize(
    ("job", "state", "reason"),
    [
        ({"values": [0.6, 0.7], "finished": True}, FINISHED, ""),
        ({"values": [0.6]}, PREEMPTED, "killed without a message"),
        ({"values": []}, PREEMPTED, "killed without a message"),
        ({"values": [0.6], "ended": STOPPED}, PREEMPTED, "stopped by SIGUSR1"),
        ({"values": [0.6], "ended": MISTAKE}, FAILED, "The cohort has no cases."),
        ({"values": [0.6], "ended": DEFECT}, FAILED, "KeyError: 1"),
        ({"values": [0.6], "ended": MISTAKE + STARTED.format(name="again")}, PREEMPTED, "killed without a message"),
        ({"values": [math.nan], "finished": True}, FAILED, "no epoch had a validation measure"),
        ({}, NOT_STARTED, ""),
    ],
)
def test_a_state_is_read_from_the_run_directory(tmp_path, job, state, reason):
    found = progress_of(write_job(tmp_path, "job", {"seed": 1}, **job))
    assert found.state == state
    assert found.reason.startswith(reason)
    assert bool(found.reason) == bool(reason)


def test_a_folder_that_is_not_there_was_not_started(tmp_path):
    assert progress_of(tmp_path / "job").state == NOT_STARTED


def test_the_best_epoch_is_the_first_of_the_highest_goal(tmp_path):
    found = progress_of(write_job(tmp_path, "job", {}, [math.nan, 0.7, 0.6, 0.7], finished=True))
    assert found.best["epoch"] == 2
    assert found.best["Validation C-index"] == 0.7
    job = write_job(tmp_path, "registration", {}, [])
    (job / "metrics.csv").write_text("epoch,Validation NCC\n1,0.5\n2,0.75\n")
    assert progress_of(job).monitor == "Validation NCC"
    assert progress_of(job).best == {"epoch": 2.0, "Validation NCC": 0.75}


@pytest.mark.parametrize(
    "half", ["", "epoch,Validation C-i", "epoch,Validation C-index\n1,0.5\n2,0.", "\0\x01", "1\n2\n"]
)
def test_half_a_file_is_read_as_far_as_it_goes(tmp_path, half):
    job = write_job(tmp_path, "job", {}, [0.5])
    (job / "metrics.csv").write_text(half)
    (job / ".hydra" / "config.yaml").write_text("trainer: {num_")
    found = progress_of(job)
    assert found.state == PREEMPTED
    assert found.best.get("Validation C-index", 0.5) == 0.5


def test_a_long_log_is_read_from_its_end(tmp_path):
    job = write_job(tmp_path, "job", {}, [0.5])
    with (job / LOG).open("a") as log:
        log.write("2030-01-01 10:00:01,000 INFO epoch\n" * 5000 + "é" * 70000 + "\n" + STOPPED)
    assert progress_of(job).reason.startswith("stopped by SIGUSR1")


def test_who_holds_the_lock_is_running_and_is_not_disturbed(tmp_path):
    job = write_job(tmp_path, "job", {}, [0.5])
    assert not is_running(job)
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(job / ".lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    assert [progress_of(job).state for _ in range(3)] == [RUNNING] * 3
    process.kill()
    process.communicate()
    assert progress_of(job).state == PREEMPTED
    assert is_running(job) is False
