from __future__ import annotations

from datetime import date

import pytest
from helpers.dicom_files import breast, write
from helpers.untrained_checkpoints import dicom_exam

from mammorisk.errors import UserError
from mammorisk.prediction.dicom_views import check_one_exam, earlier_exams, read_dicom_views


def test_headers_say_whose_when_and_what(tmp_path):
    dicom_views = read_dicom_views([dicom_exam(tmp_path / "exam", "20200415")], "dicom")
    assert [(shot.laterality, shot.view) for shot in dicom_views] == [
        ("L", "CC"),
        ("L", "MLO"),
        ("R", "CC"),
        ("R", "MLO"),
    ]
    assert {(shot.patient, shot.study, shot.day) for shot in dicom_views} == {
        ("secret", "1.2.20200415", date(2020, 4, 15))
    }
    check_one_exam(dicom_views, "dicom")


def test_files_and_folders_may_be_mixed_and_count_once(tmp_path):
    folder = dicom_exam(tmp_path / "exam", "20200415")
    assert len(read_dicom_views([folder / "L_CC.dcm", folder], "dicom")) == 4
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="dicom: no DICOM files in"):
        read_dicom_views([tmp_path / "empty"], "dicom")


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"PatientID": "other"}, "files of 2 women"),
        ({"StudyInstanceUID": "1.2.3"}, "files of 2 exams"),
        ({"StudyDate": "20200416"}, "files of 2 days"),
        ({}, "two images of L CC"),
    ],
)
def test_files_that_do_not_belong_together(tmp_path, tags, message):
    folder = dicom_exam(tmp_path / "exam", "20200415")
    known = {"StudyInstanceUID": "1.2.20200415", "StudyDate": "20200415"}
    write(folder / "more.dcm", breast(), **(known | tags))
    with pytest.raises(UserError, match=message):
        check_one_exam(read_dicom_views([folder], "dicom"), "dicom")


def test_priors_are_told_apart_and_come_before(tmp_path):
    folders = [dicom_exam(tmp_path / day, day) for day in ("20200415", "20190310", "20170101")]
    current, *priors = (read_dicom_views([folder], "dicom") for folder in folders)
    found = earlier_exams([*priors[0], *priors[1]], current[0])
    assert [exam[0].day.year for exam in found if exam[0].day] == [2017, 2019]
    with pytest.raises(UserError, match="later than"):
        earlier_exams(current, priors[0][0])
    with pytest.raises(UserError, match="of the same day as"):
        earlier_exams(current, current[0])
    other = read_dicom_views([dicom_exam(tmp_path / "other", "20180101", PatientID="other")], "prior_dicom")
    with pytest.raises(UserError, match="has another PatientID"):
        earlier_exams(other, current[0])
    undated = read_dicom_views([dicom_exam(tmp_path / "undated", "")], "prior_dicom")
    with pytest.raises(UserError, match="has no date"):
        earlier_exams(undated, current[0])


@pytest.mark.parametrize(
    ("tags", "message"),
    [({"ImageLaterality": None}, "no ImageLaterality"), ({"ViewPosition": None}, "no ViewPosition")],
)
def test_a_header_that_does_not_say_what_it_shows(tmp_path, tags, message):
    path = write(tmp_path / "a.dcm", breast(), **tags)
    with pytest.raises(UserError, match=message):
        read_dicom_views([path], "dicom")


def test_a_file_that_is_no_dicom_is_named(tmp_path):
    (tmp_path / "a.dcm").write_text("text")
    with pytest.raises(UserError, match=r"dicom: .*a\.dcm: not a DICOM file"):
        read_dicom_views([tmp_path / "a.dcm"], "dicom")
