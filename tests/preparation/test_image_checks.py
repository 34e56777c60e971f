from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers.cohort_checks import breast, cohort_on_disk, examined, prepare
from helpers.cohorts import write_png
from helpers.png_files import FAULTY
from PIL import Image

from mammorisk.datasets.problems import CohortProblem
from mammorisk.preparation.check_report import Report

FIRST, SECOND = "000000_0_R_CC.png", "000000_0_R_MLO.png"
OTHER_SPLIT = "000011_0_R_CC.png"  # of patient 11, in val; patients 0 to 5 are in train


def spoilt(folder: Path, spoil: Callable[[Path], object], *words: str) -> Report:
    csv_file = cohort_on_disk(folder)
    spoil(folder / "images")
    return examined(csv_file, "--images", *words)


def only(problems: list[CohortProblem]) -> tuple[str, int]:
    assert len(problems) == 1, problems
    return problems[0].kind, problems[0].count


def truncate(images: Path) -> None:
    for name in (FIRST, SECOND):
        (images / name).write_bytes((images / name).read_bytes()[:-4])


def mirror(path: Path) -> None:
    with Image.open(path) as image:
        write_png(path, np.asarray(image)[:, ::-1])


@pytest.mark.parametrize(
    ("kind", "count", "spoil"),
    [
        ("missing_file", 1, lambda images: (images / FIRST).unlink()),
        ("image_unreadable", 2, truncate),
        ("image_depth", 1, lambda images: Image.new("L", (10, 12)).save(images / FIRST)),
        ("image_blank", 1, lambda images: write_png(images / FIRST, 5)),
        ("image_of_two_patients", 2, lambda images: shutil.copy(images / FIRST, images / OTHER_SPLIT)),
        ("chest_wall", 2, lambda images: [mirror(images / name) for name in (FIRST, SECOND)]),
    ],
)
def test_each_planted_problem_is_found(kind, count, spoil, tmp_path):
    report = spoilt(tmp_path, spoil)
    assert only(report.problems.found) == (kind, count)
    assert report.problems.notices == []
    assert report.images is not None
    assert report.images.files == 96 - (kind == "missing_file")
    assert report.as_json()["problems"][0]["csv_rows"][0] == 2


def plant_faults(images: Path) -> None:
    names = sorted(path.name for path in images.iterdir())[: len(FAULTY)]
    for name, (data, _) in zip(names, FAULTY.values(), strict=True):
        (images / name).write_bytes(data())


def test_every_kind_of_incomplete_or_damaged_pixel_data_is_found(tmp_path):
    report = spoilt(tmp_path, plant_faults)
    assert only(report.problems.found) == ("image_unreadable", len(FAULTY))
    assert report.problems.notices == []


def test_the_command_says_what_is_wrong_with_incomplete_images(tmp_path):
    csv_file = cohort_on_disk(tmp_path)
    for name, kind in ((FIRST, "short rows"), (SECOND, "surplus row")):
        (tmp_path / "images" / name).write_bytes(FAULTY[kind][0]())
    done = prepare("check", str(csv_file), "--images")
    assert done.returncode == 1, done.stdout + done.stderr
    said = " ".join((done.stdout + done.stderr).split())
    assert f"{FIRST} is incomplete: its pixel data end after 7 of 12 rows" in said
    assert f"{SECOND} is damaged: expected 12 rows" in said
    assert "Traceback" not in said


def test_small_images(tmp_path):
    report = spoilt(tmp_path, lambda images: None, "dataset.image_size=[13,10]")
    assert only(report.problems.found) == ("image_small", 96)
    assert "Rows x columns found: 12 x 10." in report.problems.found[0].found


def test_several_sizes_are_a_notice(tmp_path):
    report = spoilt(tmp_path, lambda images: write_png(images / FIRST, breast("x", "R", (20, 14))))
    assert report.problems.found == []
    assert only(report.problems.notices) == ("image_sizes", 1)
    assert report.images is not None
    assert report.images.sizes == {"12 x 10": 95, "20 x 14": 1}


def test_one_picture_twice_for_a_patient_is_a_notice(tmp_path):
    report = spoilt(tmp_path, lambda images: shutil.copy(images / FIRST, images / SECOND))
    assert report.problems.found == []
    assert only(report.problems.notices) == ("image_repeated", 2)


def test_a_leak_across_splits_says_so(tmp_path):
    report = spoilt(tmp_path, lambda images: shutil.copy(images / FIRST, images / OTHER_SPLIT))
    assert "show 1 pictures; 1 of these are in several splits" in report.problems.found[0].found


def test_breasts_turned_to_one_side_on_purpose(tmp_path):
    report = spoilt(tmp_path, lambda images: [mirror(path) for path in images.glob("*_R_*")])
    assert report.problems.found == []
    assert only(report.problems.notices) == ("mirrored", 48)
    assert "left edge" in report.problems.notices[0].found


def test_several_kinds_at_once(tmp_path):
    def spoil(images: Path) -> None:
        truncate(images)
        write_png(images / OTHER_SPLIT, 0)
        (images / "000004_1_L_CC.png").unlink()

    kinds = [each.kind for each in spoilt(tmp_path, spoil).problems.found]
    assert kinds == ["missing_file", "image_unreadable", "image_blank"]
