from __future__ import annotations

import signal
import threading

import pytest

from mammorisk.distributed.signals import StopSignals
from mammorisk.errors import STOP_SIGNALS


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_signals_are_noted_and_given_back(number):
    heard = []
    before = signal.signal(number, lambda *_: heard.append("before"))
    try:
        with StopSignals() as signals:
            assert signals.received is None
            signal.raise_signal(number)
            assert signals.received == number
        assert heard == []
        signal.raise_signal(number)
        assert heard == ["before"]
    finally:
        signal.signal(number, before)


def test_signals_are_given_back_after_an_exception():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ZeroDivisionError), StopSignals():
        _ = 1 / 0
    assert signal.getsignal(signal.SIGTERM) is before


def test_outside_the_main_thread_signals_stay_as_they_were():
    found = []

    def listen() -> None:
        with StopSignals() as signals:
            found.append(signals.received)

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert found == [None]
    assert signal.getsignal(signal.SIGTERM) is before
