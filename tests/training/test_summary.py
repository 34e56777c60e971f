from __future__ import annotations

import math
from pathlib import Path

import pytest
from helpers.composed_configs import composed
from omegaconf import OmegaConf
from rich.console import Console

from mammorisk.errors import UserError
from mammorisk.runs.directory import RunFiles
from mammorisk.runs.logs import run_log
from mammorisk.training.checkpoint import TrainingState
from mammorisk.training.summary import next_steps, report_training, validation_table

NAN = float("nan")


def row(epoch: int, first: float = NAN) -> dict[str, float]:
    """Measures that all differ."""
    values = {f"Val Year {year} AUC": 0.6 + 0.0111 * year + epoch / 100 for year in range(1, 6)}
    values["Val Year 1 AUC"] = first
    return {"epoch": float(epoch), "Validation C-index": 0.5 + epoch / 100, "Validation Risk Loss": 0.4, **values}


def state(best_epoch: int = 2, epochs: int = 3) -> TrainingState:
    history = [row(epoch) for epoch in range(1, epochs + 1)]
    best = history[best_epoch - 1]["Validation C-index"] if best_epoch else NAN
    return TrainingState(epoch=epochs, best=best, best_epoch=best_epoch, history=history)


def true_risk() -> dict[str, float]:
    return {"C-index": 0.91, "C-index (literature)": 0.92} | {
        f"Year {year} AUC": 0.8 + year / 50 for year in range(1, 6)
    }


def cells(values: dict[str, float], best: dict[str, float]) -> list[list[str]]:
    """The table's columns, as printed on a wide terminal."""
    console = Console(width=200)
    with console.capture() as text:
        console.print(validation_table(values, best))
    rows = [line.strip("│").split("│") for line in text.get().splitlines() if line.startswith("│")]
    return [[cell.strip() for cell in line] for line in rows]


def test_the_table_holds_the_numbers_of_the_row():
    assert cells(row(7, first=0.123456), {}) == [
        ["C-index", "0.570"],
        ["AUC, year 1", "0.123"],
        ["AUC, year 2", "0.692"],
        ["AUC, year 3", "0.703"],
        ["AUC, year 4", "0.714"],
        ["AUC, year 5", "0.726"],
    ]


def test_what_cannot_be_computed_is_said_so():
    assert cells(row(1), {})[1] == ["AUC, year 1", "not defined"]
    assert cells(row(1), {**true_risk(), "C-index": NAN})[0] == ["C-index", "0.510", "not defined"]


def test_the_true_risk_stands_beside_where_it_is_known():
    assert [line[2] for line in cells(row(1), true_risk())] == ["0.910", "0.820", "0.840", "0.860", "0.880", "0.900"]


def test_the_report_is_of_the_best_epoch_and_returns_its_c_index(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    files, config = RunFiles(tmp_path), composed("model=mirai")
    with run_log(OmegaConf.to_yaml(config), files):
        notes = ["a sample is an exam", "image encoder: /w/[a].p"]
        assert report_training(state(), files, {}, "phantom", notes) == pytest.approx(0.52)
    printed = capsys.readouterr().out
    assert "  a sample is an exam\n  image encoder: /w/[a].p\n" in printed
    assert "best epoch (2)" in printed
    assert "0.520" in printed
    assert "0.530" not in printed
    assert str(tmp_path) in printed.replace("\n", "")
    assert "0.520" in files.log.read_text()  # the log has it, too


def test_other_ranks_return_the_same_and_say_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert report_training(state(), RunFiles(tmp_path), true_risk(), "phantom") == pytest.approx(0.52)
    assert capsys.readouterr().out == ""


def test_no_best_model_is_a_message_that_names_the_last_one(tmp_path, capsys):
    files = RunFiles(tmp_path)
    with pytest.raises(UserError) as caught:
        report_training(state(best_epoch=0), files, {}, "phantom")
    assert "in 3 epochs" in str(caught.value)
    assert files.last_epoch.name in str(caught.value)
    assert capsys.readouterr().out == ""


def test_next_steps_name_the_files_and_commands_that_work(tmp_path):
    files = RunFiles(tmp_path, 4)
    text = next_steps(files, "phantom")
    for path in (files.best, files.metrics, files.curve, files.log):
        assert path.name in text
    assert "dataset=embed" in text
    assert "optim.learning_rate=3e-4" in text
    assert composed("model=mirai", "optim.learning_rate=3e-4").optim.learning_rate == 3e-4
    assert composed("model=mirai", "experiment=quickstart").dataset.name == "phantom"


def test_next_steps_on_own_data_leave_the_phantom_out(tmp_path):
    text = next_steps(RunFiles(Path("run")), "embed")
    assert "quickstart" not in text
    assert "own cohort" not in text
    assert not math.isnan(state().best)
