from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers.foreign_files import CONTAINERS, Block, contained, evil_pickles, snapshot_bytes
from safetensors.torch import save_file
from torch import nn

from mammorisk.errors import UserError
from mammorisk.models.encoders import ResNetEncoder
from mammorisk.weights.loading import load_state, read_state_dict, renamed_state

STATE = {"weight": torch.arange(6.0).view(2, 3), "bias": torch.tensor([1.0, 2.0])}


def test_misfits_are_all_listed_and_nothing_is_loaded():
    linear = nn.Linear(3, 2)
    before = linear.weight.clone()
    wrong = {"weight": torch.zeros(2, 4), "extra": torch.zeros(1)}
    with pytest.raises(UserError) as caught:
        load_state(linear, wrong, [], source="w.pth")
    for part in ("w.pth", "1 missing: bias", "1 unexpected: extra", "weight [2, 4], expected [2, 3]"):
        assert part in str(caught.value)
    assert torch.equal(linear.weight, before)


def test_long_lists_are_cut():
    with pytest.raises(UserError, match="and 8 more"):
        load_state(nn.Linear(3, 2), STATE | {f"extra{i}": torch.zeros(1) for i in range(20)}, [])


@pytest.mark.parametrize(
    "content",
    [
        STATE,
        {"model": STATE, "epoch": 3},
        {"state_dict": STATE},
        {f"module.{key}": tensor for key, tensor in STATE.items()},
        {"model": {f"module.{key}": tensor for key, tensor in STATE.items()}},
    ],
    ids=["raw", "model", "state_dict", "module.", "model with module."],
)
@pytest.mark.parametrize("zip_format", [True, False])
def test_torch_files_in_the_usual_wrappings(tmp_path: Path, content, zip_format):
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=zip_format)
    linear = nn.Linear(3, 2)
    load_state(linear, read_state_dict(tmp_path / "w.pth"), [])
    assert torch.equal(linear.weight, STATE["weight"])
    assert torch.equal(linear.bias, STATE["bias"])


def test_safetensors(tmp_path: Path):
    save_file(STATE, tmp_path / "w.safetensors")
    assert torch.equal(read_state_dict(tmp_path / "w.safetensors")["weight"], STATE["weight"])
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "w.safetensors").read_bytes()[:20])
    with pytest.raises(UserError, match="Expected a safetensors file"):
        read_state_dict(tmp_path / "cut.safetensors")


def test_safetensors_without_tensors(tmp_path: Path):
    save_file({}, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match="Expected tensors in"):
        read_state_dict(tmp_path / "w.safetensors")
    (tmp_path / "w.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match="Expected a safetensors file"):
        read_state_dict(tmp_path / "w.safetensors")


class Scaled(nn.Module):
    """Stands for a model with an encoder: an optional scale beside what must be there."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = ResNetEncoder(width=1)


def test_only_an_encoders_scale_may_be_missing():
    donor, heir = Scaled(), Scaled()
    heir.encoder.input_mean.fill_(5.0)
    state = {key: tensor for key, tensor in donor.state_dict().items() if "input_" not in key}
    load_state(heir, state, [])
    assert torch.equal(heir.encoder.conv1.weight, donor.encoder.conv1.weight)
    assert float(heir.encoder.input_mean) == 5.0
    load_state(heir, donor.state_dict(), [])
    assert float(heir.encoder.input_mean) == pytest.approx(7047.99)
    del state["encoder.bn1.running_mean"]
    with pytest.raises(UserError, match=r"1 missing: encoder\.bn1\.running_mean\n"):
        load_state(heir, state, [])


@pytest.mark.parametrize("table", [[(r"^\w+", "x")], [(r"^bias", ("a", "b", "c"))]], ids=["one name", "parts"])
def test_tensors_that_a_table_cannot_rename_are_the_files_mistake(table):
    with pytest.raises(UserError, match=r"w\.pth are not of the format they look like"):
        renamed_state(STATE, table, "w.pth")


def test_missing_file(tmp_path: Path):
    with pytest.raises(UserError, match=r"gone\.pth, found none"):
        read_state_dict(tmp_path / "gone.pth")


@pytest.mark.parametrize("container", ["zip", "legacy"])
def test_whole_modules_in_and_out_of_data_parallel(tmp_path: Path, container):
    for name, module in {"plain": Block(), "parallel": nn.DataParallel(Block())}.items():
        (tmp_path / name).write_bytes(snapshot_bytes(module, container))
        assert set(read_state_dict(tmp_path / name)) == set(Block().state_dict())


@pytest.mark.parametrize("container", CONTAINERS)
def test_pitfall_23_code_in_a_file_is_not_run(tmp_path: Path, container):
    data, told = evil_pickles(tmp_path / "executed")["in a wrapper, protocol 2"]
    (tmp_path / "evil.pth").write_bytes(contained(data, container))
    with pytest.raises(UserError, match=rf"(?s)evil\.pth.*{told}"):
        read_state_dict(tmp_path / "evil.pth")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n" + bytes(100), b"PK\x03\x04" + bytes(50), b"hello"])
def test_files_that_are_no_checkpoint(tmp_path: Path, content):
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(UserError, match=r"Expected a checkpoint .*w\.pth"):
        read_state_dict(tmp_path / "w.pth")


def test_truncated_checkpoint(tmp_path: Path):
    torch.save({"weight": torch.rand(100, 100)}, tmp_path / "w.pth")
    (tmp_path / "w.pth").write_bytes((tmp_path / "w.pth").read_bytes()[:20000])
    with pytest.raises(UserError, match="cut off"):
        read_state_dict(tmp_path / "w.pth")


@pytest.mark.parametrize(("content", "found"), [({"epoch": 3}, "a dict with epoch"), ([1, 2], "a list"), ({}, "empty")])
def test_files_without_tensors(tmp_path: Path, content, found):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(UserError, match=found):
        read_state_dict(tmp_path / "w.pth")
