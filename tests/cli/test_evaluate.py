"""mammorisk-evaluate as a user runs it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from helpers.evaluated_checkpoints import command, run_directory
from helpers.places import ROOT
from helpers.training_runs import SECONDS, TORCHRUN, environment, run_directories
from omegaconf import OmegaConf

from mammorisk.cli.evaluate import as_overrides
from mammorisk.config import quoted

LAUNCHER = ROOT / "launchers/evaluate.sh"
FEW = ["bootstrap_samples=10", "cpu=true", "examples=1"]


def measures(folder: Path) -> dict:
    (run,) = run_directories(folder)
    found: dict = json.loads((run / "metrics.json").read_text())
    return found


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> tuple[Path, str]:
    """An evaluation of a run directory with a blank in its name, and what it printed."""
    folder = tmp_path_factory.mktemp("evaluated")
    shutil.copytree(run_directory("model=lmv_net"), folder / "a run")
    return folder, command("evaluate", folder, "a run", "dataset.batch_size=3", *FEW)


def test_a_run_directory_is_all_it_takes(done):
    folder, printed = done
    (run,) = run_directories(folder)
    assert run.name.startswith("Evaluate_test_")
    assert {path.name for path in run.iterdir()} >= {
        "predictions.csv",
        "metrics.json",
        "c_index_by_density.json",
        "c_index_by_cancer_type.json",
        "c_index_by_race.json",
        "test_risk_prediction_training_id_1.log",
        "config.yaml",
    }
    whole = measures(folder)["groups"]["all"]["measures"]["C-index"]
    assert f"{whole['estimate']:.3f} [{whole['low']:.3f}, {whole['high']:.3f}]" in printed
    assert "true risk" in printed
    assert measures(folder)["made"]["command"].startswith("evaluate.py")


@pytest.mark.slow
def test_two_processes_and_other_batches_give_the_same_numbers(done, tmp_path):
    folder, _ = done
    run = folder / "a run"
    printed = command("evaluate", tmp_path, run, "dataset.batch_size=8", *FEW, launcher=TORCHRUN)
    assert printed.count("samples scored") == 1  # one process speaks
    one, two = measures(folder), measures(tmp_path)
    assert one["groups"] == two["groups"]
    assert one["curves"] == two["curves"]
    tables = [pd.read_csv(run_directories(each)[0] / "predictions.csv") for each in (folder, tmp_path)]
    pd.testing.assert_frame_equal(*tables, check_exact=True)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "Expected checkpoint=PATH or run=RUN_DIR, found neither"),
        (["nowhere"], "nowhere: expected a checkpoint or the run directory of a training"),
        (["a", "b"], "Expected one run or checkpoint; found a b"),
        (["run=.", "draw=5"], "draw"),
        (["run=.", "bootstrap_samples=0"], "bootstrap_samples=0: expected a whole number from 1"),
        (["nowhere", "dataset.batch_size=1000000000"], "dataset.batch_size=1000000000: expected a whole number from 1"),
        (["run=.", "split=tests"], "split=tests: expected train, val or test"),
    ],
)
def test_mistakes_end_in_a_message_and_leave_nothing(words, told, tmp_path):
    printed = command("evaluate", tmp_path, *words, status=1)
    assert told in printed
    assert "Traceback" not in printed
    assert not list(tmp_path.glob("outputs/*"))


def test_the_launcher_hands_all_its_arguments_on(tmp_path):
    entry = tmp_path / "mammorisk-evaluate"
    entry.write_text(f'#!/bin/sh\nexec {sys.executable} -m mammorisk.cli.evaluate "$@"\n')
    entry.chmod(0o755)
    paths = {
        "RUN": "a run",
        "CSV_FILE": "/a b/c.csv",
        "DATASET": "csaw",
        "OUTPUT_DIR": "o p",
        "PATH": f"{tmp_path}:/usr/bin:/bin",
    }
    command = [str(LAUNCHER), "bootstrap_samples=7", "--cfg", "job"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(**paths), capture_output=True, text=True, timeout=SECONDS
    )
    assert done.returncode == 0, done.stderr
    config = OmegaConf.create(done.stdout)
    assert (config.run, config.dataset.csv_file, config.cohort) == ("a run", "/a b/c.csv", "csaw")
    assert (config.out_dir, config.split, config.bootstrap_samples) == ("o p", "test", 7)


def test_words_of_the_command_line():
    places, others = as_overrides(["outputs/RUN", "dataset=csaw", "--cfg", "job", "dataset.csv_file=a"])
    assert places == ["outputs/RUN"]
    assert others == ["cohort=csaw", "--cfg", "job", "dataset.csv_file=a"]
    assert quoted("it's") == r"'it\'s'"
