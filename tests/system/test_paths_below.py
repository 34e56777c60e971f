from __future__ import annotations

import os
from pathlib import Path

import pytest

from mammorisk.system.paths_below import BadName, LeadsOut, check_inside, check_name


@pytest.mark.parametrize("name", ["a.png", "b/c.png", "é/ü.png", "x" * 255, "a b/..c.png"])
def test_names_that_can_be_written(tmp_path, name):
    check_name(tmp_path, name)
    check_inside(tmp_path, tmp_path / name)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    assert (tmp_path / name).is_file()


@pytest.mark.parametrize(
    ("name", "why"),
    [
        (os.fsdecode(b"caf\xe9.png"), "not UTF-8"),
        ("a\0.png", "control character"),
        ("a\x1b[31m.png", "control character"),
        ("a\n.png", "control character"),
        ("x" * 256, "256 bytes, and the file system allows 255"),
        ("é" * 128, "256 bytes"),
        ("/".join(["d" * 250] * 17), "the system allows 4095"),
        ("../a.png", "below the folder"),
        ("/etc/a.png", "below the folder"),
        ("", "below the folder"),
    ],
)
def test_names_that_cannot(tmp_path, name, why):
    with pytest.raises(BadName, match=why):
        check_name(tmp_path / "not there yet", name)


def test_a_link_that_leads_out_is_found_at_any_depth(tmp_path):
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    (out / "a").mkdir(parents=True)
    elsewhere.mkdir()
    (out / "a" / "b").symlink_to(elsewhere)
    for name in ("a/b/c.png", "a/b/c/d.png"):
        with pytest.raises(LeadsOut, match="elsewhere"):
            check_inside(out, out / name)
    (out / "here").symlink_to("a")
    check_inside(out, out / "here" / "c.png")
    linked = tmp_path / "linked"
    linked.symlink_to(out)
    check_inside(linked, linked / "a" / "c.png")
    with pytest.raises(LeadsOut):
        check_inside(linked, linked / "a" / "b" / "c.png")
    (out / "outout").symlink_to(tmp_path / "out2")
    Path(tmp_path / "out2").mkdir()
    with pytest.raises(LeadsOut):  # a name that begins like the folder's
        check_inside(out, out / "outout" / "c.png")
