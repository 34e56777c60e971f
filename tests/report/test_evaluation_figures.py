import pytest
from helpers.evaluation_documents import metrics_document

from mammorisk.report import evaluation_figures as figures

CURVES = metrics_document()["curves"]


def lines(svg):
    """Drawn paths of series."""
    return svg.count("var(--series-")


def test_a_roc_curve_that_is_not_defined_is_left_out():
    both = figures.roc_figure({"year 1": CURVES["roc"]["1"], "year 2": CURVES["roc"]["2"]}, "roc", "t")
    assert ">year 2</text>" in both
    assert ">year 1</text>" not in both


def test_calibration_draws_a_panel_a_year_and_names_several_models():
    one = figures.calibration_figure({"year 5": {"model": CURVES["calibration"]["5"]}}, "c", "t")
    two = figures.calibration_figure({"year 5": dict.fromkeys(("a", "b"), CURVES["calibration"]["5"])}, "c", "t")
    assert ">year 5</text>" in one
    assert ">a</text>" not in one
    assert ">a</text>" in two
    assert ">b</text>" in two


@pytest.mark.parametrize("kind", ["calibration", "decision", "distribution", "incidence", "roc"])
def test_numbers_that_are_missing_leave_gaps_not_errors(kind):
    empty = {"predicted": [None] * 10, "observed": [None] * 10, "low": [None] * 10, "high": [None] * 10}
    none = {"threshold": [0.1], "model": [None], "all": [None]}
    bars = {"edges": [0, 1], "cases": [0], "controls": [0], "year": 5}
    svg = {
        "calibration": lambda: figures.calibration_figure({"year 1": {"model": empty}}, "f", "t"),
        "decision": lambda: figures.decision_figure({"model": none}, "f", "t"),
        "distribution": lambda: figures.distribution_figure(bars, "f", "t"),
        "incidence": lambda: figures.incidence_figure([], "f", "t"),
        "roc": lambda: figures.roc_figure({"year 1": CURVES["roc"]["1"]}, "f", "t"),
    }[kind]()
    assert svg.startswith("<svg")
    assert "nan" not in svg.replace("nance", "")


def test_the_distribution_says_how_many_there_are_of_each():
    bars = {"edges": [0, 0.1, 0.2], "cases": [1, 2], "controls": [1000, 200], "year": 5}
    svg = figures.distribution_figure(bars, "d", "t")
    assert "cases (n = 3)" in svg
    assert "controls (n = 1,200)" in svg
    assert "5-year risk" in svg


def test_decision_and_incidence_name_their_lines():
    assert ">mirai</text>" in figures.decision_figure({"mirai": CURVES["decision"]["5"]}, "d", "t")
    assert lines(figures.incidence_figure(CURVES["incidence"]["groups"], "i", "t")) >= 4
