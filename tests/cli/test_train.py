"""The command as a user runs it: real files, real processes, real mistakes."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from helpers.cohorts import cohort_rows, write_cohort, write_png
from helpers.png_files import FAULTY
from helpers.training_runs import SECONDS, TINY, TRAIN, ended, environment, only_run, run_directories, train
from PIL import Image


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> tuple[Path, str]:
    """A tiny LMV-Net run with W&B offline, and what it printed."""
    folder = tmp_path_factory.mktemp("done")
    printed = train(folder, "model=lmv_net", "tracking=wandb", "id_training=7", "trainer.checkpoint_every=1")
    return only_run(folder), printed


def test_a_run_leaves_the_files_of_the_training_guide(done):
    run, _ = done
    names = {path.name for path in run.iterdir()}
    assert names == {
        "train_risk_prediction_training_id_7.log",
        "best_model_risk_prediction_id-7.pth",
        "model_risk_prediction_training_id_7_last_epoch.pth",
        "checkpoint_0001.pth",
        "checkpoint_0002.pth",
        "resume.pth",
        "metrics.csv",
        "learning_curve.png",
        "attrition.csv",
        "config.yaml",
        ".hydra",
        ".lock",
        "wandb",
    }
    assert run.name.startswith("Model_lmv_net_lr_0.001_wd_0.0001_epochs_2_bs_8_20")
    assert len(pd.read_csv(run / "metrics.csv")) == 2
    assert Image.open(run / "learning_curve.png").size[0] > 500
    assert torch.load(run / "checkpoint_0001.pth", weights_only=True)["epoch"] == 1


def test_a_run_prints_a_table_with_the_true_risk_and_what_to_try_next(done):
    run, printed = done
    assert "Validation, best epoch" in printed
    assert "true risk" in printed
    for year in range(1, 6):
        assert f"AUC, year {year}" in printed
    assert f"Run directory: {run.relative_to(run.parents[1])}" in printed or f"Run directory: {run}" in printed
    assert "Next:" in printed
    assert "random initialisation (no pretrained weights)" in printed
    assert "\x1b[" not in printed  # plain lines where there is no terminal
    row = pd.read_csv(run / "metrics.csv")
    best = row["Validation C-index"].max()
    assert f"{best:.3f}" in printed.split("C-index")[-1]


def test_a_training_starts_without_what_only_some_trainings_need():
    names = ["loop", "predictions", "setup", "step_control", "summary", "tracking"]
    code = f"from mammorisk.training import {', '.join(names)}; from mammorisk.runs import logs; "
    code += "import mammorisk.augment.longitudinal, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert {"torch", "accelerate"} <= loaded
    assert not {"matplotlib", "kornia", "wandb", "sympy", "sklearn", "lifelines", "submitit"} & loaded


def test_a_terminal_shows_a_progress_bar(tmp_path):
    leader, follower = pty.openpty()
    command = [*TRAIN, *TINY, "model=mirai", "trainer.num_epochs=1"]
    env = environment(TERM="xterm-256color", COLUMNS="120")
    process = subprocess.Popen(command, cwd=tmp_path, env=env, stdin=follower, stdout=follower, stderr=follower)
    os.close(follower)
    shown = b""
    while True:
        try:
            shown += os.read(leader, 65536)
        except OSError:  # the other side is closed
            break
    assert process.wait(timeout=SECONDS) == 0, shown.decode()
    assert b"epoch 1 training" in shown
    assert b"samples/s" in shown
    assert b"loss " in shown


def test_pitfall_20_a_sweep_trains_each_combination_in_a_run_of_its_own(tmp_path):
    settings = ["-m", "model=mirai,lmv_net", "seed=1,2", "trainer.num_epochs=1", "tracking=wandb"]
    train(tmp_path, *settings)
    (sweep,) = run_directories(tmp_path)
    jobs = sorted(path for path in sweep.iterdir() if path.is_dir())
    assert [job.name.split("_lr_")[0] for job in jobs] == ["Model_lmv_net"] * 2 + ["Model_mirai"] * 2
    for job in jobs:
        assert len(list(job.glob("*_last_epoch.pth"))) == 1
        assert len(list(job.glob("*.log"))) == 1
        assert len(list((job / "wandb").glob("offline-run-*"))) == 1


def own_cohort(folder: Path, rows: pd.DataFrame) -> list[str]:
    """The command that trains a tiny Mirai for an epoch on a small cohort in Mirai's format, which it writes."""
    write_cohort(folder, rows)
    renamed = rows.rename(columns={"file_name": "file_path", "split": "split_group"})
    renamed.to_csv(folder / "cohort.csv", index=False)
    return [
        "model=mirai",
        "model.encoder.width=2",
        "model.encoder.stride=4",
        "dataset=mirai_csv",
        f"dataset.csv_file={folder}/cohort.csv",
        f"dataset.data_root={folder}/images",
        "dataset.image_size=[32,26]",
        "dataset.num_workers=1",
        "trainer.num_epochs=1",
        "tracking=none",
    ]


def mistake(folder: Path, rows: pd.DataFrame, *more: str, spoil: str | None = None) -> str:
    """What a training on a spoilt cohort says; it must end with status 1, in one screen, without a stack trace."""
    command = own_cohort(folder, rows)
    if spoil == "truncated":
        victim = folder / "images" / rows["file_name"].iloc[0]
        victim.write_bytes(victim.read_bytes()[:60])
    if spoil == "incomplete":
        (folder / "images" / rows["file_name"].iloc[0]).write_bytes(FAULTY["short rows"][0]())
    if spoil == "8-bit":
        Image.new("L", (10, 12)).save(folder / "images" / rows["file_name"].iloc[3])
    if spoil == "no images":
        for path in (folder / "images").iterdir():
            path.unlink()
    done = ended(folder, "train", *command, *more)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    message = done.stderr.split("mammorisk stopped:")[-1]
    assert len(message.splitlines()) < 25
    return message


def cohort() -> pd.DataFrame:
    return cohort_rows(12)


def test_a_csv_without_its_split_column(tmp_path):
    message = mistake(tmp_path, cohort().drop(columns="split"))
    assert "lacks columns" in message
    assert "'split_group' (dataset.columns.split)" in message
    assert "Columns found:" in message


def test_a_data_root_without_images(tmp_path):
    message = mistake(tmp_path, cohort(), spoil="no images")
    assert "holds no files" in message
    assert str(tmp_path / "images") in message


def test_a_truncated_png(tmp_path):
    message = mistake(tmp_path, cohort(), spoil="truncated")
    assert "is truncated" in message
    assert "000000_0_R_CC.png" in message
    assert "row 2 of the cohort CSV" in message


@pytest.mark.parametrize("cache", ["none", "./kept"])
def test_a_png_whose_rows_end_early(tmp_path, cache):
    message = mistake(tmp_path, cohort(), f"dataset.cache={cache}", spoil="incomplete")
    assert "000000_0_R_CC.png is incomplete: its pixel data end after 7 of 12 rows" in message
    assert "dataset.on_error=skip leaves out" in message


def test_an_8_bit_png(tmp_path):
    message = mistake(tmp_path, cohort(), spoil="8-bit")
    assert "Expected a 16-bit greyscale PNG, found 8-bit grey" in message
    assert "row 5 of the cohort CSV" in message


def test_a_patient_in_two_splits(tmp_path):
    rows = cohort()
    rows.loc[0, "split"] = "val"
    message = mistake(tmp_path, rows)
    assert "1 patients are in more than one split: 000000 (val and train)" in message


def test_a_loss_that_is_not_a_number_names_the_samples(tmp_path):
    message = mistake(tmp_path, cohort(), "model.encoder.input_std=1e-38")
    assert "loss is nan" in message or "loss is inf" in message or "no finite risk" in message
    assert "00000" in message


def test_a_validation_split_without_cases_is_said_and_has_no_best(tmp_path):
    rows = cohort()
    rows.loc[rows["split"] == "val", "years_to_cancer"] = ""
    message = mistake(tmp_path, rows)
    assert "No validation C-index could be computed in 1 epochs" in message
    run = only_run(tmp_path)
    assert len(list(run.glob("*_last_epoch.pth"))) == 1
    assert not list(run.glob("best_*"))
    log = next(run.glob("*.log")).read_text()
    assert log.count("no case among the") == 1


def test_unreadable_images_can_be_left_out_and_are_counted(tmp_path):
    rows = cohort()
    command = own_cohort(tmp_path, rows)
    for name in rows["file_name"].iloc[:2]:
        write_png(tmp_path / "images" / name).write_bytes(b"\x89PNG")
    done = ended(tmp_path, "train", *command, "dataset.on_error=skip")
    assert done.returncode == 0, done.stderr
    steps = pd.read_csv(only_run(tmp_path) / "attrition.csv")
    assert steps[steps["reason"] == "the image cannot be read"]["images"].tolist() == [2]


def test_without_wandb_installed_it_trains_all_the_same(tmp_path):
    script = "import sys; sys.modules['wandb'] = None; from mammorisk.cli.train import main; main()"
    command = [sys.executable, "-c", script, *TINY, "model=mirai", "tracking=wandb", "trainer.num_epochs=1"]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stderr
    assert "wandb is not installed" in done.stderr
    assert (only_run(tmp_path) / "metrics.csv").exists()
