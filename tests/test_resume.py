"""Killed anywhere and resumed: the same training, bit for bit, in the same run directory."""

from __future__ import annotations

import random
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pytest
import torch
from helpers.training_runs import (
    assert_as_undisturbed,
    assert_same_training,
    disturbed,
    has_saved,
    last_epoch,
    only_run,
    run_directories,
    start,
    train,
)

from mammorisk.training.checkpoint_payload import FORMAT

# Saved after every step, so that kills fall between and into saves; three epochs with the full set of files.
SETTINGS = ["model=lmv_net", "trainer.num_epochs=3", "trainer.checkpoint_every=2", "dataset.num_workers=1"]
SETTINGS += ["trainer.samples_per_epoch=32"]
AUTO = "trainer.resume_from=auto"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    train(folder, *SETTINGS, "trainer.save_every_minutes=0")
    return only_run(folder)


def copied(run: Path, folder: Path) -> Path:
    """A finished run in a folder of outputs, as if it had been trained there."""
    return Path(shutil.copytree(run, folder / "outputs" / run.name))


def files_of(run: Path) -> set[str]:
    return {path.name for path in run.iterdir()}


def assert_all_as_undisturbed(folder: Path, undisturbed: Path) -> None:
    """Also its other files, and the best checkpoint."""
    run = assert_as_undisturbed(folder, undisturbed)
    assert files_of(run) == files_of(undisturbed)
    for path in run.glob("*.pth"):
        assert torch.load(path, weights_only=True)["format"] == FORMAT
    best, expected = (torch.load(next(r.glob("best*.pth")), weights_only=True) for r in (run, undisturbed))
    assert_same_training(best, expected)


def kill_and_resume(folder: Path, saves: int, delay: float) -> None:
    """Kill a training ``delay`` seconds after so many saves, and let the same command finish it."""
    settings = [*SETTINGS, "trainer.save_every_minutes=0", AUTO]
    seen: set[int] = set()

    def has_saved_so_often() -> bool:
        with suppress(FileNotFoundError):
            seen.update(path.stat().st_mtime_ns for path in folder.glob("outputs/*/resume.pth"))
        if len(seen) <= saves:
            return False
        time.sleep(delay)
        return True

    disturbed(start(folder, *settings), has_saved_so_often, every=0.005)
    assert (only_run(folder) / ".lock").exists()  # of a process that is dead
    train(folder, *settings)


@pytest.mark.parametrize(("saves", "delay"), [(0, 0.0), (6, 0.03)])
def test_killed_and_resumed_is_the_undisturbed_run(tmp_path, undisturbed, saves, delay):
    kill_and_resume(tmp_path, saves, delay)
    assert_all_as_undisturbed(tmp_path, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(10))
def test_killed_at_random_moments_ten_times(tmp_path, undisturbed, number):
    draw = random.Random(time.time_ns())
    saves, delay = draw.randrange(8), draw.uniform(0.0, 0.1)
    print(f"killed {delay:.3f} s after save {saves}")
    kill_and_resume(tmp_path, saves, delay)
    assert_all_as_undisturbed(tmp_path, undisturbed)


def test_killed_at_random_moments_from_the_start(tmp_path):
    """Also before there is a checkpoint or a cohort: the same command goes on, or starts, and ends well."""
    settings = ["model=mirai", "trainer.num_epochs=1", AUTO]
    for delay in (0.8, 3.0):
        process = start(tmp_path, *settings)
        time.sleep(delay)
        process.kill()
        process.communicate()
    train(tmp_path, *settings)
    finished = [run for run in run_directories(tmp_path) if list(run.glob("*_last_epoch.pth"))]
    assert len(finished) == 1


def test_a_signal_in_mid_epoch_saves_and_ends(tmp_path, undisturbed):
    """SIGUSR1, as Slurm sends it. SIGTERM: tests/test_loader_faults.py, tests/training/test_step_control.py."""
    settings = [*SETTINGS, "trainer.save_every_minutes=0.005", AUTO]
    printed = disturbed(start(tmp_path, *settings), lambda: has_saved(tmp_path), signal.SIGUSR1, every=0.005)
    assert "the training is saved" in printed
    assert "Traceback" not in printed
    saved = torch.load(only_run(tmp_path) / "resume.pth", weights_only=True)
    assert (saved["epoch"], saved["batch"]) < (3, 0)
    printed = train(tmp_path, *settings)
    assert "resumed from" in printed
    # minutes between saves differ from the undisturbed run's: they change nothing but the moments of saving
    assert_all_as_undisturbed(tmp_path, undisturbed)


def test_a_finished_run_stays_as_it_is(tmp_path, undisturbed):
    copied(undisturbed, tmp_path)
    printed = train(tmp_path, *SETTINGS, "trainer.save_every_minutes=0", AUTO)
    assert "3 epochs and 0 batches are done" in printed
    assert_all_as_undisturbed(tmp_path, undisturbed)


def test_a_truncated_checkpoint_falls_back_to_the_one_before(tmp_path, undisturbed):
    settings = [*SETTINGS, "trainer.save_every_minutes=0", AUTO]
    run = copied(undisturbed, tmp_path)
    for name in ("resume.pth", "model_risk_prediction_training_id_1_last_epoch.pth"):
        whole = (run / name).read_bytes()
        (run / name).unlink()  # they may be one file
        (run / name).write_bytes(whole[: len(whole) // 2])
    printed = train(tmp_path, *settings)
    assert "resume.pth cannot be read as a checkpoint" in printed
    assert_all_as_undisturbed(tmp_path, undisturbed)


def test_from_a_path_the_run_goes_on_in_a_folder_of_its_own(tmp_path, undisturbed):
    train(
        tmp_path,
        *SETTINGS,
        "trainer.save_every_minutes=0",
        f"trainer.resume_from={undisturbed}/checkpoint_0002.pth",
    )
    run = only_run(tmp_path)
    assert_same_training(last_epoch(run), last_epoch(undisturbed))
    assert len(pd.read_csv(run / "metrics.csv")) == 3
    assert list(run.glob("best_model_*.pth"))


def test_another_configuration_or_a_missing_file_is_a_message(tmp_path, undisturbed):
    path = undisturbed / "checkpoint_0002.pth"
    printed = train(tmp_path, *SETTINGS, "optim.learning_rate=2e-3", f"trainer.resume_from={path}", status=1)
    assert "optim.learning_rate: 0.001 then, 0.002 now" in printed
    assert "Traceback" not in printed
    printed = train(tmp_path, *SETTINGS, "trainer.resume_from=/nowhere/x.pth", status=1)
    assert "trainer.resume_from=/nowhere/x.pth: there is no such file" in printed
    assert "Traceback" not in printed
