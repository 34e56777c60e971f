from __future__ import annotations

import pytest
import torch

from mammorisk.weights.renaming import MIRAI_TRUNK, RESNET, encoder_table, rename


def test_rules_rename_drop_and_split_in_order():
    state = {"a.x": torch.zeros(1), "a.gone": torch.zeros(1), "packed.weight": torch.arange(6.0).view(6, 1)}
    renamed = rename(state, [(r"gone$", None), (r"^a\.", "b."), (r"^packed\.(\w+)$", (r"q.\1", r"k.\1", r"v.\1"))])
    assert set(renamed) == {"b.x", "q.weight", "k.weight", "v.weight"}
    assert renamed["k.weight"].tolist() == [[2.0], [3.0]]


def test_a_function_changes_the_tensor_and_leaves_the_key():
    state = {"a.x": torch.tensor([1.0, 2.0]), "a.y": torch.tensor([1.0, 2.0])}
    renamed = rename(state, [(r"^a\.", "b."), (r"^b\.x$", lambda tensor: tensor.flip(0))])
    assert {key: tensor.tolist() for key, tensor in renamed.items()} == {"b.x": [2.0, 1.0], "b.y": [1.0, 2.0]}
    assert state["a.x"].tolist() == [1.0, 2.0]


def test_two_keys_under_one_name_are_a_defect_of_the_table():
    with pytest.raises(ValueError, match="two keys become 'x'"):
        rename({"a.x": torch.zeros(1), "b.x": torch.zeros(1)}, [(r"^[ab]\.", "")])


def test_encoder_table_is_told_by_the_names():
    assert encoder_table(["_model.downsampler.conv1.weight"]) is MIRAI_TRUNK
    assert encoder_table(["0.conv1.weight"]) is MIRAI_TRUNK
    assert encoder_table(["conv1.weight", "fc.weight"]) is RESNET


@pytest.mark.parametrize("prefix", ["", "encoder."])
def test_bcrbenchs_row_of_nine_parts_is_the_trunk(prefix):
    parts = ["0.conv1.weight", "0.bn1.bias", "1.conv1.weight", "2.bn2.bias", "3.downsample.0.weight", "8.conv2.weight"]
    ours = ["conv1.weight", "bn1.bias", "layer1.0.conv1.weight", "layer1.1.bn2.bias", "layer2.0.downsample.0.weight"]
    found = rename({prefix + part: torch.zeros(1) for part in parts}, MIRAI_TRUNK)
    assert list(found) == [prefix + name for name in [*ours, "layer4.1.conv2.weight"]]
