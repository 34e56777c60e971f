from mammorisk.report.forest_figure import ForestLine, forest_figure

WHOLE = {"estimate": 0.7, "low": 0.6, "high": 0.8}
NONE = {"estimate": None, "low": None, "high": None}


def test_groups_that_were_not_measured_say_why():
    lines = [ForestLine("all", {"model": WHOLE}), ForestLine("tiny", {"model": NONE}, "too small: 1 woman")]
    svg = forest_figure(lines, 0.5, "C-index", "forest", "title")
    assert ">too small: 1 woman</text>" in svg and ">tiny</text>" in svg and ">C-index</text>" in svg


def test_several_models_are_told_apart():
    svg = forest_figure([ForestLine("all", {"a": WHOLE, "b": WHOLE})], 0.0, "difference", "forest", "title")
    assert ">a</text>" in svg and ">b</text>" in svg and "var(--series-2)" in svg


def test_an_estimate_without_interval_is_drawn():
    svg = forest_figure([ForestLine("all", {"a": {"estimate": 0.7, "low": None, "high": None}})], 0.5, "C", "f", "t")
    assert "var(--series-1)" in svg and "not defined" not in svg
