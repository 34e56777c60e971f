from __future__ import annotations

import socket

import pytest
from helpers.forked_commands import Fork
from helpers.training_runs import environment

# A process of a run that ends as its arguments say, while the others wait for it in an exchange or at work.
RANK = """
import os, signal, sys, time
from mammorisk.distributed.collectives import broadcast_object
from mammorisk.distributed.launch import end_processes, rank
from mammorisk.runs.start import start_processes
how, dies, at_work = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "work"
start_processes()
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
        time.sleep(100) if at_work else broadcast_object(0)
        broadcast_object(1)
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


@pytest.fixture
def ranks(tmp_path, monkeypatch):
    """Exit status and output of each rank, all of which must end in time."""
    (tmp_path / "a_rank.py").write_text(RANK)
    monkeypatch.syspath_prepend(tmp_path)

    def ended(how: str, dies: int, where: str, world: int = 3) -> list[tuple[int, str]]:
        meeting = {"WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
        variables = [environment(**meeting, RANK=str(rank), CUDA_VISIBLE_DEVICES="") for rank in range(world)]
        processes = [Fork("a_rank", [how, str(dies), where], tmp_path, each) for each in variables]
        try:
            found = [process.communicate(timeout=60)[0] for process in processes]
            return [(process.wait(), printed) for process, printed in zip(processes, found, strict=True)]
        finally:
            for process in processes:
                process.kill()

    return ended


@pytest.mark.parametrize(("dies", "where"), [(0, "work"), (2, "exchange")])
def test_when_a_process_dies_the_others_end_and_name_it(ranks, dies, where):
    ends = ranks("kill", dies, where)
    assert ends[dies][0] == -9
    for rank, (status, printed) in enumerate(ends):
        if rank != dies:
            assert status == 1, printed
            assert f"rank {dies} (process " in printed
            assert f"on {socket.gethostname()}) has died, so this run ends" in printed
            assert "Traceback" not in printed


def test_a_defect_of_one_process_is_told_by_it_and_ends_the_others(ranks):
    ends = ranks("error", 1, "work", world=2)
    assert "ZeroDivisionError: a defect" in ends[1][1]
    assert ends[0][0] == 1
    assert "rank 1 (process" in ends[0][1]


def test_who_leaves_in_good_order_ends_nobody(ranks):
    for status, printed in ranks("leave", 1, "work", world=2):
        assert status == 0, printed
        assert "died" not in printed
