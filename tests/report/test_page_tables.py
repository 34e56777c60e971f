from helpers.evaluation_documents import measure_names

from mammorisk.report.page_tables import is_weighted, year_tables


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


def test_a_table_of_weighted_measures_alone_is_weighted():
    made = {"population_incidence": 0.02}
    weighted = {table.heading: table.is_weighted(made) for table in year_tables(measure_names())}
    assert [heading for heading, each in weighted.items() if not each] == ["Discrimination and error"]
    assert not any(table.is_weighted({"population_incidence": None}) for table in year_tables(measure_names()))


def test_a_measure_of_another_version_stands_with_the_first():
    (table,) = year_tables(["Year 2 luck"])
    assert (table.heading, table.rows) == ("Discrimination and error", {"luck": {2: "Year 2 luck"}})


def test_the_order_of_risks_is_never_weighted():
    made = {"population_incidence": 0.02}
    assert is_weighted("Year 1 PPV, top 1 %", made)
    assert not is_weighted("Year 1 AUC", made)
    assert not is_weighted("Year 1 PPV, top 1 %", {"population_incidence": None})
