from __future__ import annotations

import socket
import subprocess
import sys
from datetime import timedelta

import pytest

from mammorisk.distributed import launch
from mammorisk.distributed.launch import check_world_size, is_main_rank, join_processes, rank, world_size
from mammorisk.errors import UserError

# Started by a process whose command line is that of `accelerate launch`.
AS_ACCELERATE = """
import subprocess, sys
sys.exit(subprocess.run([sys.executable, "-c", '''
from mammorisk.distributed.launch import check_world_size
check_world_size(None)
''']).returncode)
"""


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)


def test_rank_and_world_size_are_the_launchers(monkeypatch):
    assert (world_size(), rank(), is_main_rank()) == (1, 0, True)
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "3")
    assert (world_size(), rank(), is_main_rank()) == (4, 3, False)
    monkeypatch.setenv("RANK", "0")
    assert is_main_rank()


def test_a_port_that_is_taken_is_a_message(monkeypatch):
    with socket.create_server(("", 0)) as taken:
        port = str(taken.getsockname()[1])
        meeting = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        for name, value in meeting.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(UserError, match=f"another program uses the port of 127.0.0.1:{port}") as caught:
            join_processes()
    assert "--rdzv-endpoint localhost:0" in str(caught.value)


def test_processes_that_do_not_meet_are_a_message(monkeypatch):
    monkeypatch.setattr(launch, "_MEETING", timedelta(seconds=1))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    meeting = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    for name, value in meeting.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=f"have not met at 127.0.0.1:{port} within 0:00:01"):
        join_processes()


def test_pitfall_22_another_number_of_processes_is_refused():
    check_world_size(1)
    check_world_size(None)
    with pytest.raises(UserError, match="You asked for 2 processes, but 1 started") as caught:
        check_world_size(2)
    assert "torchrun --nproc-per-node 2 -m mammorisk.cli.train" in str(caught.value)


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        (["--num_processes", "2"], 2),
        (["--num-processes=3"], 3),
        (["--num_processes", "1"], None),
        (["--mixed_precision", "no"], None),
    ],
)
def test_pitfall_22_accelerates_silent_single_process_is_noticed(tmp_path, options, asked):
    (tmp_path / "accelerate").write_text(AS_ACCELERATE)
    command = [sys.executable, str(tmp_path / "accelerate"), "launch", *options, "-m", "mammorisk.cli.train"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode == 0) is (asked is None), done.stderr
    if asked is not None:
        assert f"You asked for {asked} processes, but 1 started" in done.stderr
