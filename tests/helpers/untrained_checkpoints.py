"""Untrained checkpoints and exams to score with them: real files, written in a second."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import hydra
import pandas as pd
import torch
from omegaconf import DictConfig

from helpers.dicom_files import breast, write
from helpers.tiny_training import tiny_config, tiny_parts
from helpers.training_runs import COHORTS
from mammorisk.batch import VIEWS
from mammorisk.training.checkpoint import TrainingState, save
from mammorisk.training.trained_model import rebuild_model

OUTCOMES = ("split", "years_to_cancer", "years_to_last_followup", "density", "cancer_type", "race", "age")


@functools.cache
def untrained(*overrides: str) -> Path:
    """The checkpoint of a tiny run's start, with weights whose risks differ between samples."""
    torch.manual_seed(0)
    parts, files = tiny_parts(Path(tempfile.mkdtemp(prefix="mammorisk-untrained-")), *overrides)
    with torch.no_grad():
        for parameter in parts.unwrapped_model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    save(parts, TrainingState(), files)
    return files.resume


@functools.cache
def cohort_csv() -> Path:
    """The CSV of the cohort that tiny runs train on, its images beside it."""
    config = tiny_config("model=mirai")
    return Path(hydra.utils.instantiate(config.dataset.generator).write()) / "cohort.csv"


def exams(women: int | None = 3, split: str = "test") -> pd.DataFrame:
    """Rows of women of a split without outcomes, their files by absolute path; None: of all of its women."""
    rows = pd.read_csv(cohort_csv(), dtype=str, na_filter=False)
    rows = rows[rows["split"] == split]
    rows = rows[rows["patient_id"].isin(rows["patient_id"].unique()[:women])]
    rows["file_name"] = str(cohort_csv().parent) + "/" + rows["file_name"]
    dropped = [name for name in rows if name in OUTCOMES or name.startswith("true_risk")]
    return rows.drop(columns=dropped).reset_index(drop=True)


def written(folder: Path, rows: pd.DataFrame, name: str = "exams.csv") -> Path:
    """A table as a CSV."""
    rows.to_csv(folder / name, index=False)
    return folder / name


def dicom_exam(folder: Path, day: str, **tags: str) -> Path:
    """A folder with the DICOM files of an exam's four views."""
    for number, (side, view) in enumerate(VIEWS):
        known = {"StudyInstanceUID": f"1.2.{day or 0}", "StudyDate": day, "ImageLaterality": side, "ViewPosition": view}
        write(folder / f"{side}_{view}.dcm", breast(150 + 10 * number, laterality=side), **(known | tags))
    return folder


def as_trained(checkpoint: Path) -> DictConfig:
    """The configuration of a checkpoint's training, with the generated cohort that all tests share."""
    config = rebuild_model(checkpoint)[1]
    if config.dataset.generator is not None:
        config.dataset.generator.folder = str(COHORTS)
    return config
