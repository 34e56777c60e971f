from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mammorisk.cluster.requeue import STATUSES, job_id, requeue

# Slurm's commands as far as this module asks them; tests/slurm has the real ones.
SQUEUE = '#!/bin/sh\necho "squeue $@" >> "$0.calls"\necho {state}\n'
SCONTROL = '#!/bin/sh\necho "$@" >> "$0.calls"\necho "{error}" >&2\nexit {status}\n'


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Writes both commands and gives the calls of scontrol."""

    def write(state: str = "RUNNING", status: int = 0, error: str = "") -> Path:
        for name, text in (
            ("squeue", SQUEUE.format(state=state)),
            ("scontrol", SCONTROL.format(status=status, error=error)),
        ):
            (tmp_path / name).write_text(text)
            (tmp_path / name).chmod(0o755)
        return tmp_path / "scontrol.calls"

    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for name in ("SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_RESTART_COUNT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    return write


@pytest.mark.parametrize("status", STATUSES)
def test_a_stopped_training_is_requeued(slurm, status):
    calls = slurm()
    assert requeue(status) == "requeued job 12: the training goes on in the same run directory"
    assert calls.read_text() == "requeue 12\n"


@pytest.mark.parametrize("status", [0, 1, 2, 130, 137, 139])
def test_every_other_end_is_the_end(slurm, status):
    calls = slurm()
    assert requeue(status) is None
    assert not calls.exists()


@pytest.mark.parametrize("state", ["COMPLETING", "CANCELLED", "PENDING", ""])
def test_a_job_that_slurm_is_ending_is_left_alone(slurm, state):
    calls = slurm(state)
    assert "Slurm is ending job 12 already" in (requeue(143) or "")
    assert not calls.exists()


def test_an_array_requeues_one_job_of_it(slurm, monkeypatch):
    calls = slurm()
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "10")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    assert job_id() == "10_3"
    requeue(138)
    assert calls.read_text() == "requeue 10_3\n"


def test_the_number_of_starts_has_a_limit(slurm, monkeypatch):
    calls = slurm()
    monkeypatch.setenv("SLURM_RESTART_COUNT", "3")
    assert "has been started again 3 times" in (requeue(143, 3) or "")
    assert not calls.exists()
    assert "requeued" in (requeue(143, 4) or "")


def test_what_slurm_refuses_is_said(slurm):
    slurm(status=1, error="Requested operation is presently disabled")
    said = requeue(143) or ""
    assert "could not be requeued: Requested operation is presently disabled" in said
    assert "submit it again" in said


def test_outside_slurm_nothing_is_done(slurm, monkeypatch):
    calls = slurm()
    monkeypatch.delenv("SLURM_JOB_ID")
    assert requeue(143) is None
    assert not calls.exists()


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [(["143"], 0, "mammorisk: requeued job 12"), (["0"], 0, ""), ([], 2, "usage"), (["x"], 2, "usage")],
)
def test_as_a_command_without_torch(slurm, arguments, status, words):
    slurm()
    code = "import sys; sys.modules['torch'] = None; from mammorisk.cluster.requeue import main; main()"
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == status
    assert done.stdout == ""
    assert words in done.stderr
    assert bool(done.stderr) is bool(words)
