import pytest

from mammorisk.report.numbers import Numbers, form_of, is_number, pointer, rounded

DOCUMENT = {
    "a": {"Year 5 expected/observed": {"estimate": 1.23456789, "low": -0.5, "high": 2.0}, "none": None, "list": [3, True]},
    "open": {"estimate": 0.5, "low": None, "high": None},
}


def test_a_number_says_where_it_stands_and_how_it_was_rounded():
    text = Numbers(DOCUMENT).show("a", "Year 5 expected/observed", "estimate")
    assert 'data-key="/a/Year 5 expected~1observed/estimate"' in text
    assert 'data-value="1.23456789" data-form=".3f">1.235<' in text
    assert 'data-value="3" data-form=",">3<' in Numbers(DOCUMENT).show("a", "list", 0, form=",")


@pytest.mark.parametrize("path", [("a", "none"), ("a", "missing"), ("a", "list", 1), ("a", "list", 9)])
def test_what_is_no_number_is_a_dash_with_its_reason(path):
    text = Numbers(DOCUMENT).show(*path, why="<no> draws")
    assert "–" in text and "&lt;no&gt; draws" in text and "data-value" not in text


def test_an_interval_has_its_ends_or_says_why_not():
    assert "1.23" in Numbers(DOCUMENT).interval("a", "Year 5 expected/observed", form=".2f")
    assert Numbers(DOCUMENT).interval("a", "Year 5 expected/observed").count("data-key") == 3
    assert "no interval" in Numbers(DOCUMENT).interval("open")


def test_rounding_has_a_true_minus_and_no_negative_zero():
    assert (rounded(-0.1234, ".3f"), rounded(-0.0001, ".3f"), rounded(12345, ",")) == ("−0.123", "0.000", "12,345")


def test_pointers_escape_what_would_be_read_as_a_step():
    assert pointer("a/b", "c~d", 3) == "/a~1b/c~0d/3"


def test_shares_are_percentages_and_not_a_number_is_none():
    assert (form_of("Year 1 PPV, top 1 %"), form_of("Integrated Brier score"), form_of("C-index")) == (".1%", ".4f", ".3f")
    assert not is_number(float("nan")) and not is_number(True) and is_number(0)
