from __future__ import annotations

import socket
import subprocess
import sys
import time

import pytest
from helpers.places import TESTS
from helpers.training_runs import environment

# A process of a run that ends as its arguments say, while the others wait for it in an exchange or at work.
RANK = """
import os, signal, sys, time
sys.path.insert(0, sys.argv[1])
from mammorisk.distributed.collectives import agree
from mammorisk.distributed.launch import end_processes, rank
from mammorisk.runs.start import start_processes
how, dies, at_work = sys.argv[2], int(sys.argv[3]), sys.argv[4] == "work"
start_processes()
print("started", flush=True)
if rank() == dies and how == "kill":
    time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGKILL)
if rank() == dies and how == "error":
    try:
        raise ZeroDivisionError("a defect")
    finally:
        end_processes(after_defect=True)
if how != "leave":
    try:
        time.sleep(100) if at_work else agree(0)
        agree(1)
    finally:
        end_processes(after_defect=True)
time.sleep(0 if rank() == dies else 1.5)  # leaves before the others
end_processes()
time.sleep(0.5)
"""


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def ranks(how: str, dies: int, where: str, world: int = 3) -> list[tuple[int, str]]:
    """Exit status and output of each rank, all of which must end in time."""
    port, root = str(free_port()), str(TESTS)
    processes = []
    for rank in range(world):
        variables = {"RANK": str(rank), "WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        processes.append(
            subprocess.Popen(
                [sys.executable, "-c", RANK, root, how, str(dies), where],
                env=environment(**variables, CUDA_VISIBLE_DEVICES=""),
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        )
    try:
        for process in processes:
            assert process.stdout is not None
            for line in process.stdout:
                if line == "started\n":
                    break
        started = time.monotonic()
        found = [process.communicate(timeout=60)[0] for process in processes]
        assert time.monotonic() - started < 30
        return [(process.returncode, printed) for process, printed in zip(processes, found, strict=True)]
    finally:
        for process in processes:
            process.kill()


@pytest.mark.parametrize(("dies", "where"), [(0, "work"), (2, "exchange")])
def test_when_a_process_dies_the_others_end_and_name_it(dies, where):
    ends = ranks("kill", dies, where)
    assert ends[dies][0] == -9
    for rank, (status, printed) in enumerate(ends):
        if rank != dies:
            assert status == 1, printed
            assert f"rank {dies} (process " in printed
            assert f"on {socket.gethostname()}) has died, so this run ends" in printed
            assert "Traceback" not in printed


def test_a_defect_of_one_process_is_told_by_it_and_ends_the_others():
    ends = ranks("error", 1, "work", world=2)
    assert "ZeroDivisionError: a defect" in ends[1][1]
    assert ends[0][0] == 1
    assert "rank 1 (process" in ends[0][1]


def test_who_leaves_in_good_order_ends_nobody():
    for status, printed in ranks("leave", 1, "work", world=2):
        assert status == 0, printed
        assert "died" not in printed
