from __future__ import annotations

import copy
import functools
import json
from pathlib import Path

import pytest
from helpers.cohort_checks import check_config, cohort_on_disk, examine_config, prepare
from helpers.cohorts import cohort_rows
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig

from mammorisk.cli.prepare import prepare_check
from mammorisk.datasets.problems import CohortProblem
from mammorisk.errors import UserError
from mammorisk.preparation.check import as_overrides
from mammorisk.preparation.guess import guess_dataset


def test_a_sound_cohort_ends_with_0(tmp_path):
    answer = prepare("check", str(cohort_on_disk(tmp_path)), "--images", "dataset.image_size=[12,10]")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "dataset=phantom, guessed by the columns" in answer.stdout
    assert "96 image files read; rows x columns: 12 x 10 (96)." in answer.stdout
    assert answer.stdout.endswith("Fine: this cohort can be trained on.\n")


def test_problems_end_with_1_and_are_in_the_json(tmp_path):
    csv_file = cohort_on_disk(tmp_path, lambda table: table.assign(laterality=["?", "?", *table["laterality"][2:]]))
    (tmp_path / "images" / "000003_1_L_CC.png").unlink()
    answer = prepare("check", str(csv_file), f"out={tmp_path}/report.json")
    assert answer.returncode == 1
    assert "unknown values in column 'laterality'" in answer.stdout
    assert answer.stdout.endswith("2 kinds of problems to fix before a training.\n")
    found = json.loads((tmp_path / "report.json").read_text())
    assert {(each["kind"], each["count"]) for each in found["problems"]} == {("unknown_word", 2), ("missing_file", 1)}
    assert answer.stderr == ""


def test_a_check_that_cannot_be_made_ends_with_2(tmp_path):
    answer = prepare("check", str(tmp_path / "none.csv"), f"out={tmp_path}/report.json")
    assert answer.returncode == 2
    assert "there is no file" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert not list(tmp_path.iterdir())
    with pytest.raises(UserError, match=r"dataset\.batch_size=0: expected a whole number"):
        prepare_check(check_config(str(tmp_path / "none.csv"), "dataset=phantom", "dataset.batch_size=0"))
    with pytest.raises(UserError, match="There is no cohort CSV to check"):
        prepare_check(check_config())


def test_the_status_is_for_problems_only(tmp_path):
    config = check_config(str(cohort_on_disk(tmp_path)), "dataset=phantom")
    assert prepare_check(config) is None
    config.dataset.codes.density["1"] = "A"
    with pytest.raises(UserError, match="expected one of 1, 2, 3, 4 or null"):
        prepare_check(config)


def test_words_become_overrides(tmp_path):
    csv_file = cohort_on_disk(tmp_path)
    words = as_overrides([str(csv_file), "--images", "dataset.on_error=skip", "--cfg", "job"])
    assert words[:4] == ["images=true", "dataset.on_error=skip", "--cfg", "job"]
    assert words[4:6] == [f"dataset.csv_file='{csv_file}'", "dataset=phantom"]
    assert as_overrides(["dataset=csaw", "x.csv"]) == ["dataset=csaw", "dataset.csv_file='x.csv'"]
    assert "dataset=phantom" in as_overrides([f"dataset.csv_file={csv_file}"])
    with pytest.raises(UserError, match=r"Expected one cohort CSV, found a\.csv, b\.csv"):
        as_overrides(["a.csv", "b.csv"])


@pytest.mark.parametrize("name", ["a b.csv", "it's, [odd]=1.csv", "cost${x}.csv", "ü{}:.csv", "back\\slash.csv"])
def test_any_name_of_a_file_arrives(name, tmp_path):
    (tmp_path / name).write_text("view\nCC\n")
    words = as_overrides([str(tmp_path / name), "dataset=phantom"])
    OverridesParser.create().parse_overrides(words)
    assert check_config(str(tmp_path / name), "dataset=phantom").dataset.csv_file == str(tmp_path / name)


def test_without_a_folder_of_images_the_csv_alone_is_checked(tmp_path):
    rows = cohort_rows(12).rename(columns={"split": "split_group", "file_name": "file_path"})
    rows["split_group"] = rows["split_group"].replace("val", "dev")
    rows.to_csv(tmp_path / "mirai.csv", index=False)
    report = examine_config(check_config(str(tmp_path / "mirai.csv")))
    assert report.problems.found == []
    assert [each.kind for each in report.problems.notices] == ["data_root"]
    assert sum(split.images for split in report.splits) == 96
    report = examine_config(check_config(str(tmp_path / "mirai.csv"), "--images"))
    assert [each.kind for each in report.problems.found] == ["data_root"]


SOUND = cohort_rows(4, 2).to_csv(index=False)
WORDS = [
    "",
    "nan",
    "1e999",
    "-5",
    "9" * 40,
    "0000-00-00",
    "2010-13-45",
    "NaT",
    "\x00",
    '"',
    "''",
    "é̀",
    "\u202e",
    "🩻",
    "1_0",
]
WORDS += [
    "٣",
    "²",
    "=1+1",
    "inf",
    "a\tb",
    "1.23457E+15",
    "0x1F",
    "true",
    "[1,2]",
    "${x}",
    "/etc",
    "../..",
    "\r",
    "\ufeff",
]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A cohort CSV with one to three accidents: in its cells, its columns, its bytes or its encoding."""
    cells = [line.split(",") for line in SOUND.splitlines()]
    width = len(cells[0])
    for _ in range(draw(st.integers(1, 3))):
        accident = draw(
            st.sampled_from(["cell", "cell", "cell", "column", "header", "drop", "swap", "double", "short", "empty"])
        )
        one, two = draw(st.integers(0, width - 1)), draw(st.integers(0, width - 1))
        row, word = draw(st.integers(0, len(cells) - 1)), draw(st.sampled_from(WORDS) | st.text(max_size=8))
        for number, line in enumerate(cells):
            if one < len(line) and two < len(line):
                if accident == "swap":
                    line[one], line[two] = line[two], line[one]
                elif accident == "double":
                    line.append(line[one])
                elif accident == "drop":
                    del line[one]
                elif accident == {0: "header", row: "cell"}.get(number, "column"):
                    line[one] = word
        if accident == "short":
            del cells[row][one:]
        elif accident == "empty":
            cells = [line[:1] for line in cells] if one else cells[:row]
        if not cells or not cells[0]:
            break
    separator = draw(st.sampled_from([",", ",", ",", ",", ",", ",", ";", "\t"]))
    end = draw(st.sampled_from(["\n", "\n", "\r\n", "\r"]))
    text = end.join(separator.join(line) for line in cells)
    data = bytearray(text.encode(draw(st.sampled_from(["utf-8"] * 6 + ["utf-8-sig", "utf-16"])), "replace"))
    for _ in range(draw(st.sampled_from([0] * 6 + [1, 4])) if data else 0):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.sampled_from([len(data)] * 6 + [len(data) // 2]))])


@functools.cache
def phantom_config() -> DictConfig:
    return check_config("dataset=phantom")


def check_ends_in_words(folder: Path, data: bytes) -> None:
    """A report that can be written, or a message; nothing else."""
    csv_file = folder / "mutated.csv"
    csv_file.write_bytes(data)
    try:
        guess_dataset(csv_file)
    except CohortProblem:
        event("not a CSV")
    except UserError:
        event("no dataset")
    config = copy.deepcopy(phantom_config())
    config.dataset.csv_file = str(csv_file)
    report = examine_config(config)
    report.write(folder / "report.json")
    event("read" if report.cohort is not None else "stopped")
    assert report.problems.found  # there are no files
    assert json.loads((folder / "report.json").read_text())["verdict"] == "problems"


QUIET = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@settings(max_examples=60, deadline=None, suppress_health_check=QUIET)
@given(data=mutated())
def test_sixty_mutated_csvs_end_in_words(tmp_path, data):
    check_ends_in_words(tmp_path, data)


@pytest.mark.slow
@settings(max_examples=440, deadline=None, suppress_health_check=QUIET)
@given(data=mutated() | st.binary(max_size=300))
def test_more_mutated_csvs_end_in_words(tmp_path, data):
    check_ends_in_words(tmp_path, data)
