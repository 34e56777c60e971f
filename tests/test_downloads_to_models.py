"""The whole way of a real cohort, with generated downloads: tables and DICOMs in, a trained and tested model out."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from helpers.raw_downloads import csaw_download, embed_download, write_dicoms
from helpers.training_runs import ended, only_run
from helpers.untrained_checkpoints import as_trained

from mammorisk.prediction.splits import split_risk

DOWNLOADS = {"embed": embed_download, "csaw": csaw_download}
# The quick start's settings, on another cohort than its own.
QUICK = [
    *("augment=mild", "tracking=none", "trainer.num_epochs=2", "optim.learning_rate=2e-3", "optim.warmup_steps=5"),
    *("model.encoder.width=4", "model.encoder.stride=8", "optim.encoder_lr_scale=1.0"),
    *("dataset.batch_size=16", "dataset.num_workers=0", "dataset.class_balance=0.25"),
]


def run(folder: Path, module: str, *words: str) -> str:
    done = ended(folder, module, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(DOWNLOADS))
def test_pitfall_28_from_the_download_to_a_tested_model(name, tmp_path, monkeypatch):
    download = DOWNLOADS[name](tmp_path / "download", women=60)
    written = write_dicoms(download, tmp_path / "dicoms")
    raw = [f"dataset={name}", *download.overrides, "out=cohort.csv", "split.rule=exact"]
    run(tmp_path, "prepare", "cohort", *raw, "dicom_root=dicoms", "png=png", "dataset.image_size=[64,52]")
    attrition = pd.read_csv(tmp_path / "cohort_attrition.csv").set_index("reason")
    for reason, images in download.planted.items():
        assert attrition["images"][reason] == images > 0, reason

    images = ["images", "cohort.csv", "dicom_root=dicoms", "out=png", "conversion.image_size=[64,52]"]
    assert "already" in run(tmp_path, "prepare", *images)
    cohort = pd.read_csv(tmp_path / "cohort.csv", dtype=str)
    assert len(list((tmp_path / "png").rglob("*.png"))) >= len(cohort)
    assert 0 < len(cohort) <= written

    data = [f"dataset={name}", "dataset.csv_file=cohort.csv", "dataset.data_root=png", "dataset.image_size=[64,52]"]
    checked = run(tmp_path, "prepare", "check", "cohort.csv", "--images", *data[:1], *data[2:])
    assert "Fine: this cohort can be trained on." in checked

    run(tmp_path, "train", "model=lmv_net", *data, *QUICK)
    trained = only_run(tmp_path)
    measured = pd.read_csv(trained / "metrics.csv")
    assert measured["Validation C-index"].between(0, 1).all()
    monkeypatch.chdir(tmp_path)  # the training was told of its files from here
    best = trained / "best_model_risk_prediction_id-1.pth"
    found = split_risk(best, "test", as_trained(best).dataset, cpu=True).table()
    assert set(found["patient_id"]) < set(cohort["patient_id"][cohort["split"] == "test"])
    assert found["event"].sum() > 0
    assert found["risk_5y"].between(0, 1).all()
