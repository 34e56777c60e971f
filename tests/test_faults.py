"""Faults of docs/faults.md that strike whole trainings: nothing is lost, and the same command goes on."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pandas as pd
import psutil
import pytest
from helpers.training_runs import (
    TORCHRUN,
    assert_as_undisturbed,
    disturbed,
    has_saved,
    only_run,
    start,
    train,
    train_ranks,
    wait_for,
)

AUTO = "trainer.resume_from=auto"
ONE = ["model=mirai", "trainer.num_epochs=3", AUTO]
TWO = ["model=mirai", "trainer.num_epochs=8", "trainer.patience=100", "dataset.batch_size=4", AUTO]
TWO += ["trainer.save_every_minutes=0"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    train(folder, *ONE)
    return only_run(folder)


@pytest.fixture(scope="module")
def two_undisturbed(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    train_ranks(folder, *TWO)
    return only_run(folder)


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """A file system of its own that holds no more than ``size``."""
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root can mount a file system")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)


def has_epochs(folder: Path, number: int = 1) -> bool:
    return any(len(pd.read_csv(path)) >= number for path in folder.glob("outputs/*/metrics.csv"))


def ranks_of(process: subprocess.Popen[str]) -> dict[int, psutil.Process]:
    """The training processes under torchrun, by rank."""
    children = psutil.Process(process.pid).children()
    return {int(child.environ()["RANK"]): child for child in children if "RANK" in child.environ()}


@pytest.mark.slow  # fast: one of several is killed in distributed/test_watchdog.py, cluster/test_submitit_jobs.py
@pytest.mark.parametrize("killed", [[0], [1], [0, 1]])
def test_killed_ranks_end_the_run_and_the_same_command_goes_on(tmp_path, two_undisturbed, killed):
    process = start(tmp_path, *TWO, launcher=TORCHRUN)
    wait_for(lambda: has_epochs(tmp_path, 2), process)
    ranks = ranks_of(process)
    assert set(ranks) == {0, 1}
    died = time.monotonic()
    for rank in killed:
        ranks[rank].kill()
    printed, _ = process.communicate(timeout=60)
    assert time.monotonic() - died < 60
    assert process.returncode != 0
    assert not any(rank.is_running() for rank in ranks.values())
    if len(killed) == 1:
        ours = rf"rank {killed[0]} \(process {ranks[killed[0]].pid} on "
        torchruns = rf"rank +: {killed[0]} .*\n.*exitcode +: -9 \(pid: {ranks[killed[0]].pid}\)"
        assert re.search(f"{ours}|{torchruns}", printed), printed
    assert "resumed from" in train_ranks(tmp_path, *TWO)
    run = assert_as_undisturbed(tmp_path, two_undisturbed)
    assert pd.read_csv(run / "metrics.csv")["epoch"].tolist() == list(range(1, 9))


@pytest.mark.slow  # fast: tests/training/test_step_control.py stops ranks, and resumes nothing
def test_stopped_ranks_save_and_the_same_command_goes_on(tmp_path, two_undisturbed):
    process = start(tmp_path, *TWO, launcher=TORCHRUN)
    printed = disturbed(process, lambda: has_saved(tmp_path), signal.SIGTERM)  # torchrun hands it on to both
    assert "the training is saved" in printed
    assert "resumed from" in train_ranks(tmp_path, *TWO)
    assert_as_undisturbed(tmp_path, two_undisturbed)


def test_a_full_disk_loses_nothing_that_was_saved(tmp_path, undisturbed):
    sizes = {path.name: path.stat().st_size for path in undisturbed.glob("*.pth")}
    room = sizes["resume.pth"] * 8 // 5  # for the first epoch's checkpoint, not for the second one beside it
    with small_disk(tmp_path / "outputs", str(room)):
        printed = train(tmp_path, *ONE, status=1)
        assert "cannot be written to" in printed
        assert "No space left" in printed
        assert "Traceback" not in printed
        run = only_run(tmp_path)
        assert not list(run.glob(".*unfinished*"))
        done = len(pd.read_csv(run / "metrics.csv"))
        assert done >= 1
        remount(tmp_path / "outputs", "size=1g")
        assert "resumed from" in train(tmp_path, *ONE)
        assert assert_as_undisturbed(tmp_path, undisturbed) == run


def test_a_run_directory_that_is_read_only_is_a_message(tmp_path):
    with small_disk(tmp_path / "outputs", "1g"):
        train(tmp_path, "model=mirai", "trainer.num_epochs=1")
        run = only_run(tmp_path)
        before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
        remount(tmp_path / "outputs", "ro")
        for more in ([AUTO], []):  # go on in it; a new one beside it
            printed = train(tmp_path, "model=mirai", "trainer.num_epochs=1", *more, status=1)
            assert "Read-only file system" in printed
            assert "Traceback" not in printed
        assert before == {path: path.stat().st_mtime_ns for path in run.rglob("*")}
        remount(tmp_path / "outputs", "rw")
        assert "resumed from" in train(tmp_path, "model=mirai", "trainer.num_epochs=1", AUTO)


def test_a_clock_that_was_set_back_does_not_matter(tmp_path, undisturbed):
    """The run, its files and its cohort are of a year to come, as if the clock had been wrong when they were made."""
    cohort = [f"dataset.generator.folder={tmp_path / 'phantom'}", f"dataset.cache={tmp_path / 'images'}"]
    disturbed(start(tmp_path, *ONE, *cohort), lambda: has_epochs(tmp_path))
    made = only_run(tmp_path)
    run = made.rename(made.with_name(re.sub(rf"_{datetime.now():%Y}-", "_2099-", made.name)))
    future = time.time() + 1e9
    for path in tmp_path.rglob("*"):
        os.utime(path, (future, future))
    printed = train(tmp_path, *ONE, *cohort)
    assert f"resumed from {run}" in printed
    assert assert_as_undisturbed(tmp_path, undisturbed) == run


def test_a_tracker_that_dies_does_not_end_the_training(tmp_path, undisturbed):
    """W&B has a process of its own, which a signal to all processes of a job ends."""
    process = start(tmp_path, *ONE, "trainer.num_epochs=3", "tracking=wandb", "tracking.mode=offline")
    wait_for(lambda: has_epochs(tmp_path, 1), process)
    trackers = [child for child in psutil.Process(process.pid).children(recursive=True) if "wandb" in child.name()]
    assert trackers
    for tracker in trackers:
        tracker.kill()
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 0, printed
    assert "W&B's own process has died" in printed
    assert "Traceback" not in printed
    assert_as_undisturbed(tmp_path, undisturbed)
