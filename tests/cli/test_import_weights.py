import hashlib
import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
import torch
from helpers.composed_configs import composed
from helpers.foreign_files import contained, evil_pickles
from helpers.model_cases import small_encoder
from helpers.reference_blocks import weights
from helpers.training_runs import environment
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from mammorisk.cli.import_weights import import_weights, note_of, write
from mammorisk.errors import UserError
from mammorisk.models.mirai import ImageAggregator, fill_aggregator
from mammorisk.registration.mammoregnet import MammoRegNet
from mammorisk.version import __version__
from mammorisk.weights.reading import NOTE, read_weights


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mammorisk.cli.import_weights", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment())


def in_this_process(*arguments: str) -> None:
    """The command without a process of its own, which takes seconds to start."""
    import_weights(composed(*arguments, root="import_weights"))


def mirai_like(folder: Path) -> tuple[Path, dict[str, Tensor]]:
    """A narrow trunk under Mirai's names, with a part that plays no part."""
    trunk = {key: tensor for key, tensor in small_encoder().state_dict().items() if "input_" not in key}
    state = {"_model.fc.weight": torch.zeros(2, 3)}
    for key, tensor in trunk.items():
        stage, _, rest = key.partition(".")
        state[f"_model.{stage}_{rest}" if "layer" in stage else f"_model.downsampler.{key}"] = tensor
    torch.save(state, folder / "theirs.p")
    return folder / "theirs.p", trunk


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    source, trunk = mirai_like(folder)
    out = folder / "new" / "ours.safetensors"
    return source, trunk, out, run(f"source={source}", f"out={out}")


def test_an_image_encoder_is_imported_with_its_settings(imported):
    source, trunk, out, answer = imported
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr == ""
    assert f"{out}: {len(trunk) + 2} tensors of Mirai's image encoder" in answer.stdout
    assert "orientation left" in answer.stdout
    assert answer.stdout.splitlines()[-1].strip() == f"mammorisk-train model.encoder.pretrained={out}"
    assert {key: tensor.tolist() for key, tensor in load_file(out).items() if "input" in key} == {
        "input_mean": pytest.approx(7047.99),
        "input_std": pytest.approx(12005.5),
    }
    note = json.loads(out.with_suffix(".json").read_text())
    assert note.pop("sha256") == hashlib.sha256(source.read_bytes()).hexdigest()
    assert datetime.fromisoformat(note.pop("date")).tzinfo is not None
    assert note == {
        "source": "theirs.p",
        "kind": "mirai_encoder",
        "title": "Mirai's image encoder (torch)",
        "tensors": len(trunk) + 2,
        "dropped": ["_model.fc.weight"],
        "images": {"input_mean": 7047.99, "input_std": 12005.5, "orientation": "left"},
        "mammorisk": __version__,
    }


@torch.no_grad()
def test_what_was_imported_is_used_as_the_source_is(imported):
    source, trunk, out, _ = imported
    one, other = small_encoder(pretrained=str(source)).eval(), small_encoder(pretrained=str(out)).eval()
    image = torch.rand(1, 1, 64, 52)
    assert torch.equal(one(image), other(image))
    assert (one.orientation, other.orientation) == ("left", "left")
    assert torch.equal(other.conv1.weight, trunk["conv1.weight"])
    with safe_open(out, "pt") as file:  # the note is in the file too: it may travel alone
        assert json.loads(file.metadata()[NOTE]) == json.loads(out.with_suffix(".json").read_text())


def test_nothing_is_replaced_unless_asked_for(imported, tmp_path):
    source, _, out, _ = imported
    before = out.read_bytes()
    with pytest.raises(UserError, match="is there already"):
        in_this_process(f"source={source}", f"out={out}")
    assert out.read_bytes() == before
    (tmp_path / "alone.json").write_text("mine")
    with pytest.raises(UserError, match=r"alone\.json is there already"):
        in_this_process(f"source={source}", f"out={tmp_path}/alone.safetensors")
    in_this_process(f"source={source}", f"out={tmp_path}/alone.safetensors", "overwrite=true")
    assert json.loads((tmp_path / "alone.json").read_text())["source"] == "theirs.p"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "source is not set"),
        (("source={source}",), "out is not set"),
        (("source={source}", "out={out}/w.pth"), "expected a name that ends with .safetensors"),
        (("source={out}/gone.p", "out={out}/w.safetensors"), "gone.p, found none"),
        (("source={source}", "out={out}/w.safetensors", "kind=net"), "kind=net: expected auto, lmv_net"),
        (("source={source}", "out={out}/w.safetensors", "kind=mammoregnet"), "do not fit MammoRegNet"),
        (("source={source}", "out={source}/w.safetensors"), "cannot be written"),
    ],
)
def test_mistakes_are_told(arguments, told, tmp_path):
    source, _ = mirai_like(tmp_path)
    out = tmp_path / "out"
    with pytest.raises(UserError, match=told):
        in_this_process(*(argument.format(source=source, out=out) for argument in arguments))
    assert not out.exists()


def test_pitfall_23_a_file_that_wants_to_run_something_ends_the_command_by_name(tmp_path):
    data, told = evil_pickles(tmp_path / "executed")["os.system, protocol 2"]
    (tmp_path / "evil.p").write_bytes(contained(data, "zip"))
    answer = run(f"source={tmp_path}/evil.p", f"out={tmp_path}/w.safetensors")
    assert answer.returncode == 1
    assert f"refers to {told}" in answer.stderr
    assert "evil.p" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["evil.p"]


def test_unknown_names_are_told(tmp_path):
    torch.save({"a.weight": torch.zeros(1)}, tmp_path / "x.pth")
    with pytest.raises(UserError, match=r"is not known by its 1 names \(a\.weight"):
        in_this_process(f"source={tmp_path}/x.pth", f"out={tmp_path}/w.safetensors")


@pytest.mark.parametrize("block", ["b_mirai_transformer", "b_mirai_transformer_riskfactors"])
def test_an_image_aggregator_is_imported_and_used(block, tmp_path, capsys):
    torch.save(weights(block), tmp_path / "theirs.p")
    in_this_process(f"source={tmp_path}/theirs.p", f"out={tmp_path}/w.safetensors")
    assert "model=mirai model.pretrained=" in capsys.readouterr().out
    holds = block.endswith("riskfactors")
    one, other = (ImageAggregator(512, 512, 8, 1, 0.0, risk_factors=holds) for _ in range(2))
    fill_aggregator(one, str(tmp_path / "theirs.p"))
    fill_aggregator(other, str(tmp_path / "w.safetensors"))
    assert all(torch.equal(tensor, other.state_dict()[key]) for key, tensor in one.state_dict().items())


def test_a_registration_network_is_imported_and_used(tmp_path):
    torch.save(weights("d_mammoregnet"), tmp_path / "theirs.pth")
    in_this_process(f"source={tmp_path}/theirs.pth", f"out={tmp_path}/w.safetensors")
    one, other = (MammoRegNet(checkpoint=tmp_path / name) for name in ("theirs.pth", "w.safetensors"))
    assert all(torch.equal(tensor, other.state_dict()[key]) for key, tensor in one.state_dict().items())


def test_a_whole_model_is_imported_with_its_encoders_scale(tmp_path):
    torch.save({"model": weights("h_oabreacr_full")}, tmp_path / "theirs.pth")
    in_this_process(f"source={tmp_path}/theirs.pth", f"out={tmp_path}/w.safetensors")
    state = load_file(tmp_path / "w.safetensors")
    assert float(state["encoder.input_std"]) == 65535.0
    part, table = read_weights(tmp_path / "w.safetensors").encoder()
    assert torch.equal(part["conv1.weight"], weights("h_oabreacr_full")["model.model.0.weight"])
    assert table == []


def test_a_place_that_fails_leaves_what_was_there(tmp_path, imported):
    found = read_weights(imported[0])
    state = {"a": torch.rand(3, 4).t()}
    write(tmp_path / "w.safetensors", state, note_of(found, state))
    before = (tmp_path / "w.safetensors").read_bytes()
    assert torch.equal(load_file(tmp_path / "w.safetensors")["a"], state["a"])
    with pytest.raises(UserError, match="cannot be written"):
        write(tmp_path / "w.safetensors" / "below.safetensors", state, {})
    assert (tmp_path / "w.safetensors").read_bytes() == before
