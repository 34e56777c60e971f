from helpers.evaluation_documents import metrics_document

from mammorisk.report.evaluation_page import evaluation_figures, group_lines


def test_an_evaluation_has_all_its_figures_each_with_its_own_ids():
    figures = evaluation_figures(metrics_document())
    assert list(figures) == ["roc", "calibration", "distribution", "decision", "incidence", "forest"]
    assert all(f'id="{name}-title"' in svg and "1,234 samples of embed" in svg for name, svg in figures.items())


def test_lines_of_the_forest_have_counts_and_reasons():
    lines = group_lines({"model": metrics_document()["groups"]}, "C-index")
    assert [line.label for line in lines][:2] == ["all  (56/1,234)", "density: 1  (12/321)"]
    assert lines[2].reason == "too small: 2 patients with an event and 9 without"
    assert lines[0].intervals["model"] == metrics_document()["groups"]["all"]["measures"]["C-index"]
