from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from mammorisk.errors import UserError
from mammorisk.models.pretrained import load_state, read_state_dict

STATE = {"weight": torch.arange(6.0).view(2, 3), "bias": torch.tensor([1.0, 2.0])}


class Exploit:
    """Unpickling it would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.path}",)


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


def test_missing_file(tmp_path: Path):
    with pytest.raises(UserError, match=r"gone\.pth, found none"):
        read_state_dict(tmp_path / "gone.pth")


@pytest.mark.parametrize("zip_format", [True, False])
def test_pickled_module_is_refused_by_name(tmp_path: Path, zip_format):
    torch.save(nn.Linear(3, 2), tmp_path / "snapshot.p", _use_new_zipfile_serialization=zip_format)
    with pytest.raises(UserError, match=r"pickled module.*Linear.*Nothing in it was executed"):
        read_state_dict(tmp_path / "snapshot.p")


@pytest.mark.parametrize("wrapped", [True, False])
def test_pitfall_23_code_in_a_file_is_not_run(tmp_path: Path, wrapped):
    exploit = Exploit(tmp_path / "executed")
    if wrapped:
        torch.save({"weight": exploit}, tmp_path / "evil.pth")
    else:
        (tmp_path / "evil.pth").write_bytes(pickle.dumps(exploit))
    with pytest.raises(UserError, match=r"evil\.pth"):
        read_state_dict(tmp_path / "evil.pth")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n" + bytes(100), b"PK\x03\x04" + bytes(50), b"hello world"])
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
