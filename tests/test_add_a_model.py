"""The guide docs/add_a_model.md, followed word by word in a copy of the checkout."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.places import ROOT
from helpers.training_runs import TINY, environment

GUIDE = ROOT / "docs/add_a_model.md"
LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "data", "outputs", "multirun", "wandb", "__pycache__", ".*_cache")
SMALL = [word for word in TINY if not word.startswith(("experiment=", "trainer.num_epochs="))]  # a minute's worth


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A copy of the checkout with the guide's files in it, each under the name in its first line."""
    folder = tmp_path_factory.mktemp("guide") / "checkout"
    shutil.copytree(ROOT, folder, ignore=LEFT_OUT)
    if (ROOT / ".mypy_cache").is_dir():  # what `make check` has found out of the files that are the same
        shutil.copytree(ROOT / ".mypy_cache", folder / ".mypy_cache")
    written = []
    for block in [*blocks("python"), *blocks("yaml")]:
        name, _, rest = block.partition("\n")
        path = folder / name.removeprefix("# ")
        assert not path.exists()
        path.write_text(rest, encoding="utf-8")
        written.append(path.relative_to(folder).as_posix())
    assert written == [
        "mammorisk/models/view_average.py",
        "tests/models/test_view_average.py",
        "conf/model/view_average.yaml",
    ]
    return folder


def run(checkout: Path, *command: str) -> str:
    """Run a command in the copy, whose package comes first on the path; it must succeed."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command, cwd=checkout, env=environment(PATH=path, PYTHONPATH=str(checkout)),
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.mark.slow
def test_every_command_of_the_guide_succeeds(checkout):
    (commands,) = blocks("bash")
    ran = [shlex.split(line) for line in commands.splitlines()]
    assert [words[0] for words in ran] == ["python", "python", "python", "mammorisk-train"]
    for words in ran:
        is_training = words[0] == "mammorisk-train"
        printed = run(checkout, *words, *(SMALL if is_training else []))
        assert ("Validation, best epoch" if is_training else "passed") in printed, printed
    assert len(list(checkout.glob("outputs/Model_view_average_*/best_model_*.pth"))) == 1


@pytest.mark.slow
def test_its_files_are_in_the_house_style(checkout):
    for tool in (["ruff", "check"], ["ruff", "format", "--check"]):
        printed = run(checkout, sys.executable, "-m", *tool, "mammorisk/models", "tests/models")
        assert "would reformat" not in printed
    run(checkout, sys.executable, "-m", "mypy", "mammorisk/models/view_average.py")


def test_it_comes_into_the_table_of_models(checkout):
    run(checkout, sys.executable, "tools/model_table.py")
    for place in ("README.md", "docs/models/README.md"):
        row = next(line for line in (checkout / place).read_text("utf-8").splitlines() if "`view_average`" in line)
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert cells[1:5] == ["Nobody et al., nowhere", "an exam", "4", "1"]
    assert cells[-1] == "none"  # docs/models/README.md: no published recipe


def test_the_guide_is_short():
    assert len(GUIDE.read_text(encoding="utf-8").splitlines()) <= 110
