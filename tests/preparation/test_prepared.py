from helpers.small_downloads import csaw, embed, exam

from mammorisk.datasets.attrition import Attrition
from mammorisk.preparation.csaw import CsawDownload
from mammorisk.preparation.embed import EmbedDownload
from mammorisk.preparation.prepared import Download, Prepared

COMMON = {
    "patient_id", "exam_id", "laterality", "view", "years_to_cancer", "years_to_last_followup", "cancer_type",
    "dicom_path", "file_name",
}  # fmt: skip


def test_both_downloads_hand_on_the_columns_of_a_cohort(tmp_path):
    for prepared in (embed(tmp_path, exam("1", "2015-03-01")), csaw(tmp_path, [{}])):
        assert isinstance(prepared, Prepared)
        assert isinstance(prepared.attrition, Attrition)
        assert set(prepared.images) >= COMMON
        assert prepared.images.notna()["file_name"].all()


def test_both_name_their_tables():
    downloads: list[Download] = [EmbedDownload("m.csv", "~/c.csv"), CsawDownload("x.csv")]
    names = [[path.name for path in download.files] for download in downloads]
    assert names == [["m.csv", "c.csv"], ["x.csv"]]
    assert all("~" not in str(path) for download in downloads for path in download.files)
