import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from helpers.training_runs import environment
from helpers.worker_tasks import chore

from mammorisk.system.worker_pool import Lost, end_with, run_each


def children():
    return [
        child for child in psutil.Process().children() if "mammorisk.system.worker_pool" in " ".join(child.cmdline())
    ]


@pytest.mark.parametrize("workers", [1, 3])
def test_each_task_gets_its_answer(workers):
    assert dict(run_each(chore, range(7), workers, 30)) == {task: ("done", task) for task in range(7)}
    assert children() == []


def test_no_task_no_process():
    assert list(run_each(chore, [], 2, 30)) == []


def test_processes_are_kept_and_are_as_many_as_asked_for():
    pids = {answer for _, answer in run_each(chore, ["process"] * 12, 2, 30)}
    assert 1 <= len(pids) <= 2
    assert os.getpid() not in pids


def test_a_crash_or_a_hang_costs_its_own_task_alone():
    tasks = [0, "crash", 2, "hang", 4, "leave", 6]
    answers = dict(run_each(chore, tasks, 2, 3))
    assert answers[1] == Lost("its process was ended by SIGSEGV")
    assert answers[3] == Lost("took more than 3 s")
    assert answers[5] == Lost("its process ended with status 7 (last words)")
    assert [answers[task] for task in (0, 2, 4, 6)] == [("done", task) for task in (0, 2, 4, 6)]
    assert children() == []


def test_an_exception_comes_back_with_its_trace_and_ends_the_others():
    with pytest.raises(ValueError, match="as asked for") as caught:
        list(run_each(chore, ["fail", "hang"], 2, 30))
    assert "in chore" in caught.value.__notes__[0]
    assert children() == []
    with pytest.raises(RuntimeError, match="OddError"):
        list(run_each(chore, ["odd"], 1, 30))


def test_who_stops_listening_ends_the_processes():
    answers = run_each(chore, ["process", "hang", "hang"], 2, 60)
    next(answers)
    answers.close()
    assert children() == []


def test_processes_end_with_a_killed_parent():
    program = (
        "from mammorisk.system.worker_pool import run_each; from helpers.worker_tasks import chore; "
        "print('ready', flush=True); "
    )
    program += "list(run_each(chore, ['hang', 'hang'], 2, 600))"
    path = os.pathsep.join(sys.path)
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, env=environment(PYTHONPATH=path))
    assert parent.stdout is not None
    parent.stdout.readline()
    young = []
    deadline = time.monotonic() + 20
    while len(young) < 2 and time.monotonic() < deadline:
        young = psutil.Process(parent.pid).children()
        time.sleep(0.2)
    time.sleep(1)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    _, alive = psutil.wait_procs(young, timeout=10)
    assert len(young) == 2
    assert alive == []


def test_watching_the_parent_does_not_end_who_has_one():
    end_with(os.getppid())
    time.sleep(0.7)
    assert os.getppid() > 0
