import numpy as np
import pandas as pd
import pytest
from helpers.raw_downloads import embed_download
from helpers.small_downloads import embed, exam, reasons, years

from mammorisk.errors import UserError
from mammorisk.preparation.embed import EmbedDownload


@pytest.fixture(scope="module")
def download(tmp_path_factory):
    return embed_download(tmp_path_factory.mktemp("embed"))


@pytest.fixture(scope="module")
def prepared(download):
    return EmbedDownload(**{name: str(path) for name, path in download.tables.items()}).prepare()


def test_every_planted_trap_is_dealt_with_and_counted(download, prepared):
    assert len(download.planted) == 24
    assert reasons(prepared) == dict(download.planted)


def test_outcomes_are_the_phantoms(download, prepared):
    cancer, followup = years(prepared), years(prepared, "years_to_last_followup")
    assert cancer == {(acc, side): truth[0] for (_, acc, side), truth in download.truth.items()}
    assert followup == {(acc, side): truth[1] for (_, acc, side), truth in download.truth.items()}
    assert len(set(cancer.values())) > 4


def test_truth_of_the_download_is_the_phantoms_own(download):
    """The tables' days round the phantom's times; the years are the same but where a day tips them."""
    exams = download.phantom.population().exams
    of_exam = {path.split("/")[3]: (woman, exam) for path, woman, exam, *_ in download.pictures}
    theirs = dict(zip(zip(exams.woman, exams.number, strict=True), exams.years_to_cancer, strict=True))
    ours = {of_exam[acc]: truth[0] for (_, acc, _), truth in download.truth.items() if truth[0] is not None}
    both = [(years, theirs[key]) for key, years in ours.items() if not np.isnan(theirs[key])]
    assert len(both) > 30
    assert all(abs(one - other) <= 1 for one, other in both)
    assert np.mean([one == other for one, other in both]) > 0.9
    assert {key for key, years in theirs.items() if years > 0} <= ours.keys()


def test_ids_of_16_digits_and_paths_stay_as_they_were(download, prepared):
    images = prepared.images
    assert images["exam_id"].str.fullmatch(r"\d{16}").all()
    assert (images["exam_id"].astype(int) > 2**53).all()
    assert set(zip(images["patient_id"], images["exam_id"], images["laterality"], strict=True)) == set(download.truth)
    raw = pd.read_csv(download.tables["metadata"], dtype=str).set_index("anon_dicom_path")
    row = raw.loc["/mnt/NAS2/mammo/anon_dicom/" + images["dicom_path"]]
    for ours, theirs in (("exam_id", "acc_anon"), ("laterality", "ImageLateralityFinal"), ("view", "ViewPosition")):
        assert (row[theirs].to_numpy() == images[ours].to_numpy()).all()


def test_each_image_has_a_file_name_of_its_own(prepared):
    images = prepared.images
    assert images["file_name"].is_unique
    assert images["file_name"].iloc[0] == (
        f"{images['patient_id'].iloc[0]}_{images['laterality'].iloc[0]}_{images['view'].iloc[0]}_"
        f"{images['exam_date'].iloc[0]}_1.png"
    )


def test_diagnostic_exams_stay_where_all_are_asked_for(tmp_path):
    exams = exam("1", "2015-03-01"), exam("3", "2016-03-01", desc="MG Diagnostic Bilateral")
    assert len(embed(tmp_path, *exams).images) == 2
    assert len(embed(tmp_path, *exams, exams="all").images) == 4


def test_the_newest_image_of_a_view_stays(tmp_path):
    clinical, images = exam("1", "2015-03-01")
    copies = [
        {**images[0], "SeriesTime": time, "anon_dicom_path": name} for time, name in (("93000.0", "a"), ("", "b"))
    ]
    for rule, name in (("newest", "1L"), ("oldest", "b")):
        found = embed(tmp_path, (clinical, [*images, *copies]), duplicate_view=rule).images
        assert found["dicom_path"].tolist() == (["1L", "1R"] if rule == "newest" else ["1R", "b"])
        assert name in found["dicom_path"].tolist()


def test_exams_after_the_diagnosis_go_by_the_rule(tmp_path):
    pathology = {"side": "L", "path_severity": "1", "procdate_anon": "2015-06-01"}
    exams = exam("1", "2015-03-01", pathology), exam("3", "2016-03-01")
    assert set(years(embed(tmp_path, *exams))) == {("1", "L"), ("1", "R")}
    other = embed(tmp_path, *exams, after_diagnosis="keep_other_breast")
    assert set(years(other)) == {("1", "L"), ("1", "R"), ("3", "R")}
    with pytest.raises(UserError, match="2 images of 1 women were taken after the diagnosis"):
        embed(tmp_path, *exams, after_diagnosis="error")


def test_settings_are_checked(tmp_path):
    with pytest.raises(UserError, match=r"raw\.carry_back_days=-1: expected a whole number from 0"):
        EmbedDownload("m.csv", "c.csv", carry_back_days=-1)
    clinical, images = exam("1", "2015-03-01")
    with pytest.raises(UserError, match=r"2 values of anon_dicom_path do not start with raw\.path_prefix"):
        embed(tmp_path, (clinical, [{**row, "anon_dicom_path": "/data/x.dcm"} for row in images]))
    found = embed(
        tmp_path, (clinical, [{**row, "anon_dicom_path": "/data/x.dcm"} for row in images]), path_prefix="/data/"
    )
    assert found.images["dicom_path"].tolist() == ["x.dcm", "x.dcm"]


def test_accepted_codes_are_taken_as_missing(tmp_path):
    exams = exam("1", "2015-03-01", {"side": "L", "asses": "X"}, {"side": "R"})
    with pytest.raises(UserError, match="unknown values in column 'asses'"):
        embed(tmp_path, exams)
    assert set(years(embed(tmp_path, exams, accepted_codes={"asses": ["X"]}))) == {("1", "R")}
