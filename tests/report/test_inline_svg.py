import re

from mammorisk.report.inline_svg import INK, SERIES, Drawing


def drawn(name="one", title="a <title>"):
    with Drawing(3, 2) as drawing:
        drawing.panels[0].plot([0, 1], [0, 1], color=SERIES[0], label="line")
        drawing.panels[0].legend()
        return drawing.svg(name, title)


def test_the_same_figure_is_the_same_text():
    assert drawn() == drawn()


def test_colours_are_the_pages_variables():
    text = drawn()
    assert "var(--series-1)" in text
    assert "var(--ink)" in text
    assert INK not in text
    assert SERIES[0] not in text


def test_ids_are_the_figures_own_and_all_that_is_referred_to_is_there():
    text = drawn("one")
    ids = set(re.findall(r'\bid="([^"]+)"', text))
    assert ids
    assert all(each.startswith("one-") for each in ids)
    referred = set(re.findall(r"url\(#([^)]+)\)", text)) | set(re.findall(r'href="#([^"]+)"', text))
    assert referred
    assert referred <= ids


def test_nothing_in_it_styles_or_leaves_the_page():
    text = drawn()
    assert text.startswith("<svg")
    assert "<style" not in text
    assert "<metadata" not in text
    assert "<?xml" not in text
    assert set(re.findall(r"https?://[^\"' ]+", text)) <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}


def test_it_has_a_name_for_those_who_do_not_see_it():
    assert 'role="img"' in drawn()
    assert "a &lt;title&gt;</title>" in drawn()
    assert ">line</text>" in drawn()  # text stays text


def test_a_name_with_dollars_is_a_name():
    with Drawing(2, 2) as drawing:
        drawing.panels[0].set_title(r"$\frac{$ of $5")
        assert r"$\frac{$ of $5" in drawing.svg("x", "title")
