"""Faults of docs/faults.md that strike whole trainings: nothing is lost, and the same command goes on."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest
from runs import assert_same_training, last_epoch, only_run, start, train

TORCHRUN = [str(Path(sys.executable).parent / "torchrun"), "--nproc-per-node", "2", "--rdzv-backend", "c10d"]
TORCHRUN += ["--rdzv-endpoint", "localhost:0"]
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
    train(folder, *TWO, launcher=TORCHRUN)
    return only_run(folder)


def wait_for_epoch(folder: Path, epoch: int, process: subprocess.Popen[str]) -> None:
    ends = time.monotonic() + 120
    while not any(len(pd.read_csv(path)) >= epoch for path in folder.glob("outputs/*/metrics.csv")):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < ends
        time.sleep(0.02)


def killed_after_an_epoch(folder: Path, *words: str) -> Path:
    process = start(folder, *words)
    wait_for_epoch(folder, 1, process)
    process.kill()
    process.communicate()
    return only_run(folder)


def ranks_of(process: subprocess.Popen[str]) -> dict[int, psutil.Process]:
    """The training processes under torchrun, by rank."""
    children = psutil.Process(process.pid).children()
    return {int(child.environ()["RANK"]): child for child in children if "RANK" in child.environ()}


@pytest.mark.parametrize("killed", [[0], [1], [0, 1]])
def test_killed_ranks_end_the_run_and_the_same_command_goes_on(tmp_path, two_undisturbed, killed):
    process = start(tmp_path, *TWO, launcher=TORCHRUN)
    wait_for_epoch(tmp_path, 2, process)
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
        assert f"rank {killed[0]} (process {ranks[killed[0]].pid} on " in printed or "Signal 9 (SIGKILL)" in printed
    assert "resumed from" in train(tmp_path, *TWO, launcher=TORCHRUN)
    assert_same_training(last_epoch(only_run(tmp_path)), last_epoch(two_undisturbed))
    assert pd.read_csv(only_run(tmp_path) / "metrics.csv")["epoch"].tolist() == list(range(1, 9))


def test_a_lock_that_a_dead_process_left_holds_nobody_up(tmp_path, undisturbed):
    run = killed_after_an_epoch(tmp_path, *ONE)
    assert (run / ".lock").exists()
    assert "resumed from" in train(tmp_path, *ONE)
    assert_same_training(last_epoch(only_run(tmp_path)), last_epoch(undisturbed))
