"""Damaged weights at every public entry: a message that names the file and what is wrong, exit status 1, no trace."""

from __future__ import annotations

import copy
import json
import math
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers.composed_configs import composed
from helpers.damaged_checkpoints import stepped, whole, written
from helpers.evaluated_checkpoints import run_directory
from helpers.tiny_training import tiny_parts
from helpers.training_runs import TINY, ended
from safetensors.torch import save_file

from mammorisk.cli.import_weights import import_weights
from mammorisk.errors import UserError
from mammorisk.evaluation.api import evaluate
from mammorisk.evaluation.compared_models import load_compared_model
from mammorisk.evaluation.settings import EvaluationSettings
from mammorisk.models.encoders import ResNetEncoder
from mammorisk.prediction.api import predict
from mammorisk.prediction.loaded_model import load_model
from mammorisk.registration.mammoregnet import MammoRegNet
from mammorisk.runs.directory import RunFiles
from mammorisk.training.checkpoint import resume

NAME = "encoder.conv1.weight"


def content() -> dict:
    return copy.deepcopy(whole())


def with_nan() -> dict:
    made = content()
    made["model"][NAME][0, 0, 0, 0] = math.nan
    return made


def without(name: str) -> dict:
    return {key: value for key, value in content().items() if key != name}


def with_weight(tensor: torch.Tensor) -> dict:
    made = content()
    made["model"][NAME] = tensor
    return made


DAMAGES: dict[str, tuple[Callable[[], object], str]] = {
    "nan": (with_nan, rf"{NAME}.* NaN"),
    "complex": (lambda: with_weight(whole()["model"][NAME].to(torch.complex64)), "complex numbers"),
    "float64": (
        lambda: with_weight(whole()["model"][NAME].double()),
        f"of another type: {NAME} float64, expected float32",
    ),
    "meta": (lambda: with_weight(torch.empty(1, device="meta")), "a meta tensor"),
    "sparse": (lambda: with_weight(torch.eye(3).to_sparse()), "a sparse tensor"),
    "expanded": (lambda: with_weight(torch.zeros(9).as_strided((3, 3), (0, 1))), "do not lie one after another"),
    "list": (lambda: [content()], "not a checkpoint"),
    "no config": (lambda: without("config"), "config: it is not there"),
    "config": (lambda: content() | {"config": {"model": {}}}, "config: expected a text, found a dict"),
    "no optimizer": (lambda: without("optimizer"), "optimizer: it is not there"),
    "epoch": (lambda: content() | {"epoch": "1"}, "epoch: expected a whole number"),
}


@pytest.fixture(scope="module")
def damaged(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("damaged")
    return {name: written(made(), folder / f"{name.replace(' ', '_')}.pth") for name, (made, _) in DAMAGES.items()}


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    return tiny_parts(tmp_path_factory.mktemp("run"), "model=mirai", "trainer.resume_from=auto")[0]


def resumed(parts, path: Path, folder: Path) -> None:
    parts.config.trainer.resume_from = str(path)
    resume(parts, RunFiles(folder))


@pytest.mark.parametrize("name", DAMAGES)
def test_each_damage_at_each_entry_is_a_message(name, damaged, parts, tmp_path):
    path, told = damaged[name], DAMAGES[name][1]
    entries: list[Callable[[], object]] = [
        lambda: load_model(path, "cpu"),
        lambda: predict(path, tmp_path / "exams.csv"),
        lambda: evaluate(path, cpu=True),
        lambda: load_compared_model(str(path), "test", EvaluationSettings(cpu=True)),
        lambda: resumed(parts, path, tmp_path),
    ]
    for entry in entries:
        with pytest.raises(UserError, match=rf"(?s){path.name}.*{told}"):
            entry()
    assert list(tmp_path.iterdir()) == []


def test_a_training_goes_on_from_an_earlier_checkpoint_than_a_damaged_one(damaged, parts, tmp_path, caplog):
    (tmp_path / "resume.pth").write_bytes(damaged["nan"].read_bytes())
    (tmp_path / "checkpoint_0003.pth").write_bytes(stepped().read_bytes())
    parts.config.trainer.resume_from = "auto"
    with caplog.at_level("WARNING", logger="mammorisk"):
        assert resume(parts, RunFiles(tmp_path)).epoch == 3
    assert NAME in caplog.text


def weights(change: Callable[[torch.Tensor], torch.Tensor]) -> dict[str, torch.Tensor]:
    """An encoder's, one of them changed."""
    state = {name: tensor.clone().contiguous() for name, tensor in ResNetEncoder(width=4).state_dict().items()}
    return state | {"conv1.weight": change(state["conv1.weight"])}


def importing(path: Path) -> None:
    import_weights(composed(f"source={path}", f"out={path.parent}/out.safetensors", root="import_weights"))


FOREIGN: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], str]] = {
    "nan": (lambda tensor: tensor * math.nan, r"of the tensor conv1\.weight are NaN"),
    "overflow": (lambda tensor: tensor.double() * 1e300, r"of the tensor conv1\.weight are NaN or infinite"),
    "complex": (lambda tensor: tensor.to(torch.complex64), "complex"),
    "whole numbers": (lambda tensor: tensor.long(), r"of another type: conv1\.weight int64, expected float32"),
}


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("name", FOREIGN)
def test_weights_of_others_that_are_no_numbers_are_refused_by_name(name, suffix, tmp_path):
    change, told = FOREIGN[name]
    path = tmp_path / f"theirs.{suffix}"
    (torch.save if suffix == "pth" else save_file)(weights(change), path)
    for entry in (lambda: ResNetEncoder(width=4, pretrained=str(path)), lambda: importing(path)):
        with pytest.raises(UserError, match=rf"(?s)theirs\.{suffix}.*{told}"):
            entry()
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_weights_of_another_precision_are_converted_and_told(dtype, tmp_path, capsys, caplog):
    path, name = tmp_path / "theirs.pth", str(dtype).removeprefix("torch.")
    state = weights(lambda tensor: tensor.to(dtype))
    torch.save(state, path)
    with caplog.at_level("WARNING", logger="mammorisk"):
        encoder = ResNetEncoder(width=4, pretrained=str(path))
    assert f"theirs.pth: 1 tensors are {name} and are used as float32" in caplog.text
    assert torch.equal(encoder.conv1.weight, state["conv1.weight"].float())
    importing(path)
    assert f"1 tensors are {name} and are used as float32" in capsys.readouterr().out
    assert name in json.loads((tmp_path / "out.json").read_text())["converted"]
    assert torch.equal(
        ResNetEncoder(width=4, pretrained=str(tmp_path / "out.safetensors")).conv1.weight, encoder.conv1.weight
    )


def test_a_registrations_weights_are_held_to_the_same(tmp_path):
    sizes = {"channels": (4, 4, 8, 8, 8), "decoder_channels": (8, 8, 8, 8, 4), "num_heads": (2, 2, 2, 2), "depth": 1}
    state = MammoRegNet(**sizes).state_dict()
    name = next(name for name, tensor in state.items() if tensor.is_floating_point())
    torch.save(state | {name: state[name] * math.nan}, tmp_path / "reg.pth")
    with pytest.raises(UserError, match=r"reg\.pth cannot be used: .* of the tensor .* are NaN"):
        MammoRegNet(checkpoint=tmp_path / "reg.pth", **sizes)


def test_a_safetensors_header_that_declares_more_than_there_is_is_not_read(tmp_path):
    save_file(weights(lambda tensor: tensor), tmp_path / "w.safetensors")
    data = (tmp_path / "w.safetensors").read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    for entry in (
        {"shape": [10**12]},
        {"shape": [-1]},
        {"dtype": "F128"},
        {"data_offsets": [0, 10**15]},
        {"shape": "x"},
    ):
        text = json.dumps(header | {"conv1.weight": header["conv1.weight"] | entry}).encode()
        (tmp_path / "w.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])
        with pytest.raises(UserError, match="Expected a safetensors file at"):
            ResNetEncoder(width=4, pretrained=str(tmp_path / "w.safetensors"))
    for declared in (0, 10**6, 2**63, 2**64 - 1):
        (tmp_path / "w.safetensors").write_bytes(struct.pack("<Q", declared) + data[8:])
        with pytest.raises(UserError, match="its header declares"):
            ResNetEncoder(width=4, pretrained=str(tmp_path / "w.safetensors"))
    bomb = b'{"a":' * (9 << 18)
    (tmp_path / "w.safetensors").write_bytes(struct.pack("<Q", len(bomb)) + bomb)
    with pytest.raises(UserError, match="its header declares"):
        ResNetEncoder(width=4, pretrained=str(tmp_path / "w.safetensors"))


def test_a_yaml_of_aliases_beside_the_weights_is_left_alone(tmp_path):
    lines = ["a0: &a0 {x: 1}", *(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}" for i in range(1, 30))]
    torch.save({"model": weights(lambda tensor: tensor), "config": "\n".join(lines)}, tmp_path / "w.pth")
    assert ResNetEncoder(width=4, pretrained=str(tmp_path / "w.pth")).orientation is None


@pytest.mark.parametrize("name", ["nan", "no optimizer"])
def test_commands_end_with_a_message_and_status_1(name, damaged, tmp_path):
    (tmp_path / "exams.csv").write_text("patient_id\n1\n")
    done = ended(tmp_path, "predict", f"checkpoint={damaged[name]}", "csv_file=exams.csv", "out=risks.csv")
    assert done.returncode == 1, done.stdout + done.stderr
    assert damaged[name].name in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not (tmp_path / "risks.csv").exists()


def test_a_training_ends_with_a_message_and_status_1(damaged, tmp_path):
    done = ended(tmp_path, "train", *TINY, "model=mirai", f"trainer.resume_from={damaged['nan']}")
    assert done.returncode == 1, done.stdout + done.stderr
    assert NAME in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_sound_checkpoints_are_read_at_each_entry():
    assert load_model(stepped(), "cpu").inputs is not None
    assert load_model(next(run_directory("model=lmv_net").glob("best_*.pth")), "cpu").inputs is not None
