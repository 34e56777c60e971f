"""Stored states of optimisers: those of torch's own go on, and what would break a step is told before it."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from helpers.training_runs import assert_equal
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from mammorisk.training.checkpoint_fields import BadEntry
from mammorisk.training.optimizer_state import alike, fitting_state

OPTIMIZERS = {
    "adamw": lambda groups: torch.optim.AdamW(groups, fused=True),
    "adam": lambda groups: torch.optim.Adam(groups, amsgrad=True),
    "sgd": lambda groups: torch.optim.SGD(groups, lr=0.1, momentum=0.9),
    "plain sgd": lambda groups: torch.optim.SGD(groups, lr=0.1),
    "rmsprop": torch.optim.RMSprop,
    "adagrad": torch.optim.Adagrad,
    "nadam": torch.optim.NAdam,
    "asgd": torch.optim.ASGD,
    "rprop": torch.optim.Rprop,
    "adafactor": torch.optim.Adafactor,
}


def trained(name: str, steps: int = 2) -> tuple[nn.Module, torch.optim.Optimizer]:
    """A small network after so many steps."""
    torch.manual_seed(1)
    network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Linear(4, 1))
    groups = [
        {"name": "a", "params": list(network[0].parameters())},
        {"name": "b", "params": list(network[1].parameters())},
    ]
    optimizer = OPTIMIZERS[name](groups)
    for _ in range(steps):
        step(network, optimizer)
    return network, optimizer


def step(network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimiser_goes_on_as_it_would_have(name):
    network, optimizer = trained(name)
    stored = copy.deepcopy(optimizer.state_dict())
    other_network, other = trained(name, steps=0)
    other_network.load_state_dict(network.state_dict())
    other.load_state_dict(fitting_state(other, stored))
    assert_equal(other.state_dict(), optimizer.state_dict(), name)
    step(network, optimizer)
    step(other_network, other)
    assert_equal(other_network.state_dict(), network.state_dict(), name)


def test_a_state_before_the_first_step_goes_on():
    _, optimizer = trained("adamw", steps=0)
    assert fitting_state(optimizer, optimizer.state_dict())["state"] == {}


def test_an_optimiser_of_someone_elses_is_not_asked_for_names():
    class Own(torch.optim.SGD):
        pass

    optimizer = Own([nn.Parameter(torch.zeros(2))], lr=0.1)
    stored = optimizer.state_dict() | {"state": {0: {"mine": torch.zeros(7)}}}
    assert fitting_state(optimizer, stored)["state"] == stored["state"]


def test_moments_get_the_layout_of_their_parameters():
    network, optimizer = trained("adamw")
    stored = copy.deepcopy(optimizer.state_dict())
    network.to(memory_format=torch.channels_last)
    fitted = fitting_state(optimizer, stored)["state"][0]["exp_avg"]
    assert fitted.stride() == network[0].weight.stride() != stored["state"][0]["exp_avg"].stride()
    assert torch.equal(fitted, stored["state"][0]["exp_avg"])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda s: s["param_groups"].pop(), "expected 2 groups, found 1"),
        (lambda s: s["param_groups"][0].pop("lr"), r"param_groups\.0\.lr: it is not there"),
        (lambda s: s["param_groups"][0].pop("params"), r"param_groups\.0\.params: expected the numbers of 2"),
        (lambda s: s["param_groups"][1].update(params=[0, 1]), "expected each parameter once"),
        (lambda s: s["param_groups"][1].update(params=["a", "b"]), "expected the numbers"),
        (lambda s: s["param_groups"][0].update(lr=math.nan), r"0\.lr: expected a value like 0.001, found nan"),
        (lambda s: s["param_groups"][0].update(lr=-1.0), r"0\.lr: expected a value like 0.001, found -1.0"),
        (lambda s: s["param_groups"][0].update(betas=(0.9,)), r"betas: expected a value like a tuple, found a tuple"),
        (lambda s: s["param_groups"][0].update(fused="yes"), r"fused: expected a value like True, found a str"),
        (lambda s: s["param_groups"][0].update(name="b"), r"name: expected a value like a str, found a str"),
        (lambda s: s["param_groups"][0].update(speed=1), r"speed: there is no such setting"),
        (lambda s: s["state"].update({9: s["state"][0]}), "expected each parameter once, and no other"),
        (
            lambda s: s["state"][0].pop("step"),
            r"state\.0: expected exp_avg, exp_avg_sq, step, found exp_avg, exp_avg_sq",
        ),
        (
            lambda s: s["state"][0].update(exp_avg=torch.zeros(1)),
            r"exp_avg: expected float32 \[3, 2, 3, 3\], found float32 \[1\]",
        ),
        (
            lambda s: s["state"][0].update(exp_avg=s["state"][0]["exp_avg"].double()),
            "expected float32 .*, found float64",
        ),
        (lambda s: s["state"][0].update(step=3), r"step: expected float32 \[\], found 3"),
        (lambda s: s["state"][0].update(step=torch.zeros(5)), r"step: expected float32 \[\], found float32 \[5\]"),
    ],
)
def test_what_does_not_fit_is_named(change, told):
    _, optimizer = trained("adamw")
    stored = copy.deepcopy(optimizer.state_dict())
    change(stored)
    with pytest.raises(BadEntry, match=told):
        fitting_state(optimizer, stored)


def plateau() -> ReduceLROnPlateau:
    return ReduceLROnPlateau(trained("adamw")[1], mode="max")


def test_schedules_go_on_and_take_no_attribute_of_a_files_choosing():
    schedule = plateau()
    own = schedule.state_dict()
    schedule.step(0.5)
    schedule.step(0.4)
    assert alike(own, schedule.state_dict(), "x") == schedule.state_dict()
    assert "_private" not in alike(own, own | {"_private": 1, "verbose": True}, "x")  # of other releases of torch
    with pytest.raises(BadEntry, match=r"x\.optimizer: there is no such setting"):
        alike(own, own | {"optimizer": 5}, "x")
    with pytest.raises(BadEntry, match=r"x\.best: it is not there"):
        alike(own, {name: value for name, value in own.items() if name != "best"}, "x")
    assert alike(own, {name: value for name, value in own.items() if name != "eps"}, "x") == own


@pytest.mark.parametrize(
    ("own", "found"), [({}, []), ([1], [1, 2]), ([1], (1,)), ("a", "b"), (1, True), (1.0, math.inf)]
)
def test_values_of_another_kind_are_refused(own, found):
    with pytest.raises(BadEntry, match="x: expected a value like"):
        alike(own, found, "x")
