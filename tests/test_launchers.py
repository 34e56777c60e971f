"""The launcher scripts, run as they stand (specs: pitfall 21)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from runs import SECONDS, TINY, environment, only_run

LAUNCHERS = Path(__file__).parents[1] / "launchers"
SCRIPTS = sorted(LAUNCHERS.glob("train_*.sh"))
SMALL = [
    *(word for word in TINY if not word.startswith("experiment=")),
    "phantom@dataset.generator=quickstart",
    "model.encoder.stride=8",
    "trainer.num_epochs=1",
]


def run(script: Path, folder: Path, *overrides: str, **variables: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    return subprocess.run(
        [str(script), *overrides], cwd=folder, env=environment(PATH=path, **variables),
        capture_output=True, text=True, timeout=SECONDS,
    )  # fmt: skip


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_pitfall_21_a_launcher_hands_all_its_arguments_on(script, tmp_path):
    alone = [] if "mirai" in script.stem else ["registration=identity"]
    done = run(script, tmp_path, *SMALL, *alone, "seed=5", OUTPUT_DIR=str(tmp_path / "outputs"))
    assert done.returncode == 0, done.stderr
    config = OmegaConf.load(only_run(tmp_path) / "config.yaml")
    recipe = OmegaConf.load(LAUNCHERS.parent / f"conf/experiment/published/{script.stem.removeprefix('train_')}.yaml")
    assert config.seed == 5
    assert config.out_dir == str(tmp_path / "outputs")
    assert config.optim.weight_decay == 1e-4
    assert recipe.trainer.num_epochs > config.trainer.num_epochs == 1  # what is given on the command line wins
    assert len(list(only_run(tmp_path).glob("*_last_epoch.pth"))) == 1


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_paths_come_from_the_environment(script, tmp_path):
    paths = {"CSV_FILE": "/a b/cohort.csv", "DATA_ROOT": "/a b/png", "CHECKPOINT": "auto", "DATASET": "embed"}
    weights = {"REGISTRATION_CHECKPOINT": "/w/reg.pth"} if "lmv" in script.stem else {}
    done = run(script, tmp_path, "--cfg", "job", **paths, **weights)
    assert done.returncode == 0, done.stderr
    config = OmegaConf.create(done.stdout)
    assert (config.dataset.csv_file, config.dataset.data_root) == ("/a b/cohort.csv", "/a b/png")
    assert (config.dataset.name, config.trainer.resume_from) == ("embed", "auto")
    if weights:
        assert config.registration.checkpoint == "/w/reg.pth"


def test_there_is_a_launcher_for_each_published_recipe():
    recipes = (LAUNCHERS.parent / "conf/experiment/published").glob("*.yaml")
    assert {f"train_{recipe.stem}" for recipe in recipes} == {script.stem for script in SCRIPTS}


def test_a_missing_path_is_said(tmp_path):
    done = run(SCRIPTS[0], tmp_path, DATASET="csaw")
    assert done.returncode == 1
    assert "dataset.csv_file is not set" in done.stderr
    assert "Traceback" not in done.stderr
