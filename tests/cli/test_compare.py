"""mammorisk-compare as a user runs it."""

from __future__ import annotations

import json
import shutil

import pandas as pd
import pytest
from helpers.evaluated_checkpoints import command, run_directory
from helpers.training_runs import run_directories

FEW = ["bootstrap_samples=10", "cpu=true"]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A training compared with another of the same model, and what was printed."""
    folder = tmp_path_factory.mktemp("compared")
    for name, seed in (("one", 1), ("two", 2)):
        shutil.copytree(run_directory("model=lmv_net", f"seed={seed}"), folder / name)
    return folder, command("compare", folder, "one", "two", "names=[first,second]", *FEW)


def test_trainings_are_evaluated_and_compared(done):
    folder, printed = done
    (run,) = run_directories(folder)
    found = json.loads((run / "comparison.json").read_text())
    assert [each["name"] for each in found["runs"]] == ["first", "second"]
    assert "second less first" in printed
    table = pd.read_csv(run / "comparison.csv")
    assert set(table["model"]) == {"first", "second"}
    row = table[(table["model"] == "second") & (table["group"] == "all") & (table["measure"] == "C-index")]
    less = found["differences"]["second"]["all"]["measures"]["C-index"]["estimate"]
    assert row["difference_estimate"].item() == pytest.approx(less, abs=1e-12)
    assert (run / "compare.log").exists()


@pytest.mark.slow
def test_an_evaluation_is_compared_by_its_predictions(done):
    folder, _ = done
    command("evaluate", folder, "two", "examples=0", "out_dir=evaluated", *FEW)
    (evaluation,) = (folder / "evaluated").iterdir()
    shutil.rmtree(folder / "two")  # its model is not asked again
    command("compare", folder, "one", evaluation, "out_dir=again", "names=[first,second]", *FEW)
    documents = [
        json.loads(next(folder.glob(f"{name}/*/comparison.json")).read_text()) for name in ("outputs", "again")
    ]
    assert documents[0]["groups"] == documents[1]["groups"]
    assert documents[0]["differences"] == documents[1]["differences"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["."], "Expected two run directories or more"),
        ([".", "nowhere"], "nowhere: expected the run directory of an evaluation or training"),
        ([".", ".", "split=tests"], "split=tests"),
        ([".", ".", "confidence=1"], "confidence=1.0: expected a number between 0 and 1"),
    ],
)
def test_mistakes_end_in_a_message(words, told, tmp_path):
    printed = command("compare", tmp_path, *words, status=1)
    assert told in printed
    assert "Traceback" not in printed
    assert not list(tmp_path.glob("outputs/*"))
