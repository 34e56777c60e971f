from __future__ import annotations

import json

import pytest
import torch
from helpers.reference_blocks import REFERENCE
from torch import Tensor

from mammorisk.errors import UserError
from mammorisk.models.encoders import ResNetEncoder
from mammorisk.weights.formats import FORMATS, WeightFormat, check_whole, find_format, width_of
from mammorisk.weights.loading import renamed_state

REFERENCES = {
    "a_mirai_trunk": "bcrbench_encoder",
    "mirai_like_snapshot_expected": "mirai_encoder",
    "b_mirai_transformer": "mirai_transformer",
    "b_mirai_transformer_riskfactors": "mirai_transformer",
    "b_mirai_full": "mirai",
    "d_mammoregnet": "mammoregnet",
    "f_lmvnet_full": "lmv_net",
    "g_imgfeatalign_full": "imgfeatalign",
    "h_oabreacr_full": "oa_breacr",
    "i_vmramar_full": "vmra_mar",
}


def shapes(block: str) -> dict[str, Tensor]:
    """The published state dict, without its numbers."""
    entries = json.loads((REFERENCE / f"{block}.keys.json").read_text())["state_dict"]
    types = {entry["key"]: getattr(torch, str(entry["dtype"]).removeprefix("torch.")) for entry in entries}
    return {entry["key"]: torch.empty(entry["shape"], dtype=types[entry["key"]], device="meta") for entry in entries}


def kind_named(name: str) -> WeightFormat:
    return next(kind for kind in FORMATS if kind.name == name)


@pytest.mark.parametrize("block", REFERENCES)
def test_published_state_dicts_are_told_and_fit(block):
    state = shapes(block)
    kind = find_format(state)
    assert kind is kind_named(REFERENCES[block])
    renamed = renamed_state(state, kind.table, block)
    check_whole(kind, renamed, block)
    missing = renamed.popitem()[0]
    with pytest.raises(UserError, match=rf"1 missing: {missing}"):
        check_whole(kind, renamed, block)


def test_our_own_state_dicts_are_told_too():
    own = ResNetEncoder(width=1).state_dict()
    assert find_format(own) is kind_named("resnet")
    assert find_format(f"encoder.{key}" for key in own) is kind_named("mammorisk")
    assert find_format(["a.weight", "b.bias"]) is None
    assert find_format([]) is None


def test_names_are_unique_and_every_format_can_be_told():
    assert len({kind.name for kind in FORMATS}) == len(FORMATS)
    assert {kind.name for kind in FORMATS} - set(REFERENCES.values()) == {"resnet", "mammorisk"}


def test_a_whole_that_is_too_large_is_compared_without_memory():
    huge = {"conv1.weight": torch.empty(100_000, 3, 7, 7, device="meta")}
    with pytest.raises(UserError, match=r"width=100000: expected a whole number from 1 to 256"):
        check_whole(kind_named("resnet"), huge, "huge.pth")
    with pytest.raises(UserError, match="missing"):
        check_whole(kind_named("resnet"), {"conv1.weight": torch.empty(256, 3, 7, 7, device="meta")}, "wide.pth")


def test_a_width_that_is_not_there_is_one():
    state = {"a": torch.zeros(3, 4), "none": torch.zeros(0)}
    assert [width_of(state, "a"), width_of(state, "a", 1), width_of(state, "a", 2)] == [3, 4, 1]
    assert [width_of(state, "b"), width_of(state, "none")] == [1, 1]
