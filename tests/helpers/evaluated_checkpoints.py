"""Checkpoints, commands and tables of predictions for tests of evaluation."""

from __future__ import annotations

import functools
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from helpers.tiny_training import tiny_parts
from helpers.training_runs import SECONDS, ended, environment
from mammorisk.datasets.cohort_csv import TRUE_RISK
from mammorisk.datasets.labels import survival_labels
from mammorisk.datasets.phantom.phantom_settings import HazardSettings, ScreeningSettings
from mammorisk.datasets.phantom.population import draw_population
from mammorisk.datasets.phantom.woman import Settings
from mammorisk.prediction.splits import RISK_COLUMNS
from mammorisk.training.checkpoint import TrainingState, save


@functools.cache
def run_directory(*overrides: str) -> Path:
    """Write a run directory with the checkpoint of a tiny model, once per process; tests must not change it."""
    folder = Path(tempfile.mkdtemp(prefix="mammorisk-run-"))
    parts, files = tiny_parts(folder, *overrides)
    save(parts, TrainingState(epoch=1), files, [files.best])
    return folder


def command(name: str, folder: Path, *words: object, status: int = 0, launcher: tuple[str, ...] = ()) -> str:
    """Run ``python -m mammorisk.<name>`` in ``folder``, which must end with ``status``; return its output."""
    if launcher:
        line = [*launcher, "-m", f"mammorisk.cli.{name}", *map(str, words)]
        done = subprocess.run(line, cwd=folder, env=environment(), capture_output=True, text=True, timeout=SECONDS)
    else:
        done = ended(folder, name, *map(str, words))
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


@functools.cache
def phantom_predictions(women: int = 2000, seed: int = 3) -> pd.DataFrame:
    """Predictions of a phantom's exams that equal the true risk; no image is drawn or read."""
    population = draw_population(Settings(), HazardSettings(), ScreeningSettings(), seed, women)
    exams = population.exams
    labels = survival_labels(exams.years_to_cancer, exams.years_to_last_followup)
    numbers = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "sample_id": [f"{woman}/{number}" for number, woman in enumerate(exams.woman)],
            "patient_id": [str(woman) for woman in exams.woman],
            "event": labels.event.astype(int),
            "years": labels.event_index + 1,
            **dict(zip(RISK_COLUMNS, exams.true_risk.T, strict=True)),
            **dict(zip(TRUE_RISK, exams.true_risk.T, strict=True)),
            "density": numbers.integers(1, 5, len(labels.event)),
            "race": numbers.choice(["", "Asian", "White"], len(labels.event)),
            "age": numbers.uniform(38, 75, len(labels.event)),
        }
    )
    kind = pd.Series(numbers.integers(0, 2, len(table)), dtype="Int64")
    return table.assign(cancer_type=kind.where(table["event"] == 1))
