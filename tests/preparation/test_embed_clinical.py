import numpy as np
import pytest
from helpers.small_downloads import FINDING, written

from mammorisk.errors import UserError
from mammorisk.preparation.embed_clinical import ABSENT, INCOMPLETE, NEGATIVE, SUSPICIOUS, read_clinical

A, B = "9100000000000001", "9100000000000003"


def clinical(tmp_path, *rows):
    return read_clinical(written(tmp_path / "c.csv", FINDING, list(rows)), {})


def test_an_exam_is_one_row_with_what_its_findings_say(tmp_path):
    found = clinical(
        tmp_path,
        {"acc_anon": A, "tissueden": "", "age_at_study": "", "RACE_DESC": ""},
        {"acc_anon": B, "study_date_anon": "2016-01-02", "desc": "MG Diagnostic Left", "tissueden": "4.0"},
        {"acc_anon": A, "tissueden": "3.0", "age_at_study": "50", "RACE_DESC": "Asian"},
        {"acc_anon": A, "tissueden": "2.0", "age_at_study": "51", "RACE_DESC": "Other"},
    )
    assert found.exam_ids.tolist() == [A, B]
    assert found.date.astype(str).tolist() == ["2015-03-01", "2016-01-02"]
    assert found.is_screening.tolist() == [True, False]
    assert found.density.tolist() == [3, 4]
    assert found.age.tolist() == [50, 51.5]
    assert found.race.tolist() == ["Asian", "Asian"]
    assert found.patient_ids[found.patient].tolist() == ["10", "10"]


def test_a_side_of_both_or_none_is_both_breasts(tmp_path):
    found = clinical(
        tmp_path,
        {"acc_anon": A, "side": "B", "asses": "N"},
        {"acc_anon": A, "side": "L", "asses": "A"},
        {"acc_anon": A, "side": "L", "asses": "P"},
        {"acc_anon": B, "side": "R", "asses": "A"},
    )
    assert found.worst.tolist() == [SUSPICIOUS, NEGATIVE, ABSENT, INCOMPLETE]
    assert found.findings.tolist() == [3, 1, 0, 1]
    assert found.is_for_both.tolist() == [True, True, False, False]
    assert clinical(tmp_path, {"side": "", "asses": "K"}).findings.tolist() == [1, 1]


def test_men_are_known_by_sex_or_density(tmp_path):
    assert clinical(tmp_path, {"GENDER_DESC": "Male"}).is_male.tolist() == [True]
    found = clinical(tmp_path, {"tissueden": "5.0"})
    assert (found.is_male.tolist(), found.density.tolist()) == ([True], [-1])
    assert clinical(tmp_path, {}).is_male.tolist() == [False]


def test_optional_columns_may_be_absent(tmp_path):
    few = {key: value for key, value in FINDING.items() if key not in ("RACE_DESC", "age_at_study")}
    found = read_clinical(written(tmp_path / "c.csv", few, [{}]), {})
    assert found.race.tolist() == [""]
    assert np.isnan(found.age).tolist() == [True]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"empi_anon": "11"}, "1 exams have more than one patient in .*: 9100000000000001"),
        ({"study_date_anon": "2015-03-02"}, "1 exams have more than one date"),
        ({"asses": "X"}, r"unknown values in column 'asses' of .*: 'X' \(CSV rows? 3\)"),
        ({"side": "left"}, "unknown values in column 'side'"),
        ({"path_severity": "7"}, "unknown values in column 'path_severity'"),
        ({"tissueden": "6"}, "unknown values in column 'tissueden'"),
        ({"GENDER_DESC": "woman"}, "unknown values in column 'GENDER_DESC'"),
        ({"procdate_anon": "soon"}, "hold no date in column 'procdate_anon'"),
        ({"age_at_study": "-3"}, "hold no such number in column 'age_at_study'"),
        ({"acc_anon": "9.1e+15"}, "identifiers that were turned into numbers"),
    ],
)
def test_contradictions_and_unknown_codes_are_told(tmp_path, row, told):
    with pytest.raises(UserError, match=told):
        clinical(tmp_path, {}, row)
