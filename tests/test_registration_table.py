"""tools/registration_table.py: run directories in, a table with paired differences out."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from helpers.places import ROOT
from helpers.training_runs import environment, run_directories, train

TOOL = ROOT / "tools/registration_table.py"


def tool(*words: str, status: int = 0) -> str:
    command = [sys.executable, str(TOOL), *words]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=240)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> list[Path]:
    """Identity with two seeds, the true field with one."""
    folder = tmp_path_factory.mktemp("runs")
    same = ["model=lmv_net", "trainer.num_epochs=1", "dataset.generator.displacements=true"]
    train(folder, *same)
    train(folder, *same, "seed=7")
    train(folder, *same, "registration=ground_truth")
    return run_directories(folder)


def test_seeds_are_taken_together_and_registrations_compared_on_the_same_women(runs, tmp_path):
    text = tool(*map(str, runs), "--bootstrap-samples", "100", "--out", str(tmp_path / "table.md"))
    assert text.startswith((tmp_path / "table.md").read_text())  # then what was read, on standard error
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert [row.split(" | ")[0] for row in rows[1:]] == ["| `ground_truth`", "| `identity`", "| true risk"]
    truth, identity, true_risk = rows[1:]
    each = [float(value) for value in re.findall(r"(?:2023|7): ([01]\.\d{3})", identity)]
    mean = float(re.search(r"\| ([01]\.\d{3}) \[", identity).group(1))
    assert sum(each) / 2 == pytest.approx(mean, abs=0.0011)
    c_truth, c_identity = (float(re.search(r"\| ([01]\.\d{3}) \[", row).group(1)) for row in (truth, identity))
    difference = float(truth.split(" | ")[3].split()[0])
    assert difference == pytest.approx(c_truth - c_identity, abs=0.0015)
    assert float(re.search(r"\| ([01]\.\d{3}) \[", true_risk).group(1)) > 0.8
    for run in runs:
        table = pd.read_csv(run / "test_predictions.csv")
        assert f"{len(table):,} samples" in text


def test_what_cannot_be_compared_is_said(runs, tmp_path):
    assert "holds no best_model" in tool(str(tmp_path), status=1)
