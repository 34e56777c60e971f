"""Handwritten sweep directories with jobs in every state, complete and incomplete."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import yaml

LOG = "train_risk_prediction_training_id_1.log"
STARTED = "2030-01-01 10:00:00,123 INFO mammorisk 0.1.0, run directory /x/{name}\n"
ENDED = "2030-01-01 10:05:00,123 DEBUG ended by: {text}\n"


def write_job(
    sweep: Path,
    name: str,
    settings: dict[str, object],
    values: list[float] | None = None,
    ended: str | None = None,
    finished: bool = False,
    model: str = "mirai",
) -> Path:
    """A run directory: ``values`` are the validation C-indices of its epochs, ``ended`` the last line of its log."""
    job = sweep / name
    (job / ".hydra").mkdir(parents=True)
    config: dict[str, object] = {"trainer": {"num_epochs": 3}, "model": {"size": len(model)}}
    for key, value in settings.items():
        group, _, leaf = key.rpartition(".")
        (config.setdefault(group, {}) if group else config)[leaf] = value  # type: ignore[index]
    (job / ".hydra" / "config.yaml").write_text(yaml.safe_dump(config))
    words = [f"{key}={value}" for key, value in {"model": model, **settings}.items()]
    (job / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(words))
    choices = {"model": model, "dataset": "phantom", "hydra/launcher": name}
    (job / ".hydra" / "hydra.yaml").write_text(yaml.safe_dump({"hydra": {"runtime": {"choices": choices}}}))
    if values is not None:
        (job / LOG).write_text(STARTED.format(name=name))
        rows = [{"epoch": i + 1, "Validation C-index": v, "Val Year 1 AUC": v / 2} for i, v in enumerate(values)]
        if rows:
            pd.DataFrame(rows).to_csv(job / "metrics.csv", index=False, na_rep="nan")
    if ended is not None:
        with (job / LOG).open("a") as log:
            log.write(ended)
    if finished:
        (job / "model_risk_prediction_training_id_1_last_epoch.pth").touch()
    return job


def write_plan(sweep: Path, jobs: dict[str, dict[str, object]]) -> None:
    """The sweeper's record: folder -> settings of the job, with its error under ``error``."""
    sweep.mkdir(parents=True, exist_ok=True)
    records = [
        {
            "folder": folder,
            "identity": folder,
            "overrides": [f"{key}={value}" for key, value in settings.items() if key != "error"],
            "error": str(settings.get("error", "")),
        }
        for folder, settings in jobs.items()
    ]
    (sweep / "jobs.json").write_text(json.dumps({"jobs": records}))


def mixed_sweep(sweep: Path) -> Path:
    """Two models, two seeds and two rates; one job of each state that needs no living process."""
    rates = {"optim.learning_rate": 0.001}
    write_job(sweep, "a_job_0_x", {"seed": 1, **rates}, [0.6, 0.7, 0.65], finished=True)
    write_job(sweep, "a_job_1_x", {"seed": 2, **rates}, [0.5, 0.8], finished=True)
    write_job(sweep, "b_job_2_x", {"seed": 1, **rates}, [0.6, 0.61, 0.55], finished=True, model="lmv_net")
    stopped = ENDED.format(text="stopped by SIGTERM; the training is saved and goes on with trainer.resume_from=auto")
    write_job(sweep, "b_job_3_x", {"seed": 2, **rates}, [0.9], stopped, model="lmv_net")
    failed = ENDED.format(text="The training loss is nan for the batch <1>.\nNothing was saved after it.")
    write_job(sweep, "a_job_10_x", {"seed": 1, "optim.learning_rate": 0.1}, [], failed)
    planned = {"model": "mirai", "seed": 2, "optim.learning_rate": 0.1}
    others = {path.name: {} for path in sorted(sweep.iterdir(), key=lambda path: int(path.name.split("_")[2]))}
    write_plan(sweep, {**others, "a_job_11_x": planned, "a_job_12_x": {**planned, "seed": -1, "error": "seed=-1: no"}})
    return sweep
