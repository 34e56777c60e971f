from __future__ import annotations

import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from mammorisk.distributed.grace import DEFAULT, GRACE, LastResort, grace_seconds
from mammorisk.errors import UserError

# A training that never comes to its next batch: it tries a step again and again.
HANGS = """
import time
from mammorisk.distributed.signals import StopSignals
with StopSignals():
    print("ready", flush=True)
    while True:
        time.sleep(0.1)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_process_that_hangs_ends_when_its_grace_time_is_over(number):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-c", HANGS], env={GRACE: "0.5"}, **pipes)  # type: ignore
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert number.name in said
    assert "trainer.resume_from=auto" in said
    assert "Traceback" not in said


def test_who_heeds_the_signal_in_time_is_left_alone(monkeypatch):
    monkeypatch.setenv(GRACE, "0.2")
    noted = SimpleNamespace(received=None, since=None)
    last = LastResort(noted)
    last.start()
    noted.received, noted.since = 15, time.monotonic()
    last.stop()
    time.sleep(0.5)
    assert noted.received == 15  # this process still runs


def test_the_grace_time_is_a_setting_of_the_environment(monkeypatch):
    monkeypatch.delenv(GRACE, raising=False)
    assert grace_seconds() == DEFAULT
    monkeypatch.setenv(GRACE, "30")
    assert grace_seconds() == 30


@pytest.mark.parametrize("value", ["soon", "0", "-1", "nan", "inf"])
def test_no_number_is_a_message(monkeypatch, value):
    monkeypatch.setenv(GRACE, value)
    with pytest.raises(UserError, match=f"{GRACE}={value}: expected a number of seconds above 0"):
        grace_seconds()
