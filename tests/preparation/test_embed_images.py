import pytest
from helpers.small_downloads import FINDING, IMAGE, embed, exam, reasons, written, years

from mammorisk.datasets.attrition import Attrition
from mammorisk.errors import UserError
from mammorisk.preparation.embed_images import keep_standard_views, read_metadata


def kept(tmp_path, *rows, implants="drop_image"):
    """Rows that stay, and the reasons of the others."""
    path = written(tmp_path / "m.csv", IMAGE, list(rows))
    attrition = Attrition()
    left = keep_standard_views(read_metadata(path, {})[1], implants, attrition)
    return left.index.tolist(), {step.reason: step.counts.images for step in attrition.steps}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"FinalImageType": "cview"}, "synthetic view from tomosynthesis (cview)"),
        ({"FinalImageType": "3D"}, "tomosynthesis (3D)"),
        ({"FinalImageType": "ROI_SSC"}, "capture of a region of interest (ROI_SSC, ROI_SS)"),
        ({"FinalImageType": "ROI_SS"}, "capture of a region of interest (ROI_SSC, ROI_SS)"),
        ({"FinalImageType": ""}, "FinalImageType is other or missing"),
        ({"spot_mag": "1.0"}, "spot compression or magnification (spot_mag)"),
        ({"ImageLateralityFinal": ""}, "ImageLateralityFinal does not tell one side"),
        ({"ImageLateralityFinal": "B"}, "ImageLateralityFinal does not tell one side"),
        ({"ViewPosition": ""}, "ViewPosition is missing"),
        ({"ViewPosition": "ML"}, "another view than CC or MLO (ML is not MLO)"),
        ({"BreastImplantPresent": "YES"}, "breast implant (BreastImplantPresent)"),
    ],
)
def test_what_is_no_standard_view_is_left_out_for_its_reason(tmp_path, row, reason):
    assert kept(tmp_path, {}, row, {"ViewPosition": "MLO"}) == ([0, 2], {reason: 1})


def test_implants_by_each_rule(tmp_path):
    rows = ({"BreastImplantPresent": "Y"}, {}, {"empi_anon": "11", "acc_anon": "7"})
    assert kept(tmp_path, *rows)[0] == [1, 2]
    assert kept(tmp_path, *rows, implants="drop_patient")[0] == [2]
    assert kept(tmp_path, *rows, implants="keep") == ([0, 1, 2], {})


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"FinalImageType": "4D"}, "unknown values in column 'FinalImageType'"),
        ({"ViewPosition": "MLOO"}, "unknown values in column 'ViewPosition'.*'MLOO'"),
        ({"spot_mag": "2"}, "unknown values in column 'spot_mag'"),
        ({"study_date_anon": ""}, "hold no date"),
        ({"empi_anon": ""}, "have no value"),
        ({"SeriesTime": "noon"}, "hold no such number"),
    ],
)
def test_unknown_values_are_told(tmp_path, row, told):
    with pytest.raises(UserError, match=told):
        kept(tmp_path, {}, row)


def test_images_are_joined_to_their_breast_and_not_multiplied(tmp_path):
    clinical, images = exam("31", "2015-03-01", {"side": "L"}, {"side": "L", "asses": "B"}, {"side": ""})
    found = embed(tmp_path, (clinical, images), exam("33", "2016-03-01", {"side": "R"}), unresolved="keep")
    assert len(found.images) == 4
    assert reasons(found) == {
        "several findings of the exam and breast: joined to one row": 1,
        "a finding without a side, or of both: counts for both": 2,
        "the exam has findings of the other breast only: added as negative": 1,
    }


def test_an_accession_is_of_one_patient_in_both_tables(tmp_path):
    clinical, images = exam("31", "2015-03-01")
    with pytest.raises(UserError, match=r"1 exams belong to one patient in .* and to another .*: 31"):
        embed(tmp_path, (clinical, [{**row, "empi_anon": "11"} for row in images]))


def test_an_accession_that_the_clinical_table_lacks_is_left_out(tmp_path):
    _, lost = exam("35", "2017-03-01")
    found = embed(tmp_path, exam("31", "2015-03-01"), ([], lost))
    assert set(years(found)) == {("31", "L"), ("31", "R")}
    assert reasons(found)["the accession number is not in the clinical table"] == 2
    assert "9100000000000001" not in FINDING["empi_anon"]


def test_the_clinical_date_counts_where_the_tables_differ(tmp_path):
    clinical, images = exam("31", "2015-03-01")
    found = embed(tmp_path, (clinical, [{**row, "study_date_anon": "2015-03-04"} for row in images]))
    assert found.images["exam_date"].unique().tolist() == ["2015-03-01"]
    assert reasons(found)["the two tables give different dates: the clinical one is taken"] == 2
