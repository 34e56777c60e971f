from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from helpers.sweep_directories import mixed_sweep, write_job
from scipy import stats

from mammorisk.errors import UserError
from mammorisk.sweeps.document import mean_and_interval, sweep_document


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    return mixed_sweep(tmp_path_factory.mktemp("sweeps") / "sweep")


@pytest.fixture(scope="module")
def document(sweep):
    return sweep_document(sweep)


def test_every_job_is_told_in_its_state(document):
    states = [job["state"] for job in document["jobs"]]
    assert states == ["finished", "finished", "finished", "preempted", "failed", "not started", "failed"]
    assert document["states"] == {"finished": 3, "running": 0, "preempted": 1, "failed": 2, "not started": 1}
    assert document["jobs"][4]["reason"] == "The training loss is nan for the batch <1>."
    assert document["jobs"][6]["reason"] == "seed=-1: no"
    assert document["keys"] == ["model", "optim.learning_rate", "seed"]
    assert document["jobs"][3]["settings"] == {"model": "lmv_net", "optim.learning_rate": 0.001, "seed": 2}
    assert document["jobs"][5]["settings"] == {"model": "mirai", "optim.learning_rate": 0.1, "seed": 2}


def test_numbers_are_those_of_the_metrics_of_the_runs(sweep, document):
    for job in document["jobs"][:4]:
        rows = pd.read_csv(sweep / job["folder"] / "metrics.csv", float_precision="round_trip")
        best = rows.loc[rows["Validation C-index"].idxmax()]
        assert job["best_epoch"] == best["epoch"]
        assert job["best"] == best.drop("epoch").to_dict()
        assert job["epochs"] == len(rows)
        assert job["epochs_wanted"] == 3
    assert document["jobs"][4]["best"] == {}
    assert document["jobs"][4]["best_epoch"] is None


def test_means_are_over_finished_seeds_best_first(document):
    first, second, *others = document["groups"]
    assert first["settings"] == {"model": "mirai", "optim.learning_rate": 0.001}
    assert (first["jobs"], first["finished"], first["values"], first["seeds"]) == (2, 2, [0.7, 0.8], [1, 2])
    low, high = stats.ttest_1samp(first["values"], 0).confidence_interval(0.95)
    assert (first["estimate"], first["low"], first["high"]) == pytest.approx((0.75, low, high), abs=1e-12)
    assert first["deviation"] == pytest.approx(np.std([0.7, 0.8], ddof=1))
    assert (second["jobs"], second["finished"], second["estimate"], second["low"]) == (2, 1, 0.61, None)
    assert [group["estimate"] for group in others] == [None]


def test_too_few_values_have_no_interval():
    assert mean_and_interval([]) == {"estimate": None, "deviation": None, "low": None, "high": None}
    assert mean_and_interval([0.5]) == {"estimate": 0.5, "deviation": None, "low": None, "high": None}


def test_a_sweep_without_a_plan_is_read_by_the_numbers_of_its_jobs(tmp_path):
    for number in (10, 9, 2):
        write_job(tmp_path, f"run_job_{number}", {"seed": number}, [0.5 + number / 100], finished=True)
    (tmp_path / "notes").mkdir()
    jobs = sweep_document(tmp_path)["jobs"]
    assert [job["settings"]["seed"] for job in jobs] == [2, 9, 10]


def test_links_lead_from_the_page_to_the_runs(sweep, tmp_path):
    jobs = sweep_document(sweep, tmp_path / "elsewhere")["jobs"]
    assert (tmp_path / "elsewhere" / jobs[0]["link"]).resolve() == (sweep / jobs[0]["folder"]).resolve()
    assert jobs[5]["link"] is None
    assert sweep_document(sweep)["jobs"][0]["link"] == "a_job_0_x/"


def test_what_is_no_sweep_is_refused(sweep, tmp_path):
    with pytest.raises(UserError, match="there is no such folder"):
        sweep_document(tmp_path / "nowhere")
    with pytest.raises(UserError, match="is no sweep's directory: expected jobs in it"):
        sweep_document(tmp_path)
    with pytest.raises(UserError, match="is a single run's directory"):
        sweep_document(sweep / "a_job_0_x")
