import errno
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from mammorisk.datasets.phantom.storage import make_folder, remove_leftovers, require_space
from mammorisk.errors import UserError


def make(folder, fill=None):
    def write(path):
        (path / "done").write_text("whole")

    return make_folder(folder, (folder / "done").is_file, fill or write)


def names(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def test_made_once(tmp_path):
    folder = tmp_path / "deep" / "cohort"
    assert make(folder)
    before = (folder / "done").stat().st_mtime_ns
    assert not make(folder)
    assert (folder / "done").stat().st_mtime_ns == before


def test_an_empty_folder_may_be_there(tmp_path):
    (tmp_path / "cohort").mkdir()
    assert make(tmp_path / "cohort")


@pytest.mark.parametrize("error", [RuntimeError("bad"), KeyboardInterrupt()])
def test_nothing_stays_of_a_failed_writer(tmp_path, error):
    def fill(path):
        (path / "half").write_text("half")
        raise error

    with pytest.raises(type(error)):
        make(tmp_path / "cohort", fill)
    assert names(tmp_path) == []


def test_a_place_that_cannot_be_written_to_is_a_message(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written to"):
        make(tmp_path / "file" / "cohort")
    with pytest.raises(UserError, match="cannot be written to"):
        make(tmp_path / ("x" * 300))


def test_full_disk_is_a_message(tmp_path):
    def fill(path):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(UserError, match=r"disk of .* is full"):
        make(tmp_path / "cohort", fill)
    with pytest.raises(UserError, match=r"may need 1000000\.0 GB"):
        require_space(tmp_path, 10**15, "Make room.")
    require_space(tmp_path, 1, "Make room.")


WRITER = """
    import sys, time
    from pathlib import Path
    from mammorisk.datasets.phantom.storage import make_folder
    def fill(path):
        (path / "half").write_text("half")
        print("filling", flush=True)
        time.sleep(60)
    make_folder(Path(sys.argv[1]), lambda: False, fill)
"""


def killed_writer(folder):
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "filling\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()


def test_a_killed_writer_leaves_nothing_that_looks_finished_and_no_lock(tmp_path):
    folder = tmp_path / "cohort"
    killed_writer(folder)
    assert not folder.exists()
    assert len(names(tmp_path)) == 1  # the hidden leftover
    assert make(folder)
    assert names(tmp_path) == ["cohort"]


def test_leftovers_of_other_cohorts_are_removed_unless_their_writer_lives(tmp_path):
    killed_writer(tmp_path / "other")
    started, go_on = threading.Event(), threading.Event()

    def slow(path):
        started.set()
        go_on.wait(10)
        (path / "done").write_text("whole")

    writer = threading.Thread(target=make, args=(tmp_path / "busy", slow))
    writer.start()
    started.wait(10)
    remove_leftovers(tmp_path)
    assert [name.split(".")[1] for name in names(tmp_path)] == ["busy"]
    go_on.set()
    writer.join()
    assert names(tmp_path) == ["busy"]


def test_two_writers_at_once_write_once(tmp_path, capsys):
    written = []

    def fill(path):
        written.append(path)
        time.sleep(0.3)
        (path / "done").write_text("whole")

    threads = [threading.Thread(target=make, args=(tmp_path / "cohort", fill)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(written) == 1
    assert names(tmp_path) == ["cohort"]
    assert "waiting" in capsys.readouterr().err
