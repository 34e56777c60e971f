"""Trainings of two gloo processes: one run, nothing twice, nobody waits for ever.

What a launcher is about runs under torchrun and accelerate; the others start their ranks without one, in less time.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.tiny_training import tiny_config
from helpers.training_runs import TINY, TORCHRUN, assert_same_training, last_epoch, only_run, train, train_ranks

from mammorisk.datasets.attrition import Attrition
from mammorisk.datasets.cohort import load_cohort
from mammorisk.datasets.loaders import EpochSampler, make_loader
from mammorisk.datasets.risk_dataset import RiskDataset
from mammorisk.datasets.samples import build_samples
from mammorisk.training.predictions import Predictions, measures
from mammorisk.training.risk import RISK
from mammorisk.training.trained_model import rebuild_model

BIN = Path(sys.executable).parent
ACCELERATE = [str(BIN / "accelerate"), "launch", "--multi_gpu", "--num_processes", "2", "--main_process_port", "0"]
TWO = ["dataset.batch_size=4", "trainer.num_processes=2"]  # the same global batch as one process of 8
# Weights that stay where they are: the C-index is the same in every epoch of both, so that both see plateaus.
STILL = ["model=lmv_net", "model.finetune_all=false", "optim.learning_rate=1e-7", "optim.min_lr=0"]
STILL += ["optim.patience_lr_scheduler=0", "trainer.patience=3", "trainer.num_epochs=9"]
STILL += ["trainer.samples_per_epoch=32"]


@pytest.fixture(scope="module")
def one(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("one")
    train(folder, *STILL)
    return only_run(folder)


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    printed = train_ranks(folder, *STILL, *TWO, "tracking=wandb")
    assert printed.count("epoch 1/9") == 1  # one process speaks
    return only_run(folder)


def rates(run: Path) -> list[float]:
    column: list[float] = pd.read_csv(run / "metrics.csv")["Learning Rate"].tolist()
    return column


def test_pitfall_09_one_run_directory_one_log_one_wandb_run(two):
    assert len(list(two.glob("*.log"))) == 1
    assert (two / next(two.glob("*.log"))).read_text().count("run directory") == 1
    assert len(list((two / "wandb").glob("offline-run-*"))) == 1
    assert len(list(two.glob("*_last_epoch.pth"))) == 1
    assert (two / ".hydra" / "config.yaml").exists()


def test_pitfall_07_warmup_and_plateau_are_those_of_one_process(one, two):
    assert rates(two) == rates(one)
    assert len(rates(one)) > 2
    assert rates(one)[-1] < rates(one)[0]  # a plateau was seen
    ones, twos = last_epoch(one), last_epoch(two)
    assert twos["global_step"] == ones["global_step"]


def test_pitfall_06_early_stopping_ends_both(two):
    table = pd.read_csv(two / "metrics.csv")
    assert len(table) == 4  # the first epoch is the best, then three without a better one
    assert len(list(two.glob("early_stopping_*.pth"))) == 1
    assert len(list(two.glob("best_model_*.pth"))) == 1


def test_pitfall_22_the_world_size_is_the_one_asked_for(two, tmp_path):
    assert "2 process(es)" in next(two.glob("*.log")).read_text()
    assert last_epoch(two)["world_size"] == 2
    printed = train(tmp_path, "model=mirai", "trainer.num_processes=2", status=1)
    assert "You asked for 2 processes, but 1 started." in printed


def test_pitfall_08_every_sample_is_scored_exactly_once(tmp_path):
    """What two processes wrote into metrics.csv is what the checkpoint says, computed here in one go."""
    train_ranks(tmp_path, "model=lmv_net", *TWO, "trainer.num_epochs=1", "dataset.batch_size=5")
    run = only_run(tmp_path)
    row = pd.read_csv(run / "metrics.csv").iloc[0]
    model, config = rebuild_model(next(run.glob("*_last_epoch.pth")))
    table = load_cohort(config.dataset).split("val")
    samples = build_samples(table, model.inputs, Attrition())
    sampler = EpochSampler(len(samples), 7, training=False)
    dataset = RiskDataset(samples, table, tuple(config.dataset.image_size), config.dataset.orientation)
    predictions = Predictions()
    with torch.no_grad():
        for batch in make_loader(dataset, sampler, 0, False, 0):
            predictions.add(batch, model(batch.to("cpu")))
    assert len(predictions) == len(samples)
    expected = measures(RISK, model, samples, predictions)
    assert row["Validation Risk Loss"] == pytest.approx(expected["Risk Loss"], rel=1e-5)
    assert row["Validation C-index"] == pytest.approx(expected["C-index"], abs=1e-9)
    np.testing.assert_allclose(row["Val Year 5 AUC"], expected["Year 5 AUC"], atol=1e-9)


@pytest.mark.parametrize("name", ["lmv_net", "imgfeatalign"])
def test_the_same_global_batch_has_the_same_loss_curve(tmp_path, name):
    """BatchNorm is frozen with the encoder, and there is no dropout; cases are repeated (class_balance)."""
    frozen = (
        ["model.finetune_all=false", "model.stochastic_depth=0"] if name == "lmv_net" else ["model.encoder.freeze=true"]
    )
    settings = [
        f"model={name}",
        *frozen,
        "model.dropout=0",
        "model.time_dropout=0",
        "trainer.num_epochs=2",
    ]
    train(tmp_path / "one", *settings)
    train_ranks(tmp_path / "two", *settings, *TWO)
    one, two = (pd.read_csv(only_run(tmp_path / each) / "metrics.csv") for each in ("one", "two"))
    assert np.ptp(one["Training Risk Loss"]) > 0.01  # it learns
    for split in ("Training", "Validation"):
        np.testing.assert_allclose(two[f"{split} Risk Loss"], one[f"{split} Risk Loss"], rtol=1e-5)
    for measure in ("Validation C-index", *(f"Val Year {year} AUC" for year in range(1, 6))):
        np.testing.assert_array_equal(two[measure], one[measure])


def test_accelerate_launch_is_the_same_run(tmp_path):
    settings = ["model=mirai", "trainer.num_epochs=1", *TWO]
    train(tmp_path / "accelerate", *settings, "trainer.cpu=true", launcher=ACCELERATE)
    train(tmp_path / "torchrun", *settings, launcher=TORCHRUN)
    runs = [only_run(tmp_path / name) for name in ("accelerate", "torchrun")]
    assert_same_training(*map(last_epoch, runs))


def test_an_image_that_one_process_cannot_read_ends_both_with_its_name(tmp_path):
    generator = [setting for setting in TINY if setting.startswith("dataset.generator.")]
    settings = [*generator, f"dataset.generator.folder={tmp_path}/own"]
    load_cohort(tiny_config("model=mirai", *settings).dataset)  # draws it
    (folder,) = (path for path in (tmp_path / "own").iterdir() if path.is_dir())
    table = pd.read_csv(folder / "cohort.csv", dtype=str)
    image = folder / table[table["split"] == "val"]["file_name"].iloc[-1]
    image.write_bytes(image.read_bytes()[:50])
    printed = train_ranks(tmp_path, "model=mirai", *settings, *TWO, status=1)
    assert str(image) in printed
    assert "is truncated" in printed
    assert only_run(tmp_path)


def test_a_mistake_in_the_configuration_is_told_once_and_leaves_no_folder(tmp_path):
    printed = train_ranks(tmp_path, "model=mirai", "dataset.batch_size=0", "trainer.num_processes=2", status=1)
    assert printed.count("dataset.batch_size=0: expected a whole number from 1") == 1
    assert "FileNotFoundError" not in printed
