from __future__ import annotations

import hashlib
import multiprocessing
from pathlib import Path

import pytest

from mammorisk.errors import UserError
from mammorisk.models.encoders import ResNetEncoder
from mammorisk.weights.hub import RESNET18_IMAGENET, hub_file

CONTENT = b"weights"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """Torch's cache folder, not made yet."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home/hub/checkpoints"


@pytest.fixture
def served(tmp_path) -> Path:
    """A file that has an address."""
    (tmp_path / "server").mkdir()
    path: Path = tmp_path / "server/net-f00.pth"
    path.write_bytes(CONTENT)
    return path


def test_a_file_is_downloaded_once_and_kept(cache, served):
    assert hub_file(served.as_uri(), SHA256[:8]) == cache / "net-f00.pth"
    served.unlink()
    assert hub_file(served.as_uri(), SHA256[:8]).read_bytes() == CONTENT
    assert {path.name for path in cache.iterdir()} <= {"net-f00.pth", "net-f00.pth.lock"}


def test_another_file_at_the_address_is_not_kept(cache, served):
    served.write_bytes(b"other")
    with pytest.raises(UserError, match=r"(?s)net-f00\.pth cannot be downloaded.*invalid hash value"):
        hub_file(served.as_uri(), SHA256[:8])
    assert not (cache / "net-f00.pth").exists()


def test_another_file_in_the_folder_is_refused_and_stays(cache, served):
    cache.mkdir(parents=True)
    (cache / "net-f00.pth").write_bytes(b"other")
    with pytest.raises(
        UserError, match=rf"net-f00\.pth to have a SHA-256 that begins with {SHA256[:8]}, found [0-9a-f]+"
    ):
        hub_file(served.as_uri(), SHA256[:8])
    assert (cache / "net-f00.pth").read_bytes() == b"other"


def test_imagenet_without_a_network_says_what_to_do(cache, monkeypatch):
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens there
    with pytest.raises(UserError) as caught:
        ResNetEncoder(pretrained="imagenet")
    told = str(caught.value)
    for part in ("resnet18-f37072fd.pth", RESNET18_IMAGENET[0], str(cache), "model.encoder.pretrained=PATH", "null"):
        assert part in told


def test_imagenet_is_the_file_in_the_folder_or_nothing(cache):
    cache.mkdir(parents=True)
    (cache / "resnet18-f37072fd.pth").write_bytes(CONTENT)
    with pytest.raises(UserError, match=r"begins with f37072fd, found .* Delete it"):
        ResNetEncoder(pretrained="imagenet")


def test_a_place_that_cannot_be_written_to_is_told(cache, served):
    cache.parent.parent.mkdir()
    cache.parent.write_bytes(b"a file where a folder should be")
    with pytest.raises(UserError, match="put it"):
        hub_file(served.as_uri(), SHA256[:8])


def test_processes_at_once_download_once(cache, served):
    with multiprocessing.get_context("fork").Pool(4) as pool:
        found = pool.starmap(hub_file, [(served.as_uri(), SHA256[:8])] * 8)
    assert set(found) == {cache / "net-f00.pth"}
    assert not [path for path in cache.iterdir() if "partial" in path.name]
