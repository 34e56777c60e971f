from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from rich.console import Console

from mammorisk.runs import logs, progress
from mammorisk.runs.logs import LOGGER
from mammorisk.runs.progress import EpochProgress


def test_a_terminal_shows_a_bar_with_loss_and_rate(terminal):
    with EpochProgress("epoch 3 training", batches=8, done=2) as shown:
        shown._bar.refresh()
        for loss in (None, 0.5, 0.25):
            shown.advance(4, loss)
        shown._bar.refresh()
    shown = terminal.getvalue()
    assert "epoch 3 training" in shown
    assert "2/8" in shown  # goes on where it was
    assert "5/8" in shown
    assert "samples/s, loss 0.2500" in shown
    assert "0:0" in shown or "-:--:--" in shown  # time left


def test_the_bar_is_taken_away_even_after_an_exception(terminal):
    shown = EpochProgress("epoch 1", batches=2)

    def fail() -> None:
        with shown:
            assert shown._bar.live.is_started
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not shown._bar.live.is_started


def test_elsewhere_a_line_a_minute(log_lines):
    with EpochProgress("epoch 1 training", batches=12) as shown:
        for _ in range(7):
            shown.advance(10, 0.5)
    # The clock stands at 0 and 20 when it starts; batch n is done at 20 (n + 1) seconds.
    assert [line.split(",")[0] for line in log_lines] == [
        "epoch 1 training: 3 of 12 batches",
        "epoch 1 training: 6 of 12 batches",
    ]
    assert log_lines[0] == "epoch 1 training: 3 of 12 batches, 0.4 samples/s, loss 0.5000, 4.0 min left"


def test_other_ranks_show_no_progress(log_lines, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    with EpochProgress("epoch 1", batches=12) as shown:
        for _ in range(7):
            shown.advance(10)
    assert log_lines == []


@pytest.fixture
def terminal(monkeypatch) -> io.StringIO:
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=120)
    monkeypatch.setattr(logs, "CONSOLE", console)
    monkeypatch.setattr(progress, "CONSOLE", console)
    return text


@pytest.fixture
def log_lines(monkeypatch) -> Iterator[list[str]]:
    """Lines of the log; the console is no terminal, and each look at the clock takes 20 seconds."""
    lines: list[str] = []

    class Keep(logs.logging.Handler):
        def emit(self, record: logs.logging.LogRecord) -> None:
            lines.append(record.getMessage())

    clock = iter(range(0, 10_000, 20))
    monkeypatch.setattr(progress, "CONSOLE", Console(file=io.StringIO(), force_terminal=False))
    monkeypatch.setattr("mammorisk.runs.progress.time.monotonic", lambda: next(clock))
    handler = Keep()
    level = LOGGER.level
    LOGGER.addHandler(handler)
    LOGGER.setLevel("INFO")
    yield lines
    LOGGER.setLevel(level)
    LOGGER.removeHandler(handler)
