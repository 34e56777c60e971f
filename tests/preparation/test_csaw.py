import pytest
from helpers.raw_downloads import csaw_download
from helpers.small_downloads import csaw, reasons, years

from mammorisk.errors import UserError
from mammorisk.preparation.csaw import CsawDownload


@pytest.fixture(scope="module")
def download(tmp_path_factory):
    return csaw_download(tmp_path_factory.mktemp("csaw"))


def test_every_planted_trap_is_dealt_with_and_counted(download):
    prepared = CsawDownload(str(download.tables["csv"])).prepare()
    assert len(download.planted) == 11
    assert reasons(prepared) == dict(download.planted)
    assert years(prepared) == {(exam, side): truth[0] for (_, exam, side), truth in download.truth.items()}
    found = years(prepared, "years_to_last_followup")
    assert found == {(exam, side): truth[1] for (_, exam, side), truth in download.truth.items()}
    assert set(prepared.images["laterality"]) == {"Left", "Right"}  # of two codes


def case(*exams, side="Left", **values):
    """A woman with cancer: (year, rad_timing) of her exams, both breasts."""
    rows = []
    for year, timing in exams:
        for which in ("Left", "Right"):
            name = f"00007_20990909_{which[0]}_CC_{year}.dcm"
            rows.append(
                {"exam_year": year, "rad_timing": timing, "x_case": "1", "x_cancer_laterality": side, "x_type": "2",
                 "imagelaterality": which, "anon_filename": name, **values}
            )  # fmt: skip
    return rows


@pytest.mark.parametrize(
    ("exams", "options", "expected"),
    [
        ([(2010, 3), (2012, 1)], {}, [2, 0]),
        ([(2010, 3), (2012, 2)], {}, [3, 1]),
        ([(2010, 3), (2012, 2)], {"interval_rule": "plus2"}, [4, 2]),
        ([(2014, 3), (2016, 2)], {}, [2, 0]),  # never after 2016
        ([(2013, 3), (2015, 2)], {"interval_rule": "plus2"}, [3, 1]),
        ([(2013, 3), (2015, 2)], {"interval_rule": "plus2", "last_year": 2017}, [4, 2]),
        ([(2010, 2), (2012, 1)], {}, [2, 0]),  # the last one tells
        ([(2010, ""), (2012, 1)], {}, [2, 0]),
    ],
)
def test_the_year_of_the_cancer(tmp_path, exams, options, expected):
    found = years(csaw(tmp_path, case(*exams), **options))
    assert [found[f"00007_{year}", "L"] for year, _ in exams] == expected
    assert [found[f"00007_{year}", "R"] for year, _ in exams] == [None, None]


def test_both_breasts_are_cases_where_labels_are_the_womans(tmp_path):
    found = csaw(tmp_path, case((2010, 3), (2012, 1)), labels="woman")
    assert years(found)["00007_2010", "R"] == 2
    assert years(found, "cancer_type")["00007_2010", "R"] == 2
    assert years(csaw(tmp_path, case((2010, 3), (2012, 1))), "cancer_type")["00007_2010", "R"] is None


@pytest.mark.parametrize(("rule", "expected"), [("last_exam", 2), ("last_seen", 3)])
def test_follow_up_by_each_rule(tmp_path, rule, expected):
    found = csaw(tmp_path, case((2010, 3), (2012, 2)), follow_up=rule)
    assert years(found, "years_to_last_followup")["00007_2010", "L"] == expected


def test_exams_after_the_year_of_the_diagnosis_go_by_the_rule(tmp_path):
    rows = case((2010, 1), (2012, ""))
    assert {exam for exam, _ in years(csaw(tmp_path, rows))} == {"00007_2010"}
    other = csaw(tmp_path, rows, after_diagnosis="keep_other_breast")
    assert ("00007_2012", "R") in years(other)
    assert ("00007_2012", "L") not in years(other)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (case((2010, 3)), "case without an exam of rad_timing 1 or 2: year not known"),
        (case((2010, "")), "case without an exam of rad_timing 1 or 2: year not known"),
        (case((2010, 1), side=""), "case without x_cancer_laterality"),
        (case((2010, 1), x_case="0"), "x_case is 0, but there is a rad_timing"),
        (case((2010, ""), x_case=""), "x_case is missing"),
        (
            [*case((2010, 1)), *case((2012, 1), side="Right")],
            "a woman's rows contradict each other (x_case, x_cancer_laterality)",
        ),
    ],
)
def test_women_whose_outcome_is_not_clear_are_left_out(tmp_path, rows, reason):
    control = {"anon_patientid": "00001", "anon_filename": "00001_1.dcm"}
    found = csaw(tmp_path, [*rows, control])
    assert reasons(found) == {reason: len(rows)}
    assert found.images["patient_id"].tolist() == ["00001"]


def test_the_newest_image_of_a_view_stays(tmp_path):
    rows = [{"anon_filename": f"00007_20990909_L_CC_{number}.dcm"} for number in (2, 10, 1)]
    for rule, number in (("newest", 10), ("oldest", 1)):
        found = csaw(tmp_path, rows, duplicate_view=rule).images
        assert found["file_name"].tolist() == [f"00007_20990909_L_CC_{number}.png"]
        assert found["dicom_path"].tolist() == [f"00007_20990909_L_CC_{number}.dcm"]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"exam_year": ""}, "rows without a whole year"),
        ({"exam_year": "2012.5"}, "Expected a whole number from 1900 to 2300"),
        ({"exam_year": "12"}, "hold no such number"),
        ({"rad_timing": "4"}, r"unknown values in column 'rad_timing'.*'4'"),
        ({"x_type": "9"}, "unknown values in column 'x_type'"),
        ({"imagelaterality": "both"}, "unknown values in column 'imagelaterality'"),
        ({"viewposition": "MLOX"}, "unknown values in column 'viewposition'"),
        ({"libra_percentdensity": "140"}, "hold no such number"),
        ({"anon_patientid": ""}, "have no value"),
    ],
)
def test_unknown_values_are_told(tmp_path, row, told):
    with pytest.raises(UserError, match=told):
        csaw(tmp_path, [{}, row])


def test_a_year_is_a_year():
    with pytest.raises(UserError, match=r"raw\.last_year=16: expected a whole number from 1900 to 2300"):
        CsawDownload("c.csv", last_year=16)
