from helpers.evaluation_documents import measure_names

from mammorisk.report.page_tables import headlines, is_weighted, last_year, subgroup_measures, year_tables


def test_every_yearly_measure_stands_in_one_table_and_one_column():
    names = [name for name in measure_names() if name.startswith("Year")]
    shown = [name for table in year_tables(measure_names()) for row in table.rows.values() for name in row.values()]
    assert sorted(shown) == sorted(names)
    assert all(table.years == [1, 2, 3, 4, 5] for table in year_tables(names))


def test_measures_are_with_their_kind():
    kinds = {table.heading: set(table.rows) for table in year_tables(measure_names())}
    assert kinds["Discrimination and error"] == {"AUC", "Brier score"}
    assert kinds["Risk by tenth of predicted risk"] == {"predicted risk, decile 1"}
    assert "expected/observed" in kinds["Calibration"]
    assert "PPV, top 10 %" in kinds["Highest-risk shares"]


def test_headlines_are_those_that_were_measured():
    assert headlines(["Year 1 AUC", "Year 2 AUC", "other", "C-index"]) == ["C-index", "Year 1 AUC", "Year 2 AUC"]
    assert "Year 5 PPV, top 10 %" in headlines(measure_names())
    assert subgroup_measures(measure_names()) == ["C-index", "Year 5 AUC", "Year 5 expected/observed"]
    assert (last_year(measure_names()), last_year([])) == (5, 0)


def test_the_order_of_risks_is_never_weighted():
    made = {"population_incidence": 0.02}
    assert is_weighted("Year 1 PPV, top 1 %", made)
    assert not is_weighted("Year 1 AUC", made)
    assert not is_weighted("Year 1 PPV, top 1 %", {"population_incidence": None})
