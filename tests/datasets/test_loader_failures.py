from __future__ import annotations

import errno
import os
import signal

import pytest

from mammorisk.datasets.loader_failures import death, explained, explained_break, explained_start
from mammorisk.errors import UserError

FILES, SHARED, MEMORY = "too many files are open", "shared memory", "the memory has run out"
TORCHS = [  # words of torch 2.7 to 2.13
    ("unable to open shared memory object </torch_7762_10_3> in read-write mode: Too many open files (24)", FILES),
    ("Too many open files. Communication with the workers is no longer possible.", FILES),
    ("received 0 items of ancdata", FILES),
    ("unable to allocate shared memory(shm) for file </torch_8000_12_2>: No space left on device (28)", SHARED),
    ("unable to write to file </torch_8000_12_2>: No space left on device (28)", SHARED),
    ("DataLoader worker (pid 3) is killed by signal: Bus error. It is possible that dataloader's workers are out of "
     "shared memory.", SHARED),
    ("unable to mmap 128 bytes from file <filename not specified>: Cannot allocate memory (12)", MEMORY),
    ("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 10 bytes.", MEMORY),
]  # fmt: skip


def os_error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize(("text", "words"), TORCHS)
def test_torchs_words_are_understood(text, words):
    for error in (RuntimeError(text), RuntimeError(f"Caught RuntimeError in DataLoader worker process 0.\n{text}\n")):
        found = explained(error)
        assert found is not None
        assert words in str(found)
        assert "dataset.num_workers=0" in str(found)


def test_the_cause_of_an_error_counts():
    wrapped = UserError("x.png cannot be read")
    wrapped.__cause__ = os_error(errno.EMFILE)
    assert FILES in str(explained(wrapped))
    assert MEMORY in str(explained(MemoryError()))


@pytest.mark.parametrize(
    "error",
    [ZeroDivisionError("x"), FileNotFoundError(2, "No such file", "x.png"), RuntimeError("size mismatch"),
     OSError(errno.ENOSPC, "No space left on device", "/data/x"), UserError("x.png is damaged")],
)  # fmt: skip
def test_what_has_nothing_to_do_with_loading_stays_what_it_is(error):
    assert explained(error) is None


def test_an_error_of_the_start_names_what_is_short():
    assert "--shm-size" in str(explained_start(os_error(errno.ENOSPC)))
    assert "ulimit -u" in str(explained_start(os_error(errno.EAGAIN)))
    assert FILES in str(explained_start(os_error(errno.EMFILE)))
    assert "cannot be started: [Errno 38]" in str(explained_start(os_error(errno.ENOSYS)))
    assert explained_start(ZeroDivisionError()) is None


def test_a_broken_connection_is_a_message():
    for error in (ConnectionResetError(), EOFError()):
        assert "connection" in str(explained_break(error))
    assert explained_break(RuntimeError("a defect")) is None


def test_a_death_tells_its_signal():
    assert "process 5) was killed" in str(death(5, -signal.SIGKILL))
    assert "SIGSEGV" in str(death(5, -signal.SIGSEGV))
    assert "exit status 1" in str(death(5, 1))
    assert "--shm-size" in str(death(5, -signal.SIGBUS))
