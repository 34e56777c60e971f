from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from helpers.model_cases import random_batch
from helpers.ranks import on_ranks

from mammorisk.batch import Batch, InputSpec
from mammorisk.datasets.watched_workers import WaitAbandoned
from mammorisk.distributed.signals import StopSignals
from mammorisk.errors import Stopped, UserError
from mammorisk.training.step_control import StepControl

NEVER = 1e6  # minutes


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)


def loader(n: int, error_at: int | None = None, signal_at: int | None = None) -> Iterator[Batch]:
    """``n`` batches of one sample; before one of them a user's error or a signal."""
    for number in range(n):
        if number == error_at:
            raise UserError(f"image {number} of rank {os.environ.get('RANK', 0)} cannot be read")
        if number == signal_at:
            signal.raise_signal(signal.SIGUSR1)
        batch = random_batch(InputSpec("image", exams=1), samples=1, size=(2, 2))
        batch.sample = torch.tensor([number])
        yield batch


def run(
    batches: Iterator[Batch],
    rounds: int,
    minutes: float = NEVER,
    can_stop: Callable[[int], bool] = lambda done: True,
    trouble_after: int | None = None,
) -> dict[str, Any]:
    """An epoch as the loop runs it: the batches seen, after how many of them was saved, how it ended."""
    seen: list[int] = []
    saved: list[int] = []
    found: dict[str, Any] = {"seen": seen, "saved": saved, "end": "well"}
    with StopSignals() as signals:
        step_control = StepControl(signals, minutes)
        try:
            for batch in step_control.batches(
                batches, rounds, save=lambda: saved.append(len(seen)), can_stop=lambda: can_stop(len(seen))
            ):
                seen.append(int(batch.sample))
                if len(seen) == trouble_after:
                    step_control.error = UserError("the loss is nan")
        except (UserError, Stopped) as error:
            found["end"] = str(error)
    return found


def test_an_undisturbed_epoch():
    assert run(loader(3), 3) == {"seen": [0, 1, 2], "saved": [], "end": "well"}
    assert run(loader(0), 0) == {"seen": [], "saved": [], "end": "well"}


def test_a_users_error_from_the_loader_is_raised_before_its_batch():
    found = run(loader(4, error_at=2), 4)
    assert found == {"seen": [0, 1], "saved": [], "end": "image 2 of rank 0 cannot be read"}


def test_trouble_of_a_step_is_raised_before_anything_is_saved():
    assert run(loader(4), 4, minutes=0, trouble_after=2) == {"seen": [0, 1], "saved": [0, 1], "end": "the loss is nan"}
    last = run(loader(2), 2, trouble_after=2)
    assert last["end"] == "the loss is nan"


def test_other_exceptions_are_not_taken_for_a_users():
    def broken() -> Iterator[Batch]:
        raise ZeroDivisionError
        yield

    with pytest.raises(ZeroDivisionError):
        run(broken(), 1)


def test_a_signal_saves_and_then_stops():
    found = run(loader(4, signal_at=2), 4)
    assert found["seen"] == [0, 1]
    assert found["saved"] == [2]
    assert found["end"].startswith("stopped by SIGUSR1")


def given_up(after: int) -> Iterator[Batch]:
    """Batches, and a wait that is given up because of a signal."""
    yield from loader(after)
    signal.raise_signal(signal.SIGTERM)
    raise WaitAbandoned


def test_a_wait_that_is_given_up_ends_the_epoch():
    found = run(given_up(2), 4)
    assert (found["seen"], found["saved"]) == ([0, 1], [2])
    assert found["end"].startswith("stopped by SIGTERM; the training is saved")
    between = run(given_up(2), 4, can_stop=lambda done: done % 4 == 0)
    assert (between["seen"], between["saved"]) == ([0, 1], [])
    assert "goes on from the last checkpoint" in between["end"]


def test_a_wait_is_given_up_at_once_where_the_training_can_be_saved(monkeypatch):
    with StopSignals() as signals:
        step_control = StepControl(signals, NEVER)
        can_stop = [True]
        list(step_control.batches(loader(0), 0, save=lambda: None, can_stop=lambda: can_stop[0]))
        assert not step_control.should_leave()  # no signal
        signal.raise_signal(signal.SIGTERM)
        assert step_control.should_leave()
        can_stop[0] = False  # in the middle of a group
        assert not step_control.should_leave()
        monkeypatch.setattr("mammorisk.training.step_control.PATIENCE", -1.0)
        assert step_control.should_leave()


def test_a_signal_waits_until_a_pause_is_possible():
    found = run(loader(6, signal_at=1), 6, can_stop=lambda done: done % 4 == 0)
    assert (found["seen"], found["saved"]) == ([0, 1, 2, 3], [4])
    assert found["end"].startswith("stopped by SIGUSR1")
    at_the_end = run(loader(3, signal_at=1), 3, can_stop=lambda done: done == 3)
    assert (at_the_end["seen"], at_the_end["saved"]) == ([0, 1, 2], [3])


def test_an_error_does_not_wait_for_a_pause():
    assert run(loader(4, error_at=1), 4, can_stop=lambda done: False)["seen"] == [0]


def test_saves_come_as_often_as_asked_for(monkeypatch):
    assert run(loader(3), 3, minutes=0)["saved"] == [0, 1, 2, 3]
    assert run(loader(5), 5, minutes=0, can_stop=lambda done: done % 2 == 1)["saved"] == [1, 3, 5]
    clock = iter(range(0, 10_000, 20))  # each look at it takes 20 s
    monkeypatch.setattr("mammorisk.training.step_control.time.monotonic", lambda: next(clock))
    assert run(loader(7), 7, minutes=1)["saved"] == [2, 5]  # and the look after a save


def two_processes() -> dict[str, Any]:
    """What happens on each of two ranks, one thing after the other: starting them takes long."""
    other = os.environ["RANK"] == "1"
    return {
        "well": run(loader(3), 3),
        "error": run(loader(4, error_at=2 if other else None), 4),
        "errors": run(loader(4, error_at=2), 4),
        "early and late": run(loader(4, error_at=1 if other else 3), 4),
        "signal": run(loader(4, signal_at=1 if other else None), 4),
        "delayed": run(loader(4, signal_at=1 if other else None), 4, can_stop=lambda done: done == 3),
        "uneven": run(loader(1 if other else 4), 4),
        "nothing": run(loader(0 if other else 2), 2),
        "save": run(loader(3), 3, minutes=NEVER if other else 0),
        "save asked by rank 1": run(loader(3), 3, minutes=0 if other else NEVER),
        "trouble": run(loader(4), 4, trouble_after=2 if other else None),
    }


@pytest.fixture(scope="module")
def ranks() -> list[dict[str, Any]]:
    return on_ranks(two_processes)


def on_both(ranks: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [found[name] for found in ranks]


def test_pitfall_06_an_error_on_one_rank_is_raised_on_both(ranks):
    for found in on_both(ranks, "error"):
        assert found == {"seen": [0, 1], "saved": [], "end": "image 2 of rank 1 cannot be read"}
    for found in on_both(ranks, "errors"):
        assert found["end"] == "image 2 of rank 0 cannot be read"
    for found in on_both(ranks, "early and late"):
        assert found == {"seen": [0], "saved": [], "end": "image 1 of rank 1 cannot be read"}
    for found in on_both(ranks, "trouble"):
        assert found == {"seen": [0, 1], "saved": [], "end": "the loss is nan"}


def test_pitfall_06_a_signal_on_one_rank_stops_both_at_the_same_batch(ranks):
    for found in on_both(ranks, "signal"):
        assert (found["seen"], found["saved"]) == ([0], [1])
        assert found["end"].startswith("stopped by SIGUSR1")
    for found in on_both(ranks, "delayed"):
        assert (found["seen"], found["saved"]) == ([0, 1, 2], [3])
        assert found["end"].startswith("stopped by SIGUSR1")


def test_pitfall_06_ranks_with_different_numbers_of_batches_end(ranks):
    assert [found["seen"] for found in on_both(ranks, "well")] == [[0, 1, 2], [0, 1, 2]]
    assert [found["seen"] for found in on_both(ranks, "uneven")] == [[0, 1, 2, 3], [0]]
    assert [found["seen"] for found in on_both(ranks, "nothing")] == [[0, 1], []]
    assert {found["end"] for name in ("well", "uneven", "nothing") for found in on_both(ranks, name)} == {"well"}


def test_pitfall_06_rank_0s_clock_decides_when_all_save(ranks):
    assert [found["saved"] for found in on_both(ranks, "save")] == [[0, 1, 2, 3]] * 2
    assert [found["saved"] for found in on_both(ranks, "save asked by rank 1")] == [[], []]
