from __future__ import annotations

import pandas as pd
import pytest
from helpers.cohorts import NAMES, cohort_rows, write_cohort
from omegaconf import DictConfig, OmegaConf

from mammorisk.batch import InputSpec
from mammorisk.datasets.problems import CohortProblem
from mammorisk.prediction.exams import left_out, read_exams, remarks

BREASTS = InputSpec(unit="breast", exams=2)
KNOWN = ["patient_id", "exam_id", "exam_date", "laterality", "view", "file_name"]


def dataset(folder, rows: pd.DataFrame) -> DictConfig:
    config = write_cohort(folder, rows, columns={name: name for name in KNOWN})
    return OmegaConf.create(OmegaConf.to_container(OmegaConf.structured(config)))


def reasons(found, inputs) -> dict[str, str]:
    table = left_out(found, inputs)
    return dict(zip(table["sample_id"], table["reason"], strict=True))


def test_rows_without_outcomes_become_samples_of_which_nothing_is_known(tmp_path):
    rows = cohort_rows(2)[KNOWN]
    found = read_exams(dataset(tmp_path, rows), BREASTS)
    assert found.scored == ["000000/0000001000000000/R", "000000/0000001000000000/L",
                            "000001/0000011000000000/R", "000001/0000011000000000/L"]  # fmt: skip
    assert found.samples is not None
    assert not found.samples.target_mask.any()
    assert not found.samples.event.any()
    assert found.samples.time_gap[0].tolist() == pytest.approx([2.0, 0.0], abs=0.01)
    assert set(reasons(found, BREASTS).values()) == {"no prior: the model needs an earlier exam of the same views"}
    assert list(remarks(found, BREASTS)) == [""] * 4
    assert "years_to_cancer" not in rows
    assert set(NAMES) > set(rows)


def test_a_file_that_is_damaged_or_missing_is_its_rows_reason(tmp_path):
    rows = cohort_rows(1)[KNOWN]
    settings = dataset(tmp_path, rows)
    (tmp_path / "images/000000_1_R_CC.png").write_bytes(b"no picture")
    (tmp_path / "images/000000_1_L_MLO.png").unlink()
    found = read_exams(settings, BREASTS)
    assert found.scored == []
    said = reasons(found, BREASTS)
    assert said["000000/0000001000000000/R"].startswith("missing view: R CC; ")
    assert "is not a PNG" in said["000000/0000001000000000/R"]
    assert said["000000/0000001000000000/L"] == "missing view: L MLO; image file missing: 000000_1_L_MLO.png"


def test_exams_without_ids_are_told_apart_by_their_dates_even_if_one_is_bad(tmp_path):
    rows = cohort_rows(1)[KNOWN].drop(columns="exam_id")
    rows.loc[0, "exam_date"] = "?"
    found = read_exams(dataset(tmp_path, rows), InputSpec(unit="image", exams=1))
    assert len(found.scored) == 7
    assert "000000/000000_2012-01-15/L/CC" in found.scored
    assert reasons(found, InputSpec(unit="image", exams=1)) == {
        "000000/000000_?/R/CC": "exam_date '?' is no date (YYYY-MM-DD)"
    }


def test_other_views_are_no_mistake_but_make_no_sample(tmp_path):
    rows = cohort_rows(1, exams=1)[KNOWN]
    rows.loc[0, "view"] = "ML"
    found = read_exams(dataset(tmp_path, rows), InputSpec(unit="image", exams=1))
    assert len(found.scored) == 3
    assert list(reasons(found, InputSpec(unit="image", exams=1)).values()) == ["no image of a view that the model uses"]


def test_two_images_of_one_view_are_settled_by_the_rule(tmp_path):
    rows = cohort_rows(1)[KNOWN]
    twice = pd.concat([rows, rows.iloc[[4]].assign(file_name="again.png")])
    newest = read_exams(dataset(tmp_path / "newest", twice), BREASTS)
    assert len(newest.scored) == 2
    settings = dataset(tmp_path / "error", twice)
    settings.duplicate_view = "error"
    strict = read_exams(settings, BREASTS)
    assert strict.scored == ["000000/0000001000000000/L"]
    assert "several images of one exam" in reasons(strict, BREASTS)["000000/0000001000000000/R"]


def test_missing_columns_are_an_error(tmp_path):
    rows = cohort_rows(1)[KNOWN]
    fine = dataset(tmp_path, rows)
    rows.drop(columns="laterality").to_csv(fine.csv_file, index=False)
    with pytest.raises(CohortProblem, match=r"'laterality' \(dataset.columns.laterality\)"):
        read_exams(fine, BREASTS)
