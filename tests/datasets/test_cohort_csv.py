from __future__ import annotations

from pathlib import Path

import pytest
from helpers.cohorts import NAMES, cohort_rows

from mammorisk.datasets.cohort_csv import read_cohort_csv
from mammorisk.errors import UserError

COLUMNS = {name: name for name in NAMES}


def write(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "cohort.csv"
    path.write_bytes(text.encode(encoding))
    return path


def read_text(folder: Path, text: str, **changes: str | None) -> str:
    """The message that reading this CSV ends in."""
    with pytest.raises(UserError) as caught:
        read_cohort_csv(write(folder, text), {**COLUMNS, **changes})
    return str(caught.value)


def test_values_stay_text_and_rows_keep_their_line_numbers(tmp_path):
    rows = cohort_rows(2)
    text = rows.to_csv(index=False).replace("\n", "\n\n", 1)  # a blank line after the header
    table, _ = read_cohort_csv(write(tmp_path, "\ufeff" + text), COLUMNS)
    assert table["patient_id"][0] == "000000"
    assert table["exam_id"][0] == "0000000000000000"  # 16 digits, leading zeros
    assert table["csv_row"].tolist()[:2] == [3, 4]
    assert table["years_to_cancer"][0] == ""


def test_blanks_and_words_for_missing_are_recognised(tmp_path):
    rows = cohort_rows(1, 1)
    rows["race"] = [" Asian ", "NaN", "N/A", "None"]
    table, _ = read_cohort_csv(write(tmp_path, rows.to_csv(index=False)), COLUMNS)
    assert table["race"].tolist() == ["Asian", "", "", ""]


def test_first_of_alternative_columns_is_taken(tmp_path):
    rows = cohort_rows(1, 1).rename(columns={"laterality": "ImageLaterality"})
    path = write(tmp_path, rows.to_csv(index=False))
    columns = {**COLUMNS, "laterality": "ImageLateralityFinal|ImageLaterality", "race": None}
    table, source = read_cohort_csv(path, columns)
    assert source.columns["laterality"] == "ImageLaterality"
    assert "race" not in table


def test_missing_columns_are_all_named_with_the_nearest(tmp_path):
    rows = cohort_rows(1, 1).rename(columns={"split": "Split", "view": "viewposition"})
    message = read_text(tmp_path, rows.to_csv(index=False))
    assert "'split' (dataset.columns.split). Did you mean 'Split'?" in message
    assert "dataset.columns.view" in message
    assert str(tmp_path / "cohort.csv") in message
    assert "'viewposition'" in message  # among the columns found


def test_an_exam_needs_an_id_or_a_time(tmp_path):
    rows = cohort_rows(1, 1).drop(columns=["exam_id", "exam_date"])
    assert "exam_date or exam_year" in read_text(tmp_path, rows.to_csv(index=False))


def test_a_column_of_files_is_needed_unless_a_pattern_finds_them(tmp_path):
    text = cohort_rows(1, 1).drop(columns="file_name").to_csv(index=False)
    assert "dataset.columns.file_name" in read_text(tmp_path, text)
    table, _ = read_cohort_csv(write(tmp_path, text), COLUMNS, file_name=False)
    assert len(table) == 4


def test_misspelt_key_of_ours_is_named(tmp_path):
    message = read_text(tmp_path, cohort_rows(1, 1).to_csv(index=False), densty="density")
    assert "dataset.columns.densty" in message
    assert "'density'" in message


@pytest.mark.parametrize(
    ("key", "column"),
    [
        ("file_name", "years_to_cancer"),  # mapped as our outcome too
        ("density", "x_type"),
        ("age", "rad_timing"),
        ("race", "path_severity"),
        ("view", "true_risk_1y"),
        ("race", "oracle_5y"),  # a phantom written before 0.1.0
        ("laterality", "Time_to_Cancer_Years"),
    ],
)
def test_outcome_columns_are_refused_as_inputs(tmp_path, key, column):
    rows = cohort_rows(1, 1)
    for name in ("x_type", "rad_timing", "path_severity", "true_risk_1y", "oracle_5y", "Time_to_Cancer_Years"):
        rows[name] = "1"
    message = read_text(tmp_path, rows.to_csv(index=False), **{key: column})
    assert f"dataset.columns.{key}={column}" in message
    assert "outcome" in message


@pytest.mark.parametrize("spoilt", ["1.23E+15", "1.2345e+15", "4503599627370496.0", "7."])
@pytest.mark.parametrize("key", ["patient_id", "exam_id"])
def test_identifiers_turned_into_numbers_are_refused(tmp_path, key, spoilt):
    rows = cohort_rows(1, 1)
    rows.loc[2, key] = spoilt
    message = read_text(tmp_path, rows.to_csv(index=False))
    assert spoilt in message
    assert f"dataset.columns.{key}" in message
    assert "CSV row 4" in message


def test_identifiers_that_look_like_numbers_but_are_not_are_kept(tmp_path):
    rows = cohort_rows(1, 1).assign(exam_id="1.2.840.113619", patient_id="12E45")
    table, _ = read_cohort_csv(write(tmp_path, rows.to_csv(index=False)), COLUMNS)
    assert table["exam_id"].unique().tolist() == ["1.2.840.113619"]


def test_missing_identifiers_are_refused(tmp_path):
    rows = cohort_rows(1, 1)
    rows.loc[[0, 3], "patient_id"] = ""
    assert "2 rows have no value in column 'patient_id'" in read_text(tmp_path, rows.to_csv(index=False))


@pytest.mark.parametrize("text", ["", "a,b\n1,2,3\n", ",".join(NAMES) + "\n", '"open quote'])
def test_what_is_no_cohort_csv_is_a_message(tmp_path, text):
    assert "cohort.csv" in read_text(tmp_path, text)


def test_other_encodings_and_folders_are_messages(tmp_path):
    path = write(tmp_path, cohort_rows(1, 1).assign(race="Österreich").to_csv(index=False), "latin-1")
    with pytest.raises(UserError, match="UTF-8"):
        read_cohort_csv(path, COLUMNS)
    with pytest.raises(UserError, match="cannot be read"):
        read_cohort_csv(tmp_path, COLUMNS)
    with pytest.raises(UserError, match="there is no file"):
        read_cohort_csv(tmp_path / "no.csv", COLUMNS)


def test_columns_of_risk_factors_have_names_of_their_own(tmp_path):
    path = write(tmp_path, cohort_rows(1, 1).assign(PAROUS=[" 1 ", "NaN", "0", "1"]).to_csv(index=False))
    asked = {"parous": "Parous|PAROUS", "density": "density", "brca": None}
    table, source = read_cohort_csv(path, COLUMNS, risk_factors=asked)
    assert table["risk_factors.parous"].tolist() == ["1", "", "0", "1"]
    assert table["risk_factors.density"].tolist() == table["density"].tolist()
    assert "risk_factors.brca" not in table
    assert source.column("risk_factors.parous") == f"column 'PAROUS' (dataset.risk_factors.parous) of {path}"
    assert source.column("view") == f"column 'view' (dataset.columns.view) of {path}"
