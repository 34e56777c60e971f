from helpers.evaluation_documents import comparison_document

from mammorisk.report.comparison_page import comparison_figures


def test_a_comparison_lays_the_models_over_each_other():
    figures = comparison_figures(comparison_document(("lmv_net", "mirai", "oa_breacr")))
    assert list(figures) == ["roc-1", "roc-5", "calibration", "decision", "forest"]
    for name in ("lmv_net", "mirai", "oa_breacr"):
        assert f">{name}</text>" in figures["roc-5"]
        assert f">{name}</text>" in figures["calibration"]


def test_the_forest_shows_differences_to_the_reference():
    forest = comparison_figures(comparison_document(("lmv_net", "mirai", "oa_breacr")))["forest"]
    assert "Difference of C-index to lmv_net" in forest
    assert ">mirai</text>" in forest
    assert ">oa_breacr</text>" in forest
    assert ">lmv_net</text>" not in forest
