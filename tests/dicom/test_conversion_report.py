import csv
import json

from mammorisk.dicom.conversion_report import refusals, summary, write_reports
from mammorisk.dicom.conversion_settings import Conversion
from mammorisk.dicom.work import Job, Outcome
from mammorisk.version import __version__

NOTE = {
    "key": "k",
    "laterality": "L",
    "view": "CC",
    "rows": 3328,
    "crop": [1, 2, 3, 4],
    "millimetres": None,
    "remark": "odd",
}
OUTCOMES = [
    Outcome(Job("a.dcm", "a.png"), NOTE),
    Outcome(Job("b.dcm", "b.png"), None, "colour", 'RGB, "3" samples'),
    Outcome(Job("c.dcm", "c.png"), {**NOTE, "remark": ""}, is_new=False),
    Outcome(Job("d.dcm", "d.png"), None, "missing", "there is no file d.dcm."),
    Outcome(Job("e.dcm", "e.png"), None, "colour", "RGB"),
]


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_tables_say_what_each_file_became(tmp_path):
    write_reports(tmp_path, OUTCOMES, Conversion(), {"csv_file": "t.csv"})
    first, second = read(tmp_path / "images.csv")
    assert (first["file_name"], first["dicom_path"], first["laterality"], first["rows"]) == (
        "a.png",
        "a.dcm",
        "L",
        "3328",
    )
    assert (first["crop"], first["millimetres"], first["remark"]) == ("1 2 3 4", "", "odd")
    assert second["file_name"] == "c.png"
    bad = read(tmp_path / "images_report.csv")
    assert [row["kind"] for row in bad] == ["colour", "missing", "colour"]
    assert bad[0] == {"dicom_path": "b.dcm", "file_name": "b.png", "kind": "colour", "reason": 'RGB, "3" samples'}


def test_the_record_holds_settings_and_counts_and_no_date(tmp_path):
    write_reports(tmp_path, OUTCOMES, Conversion(voi="none"), {"csv_file": "t.csv"})
    assert json.loads((tmp_path / "images.json").read_text()) == {
        "mammorisk": __version__,
        "source": {"csv_file": "t.csv"},
        "conversion": Conversion(voi="none").as_dict(),
        "counts": {"files": 5, "images": 2, "refused": {"missing": 1, "colour": 2}},
    }
    before = (tmp_path / "images.json").read_bytes()
    write_reports(tmp_path, OUTCOMES, Conversion(voi="none"), {"csv_file": "t.csv"})
    assert (tmp_path / "images.json").read_bytes() == before


def test_the_summary_counts(tmp_path):
    text = summary(tmp_path, OUTCOMES)
    assert "2 of 5 files are images (1 of them were there already)" in text
    assert "3 were refused" in text
    assert "2  colour: colour" in text
    assert "1 have a remark" in text
    assert "refused" not in summary(tmp_path, OUTCOMES[:1])
    assert refusals(OUTCOMES[:1]) == {}
