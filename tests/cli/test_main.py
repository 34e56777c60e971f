from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.training_runs import environment

from mammorisk.cli.main import overrides_first
from mammorisk.config import options

# A command whose task ends as its first argument says; Hydra does not see that.
ENDS = """
import sys
from mammorisk.cli.main import run_command
from mammorisk.errors import Stopped, UserError
how = sys.argv.pop(1)
def task(config):
    if how == "wrapped":
        try:
            raise UserError("from a constructor")
        except UserError as error:
            raise RuntimeError("Error in call to target") from error
    raise {"user": UserError("mend this"), "stopped": Stopped(15), "defect": ZeroDivisionError("a defect"),
           "file": FileNotFoundError(2, "No such file", "x.png"), "interrupt": KeyboardInterrupt()}[how]
run_command(task, "train")
"""


def run(folder: Path, *arguments: str, status: int | None = 1, code: str | None = None, **variables: str) -> str:
    """All that a command prints; it must end with ``status``."""
    command = [sys.executable, *(["-c", code] if code else ["-m", "mammorisk.cli.train"]), *arguments]
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HYDRA_", "SLURM_", "WANDB_", "RANK", "WORLD_"))}
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    done = subprocess.run(command, cwd=folder, env={**kept, **variables}, text=True, timeout=60, **pipes)  # type: ignore
    assert done.returncode == status, done.stdout
    return done.stdout


def message(folder: Path, *arguments: str) -> str:
    """What a mistake on the command line is answered with: a screen of text for people."""
    printed = run(folder, *arguments)
    assert "mammorisk stopped:" in printed
    assert "Traceback" not in printed
    assert "object_type" not in printed
    assert len(printed.splitlines()) <= 12
    return printed


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["model=lmv_nett"], ["model=lmv_nett", "Did you mean model=lmv_net?", "mirai"]),
        (["model=mirai", "dataset=embd"], ["dataset=embd", "Did you mean dataset=embed?", "csaw, embed"]),
        (["experiment=quikstart"], ["experiment=quikstart", "Did you mean experiment=quickstart?"]),
        (["experiment=published/mirrai"], ["Did you mean experiment=published/mirai or"]),
        (["model=mirai", "optim.learning_rat=1"], ["optim.learning_rat:", "Did you mean optim.learning_rate"]),
        (["model=mirai", "learning_rate=1"], ["learning_rate:", "Did you mean optim.learning_rate?"]),
        (["modell=mirai"], ["modell:", "Did you mean model?"]),
        (["model=mirai", "model.encoder.widht=3"], ["model.encoder.widht:", "Did you mean model.encoder.width"]),
        (["model=mirai", "optim.learning_rate=abc"], ["optim.learning_rate=abc: expected a number."]),
        (["model=mirai", "trainer.patience=2.5"], ["trainer.patience=2.5: expected a whole number."]),
        (["model=mirai", "trainer.cpu=maybe"], ["trainer.cpu=maybe: expected true or false."]),
        (["model=mirai", "dataset.image_size=12"], ["dataset.image_size: expected a list"]),
        (
            ["model=mirai", "optim.learning_rate", "=", "1"],
            ["optim.learning_rate: expected key=value", "key=value"],
        ),
        (["model=mirai", "seed=[1"], ["seed=[1: expected key=value", "in quotes"]),
        (["model=mirai", "seed=1,2"], ["seed=1,2", "--multirun"]),
        (["model=mirai", "out_dir=${nothing}"], ["Interpolation key 'nothing' not found"]),
        (["model=mirai", "phantom=quickstart"], ["Did you mean to override phantom@dataset.generator?"]),
        (
            ["model=mirai", "phantom@dataset.generator=quikstart"],
            ["Did you mean phantom@dataset.generator=quickstart?"],
        ),
        (
            ["model=mirai", "hydra/launcher=submitit_slrum"],
            ["hydra/launcher=submitit_slrum", "basic"],
        ),
        (["model=mirai", "-m", "seed=1,x", "trainer.cpu=true"], ["seed=x: expected a whole number."]),
        (["-m", "model=mirai,lmv_nett"], ["model=lmv_nett", "Did you mean model=lmv_net?"]),
        (["model=mirai", "experiment=quickstart", "dataset=csaw"], ["goes with dataset=phantom", "Leave experiment="]),
        (["-m", "model=mirai", "--cfg", "job"], ["Only one of", "--multirun", "can be specified"]),
    ],
    ids=" ".join,
)
def test_what_cannot_be_composed_names_the_key_and_the_nearest(tmp_path, arguments, words):
    printed = message(tmp_path, *arguments)
    for word in words:
        assert word in printed
    assert not list(tmp_path.glob("outputs/*/.hydra"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["experiment=quickstart"], [f"model is not set: choose model={' or model='.join(options('model'))}"]),
        (
            ["model=mirai", "dataset=embed", "trainer.num_epochs=0", "+model.encoder.widht=3", "trainer.resume_from=x"],
            [
                "dataset.csv_file is not set",
                "dataset.data_root is not set",
                "trainer.num_epochs=0: expected a whole number from 1",
                "trainer.resume_from=x: there is no such file",
                "model.encoder.widht: mammorisk.models.encoders.ResNetEncoder has no such parameter; did you mean",
            ],
        ),
    ],
    ids=" ".join,
)
def test_what_cannot_be_used_is_told_before_any_data_is_read(tmp_path, arguments, words):
    printed = message(tmp_path, *arguments)
    assert "--cfg job" in printed
    for word in words:
        assert word in printed
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert left == []  # neither a phantom nor an empty run directory


def test_a_run_directory_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    printed = message(tmp_path, "model=mirai", "out_dir=file")
    assert "file" in printed
    assert "out_dir=FOLDER" in printed


def test_the_trace_is_there_for_who_wants_it(tmp_path):
    for arguments in (["model=lmv_nett"], ["model=mirai", "out_dir=/proc/nothing"]):
        printed = run(tmp_path, *arguments, HYDRA_FULL_ERROR="1")
        assert "Traceback" in printed
        assert "mammorisk stopped" not in printed


def test_hydras_own_questions_are_answered(tmp_path):
    job = run(tmp_path, "model=mirai", "optim.learning_rate=0.5", "--cfg", "job", status=0)
    assert re.search(r"^  learning_rate: 0\.5$", job, re.M)
    assert "_target_: mammorisk.models.mirai.Mirai" in job
    assert "HydraConf" not in job
    between = run(tmp_path, "model=mirai", "--cfg", "job", "--package", "optim", "optim.learning_rate=0.5", status=0)
    assert "learning_rate: 0.5" in between
    helped = run(tmp_path, "--help", status=0)
    assert helped.startswith("mammorisk-train")
    for name in options("model"):
        assert name in helped
    assert "Config search path" in run(tmp_path, "model=mirai", "--info", status=0)
    assert "optim.learning_rate=" in run(
        tmp_path, "-sc", "query=bash", status=0, COMP_LINE="mammorisk-train optim.learning_r", COMP_POINT="32"
    )
    assert list(tmp_path.rglob("*.yaml")) == []


def test_help_needs_nothing_that_computes(tmp_path):
    without = "for name in ('torch', 'numpy', 'pandas', 'rich'): sys.modules[name] = None"
    code = f"import sys\n{without}\nfrom mammorisk.cli.train import main; main()"
    assert "optim" in run(tmp_path, "--help", code=code, status=0)
    assert "optim" in run(tmp_path, "model=mirai", "--cfg", "job", code=code, status=0)


@pytest.mark.parametrize(
    ("how", "status", "words"),
    [
        ("user", 1, "mammorisk stopped:\n\nmend this"),
        ("stopped", 143, "stopped by SIGTERM"),
        ("interrupt", 130, "interrupted; a run continues with trainer.resume_from=auto"),
    ],
)
def test_an_end_that_is_no_defect_has_no_trace(tmp_path, how, status, words):
    printed = run(tmp_path, how, "model=mirai", code=ENDS, status=status)
    assert words in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize(("how", "words"), [("defect", "ZeroDivisionError: a defect"), ("file", "x.png")])
def test_a_defect_keeps_its_trace(tmp_path, how, words):
    printed = run(tmp_path, how, "model=mirai", code=ENDS)
    assert "Traceback" in printed
    assert words in printed
    assert "mammorisk stopped" not in printed


def test_other_ranks_say_nothing(tmp_path):
    assert "mammorisk stopped" not in run(tmp_path, "user", "model=mirai", code=ENDS, RANK="1")


def test_a_reader_that_has_enough_is_no_mistake(tmp_path):
    command = f"set -o pipefail; {sys.executable} -m mammorisk.cli.train model=mirai --cfg job | head -1"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "model:\n")
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("model=x -m seed=1,2", "model=x seed=1,2 -m"),
        ("-m model=x seed=1,2", "model=x seed=1,2 -m"),
        ("--cfg job model=x --resolve +a.b=1 ~c", "model=x +a.b=1 ~c --cfg job --resolve"),
        ("a=1 b=2 a=3", "a=1 b=2 a=3"),
        ("--config-dir=x a=1", "a=1 --config-dir=x"),
        ("key = 1", "key = 1"),
        ("", ""),
    ],
)
def test_options_may_stand_anywhere(typed, expected):
    assert overrides_first(typed.split()) == expected.split()


def test_nothing_that_is_written_is_for_all_users(tmp_path):
    """Tables and checkpoints tell of patients."""
    script = "import os; os.umask(0); from mammorisk.cli.phantom import main; main()"
    words = [f"out={tmp_path / 'cohort'}", "num_women=3", "image_height=32", "num_workers=1"]
    subprocess.run([sys.executable, "-c", script, *words], env=environment(), check=True, capture_output=True)
    written = list((tmp_path / "cohort").rglob("*"))
    assert len(written) > 3
    assert [path for path in written if path.stat().st_mode & 0o007] == []
