from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from helpers.foreign_files import Block, snapshot_bytes
from helpers.model_cases import small_encoder
from helpers.reference_blocks import REFERENCE
from omegaconf import OmegaConf
from safetensors.torch import save_file
from torch import Tensor, nn

from mammorisk.errors import UserError
from mammorisk.weights.image_settings import BCRBENCH_IMAGES, ImageSettings
from mammorisk.weights.reading import NOTE, read_weights


class Whole(nn.Module):
    """A model of ours, as far as its encoder is concerned."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.head = small_encoder(input_mean=3.0, input_std=4.0), nn.Linear(2, 2)


def our_checkpoint(path: Path, model: nn.Module, **encoder: object) -> None:
    """What a training writes, as far as it matters here."""
    config = {"model": {"encoder": encoder}, "dataset": {"orientation": "left"}}
    torch.save({"model": model.state_dict(), "config": OmegaConf.to_yaml(config), "epoch": 3}, path)


def test_weights_say_what_they_are(tmp_path):
    (tmp_path / "net.p").write_bytes(snapshot_bytes(nn.DataParallel(Block()), "legacy"))
    found = read_weights(tmp_path / "net.p")
    assert set(found.state) == set(Block().state_dict())
    assert found.sha256 == hashlib.sha256((tmp_path / "net.p").read_bytes()).hexdigest()
    assert (found.kind, found.images, found.format) == (None, None, "unknown names (pickled module, legacy format)")


def encoder_alone(block: str) -> dict[str, Tensor]:
    """A published state dict, with numbers in its first convolution only."""
    entries = json.loads((REFERENCE / f"{block}.keys.json").read_text())["state_dict"]
    encoder = [entry for entry in entries if "layer" in entry["key"] or "downsampler" in entry["key"]]
    state = {entry["key"]: torch.zeros(3) for entry in entries}
    state |= {entry["key"]: torch.zeros(entry["shape"]) for entry in encoder}
    next(tensor for key, tensor in state.items() if key.endswith("downsampler.conv1.weight")).normal_()
    return state


@pytest.mark.parametrize("block", ["b_mirai_full", "f_lmvnet_full", "g_imgfeatalign_full", "i_vmramar_full"])
def test_an_encoder_is_taken_out_of_a_whole_model(block, tmp_path):
    state = encoder_alone(block)
    torch.save({"state_dict": {f"module.{key}": tensor for key, tensor in state.items()}}, tmp_path / "whole.pth")
    found = read_weights(tmp_path / "whole.pth")
    part, table = found.encoder()
    first = next(tensor for key, tensor in state.items() if key.endswith("downsampler.conv1.weight"))
    assert torch.equal(part["conv1.weight"], first)
    assert len(part) == 120
    assert (table, found.images) == ([], BCRBENCH_IMAGES)


def test_what_holds_no_encoder_is_told(tmp_path):
    torch.save({"Encoder.conv_1.x": torch.zeros(1), "Decoder.x": torch.zeros(1)}, tmp_path / "reg.pth")
    with pytest.raises(
        UserError, match=r"Expected an image encoder in .*reg\.pth, found MammoRegNet, which holds none"
    ):
        small_encoder(pretrained=str(tmp_path / "reg.pth"))
    torch.save({"x": torch.zeros(1)}, tmp_path / "x.pth")
    with pytest.raises(UserError, match=r"(?s)x\.pth do not fit ResNetEncoder.*1 unexpected: x"):
        small_encoder(pretrained=str(tmp_path / "x.pth"))


@torch.no_grad()
def test_an_encoder_is_taken_out_of_our_checkpoint_with_its_settings(tmp_path):
    model, image = Whole().eval(), torch.rand(1, 1, 64, 52)
    our_checkpoint(tmp_path / "best.pth", model, input_mean=None, input_std=None)
    encoder = small_encoder(pretrained=str(tmp_path / "best.pth")).eval()
    assert torch.equal(encoder(image), model.encoder(image))
    assert encoder.orientation == "left"


def test_an_older_checkpoint_has_its_scale_in_the_config(tmp_path):
    model = Whole()
    state = {key: tensor for key, tensor in model.state_dict().items() if "input_" not in key}
    config = "model:\n  encoder:\n    input_mean: 8\n    input_std: 9.5\ndataset:\n  orientation: native\n"
    torch.save({"model": state, "config": config}, tmp_path / "old.pth")
    assert read_weights(tmp_path / "old.pth").images == ImageSettings(8.0, 9.5, "native")


@pytest.mark.parametrize("config", ["", "[", "a: 1", "model: 3\ndataset: {}", "- 1", "\t", "a: 2020-99-99", "[" * 300])
def test_a_config_that_is_none_of_ours_is_passed_over(config, tmp_path):
    torch.save({"model": Whole().state_dict(), "config": config}, tmp_path / "odd.pth")
    assert read_weights(tmp_path / "odd.pth").images == ImageSettings(3.0, 4.0)


def note(**images: object) -> str:
    return json.dumps({"title": "theirs", "images": images})


@pytest.mark.parametrize("where", ["metadata", "beside"])
def test_settings_of_a_safetensors_file(where, tmp_path):
    own = {key: value.contiguous() for key, value in small_encoder().state_dict().items() if "input_" not in key}
    text = note(input_mean=1, input_std=2.5, orientation="left")
    save_file(own, tmp_path / "w.safetensors", metadata={NOTE: text} if where == "metadata" else None)
    if where == "beside":
        (tmp_path / "w.json").write_text(text)
    found = read_weights(tmp_path / "w.safetensors")
    assert found.images == ImageSettings(1.0, 2.5, "left")
    assert found.format == "theirs (safetensors)"


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "[" * 100_000,
        json.dumps({"images": 3}),
        note(input_mean="1", input_std=2),
        note(input_mean=1, input_std=0),
        note(input_mean=1, input_std=-2),
        note(input_mean=float("nan"), input_std=2),
        note(input_mean=1, input_std=float("inf")),
        note(input_mean=1),
    ],
)
def test_a_note_that_is_none_is_passed_over(text, tmp_path):
    own = small_encoder(input_mean=6.0, input_std=7.0).state_dict()
    save_file({key: value.contiguous() for key, value in own.items()}, tmp_path / "w.safetensors", {NOTE: text})
    assert read_weights(tmp_path / "w.safetensors").images == ImageSettings(6.0, 7.0)


def test_files_that_are_not_there_or_cut_off(tmp_path):
    with pytest.raises(UserError, match=r"gone\.pth, found none"):
        read_weights(tmp_path / "gone.pth")
    (tmp_path / "cut.safetensors").write_bytes(b"\xff" * 30)
    with pytest.raises(UserError, match="Expected a safetensors file"):
        read_weights(tmp_path / "cut.safetensors")
