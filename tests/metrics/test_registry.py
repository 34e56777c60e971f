from __future__ import annotations

import json
import re

import numpy as np
import pytest
from helpers.evaluated_checkpoints import phantom_predictions, run_directory
from helpers.evaluation_documents import measure_names
from helpers.random_cohorts import small_cohort
from helpers.training_runs import COHORTS

import mammorisk
from mammorisk.evaluation.compared_models import ComparedModel
from mammorisk.evaluation.comparison_document import comparison_document, comparison_table
from mammorisk.evaluation.settings import EvaluationSettings
from mammorisk.evaluation.terminal_tables import comparison_tables, evaluation_tables, print_lines
from mammorisk.metrics import registry
from mammorisk.metrics.definitions import SHARE, TOP_SHARES, Measure
from mammorisk.metrics.draw_sums import YearDraws
from mammorisk.metrics.measures import AllMeasures, cohort_cuts
from mammorisk.metrics.registry import Family, find_measure, group_measures, headlines, is_ranking, last_year
from mammorisk.metrics.risk_measures import Settings, evaluate_rows
from mammorisk.metrics.rows import ratio
from mammorisk.report.page import write_comparison_page

FEW = {"bootstrap_samples": 5, "cpu": True, "examples": 0, "dataset": {"generator": {"folder": str(COHORTS)}}}
NAME = "sensitivity as a newcomer defines it"
MEASURE = Measure(
    NAME,
    "share of the cases above the risk that 95 % of the samples free to year k stay below",
    better="higher",
    section=TOP_SHARES,
    form=SHARE,
    headline=f"Year {{last}} {NAME}",
    by_group=f"Year {{last}} {NAME}",
)


def sensitivity(year: YearDraws):
    """A measure as a newcomer writes it."""
    free = year.counts[-1]  # [B, R]
    above = np.cumsum(free[::-1], axis=0)[::-1]
    flagged = above <= 0.05 * free.sum(axis=0)  # bins from which on at most 5 % are flagged
    cases = (year.counts[: year.k + 1] * year.pair_counts.inverse[: year.k + 1, None]).sum(axis=0)
    return {f"Year {year.k + 1} {NAME}": ratio((cases * flagged).sum(axis=0), cases.sum(axis=0))}


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setattr(registry, "FAMILIES", (*registry.FAMILIES, Family((MEASURE,), of_year=sensitivity)))


def test_a_registered_measure_is_in_document_terminal_and_page(registered, tmp_path, capsys):
    found = mammorisk.evaluate(run_directory("model=lmv_net"), folder=tmp_path, population_incidence=0.02, **FEW)
    measures = json.loads((tmp_path / "metrics.json").read_text())["groups"]["all"]["measures"]
    for year in range(1, 6):
        assert 0 <= measures[f"Year {year} {NAME}"]["estimate"] <= 1
    capsys.readouterr()
    print_lines(evaluation_tables(found))
    assert f"Year 5 {NAME} (weighted)" in capsys.readouterr().out
    page = (tmp_path / "report.html").read_text()
    value = measures[f"Year 5 {NAME}"]["estimate"]
    places = re.findall(rf'data-key="([^"]+/Year 5 {NAME}/estimate)" data-value="{value}" data-form=".1%"', page)
    assert places.count(f"/groups/all/measures/Year 5 {NAME}/estimate") == 3  # headlines, subgroups, all years
    assert any(place.startswith("/true_risk/") for place in re.findall(r'data-key="([^"]+)"', page) if NAME in place)
    assert '<th scope="row">Sensitivity as a newcomer defines it</th>' in page  # the table of years


def test_a_registered_measure_is_compared(registered, tmp_path, capsys):
    table = phantom_predictions(500)
    made = {"checkpoint": "a.pth", "checkpoint_sha256": "0", "split": "test", "version": "0", "date": ""}
    cohort = dict.fromkeys(("name", "csv_file", "csv_sha256", "split", "unit"), "")
    cohort |= {"attrition": [], "notes": [], "is_phantom": True}
    models = [ComparedModel(name, tmp_path, table, made, {"name": name}, cohort) for name in ("one", "other")]
    comparison = comparison_document(models, EvaluationSettings(bootstrap_samples=5))
    assert comparison["differences"]["other"]["all"]["measures"][f"Year 5 {NAME}"]["estimate"] == 0
    assert f"Year 1 {NAME}" in set(comparison_table(comparison)["measure"])
    print_lines(comparison_tables(comparison))
    assert f"Year 5 {NAME}" in capsys.readouterr().out
    write_comparison_page(comparison, tmp_path / "x")
    assert f"/differences/other/all/measures/Year 5 {NAME}/estimate" in (tmp_path / "x").read_text()


def test_every_measure_is_defined_and_every_definition_is_measured():
    rows = small_cohort(7, largest=80)
    names = list(AllMeasures(rows, cohort_cuts(rows)).of(np.ones((rows.patients, 1))))
    assert [name for name in names if find_measure(name) is None] == []
    for measure in registry.all_measures():
        called = [name for name in names if measure.is_called(name)]
        assert called
        assert all(name.startswith("Year ") == measure.yearly for name in called)
    for name in names:
        assert sum(measure.is_called(name) for measure in registry.all_measures()) == 1
    wanted = [each for measure in registry.all_measures() for each in (measure.headline, measure.by_group) if each]
    assert {each.format(year=5, last=5) for each in wanted} <= set(names)


def test_a_measure_without_definition_is_refused(monkeypatch):
    nameless = Family((), of_year=lambda year: {f"Year {year.k + 1} luck": year.pair_counts.total})
    monkeypatch.setattr(registry, "FAMILIES", (*registry.FAMILIES, nameless))
    with pytest.raises(ValueError, match="defines no Year 1 luck"):
        evaluate_rows(small_cohort(7, largest=80), {}, Settings(bootstrap_samples=2))


def test_the_order_of_risks_alone_makes_a_ranking():
    ranks = [name for name in measure_names() if is_ranking(name)]
    assert ranks == [name for name in measure_names() if "AUC" in name or "C-index" in name]
    assert not is_ranking("Validation NCC")


def test_headlines_are_those_that_were_measured():
    assert headlines(["Year 1 AUC", "Year 2 AUC", "other", "C-index"]) == ["C-index", "Year 1 AUC", "Year 2 AUC"]
    assert "Year 5 PPV, top 10 %" in headlines(measure_names())
    names = ["Year 5 calibration slope", "Year 5 calibration intercept"]
    assert (headlines(names), headlines(names, in_terminal=True)) == (names, names[:1])
    assert group_measures(measure_names()) == ["C-index", "Year 5 AUC", "Year 5 expected/observed"]
    assert (last_year(measure_names()), last_year([])) == (5, 0)
