import pytest
from helpers.dicom_files import breast, write

from mammorisk.dicom.conversion_jobs import jobs_of_folder, jobs_of_table
from mammorisk.dicom.work import Job
from mammorisk.errors import UserError

COLUMNS = {"laterality": "laterality|ImageLateralityFinal", "view": "ViewPosition"}


def table(tmp_path, text):
    (tmp_path / "t.csv").write_text(text)
    return tmp_path / "t.csv"


def test_a_row_is_an_image(tmp_path):
    text = (
        "dicom_path,file_name,ImageLateralityFinal,ViewPosition,x\na/1.dcm,p/1.png,L,cc,0\na/2.dcm,p/2.png,Right,,1\n"
    )
    jobs = jobs_of_table(table(tmp_path, text), COLUMNS)
    assert jobs == [Job("a/1.dcm", "p/1.png", "L", "CC"), Job("a/2.dcm", "p/2.png", "R", "")]


def test_ids_that_look_like_numbers_stay_text(tmp_path):
    (job,) = jobs_of_table(table(tmp_path, "dicom_path,file_name\n0012345678901234567,007.png\n"), COLUMNS)
    assert job == Job("0012345678901234567", "007.png")


def test_a_row_that_stands_twice_is_one_image(tmp_path):
    text = "dicom_path,file_name\na.dcm,a.png\na.dcm,a.png\n"
    assert len(jobs_of_table(table(tmp_path, text), COLUMNS)) == 1


def test_other_names_of_columns(tmp_path):
    (job,) = jobs_of_table(table(tmp_path, "src,dst\na.dcm,a.png\n"), {"dicom_path": "src", "file_name": "png|dst"})
    assert job == Job("a.dcm", "a.png")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("file_name\na.png\n", r"no column 'dicom_path' \(columns\.dicom_path\).\nColumns found: file_name"),
        ("dicom_path\na.png\n", "no column 'file_name'.*\n.*\n?.*how the PNG is called"),
        (
            "dicom_path,file_name\na.dcm,a.png\nb.dcm,a.png\n",
            r"1 images would be written by several.*from a\.dcm, b\.dcm",
        ),
        ("dicom_path,file_name\na.dcm,../a.png\n", r"'\.\./a\.png'.*below the folder"),
        ("dicom_path,file_name\na.dcm,/a.png\n", "below the folder"),
        ("dicom_path,file_name\na.dcm,\n", "below the folder"),
        ("dicom_path,file_name\n,a.png\n", "from ''"),
        ("dicom_path,file_name\na.dcm,contact_sheets/a.png\n", "below the folder"),
        ("dicom_path,file_name\na.dcm,a.jpg\n", "ends with .png"),
        ("dicom_path,file_name\n\xe9\xff", "no column|cannot be read|''"),
        ("", "cannot be read"),
    ],
)
def test_tables_that_cannot_be_used_are_told(text, told, tmp_path):
    (tmp_path / "t.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=told):
        jobs_of_table(tmp_path / "t.csv", COLUMNS)


def test_no_table_is_told(tmp_path):
    with pytest.raises(UserError, match="there is no file"):
        jobs_of_table(tmp_path / "gone.csv", COLUMNS)


def test_all_dicom_files_of_a_folder(tmp_path):
    write(tmp_path / "b" / "1.dcm", breast(16, 12))
    write(tmp_path / "a" / "no_suffix", breast(16, 12))
    (tmp_path / "b" / "broken.DCM").write_text("bad")
    (tmp_path / "b" / "notes.txt").write_text("no image")
    (tmp_path / "b" / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    write(tmp_path / "png" / "inside.dcm", breast(16, 12))
    jobs = jobs_of_folder(tmp_path, tmp_path / "png")
    assert [(job.source, job.name) for job in jobs] == [
        ("a/no_suffix", "a/no_suffix.png"),
        ("b/1.dcm", "b/1.png"),
        ("b/broken.DCM", "b/broken.png"),
    ]


def test_two_files_of_a_folder_with_one_name_are_told(tmp_path):
    write(tmp_path / "1.dcm", breast(16, 12))
    write(tmp_path / "1.dicom", breast(16, 12))
    with pytest.raises(UserError, match=r"1\.png \(from 1\.dcm, 1\.dicom\)"):
        jobs_of_folder(tmp_path, tmp_path / "png")


def test_two_files_whose_names_look_alike_are_told(tmp_path):
    write(tmp_path / "\u00e9.dcm", breast(16, 12))
    write(tmp_path / "e\u0301.dcm", breast(16, 12))
    with pytest.raises(UserError, match="several DICOM files"):
        jobs_of_folder(tmp_path, tmp_path / "png")


def test_a_folder_without_dicom_files_is_told(tmp_path):
    with pytest.raises(UserError, match="no DICOM files below"):
        jobs_of_folder(tmp_path, tmp_path / "png")
