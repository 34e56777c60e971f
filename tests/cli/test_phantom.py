import subprocess
import sys

import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser

from mammorisk.config import CONF_DIR, register_schemas
from mammorisk.datasets.cohort import load_cohort

FEW = ("num_women=4", "image_height=32")


def run(*arguments):
    command = [sys.executable, "-m", "mammorisk.cli.phantom", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantom") / "c"
    return folder, run(f"out={folder}", *FEW, "num_workers=2", "format=embed")


def test_writes_and_says_what(written):
    folder, answer = written
    assert answer.returncode == 0, answer.stderr
    table = pd.read_csv(folder / "cohort.csv")
    assert "ImageLateralityFinal" in table
    assert table["patient_id"].nunique() == 4
    assert f"{folder} holds the cohort in" in answer.stdout
    assert f"4 women (0 with cancer), {len(table) // 4} exams, {len(table)} images of 32 x 26 pixels" in answer.stdout
    assert answer.stderr == ""


@pytest.mark.parametrize("form", ["own", "embed", "csaw"])
def test_the_next_command_finds_the_cohort(form, tmp_path):
    answer = run(f"out={tmp_path}/c", *FEW, f"format={form}")
    command = answer.stdout.splitlines()[-1].split()
    assert command[0] == "mammorisk-train"
    overrides = [word.strip("'") for word in command[1:]]
    OverridesParser.create().parse_overrides(overrides)
    register_schemas()
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        config = compose("train", overrides=overrides)
    assert load_cohort(config.dataset).table["patient_id"].nunique() == 4
    assert config.dataset.image_size == [32, 26]


def test_the_same_again_is_no_work_and_another_is_refused(written):
    folder, _ = written
    again = run(f"out={folder}", *FEW, "format=embed")
    assert again.returncode == 0
    assert "already, nothing was written" in again.stdout
    other = run(f"out={folder}", *FEW, "format=embed", "seed=2")
    assert other.returncode == 1
    assert "something else already" in other.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "out is not set: give the folder to write the cohort to"),
        (("hazard.event_rate=1.5",), "hazard.event_rate=1.5: expected a number from 0.0001 to 0.9."),
        (("picture.noise_sd=nan",), "picture.noise_sd=nan: expected a number from 0 to 1."),
        (("num_women=many",), "num_women=many: expected a whole number"),
        (("num_woman=3",), "Did you mean num_women"),
        (("phantom=quick",), "Available: benchmark, quickstart"),
    ],
)
def test_mistakes_end_in_plain_words(arguments, told, tmp_path):
    where = (f"out={tmp_path}/c",) if arguments else ()
    answer = run(*where, *arguments)
    assert answer.returncode == 1
    assert told in answer.stderr
    assert "Traceback" not in answer.stderr
    assert not list(tmp_path.iterdir())
