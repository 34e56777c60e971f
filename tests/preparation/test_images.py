import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from helpers.composed_configs import composed
from helpers.dicom_files import breast, write
from helpers.training_runs import environment
from hydra.errors import InstantiationException
from PIL import Image

from mammorisk.cli.prepare import prepare_images
from mammorisk.errors import UserError
from mammorisk.preparation.images import SOME_REFUSED, as_overrides

SMALL = "conversion.image_size=[64,52]"


def command(*words):
    return [sys.executable, "-m", "mammorisk.cli.prepare", "images", *words]


def in_this_process(*words):
    """The command without a process of its own, which takes seconds to start; its exit status."""
    try:
        prepare_images(composed(*as_overrides(list(words)), root="prepare_images"))
    except SystemExit as ended:
        return ended.code
    return 0


def content(out):
    files = (path for path in sorted(out.rglob("*")) if path.is_file() and path.suffix != ".lock")
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


def cohort(folder):
    """Four mammograms, a raw one and a missing one, and their table."""
    rows = ["dicom_path,file_name,laterality,view"]
    for number, laterality in enumerate("LRLR"):
        pixels = breast(laterality=laterality, marker=number > 1)
        write(folder / "d" / f"a{number}.dcm", pixels, ImageLaterality=laterality)
        rows.append(f"a{number}.dcm,w{number}/{laterality}_CC.png,{laterality},CC")
    write(folder / "d" / "raw.dcm", breast(), PresentationIntentType="FOR PROCESSING")
    rows += ["raw.dcm,raw.png,L,MLO", "gone.dcm,gone.png,R,CC"]
    (folder / "cohort.csv").write_text("\n".join(rows) + "\n")
    return f"csv_file={folder / 'cohort.csv'}", f"dicom_root={folder / 'd'}"


def test_from_a_table_to_images_as_a_command(tmp_path):
    words = [*cohort(tmp_path), f"out={tmp_path / 'o'}", SMALL]
    answer = subprocess.run(command(*words), capture_output=True, text=True, check=False, env=environment())
    assert answer.returncode == SOME_REFUSED, answer.stderr
    assert answer.stderr == ""
    assert "4 of 6 files are images" in answer.stdout
    assert "1  missing: there is no such file" in answer.stdout
    assert "1  for_processing: raw detector values" in answer.stdout
    images = [np.asarray(Image.open(tmp_path / "o" / name)) for name in ("w0/L_CC.png", "w1/R_CC.png", "w2/L_CC.png")]
    assert images[0].dtype == np.uint16
    assert images[0].shape == (64, 52)
    assert np.array_equal(images[0], images[1][:, ::-1])
    assert np.array_equal(images[0], images[2])  # with and without a marker
    with (tmp_path / "o" / "images_report.csv").open() as file:
        assert [row["dicom_path"] for row in csv.DictReader(file)] == ["raw.dcm", "gone.dcm"]
    record = json.loads((tmp_path / "o" / "images.json").read_text())
    assert record["counts"]["refused"] == {"missing": 1, "for_processing": 1}
    assert record["conversion"]["image_size"] == [64, 52]
    assert (tmp_path / "o" / "contact_sheets" / "sheet_00001.png").is_file()


def test_from_a_folder_to_images(tmp_path, capsys):
    _, root = cohort(tmp_path)
    (tmp_path / "d" / "raw.dcm").unlink()
    assert in_this_process(root, f"out={tmp_path / 'o'}", SMALL) == 0
    assert "4 of 4 files are images." in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "o").glob("*.png")) == ["a0.png", "a1.png", "a2.png", "a3.png"]
    before = content(tmp_path / "o")
    assert in_this_process(root, f"out={tmp_path / 'o'}", SMALL) == 0
    assert "(4 of them were there already)" in capsys.readouterr().out
    assert content(tmp_path / "o") == before


def test_a_positional_csv_is_the_table(tmp_path):
    table, root = cohort(tmp_path)
    assert as_overrides(["cohort.csv", "out=o", "--cfg"]) == ["csv_file=cohort.csv", "out=o", "--cfg"]
    assert in_this_process(table.partition("=")[2], root, f"out={tmp_path / 'o'}", SMALL) == SOME_REFUSED


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "dicom_root is not set.*\n.*mammorisk-prepare images"),
        (("dicom_root={d}",), "out is not set"),
        (("dicom_root={d}/gone", "out={o}"), "there is no folder"),
        (("dicom_root={o}/..", "out={o}", "csv_file={d}/../cohort.csv"), "none of the 6 files is below"),
        (("dicom_root={d}", "out={o}", "csv_file={d}/gone.csv"), "there is no file"),
        (("dicom_root={d}", "out={o}", "on_error=skip"), "on_error=skip: expected report or stop"),
        (("dicom_root={d}", "out={o}", "num_workers=0"), "from 1 to"),
        (("dicom_root={d}", "out={o}", "on_error=stop"), r"raw\.dcm: FOR PROCESSING"),
    ],
)
def test_mistakes_are_told(words, told, tmp_path):
    cohort(tmp_path)
    with pytest.raises(UserError, match=told):
        in_this_process(*(word.format(d=tmp_path / "d", o=tmp_path / "o") for word in words))


def test_a_wrong_setting_is_told_before_anything_is_written(tmp_path):
    with pytest.raises(InstantiationException) as caught:
        in_this_process(*cohort(tmp_path), f"out={tmp_path / 'o'}", "conversion.voi=windw")
    assert str(caught.value.__cause__).startswith(
        "conversion.voi=windw: expected first or lut or window or none. Did you"
    )
    assert not (tmp_path / "o").exists()


def images_in(out: Path) -> set[Path]:
    return {path for path in out.glob("p*/*.png") if not path.name.startswith(".")}


def test_killed_and_started_again_it_leaves_the_files_of_an_uninterrupted_run(tmp_path):
    for number in range(9):
        write(tmp_path / "d" / f"p{number % 3}" / f"{number}.dcm", breast(500 + 20 * number, 400, 12, marker=True))
    (tmp_path / "d" / "p0" / "bad.dcm").write_text("no image")
    words = [f"dicom_root={tmp_path / 'd'}", "num_workers=1", "conversion.image_size=[1024,832]"]
    out = tmp_path / "killed"
    process = subprocess.Popen(command(*words, f"out={out}"), env=environment(), stdout=subprocess.PIPE)
    deadline = time.monotonic() + 180
    while len(images_in(out)) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    young = psutil.Process(process.pid).children()
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    psutil.wait_procs(young, timeout=20)
    done = {path: path.stat().st_mtime_ns for path in images_in(out)}
    assert 3 <= len(done) < 9
    assert in_this_process(*words, f"out={out}") == SOME_REFUSED
    assert {path: path.stat().st_mtime_ns for path in done} == done  # nothing twice
    assert in_this_process(*words, f"out={tmp_path / 'whole'}") == SOME_REFUSED
    assert content(out) == content(tmp_path / "whole")
