from __future__ import annotations

import os
import socket

import pytest

from mammorisk.datasets.image_identity import image_identity
from mammorisk.datasets.images import read_file, unreadable_images
from mammorisk.datasets.regular_files import open_regular
from mammorisk.errors import UserError
from mammorisk.preparation.image_facts import look_at


def test_an_ordinary_file_and_a_link_to_it_are_read(tmp_path):
    (tmp_path / "a").write_bytes(b"content")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    for name in ("a", "b"):
        with open_regular(tmp_path / name) as file:
            assert file.read() == b"content"


def test_what_would_wait_or_never_end_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "device.png").symlink_to("/dev/zero")
    files = [str(tmp_path / f"{name}.png") for name in ("pipe", "folder", "device")]
    for file in files:
        with pytest.raises(OSError, match="expected an ordinary file"):
            open_regular(file)
        for reader in (read_file, image_identity):
            with pytest.raises(UserError, match=r"\.png cannot be read: expected an ordinary file"):
                reader(file)
        assert look_at(file).problem == "image_unreadable"
    assert unreadable_images(files) == files


def test_a_socket_and_an_impossible_path_cannot_be_opened(tmp_path):
    with socket.socket(socket.AF_UNIX) as ours:
        ours.bind(str(tmp_path / "s"))
        with pytest.raises(OSError, match="No such device"):
            open_regular(tmp_path / "s")
    with pytest.raises(ValueError, match="null"):
        open_regular("a\0b")
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "none")


def test_a_file_longer_than_any_mammogram_is_not_read(tmp_path):
    with (tmp_path / "long.png").open("wb") as file:
        file.truncate(2**40)  # takes no room
    with pytest.raises(UserError, match=r"expected at most 268,435,456 bytes, found 1,099,511,627,776"):
        read_file(str(tmp_path / "long.png"))
