from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest

from mammorisk.datasets.attrition import Attrition
from mammorisk.datasets.cohort_csv import Source
from mammorisk.datasets.cohort_files import (
    find_matching_files,
    find_named_files,
    refuse_or_skip_missing,
    usable_root,
)
from mammorisk.errors import UserError

PATTERN = (
    r"(?P<patient_id>[^_]+)_(?P<laterality>[LR])_(?P<view>CC|MLO)_"
    r"(?P<exam_date>\d{4}-\d{2}-\d{2})_(?P<number>\d+)\.png"
)
SOURCE = Source(Path("cohort.csv"), {"file_name": "file"})


def put(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def named(*names: str) -> pd.DataFrame:
    table = pd.DataFrame({"file_name": names, "csv_row": range(2, len(names) + 2)}, dtype=object)
    return table.assign(split="val", split_word="dev", patient_id="p", exam_id="e", laterality="L", view="CC")


def exams(*rows: tuple[str, str, str]) -> pd.DataFrame:
    """Rows of one left CC image: patient, exam, date (or year)."""
    table = pd.DataFrame(rows, columns=["patient_id", "exam_id", "date"], dtype=object)
    is_date = table["date"].str.len() > 4
    table["exam_date"] = pd.to_datetime(table["date"].where(is_date))
    table["exam_year"] = pd.to_numeric(table["date"].where(~is_date), errors="coerce")
    table = table.assign(laterality="L", view="CC", split="train", split_word="train")
    return table.assign(csv_row=range(2, len(rows) + 2))


def test_names_are_found_below_the_root_in_its_split_folders_and_anywhere(tmp_path):
    root = put(tmp_path / "data", "a.png", "deep/b.png", "dev/c.png", "val/d.png", "train/e.png")
    other = put(tmp_path / "other", "f.png") / "f.png"
    found = find_named_files(named("a.png", "deep/b.png", "c.png", "d.png", "e.png", str(other), ""), root)["file"]
    assert [path and os.path.relpath(path, root) for path in found] == [
        "a.png",
        "deep/b.png",
        "dev/c.png",
        "val/d.png",
        None,  # another split's folder
        "../other/f.png",
        None,
    ]


def test_absolute_names_need_no_root_and_folders_are_no_files(tmp_path):
    root = put(tmp_path, "a.png", "folder.png/x")
    found = find_named_files(named(f"{root}/a.png", f"{root}/folder.png"), None)["file"]
    assert found.tolist() == [f"{root}/a.png", None]


def test_relative_root_gives_absolute_files(tmp_path, monkeypatch):
    put(tmp_path, "data/a.png")
    monkeypatch.chdir(tmp_path)
    assert find_named_files(named("a.png"), Path("data"))["file"].tolist() == [str(tmp_path / "data/a.png")]


def test_missing_files_are_counted_and_cited(tmp_path):
    root = put(tmp_path, "a.png")
    table = find_named_files(named("a.png", "b.png", "c.png"), root)
    with pytest.raises(UserError, match=r"2 of 3 images .*'b.png' \(CSV row 3\), 'c.png' \(CSV row 4\)") as caught:
        refuse_or_skip_missing(table, root, SOURCE, skip=False)
    assert f"{root}/a.png" in str(caught.value)  # an example
    assert refuse_or_skip_missing(table, root, SOURCE, skip=True).tolist() == [True, False, False]


def test_all_files_missing_is_an_error_even_when_skipping(tmp_path):
    root = put(tmp_path, "a.png")
    table = find_named_files(named("b.png"), root)
    with pytest.raises(UserError, match="1 of 1 images"):
        refuse_or_skip_missing(table, root, SOURCE, skip=True)


def test_root_is_named_when_unset_absent_or_empty(tmp_path):
    with pytest.raises(UserError, match=r"dataset\.data_root is not set"):
        usable_root(None)
    with pytest.raises(UserError, match="there is no folder"):
        usable_root(tmp_path / "no")
    (tmp_path / "train").mkdir()
    with pytest.raises(UserError, match="holds no files"):
        usable_root(tmp_path)


def test_pattern_finds_files_by_patient_breast_view_and_date(tmp_path):
    root = put(tmp_path, "p1_L_CC_2013-01-02_1.png", "train/p1_L_CC_2014-01-02_1.png", "p2_L_CC_2013-01-02_1.png")
    table = exams(("p1", "e1", "2013-01-02"), ("p1", "e2", "2014-01-02"), ("p1", "e3", "2015-01-02"))
    found = find_matching_files(table, root, PATTERN, Attrition())["file"]
    assert found.tolist()[:2] == [f"{root}/p1_L_CC_2013-01-02_1.png", f"{root}/train/p1_L_CC_2014-01-02_1.png"]
    assert pd.isna(found[2])


def test_pattern_gives_every_numbered_file(tmp_path):
    root = put(tmp_path, *(f"p1_L_CC_2013-01-02_{n}.png" for n in (1, 2, 10)))
    found = find_matching_files(exams(("p1", "e1", "2013-01-02")), root, PATTERN, Attrition())
    assert found["file_number"].tolist() == [1, 2, 10]


def test_copies_count_once_and_the_own_split_comes_first(tmp_path):
    name = "p1_L_CC_2013-01-02_1.png"
    root = put(tmp_path, f"old/{name}", f"train/{name}")
    found = find_matching_files(exams(("p1", "e1", "2013-01-02")), root, PATTERN, Attrition())
    assert found["file"].tolist() == [f"{root}/train/{name}"]


def test_two_exams_of_one_day_do_not_share_a_file(tmp_path):
    root, attrition = put(tmp_path, "p1_L_CC_2013-01-02_1.png"), Attrition()
    table = exams(("p1", "e2", "2013-01-02"), ("p1", "e1", "2013-01-02"))
    found = find_matching_files(table, root, PATTERN, attrition)
    assert found["exam_id"].tolist() == ["e1"]
    assert attrition.steps[-1].counts.exams == 1


def test_repeated_rows_of_an_image_are_counted(tmp_path):
    root, attrition = put(tmp_path, "p1_L_CC_2013-01-02_1.png"), Attrition()
    table = exams(("p1", "e1", "2013-01-02"), ("p1", "e1", "2013-01-02"))
    assert len(find_matching_files(table, root, PATTERN, attrition)) == 1
    assert "another row describes" in attrition.steps[0].reason


def test_with_years_only_the_date_comes_from_the_file(tmp_path):
    root = put(tmp_path, "p1_L_CC_2013-12-02_1.png")
    found = find_matching_files(exams(("p1", "e1", "2013")), root, PATTERN, Attrition())
    assert found["exam_date"].tolist() == [pd.Timestamp("2013-12-02")]


def test_pattern_may_tell_exams_by_id(tmp_path):
    root = put(tmp_path, "p1-e1-L-CC.png", "p1-e2-L-CC.png")
    pattern = r"(?P<patient_id>\w+)-(?P<exam_id>\w+)-(?P<laterality>\w)-(?P<view>\w+)\.png"
    table = exams(("p1", "e2", "2013-01-02")).assign(exam_date=pd.NaT)
    assert find_matching_files(table, root, pattern, Attrition())["file"].tolist() == [f"{root}/p1-e2-L-CC.png"]


def test_pitfall_28_no_match_shows_a_file_and_the_pattern(tmp_path):
    root = put(tmp_path, "train/p1_LCC_20130102.png")
    with pytest.raises(UserError, match="None of the 1 files") as caught:
        find_matching_files(exams(("p1", "e1", "2013-01-02")), root, PATTERN, Attrition())
    assert "p1_LCC_20130102.png" in str(caught.value)
    assert PATTERN in str(caught.value)


@pytest.mark.parametrize(
    ("pattern", "words"), [("(", "no regular expression"), (r"(?P<patient_id>\d+)", "named groups")]
)
def test_useless_patterns_are_refused(tmp_path, pattern, words):
    with pytest.raises(UserError, match=words):
        find_matching_files(exams(("p1", "e1", "2013-01-02")), put(tmp_path, "a.png"), pattern, Attrition())


def test_pattern_with_dates_needs_times_in_the_csv(tmp_path):
    root = put(tmp_path, "p1_L_CC_2013-01-02_1.png")
    with pytest.raises(UserError, match=r"map dataset\.columns\.exam_date"):
        find_matching_files(exams(("p1", "e1", "")).assign(exam_year=float("nan")), root, PATTERN, Attrition())
