from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mammorisk.system.atomic_files import remove_unfinished, same_file_as, whole_file

WRITE_AND_WAIT = """
import sys, time
from pathlib import Path
from mammorisk.system.atomic_files import whole_file
with whole_file(Path(sys.argv[1])) as unfinished:
    unfinished.write_text("new " * 1000)
    print("written", flush=True)
    time.sleep(60)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_file_appears_at_the_end(tmp_path):
    path = tmp_path / "a.txt"
    with whole_file(path) as unfinished:
        unfinished.write_text("new")
        assert not path.exists()
        assert unfinished.parent == tmp_path  # another file system could not rename it
    assert path.read_text() == "new"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("name", ["x" * 255, "x" * 231, "\u00e9" * 127, "x" + "\u00e9" * 127])
def test_the_longest_names_are_written_too(tmp_path, name):
    with whole_file(tmp_path / name) as unfinished:
        unfinished.write_text("new")
        assert unfinished.name.endswith(".unfinished")
    assert names(tmp_path) == [name]


def test_killed_in_mid_write_leaves_the_old_file_whole(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with subprocess.Popen([sys.executable, "-c", WRITE_AND_WAIT, path], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        process.send_signal(signal.SIGKILL)
    assert path.read_text() == "old"
    half, whole = names(tmp_path)
    assert half.startswith(f".a.txt.{process.pid}-")
    assert whole == "a.txt"
    (tmp_path / "b.unfinished").touch()  # not ours
    (tmp_path / ".hidden").touch()
    remove_unfinished(tmp_path)
    assert names(tmp_path) == [".hidden", "a.txt", "b.unfinished"]


def test_what_can_be_computed_again_need_not_be_flushed(tmp_path):
    path = tmp_path / "a.txt"
    with whole_file(path, durable=False) as unfinished:
        unfinished.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert names(tmp_path) == ["a.txt"]


def test_two_writers_of_one_process_number_do_not_meet(tmp_path):
    with whole_file(tmp_path / "a.txt") as one, whole_file(tmp_path / "a.txt") as other:
        assert one != other
        one.write_text("same")
        other.write_text("same")
    assert (tmp_path / "a.txt").read_text() == "same"


def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail() -> None:
        with whole_file(path) as unfinished:
            unfinished.write_text("half")
            raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        fail()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_block_that_writes_nothing_is_an_error(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(FileNotFoundError), whole_file(tmp_path / "a.txt"):
        pass
    assert (tmp_path / "a.txt").read_text() == "old"


def test_content_is_on_the_disk_before_its_name_and_the_name_after(tmp_path, monkeypatch):
    path, order = tmp_path / "a.txt", []
    fsync, replace = os.fsync, Path.replace

    def noted_fsync(handle: int) -> None:
        order.append(("flushed", Path(f"/proc/self/fd/{handle}").readlink().name))
        fsync(handle)

    def noted_replace(self: Path, target: Path) -> Path:
        order.append(("named", target.name))
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    with whole_file(path) as unfinished:
        unfinished.write_text("new")
    assert order == [("flushed", unfinished.name), ("named", "a.txt"), ("flushed", tmp_path.name)]


@pytest.fixture(params=["hard links", "no hard links"])
def links(request, monkeypatch):
    def refuse(*paths: object) -> None:
        raise OSError("not supported")

    if request.param == "no hard links":
        monkeypatch.setattr(os, "link", refuse)
    return request.param


def test_a_second_name_keeps_its_content_when_the_first_is_replaced(tmp_path, links):
    source, second = tmp_path / "resume", tmp_path / "best"
    second.write_text("older")
    source.write_text("first")
    same_file_as(source, second)
    assert second.read_text() == "first"
    assert second.samefile(source) == (links == "hard links")
    with whole_file(source) as unfinished:
        unfinished.write_text("second")
    assert (source.read_text(), second.read_text()) == ("second", "first")
    assert names(tmp_path) == ["best", "resume"]


def test_a_second_name_can_be_given_before_the_first(tmp_path, links):
    with whole_file(tmp_path / "resume") as unfinished:
        unfinished.write_text("content")
        same_file_as(unfinished, tmp_path / "best")
        same_file_as(unfinished, tmp_path / "best")
        assert names(tmp_path) == [unfinished.name, "best"]
    assert names(tmp_path) == ["best", "resume"]
    assert (tmp_path / "best").read_text() == (tmp_path / "resume").read_text() == "content"


def test_a_second_name_for_nothing_leaves_what_there_is(tmp_path, links):
    (tmp_path / "best").write_text("old")
    with pytest.raises(FileNotFoundError):
        same_file_as(tmp_path / "nothing", tmp_path / "best")
    assert names(tmp_path) == ["best"]
    assert (tmp_path / "best").read_text() == "old"


def test_nothing_to_remove(tmp_path):
    (tmp_path / "a.txt").touch()
    remove_unfinished(tmp_path)
    remove_unfinished(tmp_path / "no folder")
    assert names(tmp_path) == ["a.txt"]
