"""The launcher scripts, run as they stand (docs/pitfalls.md#p21)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.utils import DistributedType
from helpers.model_cases import small_encoder
from helpers.places import ROOT
from helpers.reference_blocks import weights
from helpers.training_runs import SECONDS, TINY, environment, last_epoch, only_run, start, train
from omegaconf import OmegaConf

LAUNCHERS = ROOT / "launchers"
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


@pytest.fixture(scope="module")
def weights_files(tmp_path_factory) -> dict[str, str]:
    """Variables of files of weights: a ResNet-18 of the tests' width as torchvision saves it, and a MammoRegNet."""
    folder = tmp_path_factory.mktemp("weights")
    encoder = {key: tensor for key, tensor in small_encoder().state_dict().items() if not key.startswith("input_")}
    torch.save({**encoder, "fc.weight": torch.zeros(10, 32), "fc.bias": torch.zeros(10)}, folder / "resnet18.pth")
    torch.save(weights("d_mammoregnet"), folder / "mammoregnet.pth")
    files = {"ENCODER_WEIGHTS": "resnet18.pth", "REGISTRATION_CHECKPOINT": "mammoregnet.pth"}
    return {variable: str(folder / name) for variable, name in files.items()}


# One trains in the fast suite; that each hands all on, its printed configuration says below.
ONE_TRAINS = [pytest.param(s, marks=() if s.stem == "train_mirai" else pytest.mark.slow, id=s.stem) for s in SCRIPTS]


@pytest.mark.parametrize("script", ONE_TRAINS)
def test_pitfall_21_a_launcher_hands_all_its_arguments_on(script, weights_files, tmp_path):
    text = script.read_text(encoding="utf-8")
    size = ["registration.image_size=null"] if "REGISTRATION_CHECKPOINT" in text else []  # published: 1024 x 512
    done = run(script, tmp_path, *SMALL, *size, "seed=5", OUTPUT_DIR=str(tmp_path / "outputs"), **weights_files)
    assert done.returncode == 0, done.stderr
    config = OmegaConf.load(only_run(tmp_path) / "config.yaml")
    recipe = OmegaConf.load(LAUNCHERS.parent / f"conf/experiment/published/{script.stem.removeprefix('train_')}.yaml")
    assert config.seed == 5
    assert config.out_dir == str(tmp_path / "outputs")
    assert config.optim.weight_decay == recipe.get("optim", {}).get("weight_decay", 1e-4)
    assert config.model.encoder.pretrained == weights_files["ENCODER_WEIGHTS"]
    assert recipe.trainer.num_epochs > config.trainer.num_epochs == 1  # what is given on the command line wins
    assert len(list(only_run(tmp_path).glob("*_last_epoch.pth"))) == 1


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_pitfall_21_paths_come_from_the_environment_and_words_from_the_command_line(script, tmp_path):
    paths = {"CSV_FILE": "/a b/cohort.csv", "DATA_ROOT": "/a b/png", "CHECKPOINT": "auto", "DATASET": "embed"}
    aligns = "REGISTRATION_CHECKPOINT" in script.read_text(encoding="utf-8")
    files = {"ENCODER_WEIGHTS": "/w/a b.p", "REGISTRATION_CHECKPOINT": "/w/reg.pth"}
    words = ["seed=5", "trainer.num_epochs=1", "--cfg", "job"]
    done = run(script, tmp_path, *words, OUTPUT_DIR=str(tmp_path / "outputs"), **paths, **files)
    assert done.returncode == 0, done.stderr
    config = OmegaConf.create(done.stdout)
    assert (config.dataset.csv_file, config.dataset.data_root) == ("/a b/cohort.csv", "/a b/png")
    assert (config.dataset.name, config.trainer.resume_from) == ("embed", "auto")
    assert (config.seed, config.trainer.num_epochs, config.out_dir) == (5, 1, str(tmp_path / "outputs"))
    assert config.model.encoder.pretrained == "/w/a b.p"
    if aligns:
        assert config.registration.checkpoint == "/w/reg.pth"


def test_there_is_a_launcher_for_each_published_recipe():
    recipes = (LAUNCHERS.parent / "conf/experiment/published").glob("*.yaml")
    assert {f"train_{recipe.stem}" for recipe in recipes} == {script.stem for script in SCRIPTS}


def test_a_missing_path_is_said(tmp_path):
    done = run(SCRIPTS[0], tmp_path, DATASET="csaw")
    assert done.returncode == 1
    assert "dataset.csv_file is not set" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("name", "processes"), [pytest.param("single", 1, marks=pytest.mark.slow), ("cpu", 2)])
def test_accelerates_configuration_starts_as_many_processes(name, processes, tmp_path):
    config = LAUNCHERS / "accelerate" / f"{name}.yaml"
    accelerate = [str(Path(sys.executable).parent / "accelerate"), "launch", "--config_file", str(config)]
    wanted = ["model=mirai", "trainer.num_epochs=1", "trainer.cpu=true", f"trainer.num_processes={processes}"]
    train(tmp_path, *wanted, launcher=accelerate)
    assert last_epoch(only_run(tmp_path))["world_size"] == processes


@pytest.mark.slow  # in the fast suite all files are read, and "cpu" starts two processes
def test_two_machines_of_accelerates_configuration_train_as_one_run(tmp_path):
    """Both on this machine, each with a process of its own."""
    config = LAUNCHERS / "accelerate" / "nodes.yaml"
    accelerate = [str(Path(sys.executable).parent / "accelerate"), "launch", "--config_file", str(config)]
    wanted = ["model=mirai", "trainer.num_epochs=1", "trainer.cpu=true", "trainer.num_processes=2"]
    machines = [start(tmp_path, *wanted, launcher=[*accelerate, "--machine_rank", str(rank)]) for rank in (0, 1)]
    # Launchers wait up to 300 s for each other at the end, which was seen once on a busy machine.
    printed = [machine.communicate(timeout=SECONDS + 300)[0] for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], printed
    assert last_epoch(only_run(tmp_path))["world_size"] == 2


def test_accelerate_reads_every_configuration():
    files = sorted((LAUNCHERS / "accelerate").glob("*.yaml"))
    assert [path.stem for path in files] == ["cpu", "gpus", "nodes", "single"]
    for path in files:
        found = load_config_from_file(str(path))
        assert found.num_processes >= found.num_machines >= 1
        assert (path.stem == "single") is (found.distributed_type == DistributedType.NO)


def test_the_batch_script_says_what_it_lacks(tmp_path):
    done = subprocess.run(
        [str(LAUNCHERS / "slurm.sbatch")], cwd=tmp_path, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "mammorisk-train is not on the PATH" in done.stderr
