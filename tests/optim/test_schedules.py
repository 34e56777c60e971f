from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from mammorisk.optim.schedules import Schedules

NAN = float("nan")


def make(warmup_steps: int = 4, rates: tuple[float, ...] = (1.0, 0.1), **settings: object) -> Schedules:
    groups = [{"params": [nn.Parameter(torch.ones(1))], "lr": rate} for rate in rates]
    return Schedules(torch.optim.AdamW(groups), warmup_steps, **settings)  # type: ignore[arg-type]


def rates(schedules: Schedules) -> list[float]:
    return [group["lr"] for group in schedules.optimizer.param_groups]


def train(schedules: Schedules, steps: int) -> None:
    for _ in range(steps):
        schedules.optimizer.step()
        schedules.step()


def plateau(schedules: Schedules, epochs: int, c_index: float = 0.5) -> None:
    for _ in range(epochs):
        schedules.end_epoch(c_index)


def test_warmup_is_linear_from_zero_to_the_rate_of_each_group():
    schedules = make(4)
    seen = []
    for _ in range(7):
        seen.append(rates(schedules))
        train(schedules, 1)
    expected = [0.0, 0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert [new for new, _ in seen] == pytest.approx(expected)
    assert [encoder for _, encoder in seen] == pytest.approx([0.1 * value for value in expected])
    assert schedules.learning_rate == 1.0
    assert schedules.steps == 7


def test_without_warmup_the_rate_is_there_at_once():
    schedules = make(0)
    assert rates(schedules) == [1.0, 0.1]
    train(schedules, 3)
    assert rates(schedules) == [1.0, 0.1]


def test_the_first_step_of_a_warmup_changes_no_weight():
    schedules = make(4)
    (weight,) = schedules.optimizer.param_groups[0]["params"]
    for expected in (True, False):
        weight.grad = torch.ones(1)
        train(schedules, 1)
        assert (weight.item() == 1.0) is expected


def test_the_rate_falls_when_the_c_index_does_not_rise():
    schedules = make(0, patience=2, decay=0.5)
    for c_index, expected in [(0.5, 1.0), (0.6, 1.0), (0.6, 1.0), (0.55, 1.0), (0.6, 0.5), (0.7, 0.5), (0.8, 0.5)]:
        schedules.end_epoch(c_index)
        assert rates(schedules) == pytest.approx([expected, 0.1 * expected]), c_index


def test_the_plateau_waits_for_the_warmup():
    schedules = make(4, patience=1)
    train(schedules, 3)
    plateau(schedules, 10)
    assert rates(schedules) == pytest.approx([0.75, 0.075])
    train(schedules, 1)
    plateau(schedules, 2)
    assert rates(schedules) == [1.0, 0.1]  # nothing was counted before
    plateau(schedules, 1)
    assert rates(schedules) == pytest.approx([0.5, 0.05])


def test_later_steps_do_not_undo_a_reduction():
    schedules = make(4, patience=0)
    train(schedules, 4)
    plateau(schedules, 2)
    train(schedules, 5)
    assert rates(schedules) == pytest.approx([0.5, 0.05])
    without = make(0, patience=0)
    plateau(without, 2)
    train(without, 5)
    assert rates(without) == pytest.approx([0.5, 0.05])


def test_a_c_index_that_could_not_be_computed_never_counts():
    schedules = make(0, patience=1)
    plateau(schedules, 10, NAN)
    plateau(schedules, 10, math.inf)
    assert rates(schedules) == [1.0, 0.1]
    plateau(schedules, 2)
    plateau(schedules, 10, NAN)
    assert rates(schedules) == [1.0, 0.1]
    plateau(schedules, 1)
    assert rates(schedules) == pytest.approx([0.5, 0.05])


def test_no_rate_falls_below_the_least():
    schedules = make(0, rates=(1e-3, 1e-4), patience=0, decay=0.1, min_lr=1e-6)
    plateau(schedules, 20)
    assert rates(schedules) == pytest.approx([1e-6, 1e-6])


def test_the_plateau_can_be_left_out():
    schedules = make(2, use_plateau=False, patience=0)
    train(schedules, 2)
    plateau(schedules, 20)
    assert rates(schedules) == [1.0, 0.1]
    assert schedules.state_dict()["plateau"] == {}


@pytest.mark.parametrize(("steps", "epochs"), [(0, 0), (3, 1), (4, 0), (9, 3)])
@pytest.mark.parametrize("use_plateau", [True, False])
def test_pitfall_10_goes_on_exactly_from_a_checkpoint(tmp_path: Path, steps, epochs, use_plateau):
    settings = {"patience": 1, "use_plateau": use_plateau}
    first = make(5, **settings)
    train(first, steps)
    plateau(first, epochs)
    torch.save({"o": first.optimizer.state_dict(), "s": first.state_dict()}, tmp_path / "state.pth")
    payload = torch.load(tmp_path / "state.pth", weights_only=True)
    second = make(5, **settings)
    second.optimizer.load_state_dict(payload["o"])
    second.load_state_dict(payload["s"])
    assert second.steps == first.steps == steps
    for _ in range(6):
        assert rates(second) == rates(first)
        for schedules in (first, second):
            train(schedules, 2)
            plateau(schedules, 1)
    assert (rates(first)[0] < 1.0) is use_plateau


def test_the_rate_falls_a_little_each_epoch_after_the_warmup():
    schedules = make(2, use_plateau=False, decay_per_epoch=0.9, min_lr=0.085)
    train(schedules, 1)
    plateau(schedules, 1)
    assert rates(schedules) == pytest.approx([0.5, 0.05])
    train(schedules, 1)
    plateau(schedules, 2)
    assert rates(schedules) == pytest.approx([0.81, 0.085])
    schedules.optimizer.param_groups[1]["lr"] = 1.0
    train(schedules, 3)
    plateau(schedules, 1, NAN)  # whatever the C-index
    assert rates(schedules) == pytest.approx([0.729, 0.9])
