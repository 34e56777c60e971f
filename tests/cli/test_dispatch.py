from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from helpers.places import ROOT
from helpers.training_runs import environment

from mammorisk.cli.dispatch import COMMANDS
from mammorisk.version import __version__

SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
BIN = Path(sys.executable).parent


def run(*words: str, module: bool = True, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mammorisk"] if module else [str(BIN / "mammorisk")]
    return subprocess.run(
        [*command, *words], cwd=folder, env=environment(), capture_output=True, text=True, timeout=120
    )


def test_every_script_is_a_command_with_the_same_entry_point():
    own = {name.removeprefix("mammorisk-"): place for name, place in SCRIPTS.items() if name != "mammorisk"}
    assert own == {name: f"{module}:main" for name, (module, _) in COMMANDS.items()}
    assert SCRIPTS["mammorisk"] == "mammorisk.cli.dispatch:main"


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_help_lists_the_commands(words):
    done = run(*words)
    assert done.returncode == 0
    for name in COMMANDS:
        assert f"\n  {name} " in done.stdout


def test_the_version_is_printed():
    assert run("--version").stdout == f"mammorisk {__version__}\n"


def test_another_word_is_a_message():
    done = run("trian", "model=mirai")
    assert done.returncode == 2
    assert "no command 'trian'. Did you mean train?" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("module", [True, False])
def test_a_command_has_the_words_after_its_name(module, tmp_path):
    done = run("train", "model=mirai", "seed=5", "--cfg", "job", "--package", "seed", module=module, folder=tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, "5"), done.stderr


def test_tab_completion_is_installed_for_the_script_of_a_command():
    done = run("train", "-sc", "install=bash", module=False)
    assert "complete -o nospace -o default -F hydra_bash_completion mammorisk-train\n" in done.stdout, done.stderr


def test_a_command_that_is_none_of_hydras_has_its_own_help():
    done = run("sweep-report", "--help")
    assert done.returncode == 0
    assert "usage: mammorisk-sweep-report" in done.stdout
