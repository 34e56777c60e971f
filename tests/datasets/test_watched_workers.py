from __future__ import annotations

import gc
import resource
import threading
import time

import psutil
import pytest
from helpers import faulty_loaders
from helpers.faulty_loaders import odd_loader

from mammorisk.datasets import watched_workers
from mammorisk.datasets.watched_workers import WaitAbandoned
from mammorisk.errors import UserError


def children() -> list[psutil.Process]:
    alive = [each for each in psutil.Process().children() if each.status() != psutil.STATUS_ZOMBIE]
    return [each for each in alive if "resource_tracker" not in " ".join(each.cmdline())]


@pytest.fixture(autouse=True)
def _no_process_is_left():
    before = set(children())
    yield
    assert not set(children()) - before


@pytest.mark.parametrize(
    ("does", "words"),
    [
        (faulty_loaders.killed, ["was killed", "memory ran out", "dataset.num_workers=0"]),
        (faulty_loaders.ends, ["has ended with exit status 3", "dataset.num_workers=0"]),
        (faulty_loaders.breaks_memory, ["shared memory", "--shm-size", "dataset.num_workers=0"]),
        (faulty_loaders.opens_no_more, ["too many files are open", "ulimit -n", "dataset.num_workers=0"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_worker_that_fails_is_a_message(does, words, capfd):
    loader = odd_loader(does)
    with pytest.raises(UserError) as caught:
        list(loader)
    loader.close()
    for word in words:
        assert word in str(caught.value)
    assert "Traceback" not in capfd.readouterr().err


def test_a_worker_that_may_open_no_more_files_is_a_message():
    """Whatever lacks them: the message, the thread that sends it, or the thread that hands out descriptors."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    ends, more = set(), 4
    while "10 batches" not in ends and more < 1000:
        gc.collect()  # the loaders before this one hold their pipes until then
        loader = odd_loader(None)
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (faulty_loaders.next_descriptor() + more, most))
        more += 12
        try:
            ends.add(how_it_ends(loader))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
            loader.close()
    assert ends == {"ulimit -n", "10 batches"}


def how_it_ends(loader):
    try:
        return f"{len(list(loader))} batches"
    except UserError as error:
        return "ulimit -n" if "ulimit -n" in str(error) else str(error)


def test_a_defect_in_a_worker_keeps_its_trace():
    loader = odd_loader(faulty_loaders.is_wrong)
    with pytest.raises(ZeroDivisionError, match="in is_wrong"):
        list(loader)
    loader.close()


def test_a_death_is_told_where_a_batch_is_asked_for_and_nowhere_else():
    loader = odd_loader(None)
    batches = iter(loader)
    next(batches)
    for worker in loader._iterator._workers:
        worker.kill()
    until = time.monotonic() + 1
    while time.monotonic() < until:  # the training goes on with its step
        time.sleep(0.01)
    with pytest.raises(UserError, match="was killed"):
        list(batches)
    loader.close()


@pytest.mark.parametrize("noticed", [True, False])
def test_a_lock_that_died_with_a_worker_blocks_nobody(noticed):
    """Workers look at an event for each batch: one that is killed then keeps the event's lock."""
    loader = odd_loader(None)
    batches = iter(loader)
    next(batches)
    loader._iterator._workers_done_event._cond.acquire()
    ends = []

    def go_on() -> None:
        try:
            if noticed:
                list(batches)
        except UserError as error:
            ends.append(str(error))
        loader.close()
        ends.append("closed")

    for worker in loader._iterator._workers if noticed else ():
        worker.kill()
    going_on = threading.Thread(target=go_on, daemon=True)
    going_on.start()
    going_on.join(30)
    assert ends[-1:] == ["closed"]
    assert ("was killed" in ends[0]) == noticed


def test_a_wait_can_be_given_up_and_the_worker_that_hangs_is_ended():
    loader = odd_loader(faulty_loaders.hangs)
    asked = []
    loader.leave = lambda: asked.append(None) or len(asked) > 1
    batches = iter(loader)
    assert [next(batches).sample.tolist() for _ in range(3)] == [[0, 1], [2, 3], [4, 5]]
    with pytest.raises(WaitAbandoned):
        next(batches)
    assert len(asked) == 2
    loader.close()
    loader.close()  # as a context that ends after a caller's own


def test_workers_that_were_forgotten_are_ended_with_the_process():
    before = set(children())
    loader = odd_loader(faulty_loaders.hangs)
    next(iter(loader))
    assert set(children()) - before
    watched_workers._end_all()
    assert not set(children()) - before


def test_epochs_follow_each_other_with_the_same_workers():
    loader = odd_loader(None)
    first = [batch.sample.tolist() for batch in loader]
    workers = [worker.pid for worker in loader._iterator._workers]
    for _ in loader:
        break
    assert [batch.sample.tolist() for batch in loader] == first
    assert [worker.pid for worker in loader._iterator._workers] == workers
    loader.close()
