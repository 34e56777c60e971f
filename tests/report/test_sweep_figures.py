from __future__ import annotations

import re

import pytest
from helpers.sweep_directories import mixed_sweep, write_job

from mammorisk.report.sweep_figures import labels_of, searched_numbers, shown, sweep_figures, sweep_measures, words_of
from mammorisk.sweeps.document import sweep_document


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    return sweep_document(mixed_sweep(tmp_path_factory.mktemp("sweeps") / "sweep"))


@pytest.fixture(scope="module")
def search(tmp_path_factory):
    sweep = tmp_path_factory.mktemp("search")
    for number, rate in enumerate((1e-5, 1e-4, 1e-3, 1e-2)):
        values = {"seed": 1, "optim.learning_rate": rate, "optim.patience": number % 2}
        write_job(sweep, f"run_job_{number}", values, [0.5 + number / 10], finished=True)
    return sweep_document(sweep)


def texts(svg):
    return re.findall(r"<text[^>]*>([^<]+)</text>", str(svg))


def test_each_setting_with_a_finished_seed_has_a_line(document):
    found = sweep_figures(document)
    assert set(found) == {"spread"}
    words = " ".join(texts(found["spread"]))
    assert "mirai, learning_rate 0.001 (2)" in words
    assert "lmv_net, learning_rate 0.001 (1)" in words
    assert "0.1 (" not in words  # none is finished
    assert "Validation C-index, best epoch" in words


def test_a_search_has_a_panel_for_each_number_with_enough_values(search):
    assert searched_numbers(search) == ["optim.learning_rate"]
    found = sweep_figures(search)
    assert set(found) == {"search"}
    assert "optim.learning_rate" in texts(found["search"])
    assert {"0.0001", "0.001"} <= set(texts(found["search"]))  # a logarithmic axis


def test_nothing_is_drawn_where_nothing_is_finished(tmp_path):
    write_job(tmp_path, "run_job_0", {"seed": 1}, [0.5])
    assert sweep_figures(sweep_document(tmp_path)) == {}


def test_one_job_is_drawn(tmp_path):
    write_job(tmp_path, "run_job_0", {"seed": 1}, [0.5], finished=True)
    assert "all jobs (1)" in texts(sweep_figures(sweep_document(tmp_path))["spread"])


def test_keys_are_named_by_their_last_word_where_that_is_enough():
    labels = labels_of({"keys": ["model", "optim.size", "model.size", "seed"]})
    assert labels == {"model": "model", "optim.size": "optim.size", "model.size": "model.size", "seed": "seed"}
    assert words_of({"model": "mirai", "optim.size": 0.00012345}, labels) == "mirai, optim.size 0.0001234"
    assert (shown(1e-05), shown(3), shown(None), shown("x")) == ("1e-05", "3", "None", "x")


def test_tables_have_the_goal_first(document):
    assert sweep_measures(document) == ["Validation C-index", "Val Year 1 AUC"]
