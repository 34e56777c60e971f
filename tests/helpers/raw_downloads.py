"""Phantom downloads in the form of EMBED and CSAW-CC, with every trap of the real tables planted and counted.

``embed_download`` and ``csaw_download`` write the tables; ``write_dicoms`` writes the DICOM files of the images in
them. The labels are the phantom's own, so images and tables agree.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from mammorisk.datasets.phantom.formats import image_table
from mammorisk.datasets.phantom.phantom_cohort import PhantomCohort
from mammorisk.datasets.phantom.phantom_settings import HazardSettings, Splits
from mammorisk.datasets.phantom.pictures import Album, Printing, write_albums
from mammorisk.datasets.phantom.population import Population
from mammorisk.datasets.phantom.render import PictureRules

PREFIX = "/mnt/NAS2/mammo/anon_dicom/"
MG_FOR_PRESENTATION = "1.2.840.10008.5.1.4.1.1.1.2"
SIDES, VIEWS = ("R", "L"), ("CC", "MLO")
DAY = np.timedelta64(1, "D")
_FIRST_DAY = np.datetime64("2008-01-01")


@dataclass
class Download:
    """A written download."""

    folder: Path
    tables: dict[str, Path]  # setting of raw -> file: metadata and clinical, or csv
    phantom: PhantomCohort
    planted: Counter[str] = field(default_factory=Counter)  # reason in the attrition table -> images
    # dicom_path (relative to the folder of DICOMs), woman, exam (numbers in the phantom), laterality, view
    pictures: list[tuple[str, int, int, str, str]] = field(default_factory=list)
    # (patient_id, exam_id, laterality) -> years to cancer (None: none), years to last follow-up, of what stays
    truth: dict[tuple[str, str, str], tuple[float | None, int]] = field(default_factory=dict)

    @property
    def overrides(self) -> list[str]:
        """``raw.metadata=…`` and so on."""
        return [f"raw.{name}={path}" for name, path in self.tables.items()]


@cache
def phantom_women(women: int, seed: int, image_height: int) -> tuple[PhantomCohort, Population]:
    """Women of a download; a third of them get cancer."""
    hazard = HazardSettings(event_rate=0.35)
    cohort = PhantomCohort(num_women=women, image_height=image_height, seed=seed, num_workers=1, hazard=hazard)
    return cohort, cohort.population()


def write_dicoms(download: Download, folder: Path) -> int:
    """Write the DICOM files of a download below ``folder``, alternately MONOCHROME1 and 2; return their number.

    They are mammograms FOR PRESENTATION of 12 bits with their window, pixel spacing, laterality and view.
    """
    cohort, population = phantom_women(download.phantom.num_women, download.phantom.seed, download.phantom.image_height)
    wanted: dict[tuple[int, int, str, str], list[str]] = {}
    for path, woman, exam, side, view in download.pictures:
        wanted.setdefault((woman, exam, side, view), []).append(path)
    scratch = folder / ".pictures"
    exams, times = population.exams, population.exams.time
    albums = []
    for number in sorted({woman for woman, *_ in wanted}):
        rows = np.flatnonzero(exams.woman == number)
        names = [f"{number}_{exam}_{side}_{view}.png" for exam in range(len(rows)) for side in SIDES for view in VIEWS]
        albums.append(Album(population.women[number], tuple(times[rows].tolist()), tuple(names)))
    scratch.mkdir(parents=True)
    rules = PictureRules(cohort.precursor, cohort.lesion, cohort.motion, cohort.picture)
    for _ in write_albums(albums, scratch, Printing(rules, cohort.image_height), 1):
        pass
    for count, ((woman, exam, side, view), paths) in enumerate(sorted(wanted.items())):
        picture = scratch / f"{woman}_{exam}_{side}_{view}.png"
        pixels = cv2.imread(str(picture), cv2.IMREAD_UNCHANGED)
        for path in paths:
            write_dicom(folder / path, pixels, side, view, is_inverted=count % 2 == 1)
    for picture in scratch.iterdir():
        picture.unlink()
    scratch.rmdir()
    return len(download.pictures)


def write_dicom(path: Path, pixels: np.ndarray, side: str, view: str, is_inverted: bool) -> None:
    """One mammogram of 12 bits; ``is_inverted`` stores it as MONOCHROME1."""
    stored = (pixels >> 4).astype(np.uint16)
    image = Dataset()
    image.SOPClassUID, image.SOPInstanceUID = MG_FOR_PRESENTATION, generate_uid()
    image.Modality, image.PresentationIntentType = "MG", "FOR PRESENTATION"
    image.ImageLaterality, image.ViewPosition, image.PatientID = side, view, "anonymous"
    image.Rows, image.Columns = stored.shape
    image.PixelSpacing = image.ImagerPixelSpacing = [240 / stored.shape[0]] * 2  # mm; the phantom is 24 cm high
    image.SamplesPerPixel, image.PixelRepresentation = 1, 0
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 12, 11
    image.PhotometricInterpretation = "MONOCHROME1" if is_inverted else "MONOCHROME2"
    image.WindowCenter, image.WindowWidth = 2048, 4096
    image.PixelData = (4095 - stored if is_inverted else stored).tobytes()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save_as(path, enforce_file_format=True)


def embed_download(folder: Path, women: int = 60, seed: int = 0, image_height: int = 64) -> Download:
    """Write ``EMBED_OpenData_metadata.csv`` and ``EMBED_OpenData_clinical.csv``.

    Each control has one trap; at least 50 women are needed for all traps.
    """
    cohort, population = phantom_women(women, seed, image_height)
    tables = {name: folder / f"EMBED_OpenData_{name}.csv" for name in ("metadata", "clinical")}
    download = Download(folder, tables, cohort)
    builder = _Embed(download, population)
    traps = iter(_EMBED_TRAPS)
    for woman in range(women):
        if population.is_case[woman]:
            builder.case(woman)
        else:
            builder.control(woman, next(traps, None))
    assert next(traps, None) is None, "too few women without cancer for all traps"
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(builder.metadata).to_csv(tables["metadata"])
    pd.DataFrame(builder.clinical).to_csv(tables["clinical"])
    return download


class _Embed:
    """Rows of EMBED's two tables as they grow."""

    def __init__(self, download: Download, population: Population) -> None:
        self.download, self.planted, self.population = download, download.planted, population
        self.metadata: list[dict[str, object]] = []
        self.clinical: list[dict[str, object]] = []
        self.accessions = 0
        self.cases = 0
        self.later: dict[int, np.datetime64] = {}  # woman -> an exam that may be after the end of her follow-up

    def accession(self) -> str:
        """Sixteen digits, odd and above 2^53: a float cannot hold it."""
        self.accessions += 1
        return str(9_100_000_000_000_001 + 2 * 7919 * self.accessions)

    def dates(self, woman: int) -> np.ndarray:
        """Days of her screening exams."""
        exams = self.population.exams
        first = _FIRST_DAY + self.population.women[woman].first_exam * DAY
        return first + exams.day[exams.woman == woman] * DAY

    def finding(self, woman: int, acc: str, date: np.datetime64, asses: str, side: str, **values: object) -> None:
        who = self.population.women[woman]
        row = {
            "empi_anon": 10_000_000 + woman, "acc_anon": acc, "study_date_anon": f"{date} 00:00:00",
            "desc": "MG Screen Bilat w/Tomo/CAD Stnd Protocol", "tissueden": f"{who.density_class}.0", "asses": asses,
            "side": side, "path_severity": "", "procdate_anon": "", "RACE_DESC": who.race,
            "age_at_study": round(who.age, 1), "GENDER_DESC": "Female", "numfind": 1, "massshape": "",
        }  # fmt: skip
        self.clinical.append({**row, **values})

    def image(
        self, woman: int, exam: int, acc: str, date: np.datetime64, side: str, view: str, **values: object
    ) -> None:
        """A row of the metadata; ``exam`` is the phantom's that the picture shows."""
        pid = 10_000_000 + woman
        path = f"cohort_{woman % 2 + 1}/extracted-images/{pid}/{acc}/{len(self.metadata):08d}.dcm"
        row = {
            "empi_anon": pid, "acc_anon": acc, "cohort_num": woman % 2 + 1, "study_date_anon": str(date),
            "anon_dicom_path": PREFIX + path, "FinalImageType": "2D", "ImageLateralityFinal": side,
            "ViewPosition": view, "spot_mag": "", "BreastImplantPresent": "NO",
            "ManufacturerModelName": "Selenia Dimensions", "SeriesTime": "101500.0",
        }  # fmt: skip
        self.metadata.append({**row, **values})
        if self.metadata[-1]["FinalImageType"] == "2D" and side in SIDES and view in VIEWS:
            self.download.pictures.append((path, woman, exam, side, view))

    def images(self, woman: int, exam: int, acc: str, date: np.datetime64, sides: str = "RL", **values: object) -> None:
        for side in sides:
            for view in VIEWS:
                self.image(woman, exam, acc, date, side, view, **values)

    def learn(
        self, woman: int, acc: str, date: np.datetime64, cancer: dict[str, np.datetime64], sides: str = "RL"
    ) -> None:
        """Record the outcome that the cohort must have for an exam."""
        end = self.end(woman)
        for side in sides:
            days = (cancer[side] - date) / DAY if side in cancer else None
            years = None if days is None else float(np.ceil(days / 365.25))
            key = (str(10_000_000 + woman), acc, side)
            self.download.truth[key] = years, int((end - date) / DAY // 365.25)

    def end(self, woman: int) -> np.datetime64:
        """The day until which she is followed."""
        days = int(self.population.followup[woman] * 365.25)
        dates = self.dates(woman)
        return max(dates[0] + days * DAY, dates[-1], self.later.get(woman, dates[-1]))

    def follow(self, woman: int) -> None:
        """An exam without images at the end of her follow-up."""
        self.finding(woman, self.accession(), self.end(woman), "N", "B", desc="US Breast Bilateral")

    def exam(self, woman: int, exam: int, cancer: dict[str, np.datetime64] | None = None) -> tuple[str, np.datetime64]:
        """An ordinary negative screening exam: one finding row of both breasts, or one of each."""
        acc, date = self.accession(), self.dates(woman)[exam]
        if (woman + exam) % 3:
            self.finding(woman, acc, date, "N", "B" if exam % 2 else "")
            self.planted["a finding without a side, or of both: counts for both"] += 4
        else:
            self.finding(woman, acc, date, "B", "L")
            self.finding(woman, acc, date, "N", "R")
        self.images(woman, exam, acc, date)
        self.learn(woman, acc, date, cancer or {})
        return acc, date

    def control(self, woman: int, trap: Callable[[_Embed, int], None] | None) -> None:
        """A woman without cancer; the trap makes her first exam, or adds to it."""
        if trap is not None:
            trap(self, woman)
        for exam in range(1 if trap is not None else 0, len(self.dates(woman))):
            self.exam(woman, exam)
        self.follow(woman)

    def case(self, woman: int) -> None:
        """Screening exams, a diagnostic exam with pathology after the last, for some an exam after the diagnosis."""
        self.cases += 1
        who, dates = self.population.women[woman], self.dates(woman)
        side, other = who.precursor.laterality, "L" if who.precursor.laterality == "R" else "R"
        found = dates[0] + int(np.rint(self.population.time_of_cancer[woman] * 365.25)) * DAY
        found = max(found, dates[-1] + 2 * DAY)
        diagnostic = max(dates[-1] + DAY, found - 7 * DAY)
        self.later[woman] = found + 365 * DAY if self.cases <= 3 else diagnostic
        is_known_only = self.cases == 2  # biopsy proven, no pathology in the table: the exam's date counts
        cancer = {side: diagnostic if is_known_only else found}
        for exam in range(len(dates) - 1):
            self.exam(woman, exam, cancer)
        last = len(dates) - 1
        if diagnostic - dates[-1] <= 180 * DAY:  # recalled from screening
            acc = self.accession()
            self.finding(woman, acc, dates[-1], "A", side)
            self.images(woman, last, acc, dates[-1])
            self.learn(woman, acc, dates[-1], cancer)
            self.planted["pathology of a later exam was carried back to this screening exam"] += 2
            self.planted["the exam has findings of the other breast only: added as negative"] += 2
        else:
            self.exam(woman, last, cancer)
        acc = self.accession()
        proven = {"desc": "MG Diagnostic Bilateral w/ CAD", "procdate_anon": str(found)}
        if is_known_only:
            self.finding(woman, acc, diagnostic, "K", side, desc=proven["desc"])
        else:
            severity = 1 if who.cancer_type == 1 else 0
            self.finding(woman, acc, diagnostic, "M", side, path_severity=f"{severity}.0", **proven)
            self.finding(woman, acc, diagnostic, "S", side, path_severity="4.0", numfind=2, **proven)
            self.planted["several findings of the exam and breast: joined to one row"] += 2
        self.images(woman, last, acc, diagnostic, sides=side)
        self.planted["not a screening exam (desc)"] += 2
        self.image(woman, last, acc, diagnostic, side, "CC", spot_mag="1.0")
        self.planted["spot compression or magnification (spot_mag)"] += 1
        if self.cases <= 3:
            acc, date = self.accession(), found + 365 * DAY
            self.finding(woman, acc, date, "N", other)
            self.images(woman, last, acc, date)
            self.planted["the exam is later than the diagnosis"] += 4
            self.planted["the exam has findings of the other breast only: added as negative"] += 2
        self.follow(woman)


def _extra(reason: str, view: str = "CC", side: str = "L", **values: object) -> Callable[[_Embed, int], None]:
    """A trap that adds one file to an ordinary exam."""

    def plant(to: _Embed, woman: int) -> None:
        acc, date = to.exam(woman, 0)
        to.image(woman, 0, acc, date, side, view, **values)
        to.planted[reason] += 1
        if "SeriesTime" in values and woman % 3:  # stays until the duplicates are looked for
            to.planted["a finding without a side, or of both: counts for both"] += 1

    return plant


def _whole(reason: str, clinical: dict[str, object], metadata: dict[str, object]) -> Callable[[_Embed, int], None]:
    """A trap that is the exam itself, of four images."""

    def plant(to: _Embed, woman: int) -> None:
        acc, date = to.accession(), to.dates(woman)[0]
        for side in SIDES:
            to.finding(woman, acc, date, **{"asses": "N", "side": side, **clinical})  # type: ignore[arg-type]
        to.images(woman, 0, acc, date, **metadata)
        to.planted[reason] += 4

    return plant


def _called(asses: str, reason: str, is_resolved: bool = False) -> Callable[[_Embed, int], None]:
    """A trap of one breast called something; the other breast has no row."""

    def plant(to: _Embed, woman: int) -> None:
        acc, date = to.accession(), to.dates(woman)[0]
        to.finding(woman, acc, date, asses, "L")
        to.images(woman, 0, acc, date)
        to.learn(woman, acc, date, {}, "RL" if is_resolved else "R")
        to.planted[reason] += 2
        to.planted["the exam has findings of the other breast only: added as negative"] += 2
        later, desc = to.accession(), "MG Diagnostic Left w/ CAD"
        # a negative right breast gives no information about the left
        to.finding(woman, later, date + 20 * DAY, "N", "L" if is_resolved else "R", desc=desc)

    return plant


def _no_clinical_row(to: _Embed, woman: int) -> None:
    to.exam(woman, 0)
    to.images(woman, 0, to.accession(), to.dates(woman)[0] + 40 * DAY)
    to.planted["the accession number is not in the clinical table"] += 4


def _other_date(to: _Embed, woman: int) -> None:
    acc, date = to.accession(), to.dates(woman)[0]
    for side in SIDES:
        to.finding(woman, acc, date, "N", side)
    to.images(woman, 0, acc, date + DAY)
    to.learn(woman, acc, date, {})
    to.planted["the two tables give different dates: the clinical one is taken"] += 4


def _several_findings(to: _Embed, woman: int) -> None:
    acc, date = to.accession(), to.dates(woman)[0]
    for number in (1, 2, 3):
        to.finding(woman, acc, date, "B", "L", numfind=number)
    to.finding(woman, acc, date, "N", "R")
    to.images(woman, 0, acc, date)
    to.learn(woman, acc, date, {})
    to.planted["several findings of the exam and breast: joined to one row"] += 2


def _two_exams_of_a_day(to: _Embed, woman: int) -> None:
    _, date = to.exam(woman, 0)
    acc = to.accession()
    to.finding(woman, acc, date, "N", "L")
    to.finding(woman, acc, date, "N", "R")
    to.image(woman, 0, acc, date, "L", "CC", SeriesTime="93000.0")  # half past nine: before the other exam
    to.planted["the same view of another exam on the same day is newer"] += 1


_MALE = {"GENDER_DESC": "Male", "tissueden": "5.0"}
_EMBED_TRAPS: tuple[Callable[[_Embed, int], None], ...] = (
    _extra("synthetic view from tomosynthesis (cview)", FinalImageType="cview"),
    _extra("tomosynthesis (3D)", FinalImageType="3D"),
    _extra("capture of a region of interest (ROI_SSC, ROI_SS)", FinalImageType="ROI_SSC"),
    _extra("capture of a region of interest (ROI_SSC, ROI_SS)", FinalImageType="ROI_SS"),
    _extra("FinalImageType is other or missing", FinalImageType="other"),
    _extra("ImageLateralityFinal does not tell one side", side=""),
    _extra("another view than CC or MLO (ML is not MLO)", view="ML"),
    _extra("another view than CC or MLO (ML is not MLO)", view="XCCL"),
    _extra("ViewPosition is missing", view=""),
    _extra("another image of the same exam, breast and view is newer", SeriesTime="93000.0"),
    _whole("breast implant (BreastImplantPresent)", {}, {"BreastImplantPresent": "YES"}),
    _whole("male (GENDER_DESC, or tissueden 5)", _MALE, {}),
    _whole("no assessment", {"asses": ""}, {}),
    _called("A", "A, and not found N or B within 180 days"),
    _called("A", "A, later found N or B: a control", is_resolved=True),
    _called("S", "P, S or M, and no cancer found"),
    _called("P", "P, S or M, and no cancer found"),
    _no_clinical_row,
    _other_date,
    _several_findings,
    _two_exams_of_a_day,
)


def csaw_download(folder: Path, women: int = 60, seed: int = 0, image_height: int = 64) -> Download:
    """Write ``CSAW-CC_breast_cancer_screening_data.csv``; at least 50 women are needed for all traps."""
    cohort, population = phantom_women(women, seed, image_height)
    path = folder / "CSAW-CC_breast_cancer_screening_data.csv"
    download = Download(folder, {"csv": path}, cohort)
    images = image_table(population, Splits())
    images["exam_year"] += 2016 - images["exam_year"].max()
    builder = _Csaw(download, population, images)
    control_traps, case_traps = iter(_CONTROL_TRAPS), iter(_CASE_TRAPS)
    for woman in range(women):
        is_case = bool(population.is_case[woman])
        builder.woman(woman, is_case)
        if (trap := next(case_traps if is_case else control_traps, None)) is not None:
            trap(builder, woman)
    assert next(control_traps, None) is None, "too few women without cancer for all traps"
    assert next(case_traps, None) is None, "too few women with cancer for all traps"
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(builder.rows).to_csv(path, index=False)
    return download


class _Csaw:
    """Rows of CSAW-CC's table as they grow."""

    def __init__(self, download: Download, population: Population, images: pd.DataFrame) -> None:
        self.download, self.planted, self.population, self.images = download, download.planted, population, images
        self.rows: list[dict[str, object]] = []

    def woman(self, woman: int, is_case: bool) -> None:
        """All her rows, without a trap. A prior two years before the cancer or more has ``rad_timing`` 3."""
        who, cancer = self.population.women[woman], self.population.time_of_cancer[woman]
        times = self.population.exams.time[self.population.exams.woman == woman]
        mine = self.images[self.images["woman"] == woman]
        years, last = mine.groupby("exam")["exam_year"].first().tolist(), len(times) - 1
        # the last exam finds the cancer, or it shows within two years
        timing = 1 if cancer - times[-1] <= 1 else 2
        found = min(years[-1] + (timing == 2), 2016)
        for row in mine.itertuples():
            side = {"L": "Left", "R": "Right"}[row.laterality] if woman % 7 else row.laterality
            name = f"{woman:05d}_20990909_{row.laterality}_{row.view}_{row.exam + 1}.dcm"
            affected = {"L": "Left", "R": "Right"}[who.precursor.laterality]
            self.rows.append({
                "anon_patientid": f"{woman:05d}", "exam_year": row.exam_year, "x_case": int(is_case),
                "x_cancer_laterality": affected if is_case else "", "x_type": who.cancer_type if is_case else "",
                "x_lymphnode_met": "", "rad_timing": (timing if row.exam == last else 3) if is_case else "",
                "rad_r1": "", "imagelaterality": side, "viewposition": row.view,
                "libra_percentdensity": row.percent_density, "anon_filename": name,
            })  # fmt: skip
            self.download.pictures.append((name, woman, row.exam, row.laterality, row.view))
            is_affected = is_case and row.laterality == who.precursor.laterality
            key = (f"{woman:05d}", f"{woman:05d}_{row.exam_year}", row.laterality)
            years_to = float(found - row.exam_year) if is_affected else None
            self.download.truth[key] = years_to, years[-1] - row.exam_year
            if is_affected and timing == 2:
                self.planted["interval cancer: 1 after the last exam, 2016 at most"] += 1

    def of(self, woman: int) -> list[dict[str, object]]:
        """Her rows."""
        return [row for row in self.rows if row["anon_patientid"] == f"{woman:05d}"]

    def forget(self, woman: int, reason: str) -> None:
        """Record that she must be left out."""
        self.planted[reason] += len(self.of(woman))
        for key in [key for key in self.download.truth if key[0] == f"{woman:05d}"]:
            years, _ = self.download.truth.pop(key)
            if years is not None and 2 in {row["rad_timing"] for row in self.of(woman)}:
                self.planted["interval cancer: 1 after the last exam, 2016 at most"] -= len(VIEWS)


def _set(reason: str, **values: object) -> Callable[[_Csaw, int], None]:
    """A trap in the outcome columns of all her rows: she is left out."""

    def plant(to: _Csaw, woman: int) -> None:
        to.forget(woman, reason)
        for row in to.of(woman):
            row.update(values)

    return plant


def _torn(to: _Csaw, woman: int) -> None:
    to.forget(woman, "a woman's rows contradict each other (x_case, x_cancer_laterality)")
    to.of(woman)[0]["x_case"] = 1


def _add(reason: str, **values: object) -> Callable[[_Csaw, int], None]:
    """A trap that is one more row."""

    def plant(to: _Csaw, woman: int) -> None:
        row = dict(to.of(woman)[0])
        number = values.get("anon_filename", f"{woman:05d}_20990909_X_{len(to.rows)}_0.dcm")
        to.rows.append({**row, **values, "anon_filename": number})
        to.planted[reason] += 1

    return plant


def _copy(to: _Csaw, woman: int) -> None:
    _add("another image of the same year, breast and view is newer")(to, woman)
    row = to.of(woman)[0]
    to.download.pictures.append(
        (str(to.rows[-1]["anon_filename"]), woman, 0, str(row["imagelaterality"])[0], str(row["viewposition"]))
    )


def _after_diagnosis(to: _Csaw, woman: int) -> None:
    rows = to.of(woman)
    last = max(int(str(row["exam_year"])) for row in rows)
    for row in [row for row in rows if row["exam_year"] == last]:
        name = str(row["anon_filename"]).replace(".dcm", "9.dcm")
        to.rows.append({**row, "exam_year": last + 2, "rad_timing": "", "anon_filename": name})
        to.planted["the exam is later than the diagnosis"] += 1
    for key in [key for key in to.download.truth if key[0] == f"{woman:05d}"]:
        years, followup = to.download.truth[key]
        to.download.truth[key] = years, followup + 2


_CONTROL_TRAPS: tuple[Callable[[_Csaw, int], None], ...] = (
    _add("another view than CC or MLO (ML is not MLO)", viewposition="ML"),
    _add("viewposition is missing", viewposition=""),
    _add("imagelaterality does not tell one side", imagelaterality=""),
    _set("x_case is missing", x_case=""),
    _set("x_case is 0, but there is a rad_timing", rad_timing=1),
    _torn,
    _copy,
)
_CASE_TRAPS: tuple[Callable[[_Csaw, int], None], ...] = (
    _set("case without x_cancer_laterality", x_cancer_laterality=""),
    _set("case without an exam of rad_timing 1 or 2: year not known", rad_timing=3),
    _after_diagnosis,
)
