from __future__ import annotations

import io

import pandas as pd
import pytest
from helpers.sweep_directories import mixed_sweep
from rich.console import Console

from mammorisk.sweeps.document import sweep_document
from mammorisk.sweeps.tables import job_rows, job_table, setting_table


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    return sweep_document(mixed_sweep(tmp_path_factory.mktemp("sweeps") / "sweep"))


def printed(table):
    console = Console(width=160, file=io.StringIO())
    console.print(table)
    return console.file.getvalue()


def test_rows_have_all_digits_of_all_jobs(document):
    table = pd.read_csv(io.StringIO(job_rows(document).to_csv(index=False)), float_precision="round_trip")
    assert list(table["state"]) == [job["state"] for job in document["jobs"]]
    assert list(table.columns[:4]) == ["job", "folder", "state", "reason"]
    for row, job in zip(table.to_dict("records"), document["jobs"], strict=True):
        assert row["model"] == job["settings"]["model"]
        assert float(row["optim.learning_rate"]) == job["settings"]["optim.learning_rate"]
        for name, value in job["best"].items():
            assert row[name] == value
    assert table["Validation C-index"].isna().sum() == 3


def test_the_terminal_shows_each_job_and_why(document):
    text = printed(job_table(document))
    assert "sweep: 3 finished, 1 preempted, 2 failed, 1 not started" in text
    assert "0.800" in text
    assert "seed=-1: no" in text
    assert "2/3" in text
    assert text.count("learning_rate") == 1


def test_the_terminal_shows_means_and_intervals(document):
    text = printed(setting_table(document))
    line = next(line for line in text.splitlines() if "0.750" in line)
    assert "0.115 to 1.385" in line
    assert "2/2" in line
    assert "0.610" in text
