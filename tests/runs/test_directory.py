from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from helpers.composed_configs import composed
from helpers.places import TESTS
from omegaconf import DictConfig, OmegaConf

from mammorisk.config import plain_settings
from mammorisk.errors import UserError
from mammorisk.runs.directory import STAMP, RunFiles, comparable, find_run, forget_run, new_stamp, wants_newest

NAME = "Model_mirai_lr_5e-05_wd_0.0001_epochs_100_bs_12"
# What a start does before there is a run directory, as soon as all are ready.
START = """
import sys, time
sys.path.insert(0, sys.argv[1])
from helpers.composed_configs import composed
from mammorisk.runs.start import start_processes
print("ready", flush=True)
time.sleep(max(0.0, float(sys.stdin.readline()) - time.time()))
start_processes()
print(composed("model=mirai", f"out_dir={sys.argv[2]}", hydra=True).hydra.run.dir)
"""


def wanted(*overrides: str) -> DictConfig:
    return composed("model=mirai", *overrides)


def kept(config: DictConfig, also_free: Sequence[str] = ()) -> dict[str, Any]:
    """What a continuation of ``config`` has to keep."""
    return comparable(plain_settings(config), also_free)


def write_run(base: Path, stamp: str, config: DictConfig, name: str = NAME) -> Path:
    folder = base / f"{name}_{stamp}"
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "config.yaml").write_text(OmegaConf.to_yaml(config))
    return folder


def run_dir(base: Path, *overrides: str) -> Path:
    return Path(composed("model=mirai", f"out_dir={base}", *overrides, hydra=True).hydra.run.dir)


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    monkeypatch.setenv(STAMP, "2030-01-01_00-00-00-000000")
    for name in ("SLURM_RESTART_COUNT", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)


def test_the_stamp_is_the_time_and_sorts():
    stamps = []
    for _ in range(3):
        stamps.append(new_stamp())
        time.sleep(0.02)  # clocks may be that coarse
    assert sorted(stamps) == stamps
    read = datetime.strptime(stamps[0][:26], "%Y-%m-%d_%H-%M-%S-%f")
    assert abs((datetime.now() - read).total_seconds()) < 60


def test_the_name_is_the_training_guides(tmp_path):
    assert run_dir(tmp_path) == tmp_path / f"{NAME}_2030-01-01_00-00-00-000000"
    short = run_dir(tmp_path, "optim.learning_rate=1e-3", "trainer.num_epochs=2", "dataset.batch_size=6")
    assert short.name.startswith("Model_mirai_lr_0.001_wd_0.0001_epochs_2_bs_6_")


def test_pitfall_09_starts_in_the_same_second_get_a_folder_each(tmp_path):
    command = [sys.executable, "-c", START, TESTS, tmp_path]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    starts = [subprocess.Popen(command, **pipes) for _ in range(6)]  # type: ignore[call-overload]
    for process in starts:
        assert process.stdout.readline() == "ready\n"
    at = f"{time.time() + 0.2}\n"
    for process in starts:
        process.stdin.write(at)
        process.stdin.flush()
    folders = [process.communicate(timeout=60)[0].strip() for process in starts]
    assert all(re.fullmatch(rf"{re.escape(str(tmp_path))}/{NAME}_[\w-]+", folder) for folder in folders)
    assert len(set(folders)) == len(starts)


@pytest.mark.parametrize(
    ("resume_from", "restarts", "expected"),
    [(None, None, False), (None, "0", False), (None, "1", True), ("auto", None, True), ("a.pth", None, False)],
)
def test_the_newest_is_wanted_when_asked_for_or_restarted(monkeypatch, resume_from, restarts, expected):
    if restarts is not None:
        monkeypatch.setenv("SLURM_RESTART_COUNT", restarts)
    assert wants_newest(resume_from) is expected


def test_the_newest_run_of_the_same_configuration_is_found(tmp_path):
    config = wanted()
    write_run(tmp_path, "2029-01-01_00-00-00-000000", config)
    newest = write_run(tmp_path, "2029-06-01_00-00-00-000000", config)
    write_run(tmp_path, "2029-07-01_00-00-00-000000", wanted("seed=1"))
    write_run(tmp_path, "2029-08-01_00-00-00-000000", wanted("model.dropout=0.2"))
    write_run(tmp_path, "2029-09-01_00-00-00-000000", config, name="Model_other")
    (tmp_path / f"{NAME}_2029-10-01_00-00-00-000000").mkdir()  # killed before it wrote anything
    assert find_run(tmp_path, NAME, plain_settings(config)) == newest
    assert find_run(tmp_path, NAME, plain_settings(wanted("seed=2"))) is None
    assert find_run(tmp_path / "nowhere", NAME, plain_settings(config)) is None


@pytest.mark.parametrize("name", [".hydra/config.yaml", ".lock", "train_risk_prediction_training_id_1.log", ".hydra"])
def test_a_run_that_would_write_through_links_is_refused(tmp_path, name):
    config = wanted()
    run = write_run(tmp_path, "2029-01-01_00-00-00-000000", config)
    (run / "resume.pth").symlink_to(tmp_path / "kept.pth")
    assert find_run(tmp_path, NAME, plain_settings(config)) == run
    place = run / name
    kept = tmp_path / "kept"
    if place.exists():
        place.rename(kept)
    place.symlink_to(kept)
    with pytest.raises(UserError, match=f"{name}: expected files and folders, found links"):
        find_run(tmp_path, NAME, plain_settings(config))


def test_auto_goes_on_in_the_run_it_finds_and_else_starts_anew(tmp_path, monkeypatch):
    new = run_dir(tmp_path, "trainer.resume_from=auto")
    assert new.name.endswith("2030-01-01_00-00-00-000000")
    earlier = write_run(tmp_path, "2029-01-01_00-00-00-000000", wanted(f"out_dir={tmp_path}"))
    assert run_dir(tmp_path, "trainer.resume_from=auto") == earlier
    assert run_dir(tmp_path) == new
    assert run_dir(tmp_path, "trainer.resume_from=auto", "seed=1") == new
    monkeypatch.setenv("SLURM_RESTART_COUNT", "2")  # requeued with the command of the first start
    assert run_dir(tmp_path) == earlier


def test_a_job_that_slurm_starts_again_goes_on_in_its_own_run(tmp_path, monkeypatch):
    """Two jobs may train the same configuration at the same time."""
    config = wanted(f"out_dir={tmp_path}")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv(STAMP, new_stamp())
    first = run_dir(tmp_path)
    assert first.name.endswith("-job7")
    own = write_run(tmp_path, "2029-01-01_00-00-00-000000-abcdef-job7", config)
    for other in ("2029-02-01_00-00-00-000000-abcdef-job8", "2029-03-01_00-00-00-000000-abcdef-job17"):
        newest = write_run(tmp_path, other, config)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert run_dir(tmp_path) == own
    assert run_dir(tmp_path, "trainer.resume_from=auto") == own
    monkeypatch.setenv("SLURM_JOB_ID", "9")  # killed before it had a directory
    assert run_dir(tmp_path) == first
    assert run_dir(tmp_path, "trainer.resume_from=auto") == newest


@pytest.mark.parametrize("broken", ["model: {a", "", "[1, 2]", "\x00", "seed: 5\n"])
def test_our_copy_is_read_where_hydras_file_is_broken(tmp_path, broken):
    config = wanted()
    folder = write_run(tmp_path, "2029-01-01_00-00-00-000000", config)
    (folder / ".hydra" / "config.yaml").write_text(broken)  # killed while Hydra wrote it
    assert find_run(tmp_path, NAME, plain_settings(config)) is None
    RunFiles(folder).config.write_text(OmegaConf.to_yaml(config))
    assert find_run(tmp_path, NAME, plain_settings(config)) == folder


@pytest.mark.parametrize(
    "change",
    [
        "trainer.resume_from=auto",
        "trainer.num_processes=1",
        "trainer.save_every_minutes=1",
        "tracking.mode=offline",
        "tracking=none",
        "dataset.num_workers=0",
        "dataset.cache=/images",
    ],
)
def test_what_a_continuation_may_change(change):
    assert kept(wanted(change)) == kept(wanted())


def test_a_continuation_may_keep_its_fields_elsewhere_or_nowhere():
    words = ["registration=mammoregnet", "registration.checkpoint=w.pth"]
    for change in ("registration.cache=x", "registration.cache=null"):
        assert kept(composed("model=lmv_net", *words, change)) == kept(composed("model=lmv_net", *words))
    assert kept(composed("model=lmv_net", *words)) != kept(composed("model=lmv_net", words[0]))


@pytest.mark.parametrize("change", ["trainer.num_epochs=2", "seed=1", "optim.min_lr=0", "augment=none", "out_dir=x"])
def test_everything_else_makes_another_run(change):
    assert kept(wanted(change)) != kept(wanted())
    assert kept(wanted(change), [change.partition("=")[0]]) == kept(wanted(), [change.partition("=")[0]])


def test_comparing_changes_neither_and_ignores_hydras_node():
    with_hydra = composed("model=mirai", hydra=True)
    before = OmegaConf.to_yaml(with_hydra)
    assert kept(with_hydra) == kept(wanted())
    assert OmegaConf.to_yaml(with_hydra) == before


def test_files_have_the_training_guides_names(tmp_path):
    files = RunFiles(tmp_path, 3)
    assert [files.log.name, files.periodic(10).name, files.best.name, files.early_stopping.name] == [
        "train_risk_prediction_training_id_3.log",
        "checkpoint_0010.pth",
        "best_model_risk_prediction_id-3.pth",
        "early_stopping_risk_prediction_id-3.pth",
    ]
    assert files.last_epoch.name == "model_risk_prediction_training_id_3_last_epoch.pth"
    assert files.metrics.name == "metrics.csv"
    kinds = (value for name, value in vars(RunFiles).items() if isinstance(value, property))
    paths = [kind.fget(files) for kind in kinds]  # type: ignore[misc]
    assert {path.parent for path in paths} == {tmp_path}
    assert len(set(paths)) == len(paths)


def test_only_a_run_in_which_nothing_was_done_is_forgotten(tmp_path):
    empty = write_run(tmp_path, "1", wanted())
    forget_run(empty)
    assert not empty.exists()
    begun = write_run(tmp_path, "2", wanted())
    RunFiles(begun).log.touch()
    forget_run(begun)
    assert (begun / ".hydra" / "config.yaml").exists()
