from __future__ import annotations

import pytest
from helpers.evaluated_checkpoints import phantom_predictions

from mammorisk.evaluation.scored_split import parse_split
from mammorisk.evaluation.split_measures import as_json, measure, without_nan
from mammorisk.evaluation.terminal_tables import caveats, comparison_tables, evaluation_tables, print_lines
from mammorisk.metrics.registry import headlines
from mammorisk.metrics.risk_measures import Settings


@pytest.fixture(scope="module")
def metrics():
    split = parse_split(phantom_predictions(500))
    groups = without_nan(as_json(measure(split, Settings(bootstrap_samples=5, min_group_size=40))))
    cohort = {"name": "phantom", "split": "test", "samples": 1234, "unit": "exam", "patients": 500, "events": 99}
    made = {"confidence": 0.9, "population_incidence": 0.02}
    return {"cohort": cohort, "groups": groups, "made": made, "true_risk": {"groups": groups}, "recalibrated": None}


def test_headlines_with_intervals_and_groups(metrics, capsys):
    print_lines(evaluation_tables(metrics), "a line [with brackets]")
    printed = capsys.readouterr().out
    found = metrics["groups"]["all"]["measures"]["C-index"]
    assert f"{found['estimate']:.3f} [{found['low']:.3f}, {found['high']:.3f}]" in printed
    assert "1,234 samples (exam)" in printed
    assert "[90 % interval]" in printed
    assert "Year 5 calibration slope (weighted)" in printed
    assert "Year 5 AUC (weighted)" not in printed
    assert "too small" in printed  # a group
    assert "a line [with brackets]" in printed
    for name in headlines(metrics["groups"]["all"]["measures"], in_terminal=True):
        assert f" {name} " in printed
    assert "specificity, top" not in printed  # on the page alone


def test_a_comparison_shows_models_and_differences(metrics, capsys):
    groups = metrics["groups"]
    comparison = {
        **metrics,
        "runs": [{"name": "a"}, {"name": "b"}],
        "reference": "a",
        "groups": {"a": groups, "b": groups},
        "differences": {"b": groups},
    }
    print_lines(comparison_tables(comparison))
    assert "b less a" in capsys.readouterr().out


def test_a_small_cohort_is_doubted(metrics):
    assert caveats({"reason": ""}) == []
    assert "uncertain" in caveats({"reason": "3 patients with an event"})[0]
