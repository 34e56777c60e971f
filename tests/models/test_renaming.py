from __future__ import annotations

import pytest
import torch

from mammorisk.models.renaming import MIRAI_TRUNK, RESNET, encoder_table, rename


def test_rules_rename_drop_and_split_in_order():
    state = {"a.x": torch.zeros(1), "a.gone": torch.zeros(1), "packed.weight": torch.arange(6.0).view(6, 1)}
    renamed = rename(state, [(r"gone$", None), (r"^a\.", "b."), (r"^packed\.(\w+)$", (r"q.\1", r"k.\1", r"v.\1"))])
    assert set(renamed) == {"b.x", "q.weight", "k.weight", "v.weight"}
    assert renamed["k.weight"].tolist() == [[2.0], [3.0]]


def test_two_keys_under_one_name_are_a_defect_of_the_table():
    with pytest.raises(ValueError, match="two keys become 'x'"):
        rename({"a.x": torch.zeros(1), "b.x": torch.zeros(1)}, [(r"^[ab]\.", "")])


def test_encoder_table_is_told_by_the_names():
    assert encoder_table(["_model.downsampler.conv1.weight"]) is MIRAI_TRUNK
    assert encoder_table(["conv1.weight", "fc.weight"]) is RESNET
