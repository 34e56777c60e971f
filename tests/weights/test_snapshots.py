from __future__ import annotations

import lzma
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.foreign_files import AllImageTransformer, Block, contained, snapshot_bytes
from helpers.reference_blocks import REFERENCE, assert_parity, outputs, wave
from torch import nn

from mammorisk.errors import UserError
from mammorisk.models.encoders import ResNetEncoder
from mammorisk.weights.snapshots import DEPTH_MOST, PARTS_MOST, read_torch_state

NET = b"conconet.x\nNet\n)\x81"


def word(text: str) -> bytes:
    return b"X" + len(text).to_bytes(4, "little") + text.encode()


def module_file(folder: Path, state: bytes) -> Path:
    """A snapshot of one module with a pickled state."""
    (folder / "net.p").write_bytes(contained(b"\x80\x02" + NET + state + b"b.", "zip"))
    return folder / "net.p"


@pytest.fixture(scope="session", params=["mirai_like_snapshot", "mirai_like_snapshot_legacyformat"])
def mirai_snapshot(request, tmp_path_factory) -> Path:
    """A whole module as Mirai's authors saved theirs, in DataParallel, 45 MB."""
    path: Path = tmp_path_factory.mktemp("snapshots") / f"{request.param}.p"
    path.write_bytes(lzma.decompress((REFERENCE / f"{request.param}.p.xz").read_bytes()))
    return path


@torch.no_grad()
def test_parity_with_mirai_from_its_snapshot(mirai_snapshot):
    encoder = ResNetEncoder(pretrained=str(mirai_snapshot)).eval()
    reference = outputs("mirai_like_snapshot_expected")
    features = encoder.features(wave((1, 3, 256, 208), 0))
    assert_parity(features, reference["trunk_out"])
    assert_parity(features.amax((-2, -1)), reference["maxpool"])
    assert (float(encoder.input_mean), encoder.orientation) == (pytest.approx(7047.99), "left")
    assert "Mirai's image encoder (pickled module" in encoder.pretrained_from


@pytest.mark.parametrize("container", ["zip", "legacy"])
@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("made", [Block, AllImageTransformer])
def test_the_state_dict_of_a_module_nobody_can_import(made, parallel, container, tmp_path):
    module = made()
    (tmp_path / "net.p").write_bytes(snapshot_bytes(nn.DataParallel(module) if parallel else module, container))
    found = read_torch_state(tmp_path / "net.p")
    expected = {f"module.{key}" if parallel else key: tensor for key, tensor in module.state_dict().items()}
    assert list(found.state) == list(expected)
    assert all(torch.equal(found.state[key], tensor) for key, tensor in expected.items())
    assert found.container == container
    assert found.snapshot_of == (
        "torch.nn.parallel.data_parallel.DataParallel" if parallel else f"onconet.models.fake.{made.__name__}"
    )


@pytest.mark.parametrize("container", ["zip", "legacy"])
def test_a_module_may_stand_in_a_dict(container, tmp_path):
    torch.save({"model": nn.Linear(2, 3)}, tmp_path / "net.p", _use_new_zipfile_serialization=container == "zip")
    assert list(read_torch_state(tmp_path / "net.p").state) == ["weight", "bias"]


def test_what_stands_beside_the_weights_does_not_matter(tmp_path):
    state = {"w": torch.rand(2)}
    beside = {"best": np.float64(0.7), "seen": {1, 2}, 3: "x", "config": "a: 1", "random": np.arange(3)}
    torch.save({"model": state, "optimizer": {0: {"step": torch.tensor(1.0)}}, **beside}, tmp_path / "best.pth")
    found = read_torch_state(tmp_path / "best.pth")
    assert torch.equal(found.state["w"], state["w"])
    assert (found.config, found.snapshot_of) == ("a: 1", None)


def test_modules_without_end_are_refused(tmp_path):
    inside_itself = b"q\x00}" + word("_modules") + b"}" + word("a") + b"h\x00ss"
    with pytest.raises(UserError, match="perhaps itself"):
        read_torch_state(module_file(tmp_path, inside_itself))
    many = b"q\x00}" + word("_modules") + b"}(" + b"".join(word(f"m{i}") + NET for i in range(PARTS_MOST + 1)) + b"us"
    (tmp_path / "many.p").write_bytes(contained(b"\x80\x02" + NET + many + b"b.", "zip"))
    with pytest.raises(UserError, match="20,001 parts in _modules"):
        read_torch_state(tmp_path / "many.p")
    deep = NET
    for _ in range(DEPTH_MOST + 2):
        deep = NET + b"}" + word("_modules") + b"}" + word("a") + deep + b"ssb"
    (tmp_path / "deep.p").write_bytes(contained(b"\x80\x02" + deep + b".", "zip"))
    with pytest.raises(UserError, match="32 levels"):
        read_torch_state(tmp_path / "deep.p")
    # Each level twice the one below: 2 ** 30 modules in a few bytes.
    tree = NET
    for _ in range(30):
        tree = tree + b"q\x010" + NET + b"}" + word("_modules") + b"}(" + word("a") + b"h\x01" + word("b") + b"h\x01usb"
    (tmp_path / "tree.p").write_bytes(contained(b"\x80\x02" + tree + b".", "zip"))
    with pytest.raises(UserError, match="parts"):
        read_torch_state(tmp_path / "tree.p")


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (b"N", "Net without tensors"),
        (b"}", "Net without tensors"),
        (b"}" + word("_modules") + b"K\x01s", "Net without tensors"),
        (b"}" + word("_parameters") + b"}" + word("w") + b"K\x01ss", "parameter w that is no tensor"),
        (b"}" + word("_buffers") + b"}" + word("w") + NET + b"ss", "parameter w that is no tensor"),
        (b"}" + word("_modules") + b"}" + word("a.b") + NET + b"ss", "part named 'a.b'"),
        (b"}" + word("_modules") + b"}" + word("n" * 200) + NET + b"ss", "part named 'nnn"),
    ],
)
def test_modules_that_are_none_are_told(state, told, tmp_path):
    with pytest.raises(UserError, match=told):
        read_torch_state(module_file(tmp_path, state))


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({"epoch": 3}, "a dict with epoch"),
        ([1, 2], "a list"),
        ({}, "an empty dict"),
        (torch.rand(2), "a tensor"),
        ({"model": {"w": 1}}, "a dict with w"),
        ({"w\x1b[2J": torch.zeros(1)}, "a dict of names that cannot be printed"),
        (dict.fromkeys(map(str, range(PARTS_MOST + 1)), torch.zeros(1)), "a dict of 20,001 entries"),
    ],
)
def test_files_without_a_state_dict(content, found, tmp_path):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(UserError, match=rf"(?s)w\.pth.*found {found}"):
        read_torch_state(tmp_path / "w.pth")


def test_the_state_of_an_admitted_class_is_only_data(tmp_path):
    state = {"__class__": "os.system", "__reduce__": 1, "_parameters": {"__setstate__": None}}
    with pytest.raises(UserError, match="without tensors"):
        read_torch_state(module_file(tmp_path, pickle.dumps(state, protocol=2)[2:-1]))
