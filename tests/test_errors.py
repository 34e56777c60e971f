from __future__ import annotations

import pickle
import signal

import pytest

from mammorisk.errors import Stopped, UserError


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_stop_says_its_signal_and_how_to_go_on(number):
    stopped = Stopped(int(number))
    assert stopped.number == number
    assert str(stopped) == f"stopped by {number.name}; the training is saved and goes on with trainer.resume_from=auto"


def test_a_stop_without_a_save_says_so():
    stopped = pickle.loads(pickle.dumps(Stopped(15, saved=False)))
    assert (stopped.number, stopped.saved) == (15, False)
    assert "is saved" not in str(stopped)
    assert "the last checkpoint" in str(stopped)


def test_a_stop_is_no_user_error():
    assert not issubclass(Stopped, UserError)
    assert not issubclass(UserError, Stopped)


def test_messages_travel_between_processes():
    assert str(pickle.loads(pickle.dumps(UserError("line 1\nline 2")))) == "line 1\nline 2"
    assert pickle.loads(pickle.dumps(Stopped(15))).number == 15
