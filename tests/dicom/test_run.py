import csv
import os
import signal
import threading
import time

import cv2
import psutil
import pytest
from filelock import FileLock
from helpers.damaged_dicoms import damaged_files
from helpers.dicom_files import breast, write

from mammorisk.datasets.images import read_image
from mammorisk.dicom.conversion_jobs import jobs_of_folder
from mammorisk.dicom.conversion_report import write_reports
from mammorisk.dicom.conversion_settings import Conversion
from mammorisk.dicom.refusals import KINDS
from mammorisk.dicom.run import make_images
from mammorisk.dicom.work import Job, Order
from mammorisk.errors import UserError

SMALL = Conversion(image_size=(64, 52))


def orders(root, out, count=5, conversion=SMALL):
    for number in range(count):
        path = root / f"{number}.dcm"
        if not path.exists():
            write(path, breast(160 + number, 120))
    return [
        Order(Job(f"{number}.dcm", f"p{number % 2}/{number}.png"), root, out, conversion) for number in range(count)
    ]


def content(out):
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.suffix != ".lock"
    }


def test_files_do_not_depend_on_the_number_of_processes(tmp_path):
    for workers in (1, 2):
        wanted = orders(tmp_path / "d", tmp_path / str(workers))
        outcomes = make_images(wanted, tmp_path / str(workers), workers, stop_on_error=False)
        assert [outcome.job for outcome in outcomes] == [order.job for order in wanted]
    assert content(tmp_path / "1") == content(tmp_path / "2")
    assert len(content(tmp_path / "1")) == 5 + 1  # images and a contact sheet


def test_what_is_done_is_not_done_again(tmp_path):
    some, out = orders(tmp_path / "d", tmp_path / "o"), tmp_path / "o"
    make_images(some[:3], out, 1, stop_on_error=False)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.png") if path.parent.name != "contact_sheets"}
    outcomes = make_images(some, out, 1, stop_on_error=False)
    assert [outcome.is_new for outcome in outcomes] == [False] * 3 + [True] * 2
    assert {path: path.stat().st_mtime_ns for path in before} == before
    other = orders(tmp_path / "d", out, 2, conversion=Conversion(image_size=(32, 26)))
    assert all(outcome.is_new for outcome in make_images(other, out, 1, stop_on_error=False))
    assert cv2.imread(str(other[0].target), cv2.IMREAD_UNCHANGED).shape == (32, 26)


def test_leftovers_of_a_killed_run_are_removed(tmp_path):
    some = orders(tmp_path / "d", tmp_path / "o", 1)
    some[0].target.parent.mkdir(parents=True)
    leftover = some[0].target.with_name(".0.png.123-abc.unfinished")
    leftover.write_bytes(b"half")
    make_images(some, tmp_path / "o", 1, stop_on_error=False)
    assert not leftover.exists()


def test_a_bad_file_is_reported_or_ends_the_run(tmp_path):
    some, out = orders(tmp_path / "d", tmp_path / "o", 3), tmp_path / "o"
    some[1].source.write_text("no image")
    outcomes = make_images(some, out, 1, stop_on_error=False)
    assert [outcome.kind for outcome in outcomes] == ["", "unreadable", ""]
    with pytest.raises(UserError, match=r"1\.dcm: not a DICOM file.*\n.*on_error=report"):
        make_images(some, tmp_path / "other", 1, stop_on_error=True)
    assert not some[2].target.with_name("x").exists()


def test_one_process_at_a_time_writes_into_a_folder(tmp_path):
    some, out = orders(tmp_path / "d", tmp_path / "o", 1), tmp_path / "o"
    out.mkdir()
    with FileLock(out / ".images.lock"), pytest.raises(UserError, match="Another process is writing images"):
        make_images(some, out, 1, stop_on_error=False)
    assert not some[0].target.exists()


def test_a_place_that_cannot_be_written_to_is_told(tmp_path):
    (tmp_path / "o").write_text("a file")
    with pytest.raises(UserError, match="cannot be written to"):
        make_images(orders(tmp_path / "d", tmp_path / "o", 1), tmp_path / "o", 1, stop_on_error=False)
    some = orders(tmp_path / "d", tmp_path / "p", 1)
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "p0").write_text("a file where a folder should be")
    with pytest.raises(UserError, match="cannot be written to"):
        make_images(some, tmp_path / "p", 1, stop_on_error=False)


def test_a_decoder_that_dies_costs_its_own_file_alone(tmp_path):
    def kill_the_first() -> None:
        me, deadline = psutil.Process(), time.monotonic() + 30
        while time.monotonic() < deadline:
            for child in me.children():
                if "mammorisk.system.worker_pool" in " ".join(child.cmdline()):
                    time.sleep(0.1)
                    os.kill(child.pid, signal.SIGKILL)
                    return
            time.sleep(0.01)

    killer = threading.Thread(target=kill_the_first)
    some = orders(tmp_path / "d", tmp_path / "o", 4)
    killer.start()
    outcomes = make_images(some, tmp_path / "o", 1, stop_on_error=False)
    killer.join()
    assert [outcome.kind for outcome in outcomes] == ["crashed", "", "", ""]
    assert "ended by SIGKILL" in outcomes[0].reason
    assert [order.target.is_file() for order in some] == [False, True, True, True]


def check_damaged(tmp_path, count, seed):
    """Every damaged file becomes a whole image, or stands in the report with a reason; nothing else is left."""
    damaged_files(tmp_path, count, seed)
    root, out = tmp_path / "d", tmp_path / "o"
    todo = [Order(job, root, out, SMALL) for job in jobs_of_folder(root, out)]
    assert len(todo) == count
    outcomes = make_images(todo, out, 2, stop_on_error=False)
    write_reports(out, outcomes, SMALL, {})
    for outcome in outcomes:
        if outcome.note is not None:
            assert read_image(str(out / outcome.job.name), (64, 52)).max() > 0
        else:
            assert outcome.kind in KINDS
            assert outcome.reason
            assert "Traceback" not in outcome.reason
            assert "\n" not in outcome.reason
            assert not (out / outcome.job.name).exists()
    assert list(out.rglob("*.unfinished")) == []
    with (out / "images_report.csv").open() as file:
        assert len(list(csv.DictReader(file))) == sum(outcome.note is None for outcome in outcomes)
    return [outcome.kind for outcome in outcomes]


def test_60_damaged_files_end_in_an_image_or_a_reason(tmp_path):
    kinds = check_damaged(tmp_path, 60, seed=1)
    assert 3 < kinds.count("") < 57
    assert len(set(kinds)) > 4


@pytest.mark.slow
def test_500_damaged_files_end_in_an_image_or_a_reason(tmp_path):
    kinds = check_damaged(tmp_path, 500, seed=2)
    assert 25 < kinds.count("") < 475
