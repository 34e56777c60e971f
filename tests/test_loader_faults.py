"""Faults of docs/faults.md that strike the processes which load images, in whole trainings and predictions."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import hydra
import psutil
import pytest
import torch
from helpers.tiny_training import tiny_config
from helpers.training_runs import SECONDS, TINY, environment, only_run, start, train, train_ranks, wait_for

from mammorisk.errors import UserError
from mammorisk.prediction.splits import predict_split
from mammorisk.training.data_module import read_splits

LONG = ["model=mirai", "dataset.num_workers=2", "trainer.num_epochs=1000", "trainer.patience=1000"]
LONG += ["trainer.samples_per_epoch=16", "trainer.validation_samples=8", "optim.use_scheduler=false"]


def workers(process) -> list[psutil.Process]:
    """The loader's processes of a training, of both loaders."""
    try:
        return [each for each in psutil.Process(process.pid).children() if each.status() != psutil.STATUS_ZOMBIE]
    except psutil.NoSuchProcess:
        return []


def has_epochs(folder: Path) -> bool:
    return any(len(path.read_text().splitlines()) > 1 for path in folder.glob("outputs/*/metrics.csv"))


def under_way(folder: Path, *words: str, **variables: str):
    """A training after its first epoch."""
    process = start(folder, *LONG, *words, **variables)
    wait_for(lambda: has_epochs(folder), process)
    return process


def assert_one_message(printed: str, *words: str) -> None:
    assert printed.count("mammorisk stopped:") == 1, printed
    assert "Traceback" not in printed
    for word in words:
        assert word in printed


def test_a_killed_worker_ends_the_training_with_one_message(tmp_path):
    process = under_way(tmp_path)
    before = workers(process)
    before[0].kill()
    printed, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 1
    assert_one_message(printed, "was killed", "dataset.num_workers=0", "trainer.resume_from=auto")
    assert not any(each.is_running() for each in before)
    assert (only_run(tmp_path) / "resume.pth").is_file()


def test_shared_memory_that_fills_up_is_one_message(tmp_path):
    can = subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode == 0
    if not can:
        pytest.skip("only root can mount a file system of its own")
    script = 'mount -t tmpfs -o size=200k tmpfs /dev/shm && exec "$@"'
    command = [sys.executable, "-m", "mammorisk.cli.train", *TINY, *LONG]
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", *command], cwd=tmp_path, env=environment(), text=True,
        capture_output=True, timeout=SECONDS,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert_one_message(done.stdout + done.stderr, "/dev/shm", "--shm-size", "dataset.num_workers=0")


@pytest.fixture
def blocked(tmp_path) -> Iterator:
    """A training whose workers stand still, as on a dead network disk, and that has used up what they had read."""
    process = under_way(tmp_path)
    for each in workers(process):
        each.suspend()
    progress: list[tuple[int, float]] = []  # size of the file of epochs, and since when

    def is_waiting() -> bool:
        size = (only_run(tmp_path) / "metrics.csv").stat().st_size
        if not progress or progress[-1][0] != size:
            progress.append((size, time.monotonic()))
        return time.monotonic() - progress[-1][1] > 3  # an epoch takes a fraction of a second

    wait_for(is_waiting, process)
    yield process
    process.kill()


def test_a_signal_ends_a_wait_for_a_worker_that_hangs(tmp_path, blocked):
    before = workers(blocked)
    blocked.send_signal(signal.SIGTERM)
    printed, _ = blocked.communicate(timeout=60)
    assert blocked.returncode == 128 + signal.SIGTERM, printed
    assert "stopped by SIGTERM; the training is saved" in printed
    assert "Traceback" not in printed
    assert before
    assert not any(each.is_running() for each in before)


def test_workers_end_with_a_training_that_was_killed(tmp_path, blocked):
    before = workers(blocked)
    blocked.kill()
    assert before
    for each in before:
        each.resume()
    psutil.wait_procs(before, timeout=30)
    assert not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in before)


def test_two_processes_end_together_when_one_loses_a_worker(tmp_path):
    printed = train_ranks(tmp_path, *LONG, status=1, during=lambda processes: lose_a_worker(tmp_path, processes))
    assert_one_message(printed, "was killed", "dataset.num_workers=0")
    assert "has died" not in printed


def lose_a_worker(folder: Path, processes) -> None:
    wait_for(lambda: has_epochs(folder), processes[1])
    workers(processes[1])[0].kill()


def kill_the_next_child(before: set[psutil.Process]) -> None:
    """Kill the first process that this one starts from now on."""
    for _ in range(10_000):
        for each in set(workers(psutil.Process())) - before:
            each.kill()
            return
        time.sleep(0.001)


def test_a_prediction_that_loses_a_worker_is_a_message():
    config = tiny_config("model=mirai", "dataset.num_workers=2", "dataset.batch_size=2")
    model = hydra.utils.instantiate(config.model).eval()
    _, splits = read_splits(config.dataset, model, ["test"])
    before = set(workers(psutil.Process()))
    threading.Thread(target=kill_the_next_child, args=(before,), daemon=True).start()
    with pytest.raises(UserError, match="was killed"):
        predict_split(model, splits["test"], config.dataset, config.seed, torch.device("cpu"))
    assert set(workers(psutil.Process())) <= before


def test_more_processes_than_cores_are_told_once(tmp_path):
    many = len(os.sched_getaffinity(0)) + 1
    printed = train(tmp_path, "model=mirai", f"dataset.num_workers={many}", "trainer.num_epochs=1")
    assert printed.count(f"dataset.num_workers={many} processes share") == 1
    assert "This DataLoader will create" not in printed
