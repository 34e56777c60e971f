from __future__ import annotations

from pathlib import Path

import pytest
from helpers.cohorts import NAMES
from omegaconf import OmegaConf

from mammorisk.config import CONF_DIR, options
from mammorisk.datasets.problems import CohortProblem
from mammorisk.errors import UserError
from mammorisk.preparation.guess import guess_dataset


def csv_of(folder: Path, columns: list[str]) -> Path:
    (folder / "cohort.csv").write_text(",".join(columns) + "\n")
    return folder / "cohort.csv"


def columns_of(name: str) -> list[str]:
    """All columns that the settings of a dataset know; of ``A|B`` the last."""
    settings = OmegaConf.load(CONF_DIR / "dataset" / f"{name}.yaml")
    return list(dict.fromkeys(column.split("|")[-1] for column in settings.columns.values()))


@pytest.mark.parametrize("name", options("dataset"))
def test_each_dataset_is_known_by_its_columns(name, tmp_path):
    assert guess_dataset(csv_of(tmp_path, columns_of(name)))[0] == name


def test_our_own_format_needs_no_oracle(tmp_path):
    assert guess_dataset(csv_of(tmp_path, NAMES))[0] == "phantom"


def test_it_says_why(tmp_path):
    name, why = guess_dataset(csv_of(tmp_path, columns_of("mirai_csv")))
    assert name == "mirai_csv"
    assert why == "guessed by the columns file_path, split_group"


@pytest.mark.parametrize(("name", "gone"), [("embed", "Time_to_Cancer_Years"), ("csaw", "viewposition")])
def test_a_missing_column_does_not_hide_the_dataset(name, gone, tmp_path):
    columns = [column for column in columns_of(name) if column != gone]
    assert guess_dataset(csv_of(tmp_path, columns))[0] == name


def test_foreign_columns_are_a_message_that_tells_what_each_lacks(tmp_path):
    with pytest.raises(UserError) as caught:
        guess_dataset(csv_of(tmp_path, ["patient_id;exam_id;view;split"]))
    text = str(caught.value)
    assert "dataset=csaw lacks 'patient_id', 'laterality', 'viewposition'" in text
    assert "The separator seems to be ';'; expected a comma." in text
    assert "Choose one with dataset=NAME" in text


def test_what_is_no_csv_is_a_problem_of_the_csv(tmp_path):
    (tmp_path / "cohort.csv").write_bytes(b"")
    with pytest.raises(CohortProblem, match="cannot be read as a cohort CSV"):
        guess_dataset(tmp_path / "cohort.csv")
