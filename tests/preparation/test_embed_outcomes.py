"""Outcomes of EMBED worked out by hand, rule by rule."""

import pytest
from helpers.small_downloads import embed, exam, reasons, years

DIAGNOSTIC = "MG Diagnostic Left w/ CAD"
CANCER = {"side": "L", "path_severity": "0.0", "procdate_anon": "2016-04-10"}


def screened(tmp_path, *exams, **options):
    """A negative screening exam in 2014, one in March 2016, and what comes then."""
    before = exam("1", "2014-04-20"), exam("3", "2016-03-01", {"side": "L", "asses": "A"}, {"side": "R"})
    return embed(tmp_path, *before, *exams, **options)


def diagnosed(date="2016-03-31", **values):
    return exam("5", date, {**CANCER, "asses": "M", **values}, desc=DIAGNOSTIC)


def test_a_cancer_counts_for_all_earlier_exams_of_its_breast(tmp_path):
    found = screened(tmp_path, diagnosed())
    assert years(found) == {("1", "L"): 2, ("1", "R"): None, ("3", "L"): 1, ("3", "R"): None}
    assert years(found, "cancer_type") == {("1", "L"): 0, ("1", "R"): None, ("3", "L"): 0, ("3", "R"): None}
    assert reasons(found) == {
        "a finding without a side, or of both: counts for both": 2,
        "the exam has findings of the other breast only: added as negative": 1,
        "not a screening exam (desc)": 2,
        "pathology of a later exam was carried back to this screening exam": 1,
    }


def test_both_breasts_are_cases_where_labels_are_the_womans(tmp_path):
    found = screened(tmp_path, diagnosed(), labels="woman")
    assert years(found) == {("1", "L"): 2, ("1", "R"): 2, ("3", "L"): 1, ("3", "R"): 1}
    assert set(years(found, "cancer_type").values()) == {0}


@pytest.mark.parametrize(
    ("options", "first", "second"),
    [
        ({"diagnosis_date": "procedure"}, 2, 1),  # biopsy on 10 April: 721 and 40 days later
        ({"diagnosis_date": "exam"}, 2, 0),  # the screening exam that it is carried back to: 681 days, 0 days
        ({"diagnosis_date": "exam", "carry_back_days": 29}, 2, 1),  # the diagnostic exam: 30 days
        ({"diagnosis_date": "exam", "carry_back_days": 30}, 2, 0),
        ({"year_rule": "completed"}, 1, 0),
        ({"year_rule": "calendar"}, 2, 0),
    ],
)
def test_the_date_of_the_diagnosis_and_how_years_count(tmp_path, options, first, second):
    found = years(screened(tmp_path, diagnosed(), **options))
    assert (found["1", "L"], found["3", "L"]) == (first, second)


def test_pathology_too_late_is_not_carried_back_but_counts(tmp_path):
    found = screened(tmp_path, diagnosed(procdate_anon="2016-04-10"), carry_back_days=20)
    assert years(found)["3", "L"] == 1
    assert "pathology of a later exam was carried back to this screening exam" not in reasons(found)


def test_without_a_procedure_the_exam_of_the_pathology_is_the_date(tmp_path):
    found = screened(tmp_path, diagnosed("2017-03-31", procdate_anon=""))
    assert years(found)["3", "L"] == 2  # 395 days


def test_known_cancer_without_pathology_is_a_case_of_unknown_type(tmp_path):
    found = screened(tmp_path, exam("5", "2016-03-31", {"side": "L", "asses": "K"}, desc=DIAGNOSTIC))
    assert years(found)["3", "L"] == 1
    assert years(found, "cancer_type")["3", "L"] is None


def test_benign_pathology_is_no_cancer(tmp_path):
    for severity in ("2", "3", "4", "5", "6"):
        found = screened(tmp_path, diagnosed(path_severity=severity, asses="B"))
        assert set(years(found).values()) == {None}
        assert years(found, "cancer_type")["3", "L"] is None


def test_the_first_cancer_of_a_breast_counts_and_the_graver_of_one_day(tmp_path):
    later = exam("7", "2018-01-01", {**CANCER, "path_severity": "0", "procdate_anon": "2018-01-02"}, desc=DIAGNOSTIC)
    found = screened(tmp_path, diagnosed(path_severity="1"), later)
    assert (years(found)["3", "L"], years(found, "cancer_type")["3", "L"]) == (1, 1)
    same = exam("5", "2016-03-31", {**CANCER, "path_severity": "1"}, CANCER, desc=DIAGNOSTIC)
    assert years(screened(tmp_path, same), "cancer_type")["3", "L"] == 0


def test_a_cancer_of_both_sides_is_both_breasts(tmp_path):
    found = years(screened(tmp_path, diagnosed(side="B")))
    assert (found["3", "L"], found["3", "R"]) == (1, 1)


@pytest.mark.parametrize(
    ("later", "resolve_days", "stays"),
    [
        ({"side": "L", "asses": "N"}, 30, True),
        ({"side": "L", "asses": "B"}, 30, True),
        ({"side": "L", "asses": "N"}, 29, False),  # a day too late
        ({"side": "L", "asses": "P"}, 30, False),
        ({"side": "R", "asses": "N"}, 30, False),  # the other breast
        ({"side": "", "asses": "N"}, 30, True),
    ],
)
def test_an_incomplete_exam_is_a_control_once_the_breast_is_found_negative(tmp_path, later, resolve_days, stays):
    found = screened(tmp_path, exam("5", "2016-03-31", later, desc=DIAGNOSTIC), resolve_days=resolve_days)
    assert (("3", "L") in years(found)) == stays
    assert ("3", "R") in years(found)
    assert (f"A, and not found N or B within {resolve_days} days" in reasons(found)) != stays


def test_suspicious_and_unassessed_breasts_are_neither_case_nor_control(tmp_path):
    for asses, reason in (("P", "P, S or M, and no cancer found"), ("", "no assessment")):
        exams = exam("1", "2014-04-20", {"side": "L", "asses": asses}, {"side": "R"})
        assert set(years(embed(tmp_path, exams))) == {("1", "R")}
        assert reasons(embed(tmp_path, exams))[reason] == 1
        assert set(years(embed(tmp_path, exams, unresolved="keep"))) == {("1", "L"), ("1", "R")}


@pytest.mark.parametrize(("rule", "expected"), [("last_exam", 4), ("last_negative", 1), ("last_seen", 5)])
def test_follow_up_by_each_rule(tmp_path, rule, expected):
    exams = (
        exam("1", "2014-04-20"),
        exam("3", "2015-05-01"),  # a year later: negative
        exam("5", "2018-05-01", {"side": "R", "asses": "A"}, {"side": "L"}),  # four years later, open
    )
    pathology = {"side": "R", "asses": "M", "path_severity": "0", "procdate_anon": "2019-05-01"}
    cancer = exam("7", "2018-06-01", pathology, desc=DIAGNOSTIC)
    found = embed(tmp_path, *exams, cancer, follow_up=rule)
    assert years(found, "years_to_last_followup")["1", "L"] == expected
    assert years(found, "years_to_last_followup")["5", "L"] == 0  # seen at the exam itself
