"""DICOM views of an exam: patient, date and view of each file, and a check that they belong together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from mammorisk.batch import VIEWS
from mammorisk.dicom.conversion_jobs import dicom_files
from mammorisk.dicom.reading import read_header
from mammorisk.errors import UserError
from mammorisk.messages import format_examples

_DATES = ("StudyDate", "AcquisitionDate", "ContentDate")


@dataclass(frozen=True)
class DicomView:
    """A DICOM view: the file and the values of its header that are needed here."""

    path: Path
    patient: str  # "" unknown
    study: str  # UID, "" unknown
    day: date | None
    laterality: str  # L | R
    view: str  # CC | MLO | another word

    @property
    def name(self) -> str:
        """File and folder, for messages."""
        return f"{self.path.parent.name}/{self.path.name}"

    @property
    def usable(self) -> bool:
        """Whether it is one of the four views."""
        return (self.laterality, self.view) in VIEWS


def read_dicom_views(paths: Sequence[str | Path], key: str) -> list[DicomView]:
    """Read the headers of files; a folder stands for all DICOM files in it.

    Args:
        paths: as the user gave them.
        key: ``dicom`` or ``prior_dicom``, for messages.

    Raises:
        UserError: no such file, no DICOM file, or a header that names neither side nor view.
    """
    files: list[Path] = []
    for path in (Path(each).expanduser().absolute() for each in paths):
        found = dicom_files(path) if path.is_dir() else [path]
        if not found:
            raise UserError(f"{key}: no DICOM files in {path}.")
        files += found
    return [_read(path, key) for path in dict.fromkeys(files)]


def check_one_exam(dicom_views: Sequence[DicomView], key: str) -> None:
    """Refuse files of several women or exams, and two images of one view.

    Raises:
        UserError: the message names the files.
    """
    kinds = {"women": "patient", "exams": "study", "days": "day"}
    for plural, name in kinds.items():
        by_value: dict[object, str] = {}
        for image in dicom_views:
            by_value.setdefault(getattr(image, name), image.name)
        if len(by_value) > 1:
            advice = "Give the files of one exam; those of earlier exams are prior_dicom=[...]."
            raise UserError(
                f"{key}: these are files of {len(by_value)} {plural}, such as "
                f"{format_examples(by_value.values())}.\n{advice}"
            )
    by_view: dict[tuple[str, str], str] = {}
    for image in dicom_views:
        view = (image.laterality, image.view)
        if image.usable and view in by_view:
            raise UserError(
                f"{key}: two images of {' '.join(view)}, {by_view[view]} and {image.name}: give one of them."
            )
        by_view[view] = image.name


def earlier_exams(dicom_views: Sequence[DicomView], current: DicomView) -> list[list[DicomView]]:
    """The prior exams in ``dicom_views``, oldest first, compared with an image of the current exam.

    Raises:
        UserError: another woman, no date, an exam of the same day or later, or files that do not belong together.
    """
    exams: dict[tuple[str, date | None], list[DicomView]] = {}
    for image in dicom_views:
        exams.setdefault((image.study, image.day), []).append(image)
    for (_, day), exam in exams.items():
        first = exam[0]
        if first.patient != current.patient:
            raise UserError(
                f"prior_dicom: {first.name} has another PatientID than {current.name}. Give exams of one woman."
            )
        if day is None or current.day is None:
            undated = first if day is None else current
            raise UserError(f"{undated.name} has no date ({', '.join(_DATES)}): the time between exams is needed.")
        if day >= current.day:
            when = "of the same day as" if day == current.day else "later than"
            raise UserError(
                f"prior_dicom: {first.name} ({day}) is {when} {current.name} ({current.day}): a prior comes "
                "before the current exam. Are the two lists exchanged?"
            )
        check_one_exam(exam, "prior_dicom")
    return sorted(exams.values(), key=lambda exam: (exam[0].day, exam[0].study))


def _read(path: Path, key: str) -> DicomView:
    try:
        dataset, tags = read_header(path)
    except UserError as error:
        raise UserError(f"{key}: {path}: {error}") from error
    if not tags.laterality or not tags.view:
        lacking = "ViewPosition" if tags.laterality else "ImageLaterality"
        raise UserError(f"{key}: {path}: its header has no {lacking}. Score it with a CSV that has its side and view.")
    words = {name: str(dataset.get(name) or "").strip() for name in ("PatientID", "StudyInstanceUID", *_DATES)}
    day = next((found for name in _DATES if (found := _day(words[name])) is not None), None)
    return DicomView(path, words["PatientID"], words["StudyInstanceUID"], day, tags.laterality, tags.view)


def _day(word: str) -> date | None:
    try:
        return date.fromisoformat(word[:8]) if len(word) >= 8 else None
    except ValueError:
        return None
