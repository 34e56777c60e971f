"""Small real cohorts on disk: 16-bit PNGs and a CSV in the project's own format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from mammorisk.batch import VIEWS
from mammorisk.config import DatasetConfig

SIZE = (12, 10)  # rows, columns of the images
NAMES = ["patient_id", "exam_id", "exam_date", "laterality", "view", "file_name", "split"]
NAMES += ["years_to_cancer", "years_to_last_followup", "density", "cancer_type", "race", "age"]


def write_png(path: Path, value: int | np.ndarray | None = None) -> Path:
    """A 16-bit grey PNG: the given pixels, one value everywhere, or (None) noise that depends on the file's name."""
    if value is None:
        value = np.random.default_rng(list(path.name.encode())).integers(0, 65536, SIZE)
    pixels = np.broadcast_to(np.asarray(value, dtype=np.uint16), SIZE) if np.ndim(value) == 0 else value
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.ascontiguousarray(pixels, dtype=np.uint16)).save(path)
    return path


def cohort_rows(patients: int = 4, exams: int = 2) -> pd.DataFrame:
    """Text rows: patient 1 and every third after her get cancer in the right breast 1.5 years after the last exam.

    Exams are two years apart; the first half of the patients is for training, the rest alternates.
    """
    rows = []
    for p in range(patients):
        split = "train" if p < patients // 2 else ("val", "test")[p % 2]
        for e in range(exams):
            later = 2 * (exams - 1 - e)
            for side, view in VIEWS:
                case = p % 3 == 1 and side == "R"
                rows.append(
                    {
                        "patient_id": f"{p:06d}",
                        "exam_id": f"{p:06d}{e}000000000",
                        "exam_date": f"{2010 + 2 * e}-0{p % 9 + 1}-15",
                        "laterality": side,
                        "view": view,
                        "file_name": f"{p:06d}_{e}_{side}_{view}.png",
                        "split": split,
                        "years_to_cancer": str(later + 1) if case else "",
                        "years_to_last_followup": str(later + 3),
                        "density": str(p % 4 + 1),
                        "cancer_type": "0" if case else "",
                        "race": ("Asian", "White")[p % 2],
                        "age": str(50 + p + 2 * e),
                    }
                )
    return pd.DataFrame(rows)


def write_cohort(folder: Path, rows: pd.DataFrame, images: bool = True, **settings: object) -> DatasetConfig:
    """Write the CSV and (with ``images``) all its images; return the settings that read them."""
    folder.mkdir(parents=True, exist_ok=True)
    rows.to_csv(folder / "cohort.csv", index=False)
    if images:
        for name in rows["file_name"]:
            write_png(folder / "images" / name)
    defaults = {
        "name": "small",
        "csv_file": str(folder / "cohort.csv"),
        "data_root": str(folder / "images"),
        "columns": {name: name for name in [*NAMES, "exam_year", *_true_risk_names()]},
        "image_size": list(SIZE),
        "num_workers": 0,
    }
    return DatasetConfig(**{**defaults, **settings})  # type: ignore[arg-type]


def _true_risk_names() -> list[str]:
    return [f"{kind}_{year}y" for kind in ("true_risk", "true_risk_breast") for year in range(1, 6)]


class Written:
    """Generator with the phantom's interface: writes a small cohort and returns its folder."""

    def __init__(self, folder: str, patients: int) -> None:
        self.folder, self.patients = Path(folder), patients

    def write(self) -> Path:
        """Write ``cohort.csv`` and the images beside it."""
        rows = cohort_rows(self.patients)
        rows["file_name"] = "images/" + rows["file_name"]
        write_cohort(self.folder, rows, images=False)
        for name in rows["file_name"]:
            write_png(self.folder / name)
        return self.folder
