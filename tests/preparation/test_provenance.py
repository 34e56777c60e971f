import hashlib
import json
from datetime import datetime

import pandas as pd
import pytest

from mammorisk.datasets.attrition import Attrition
from mammorisk.errors import UserError
from mammorisk.preparation.provenance import (
    check_inputs_apart,
    checked_out,
    record_of,
    refuse_other,
    sha256_of,
    write_all,
)
from mammorisk.version import __version__

TABLE = pd.DataFrame(
    {
        "patient_id": ["0010", "0010", "11"],
        "exam_id": ["9100000000015839", "9100000000015839", "2"],
        "split": ["train", "train", "val"],
        "years_to_cancer": pd.array([2, None, None], dtype="Int64"),
        "note": ['a "b", c', "", "é"],
    }
)
OPTIONS = {"dataset": "embed", "raw": {"carry_back_days": 180, "accepted_codes": {"asses": []}}}


def attrition():
    found = Attrition()
    found.read(TABLE, "m.csv")
    return found


def record(options=OPTIONS):
    return record_of(TABLE, attrition(), options, {"m.csv": "00ff"})


def test_the_record_holds_options_counts_inputs_and_who_was_left_out():
    found = record()
    assert datetime.fromisoformat(found.pop("date")).tzinfo is not None
    assert found["mammorisk"] == __version__
    assert found["options"] == OPTIONS
    assert found["inputs"] == [{"file": "m.csv", "sha256": "00ff"}]
    assert found["counts"]["all"] == {"patients": 2, "exams": 2, "images": 3, "patients_with_cancer": 1}
    assert found["counts"]["test"] == {"patients": 0, "exams": 0, "images": 0, "patients_with_cancer": 0}
    assert found["attrition"][0]["counts"] == {"patients": 2, "exams": 2, "images": 3}


def test_three_files_are_written_and_read_as_text(tmp_path):
    out = tmp_path / "new" / "cohort.csv"
    assert write_all(TABLE, out, record(), attrition(), overwrite=False)
    assert sorted(path.name for path in out.parent.iterdir()) == ["cohort.csv", "cohort.json", "cohort_attrition.csv"]
    found = pd.read_csv(out, dtype=str, keep_default_na=False)
    assert found["patient_id"].tolist() == ["0010", "0010", "11"]
    assert found["years_to_cancer"].tolist() == ["2", "", ""]
    assert found["note"].tolist() == TABLE["note"].tolist()
    digest = hashlib.sha256(out.read_bytes()).hexdigest()
    assert json.loads(out.with_suffix(".json").read_text())["sha256"] == digest == sha256_of(out)


def test_the_same_table_again_is_fine_and_another_is_refused(tmp_path):
    out = tmp_path / "cohort.csv"
    write_all(TABLE, out, record(), attrition(), overwrite=False)
    assert not write_all(TABLE, out, record(), attrition(), overwrite=False)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(UserError, match="holds another table"):
        write_all(TABLE.head(1), out, record(), attrition(), overwrite=False)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert write_all(TABLE.head(1), out, record(), attrition(), overwrite=True)
    assert len(pd.read_csv(out)) == 1


def test_other_options_are_refused_before_any_work(tmp_path):
    out = tmp_path / "cohort.csv"
    refuse_other(out, OPTIONS)
    write_all(TABLE, out, record(), attrition(), overwrite=False)
    refuse_other(out, OPTIONS)
    with pytest.raises(UserError, match="was made with other options"):
        refuse_other(out, {**OPTIONS, "dataset": "csaw"})
    for text in ("{}", "[", "3"):
        out.with_suffix(".json").write_text(text)
        with pytest.raises(UserError, match="was made with other options"):
            refuse_other(out, OPTIONS)


def test_a_place_that_fails_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_all(TABLE, tmp_path / "file" / "cohort.csv", record(), attrition(), overwrite=False)
    with pytest.raises(UserError, match=r"expected a name that ends with \.csv"):
        checked_out("cohort.parquet")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(UserError, match="is a folder"):
        checked_out(str(tmp_path / "folder.csv"))
    assert checked_out("~/cohort.csv").is_absolute()


def test_a_table_of_the_download_is_never_replaced(tmp_path):
    (tmp_path / "m.csv").write_text("x")
    (tmp_path / "link.csv").symlink_to(tmp_path / "m.csv")
    with pytest.raises(UserError, match="is a table of the download"):
        check_inputs_apart(tmp_path / "link.csv", [tmp_path / "m.csv"])
    check_inputs_apart(tmp_path / "new.csv", [tmp_path / "m.csv"])
    assert (tmp_path / "m.csv").read_text() == "x"
