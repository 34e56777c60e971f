from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.training_runs import TINY, environment

from mammorisk.errors import UserError
from mammorisk.system.worker_limits import (
    PER_CORE,
    SHARED_MEMORY,
    check_shared_memory,
    checked_workers,
    cores,
    worker_caveat,
    worker_problem,
)


@pytest.fixture
def few_files():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())) + 50, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_workers_above_the_cores_are_a_doubt_and_sixteen_times_as_many_refused():
    here = len(os.sched_getaffinity(0))
    assert cores() == here
    assert worker_caveat(here) is None
    assert f"dataset.num_workers={here}" in str(worker_caveat(here + 1))
    assert checked_workers(PER_CORE * here, "num_workers") == PER_CORE * here
    with pytest.raises(UserError, match=f"^num_workers={PER_CORE * here + 1}: expected at most {PER_CORE * here}"):
        checked_workers(PER_CORE * here + 1, "num_workers")


@pytest.mark.usefixtures("few_files")
def test_workers_that_lack_open_files_are_refused():
    assert worker_problem(0) is None
    assert worker_problem(2) is None
    assert "ulimit -n" in str(worker_problem(3))


@pytest.mark.parametrize(
    ("limit", "workers", "words"),
    [
        ("24", "2", ["the limit is 24", "ulimit -n 4096"]),
        ("1024", "1024", ["expected at most"]),
        ("1024", "100000", ["from 0 to 1024"]),
    ],
)
def test_a_training_that_cannot_start_its_workers_is_a_message(tmp_path, limit, workers, words):
    command = f'ulimit -n {limit}; exec "$@"'
    arguments = [sys.executable, "-m", "mammorisk.cli.train", *TINY, "model=mirai", f"dataset.num_workers={workers}"]
    done = subprocess.run(
        ["bash", "-c", command, "bash", *arguments], cwd=tmp_path, env=environment(), capture_output=True, text=True,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    for word in (f"dataset.num_workers={workers}", *words):
        assert word in done.stderr
    assert "Traceback" not in done.stderr
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.skipif(not SHARED_MEMORY.is_dir(), reason="shared memory lies elsewhere")
def test_batches_that_cannot_pass_are_refused_and_those_that_may_not_are_told(monkeypatch):
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    free = shutil.disk_usage(SHARED_MEMORY).free
    with pytest.raises(UserError, match="--shm-size"):
        check_shared_memory(free, num_workers=2, batches=100)
    assert "the run may end" in str(check_shared_memory(free // 3, 2, 100))
    assert check_shared_memory(free // 8, 2, 100) is None
    assert check_shared_memory(free // 3, 2, 2) is None  # no more are ever under way
    assert check_shared_memory(2 * free, 0, 100) is None
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    with pytest.raises(UserError, match="shared memory"):
        check_shared_memory(free // 6, 2, 100)
