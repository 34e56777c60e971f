import pytest

from mammorisk.metrics.definitions import Measure, names_of


def test_a_name_is_known_with_and_without_its_year_and_whatever_its_cut():
    measure = Measure("net benefit at <threshold> %", "")
    for name in ("net benefit at 2 %", "Year 5 net benefit at 0.5 %", "Year 12 net benefit at 1e-05 %"):
        assert measure.is_called(name)
    for name in ("net benefit at 2 %, all", "net benefit at all %", "Year x net benefit at 2 %", "dynamic AUC"):
        assert not measure.is_called(name)
    assert not Measure("AUC", "").is_called("dynamic AUC")
    assert not Measure("C-index", "").is_called("C-index (literature)")


def test_what_is_not_yearly_is_a_headline():
    assert Measure("C-index", "", yearly=False).headline_name == "C-index"
    assert Measure("AUC", "").headline_name == ""
    assert Measure("AUC", "", headline="Year {last} AUC").headline_name == "Year {last} AUC"


def test_headlines_are_of_each_year_or_of_the_last():
    assert names_of("Year {year} AUC", 3) == ["Year 1 AUC", "Year 2 AUC", "Year 3 AUC"]
    assert names_of("Year {last} AUC", 3) == ["Year 3 AUC"]
    assert names_of("C-index", 3) == ["C-index"]
    assert names_of("", 3) == []


@pytest.mark.parametrize("wrong", [{"section": "Others"}, {"better": "up"}])
def test_a_definition_that_no_report_could_show_is_refused(wrong):
    with pytest.raises(ValueError, match="expected a section"):
        Measure("AUC", "", **wrong)
