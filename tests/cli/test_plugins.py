from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from helpers.places import ROOT
from hydra._internal.utils import get_args_parser

from mammorisk.cli.plugins import ALLOW, check_start, foreign_plugins
from mammorisk.errors import UserError

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MODULES = {name: place.partition(":")[0] for name, place in PROJECT["scripts"].items()}
MODULES["mammorisk"] = "mammorisk"  # as `python -m` is given it; its first word names a command
WITHOUT_HYDRA = {"mammorisk-sweep-report", "mammorisk-requeue"}
CANARY = "import pathlib; pathlib.Path('canary').touch()\n"
FORMS = ["hydra_plugins/__init__.py", "hydra_plugins/some.py", "hydra_plugins/some/__init__.py", "hydra_plugins.py"]


def run(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A command of its own process; by default nothing on PYTHONPATH."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "HYDRA_", "MAMMORISK_"))}
    return subprocess.run(
        [sys.executable, *words], cwd=folder, env=kept | variables, capture_output=True, text=True, timeout=120
    )


def hostile(folder: Path, form: str = FORMS[1]) -> Path:
    """A folder with a plug-in that leaves a file when it is run."""
    (folder / form).parent.mkdir(parents=True, exist_ok=True)
    (folder / form).write_text(CANARY)
    return folder


def assert_refused(done: subprocess.CompletedProcess[str], folder: Path) -> None:
    assert done.returncode == 1, done.stdout + done.stderr
    assert not (folder / "canary").exists()
    assert "mammorisk stopped:" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def words_of(script: str) -> list[str]:
    return {"mammorisk-prepare": ["cohort"], "mammorisk": ["train"]}.get(script, [])


@pytest.mark.parametrize("form", FORMS)
def test_plugins_of_the_working_folder_are_refused_before_they_run(tmp_path, form):
    done = run(hostile(tmp_path, form), "-m", "mammorisk.cli.train", "--help")
    assert_refused(done, tmp_path)
    assert str(tmp_path / form.split("/")[0]) in done.stderr
    assert f"{ALLOW}=cwd" in done.stderr


@pytest.mark.parametrize("script", sorted(MODULES))
def test_no_command_runs_plugins_of_the_working_folder(tmp_path, script):
    done = run(hostile(tmp_path), "-m", MODULES[script], *words_of(script), "--help")
    assert not (tmp_path / "canary").exists()
    if script in WITHOUT_HYDRA:
        assert "usage" in done.stdout + done.stderr
    else:
        assert_refused(done, tmp_path)


def test_code_on_the_command_line_looks_there_too(tmp_path):
    code = "import sys; sys.argv = ['x', '--help']; from mammorisk.cli.train import main; main()"
    assert_refused(run(hostile(tmp_path), "-c", code), tmp_path)
    unset = {"PYTHONPATH": f"{os.pathsep}{tmp_path / 'nothing'}"}  # an empty part is the working folder
    assert_refused(run(tmp_path, "-m", "mammorisk.cli.train", "--help", **unset), tmp_path)


@pytest.mark.parametrize("asked", ["variable", "path"])
def test_plugins_that_are_asked_for_run(tmp_path, asked):
    variables = {ALLOW: "cwd"} if asked == "variable" else {"PYTHONPATH": str(tmp_path)}
    done = run(hostile(tmp_path), "-m", "mammorisk.cli.train", "--help", **variables)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "canary").exists()


def test_a_command_that_does_not_look_there_is_not_held_up(tmp_path):
    script = Path(sys.executable).parent / "mammorisk-train"
    done = run(hostile(tmp_path), str(script), "--help")
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "canary").exists()


def test_our_own_plugins_run_in_the_checkout():
    done = run(ROOT, "-m", "mammorisk.cli.train", "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("mammorisk-train")


def test_another_value_of_the_variable_is_a_message(tmp_path, monkeypatch):
    monkeypatch.setenv(ALLOW, "yes")
    with pytest.raises(UserError, match=f"{ALLOW}=yes: expected cwd"):
        check_start([])


def test_a_link_to_the_working_folder_is_the_working_folder(tmp_path, monkeypatch):
    hostile(tmp_path / "real")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    monkeypatch.chdir(tmp_path / "real")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "link")])
    monkeypatch.delenv("PYTHONPATH", raising=False)
    assert foreign_plugins() == [tmp_path / "real" / "hydra_plugins"]
    monkeypatch.setattr(sys, "path", [str(tmp_path / "elsewhere")])
    assert foreign_plugins() == []


class Canary:
    def __reduce__(self):
        return exec, (CANARY,)


def reruns() -> list[str]:
    """Every word that Hydra's own parser takes for the flag."""
    flag, found = "--experimental-rerun", []
    for length in range(3, len(flag) + 1):
        known, _ = get_args_parser().parse_known_args([flag[:length], "x"])
        found += [flag[:length]] if known.experimental_rerun == "x" else []
    return found


def test_every_short_form_of_the_flag_that_reads_a_pickle_is_refused():
    assert {"--e", "--experimental-r", "--experimental-rerun"} <= set(reruns())
    for flag in reruns():
        for words in ([flag, "x.pickle"], [f"{flag}=x.pickle"]):
            with pytest.raises(UserError, match="pickle runs whatever"):
                check_start(["model=mirai", *words])
    check_start(["-m", "--cfg", "job", "--", "model=mirai", "experiment=quickstart"])


@pytest.mark.parametrize("script", sorted(MODULES))
def test_no_command_reads_a_pickle(tmp_path, script):
    (tmp_path / "config.pickle").write_bytes(pickle.dumps(Canary()))
    done = run(tmp_path, "-m", MODULES[script], *words_of(script), "--experimental-r", "config.pickle")
    assert not (tmp_path / "canary").exists()
    if script in WITHOUT_HYDRA:
        assert done.returncode == 2  # no such flag
    else:
        assert_refused(done, tmp_path)


def test_the_oldest_hydra_that_may_be_installed_has_the_list_of_forbidden_targets():
    (bounds,) = [each for each in PROJECT["dependencies"] if each.startswith("hydra-core")]
    oldest = re.search(r">=([\d.]+)", bounds)
    assert oldest is not None
    for release in (oldest.group(1), version("hydra-core")):
        assert tuple(map(int, release.split(".")[:3])) >= (1, 3, 8)
