"""Going on from a checkpoint that is sound by itself and does not fit the training."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from helpers.damaged_checkpoints import changed, stepped, whole, written
from helpers.tiny_training import tiny_parts
from helpers.training_runs import assert_equal

from mammorisk.errors import UserError
from mammorisk.runs.directory import RunFiles
from mammorisk.training.checkpoint import resume
from mammorisk.training.checkpoint_payload import read_payload
from mammorisk.training.checkpoint_restore import restore
from mammorisk.weights.loading import load_weights


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    return tiny_parts(tmp_path_factory.mktemp("run"), "model=mirai", "trainer.resume_from=auto")[0]


def test_all_parts_are_where_they_were(context):
    for parameter in context.unwrapped_model.parameters():
        parameter.data.add_(1.0)
    torch.rand(5)
    state = resume(context, RunFiles(stepped().parent))
    assert_equal(dict(context.unwrapped_model.state_dict()), dict(whole()["model"]), "model")
    assert_equal(context.optimizer.state_dict(), whole()["optimizer"], "optimizer")
    assert_equal(context.schedules.state_dict(), whole()["schedules"], "schedules")
    assert torch.equal(torch.get_rng_state(), whole()["random"][0]["torch"])
    assert state.predictions.state_dict()["sample"].tolist() == [3, 1]


def first(content: dict[str, object]) -> str:
    return next(iter(content["model"]))  # type: ignore[call-overload,no-any-return]


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        (("history",), [], "history: expected a row for each of 3 epochs, found 0 rows"),
        (("history", 1, "epoch"), math.nan, "history: expected a row for each of 3 epochs, found 3 rows"),
        (("history", 1), {"epoch": 2.0}, r"history\.1\.Training Risk Loss: it is not there"),
        (("history", 1, "more"), 2.0, r"history\.1: expected the measures of the other epochs"),
        (("batch",), 10_000, "batch: expected at most"),
        (("predictions", 0, "sample"), torch.tensor([1, 10**9]), r"predictions\.0\.sample: expected numbers below"),
        (("predictions", 0, "sample"), torch.tensor([1, -1]), r"predictions\.0\.sample: expected numbers below"),
        (("optimizer", "state", 0, "exp_avg"), torch.zeros(1), r"optimizer\.state\.0\.exp_avg: expected float32"),
        (("optimizer", "param_groups"), [], r"optimizer\.param_groups: expected"),
        (("schedules", "plateau"), {}, r"schedules\.plateau\.\w+: it is not there"),
        (("schedules", "warmup", "optimizer"), 5, r"schedules\.warmup\.optimizer: there is no such setting"),
        (("schedules", "warmup", "base_lrs"), [1.0], r"schedules\.warmup\.base_lrs: expected a value like a list"),
        (("random", 0, "torch"), torch.zeros(9, dtype=torch.uint8), r"random\.0: "),
        (("random", 0, "torch"), torch.full((5056,), 255, dtype=torch.uint8), r"random\.0: "),
        (("random", 0, "python", 1), torch.full((625,), 999), r"random\.0: "),
        (("random", 0, "numpy", 0), "PCG64", r"random\.0: "),
    ],
)
def test_what_does_not_fit_is_a_message(context, place, value, told, tmp_path):
    content = changed(copy.deepcopy(whole()), place, lambda node, name: node.__setitem__(name, value))
    path = written(content, tmp_path / "x.pth")
    with pytest.raises(UserError, match=rf"x\.pth.*{told}"):
        restore(context, read_payload(path), path)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.int64])
def test_weights_of_another_type_are_not_cast(context, dtype):
    state = {name: tensor.clone() for name, tensor in whole()["model"].items()}
    name = first(whole())
    state[name] = state[name].to(dtype)
    before = context.unwrapped_model.state_dict()[name].clone()
    with pytest.raises(UserError, match=rf"1 of another type: {name} {str(dtype)[6:]}, expected float32"):
        load_weights(context.unwrapped_model, state, "x.pth")
    assert torch.equal(context.unwrapped_model.state_dict()[name], before)
