import itertools
import json
import re
from html.parser import HTMLParser

import pytest
from helpers.evaluation_documents import comparison_document, example_exams, metrics_document
from helpers.sweep_directories import mixed_sweep

from mammorisk.report.numbers import rounded
from mammorisk.report.page import write_comparison_page, write_evaluation_page, write_sweep_page
from mammorisk.sweeps.document import sweep_document

VOID = {"meta", "link", "img", "br", "input", "hr"}


class Page(HTMLParser):
    """Elements with their attributes, text and ancestors."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        element = {"tag": tag, "attributes": dict(attributes), "text": "", "inside": list(self.open)}
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag, attributes):
        self.elements.append({"tag": tag, "attributes": dict(attributes), "text": "", "inside": list(self.open)})

    def handle_endtag(self, tag):
        assert self.open.pop()["tag"] == tag

    def handle_data(self, data):
        for element in self.open:
            element["text"] += data

    def having(self, attribute):
        return [element for element in self.elements if attribute in element["attributes"]]

    def tagged(self, *tags):
        return [element for element in self.elements if element["tag"] in tags]


def written(folder, kind):
    path = folder / f"{kind}.html"
    if kind == "evaluation":
        document = metrics_document()
        write_evaluation_page(document, example_exams(), path)
    else:
        document = comparison_document()
        write_comparison_page(document, path)
    return json.loads(json.dumps(document)), path.read_text()


@pytest.fixture(scope="module", params=["evaluation", "comparison"])
def page(request, tmp_path_factory):
    document, text = written(tmp_path_factory.mktemp("page"), request.param)
    return document, text, Page(text)


def resolve(document, pointer):
    for step in pointer.split("/")[1:]:
        step = step.replace("~1", "/").replace("~0", "~")
        document = document[int(step) if isinstance(document, list) else step]
    return document


def test_every_number_is_that_of_the_document_and_its_text_is_rounded_from_it(page):
    document, _, read = page
    numbers = [element for element in read.having("data-key") if "data-value" in element["attributes"]]
    assert len(numbers) > 150
    for element in numbers:
        attributes = element["attributes"]
        value = resolve(document, attributes["data-key"])
        assert repr(value) == attributes["data-value"]
        assert element["text"] == rounded(value, attributes["data-form"])


def test_only_risks_of_examples_are_numbers_from_elsewhere(page):
    _, _, read = page
    for element in read.having("data-value"):
        if "data-key" not in element["attributes"]:
            assert any(each["attributes"].get("class") == "example" for each in element["inside"])


def test_missing_numbers_are_dashes_with_a_reason(page):
    document, text, read = page
    missing = [element for element in read.having("data-key") if "data-value" not in element["attributes"]]
    assert missing
    for element in missing:
        assert resolve(document, element["attributes"]["data-key"]) is None
        assert re.fullmatch(r"– \S.+", element["text"])
    assert not re.search(r">\s*(nan|None|inf)\b", text)


def test_every_measure_of_the_whole_cohort_is_shown(page):
    document, _, read = page
    path = "/groups/all/measures" if "model" in document else "/differences/mirai/all/measures"
    keys = {element["attributes"]["data-key"] for element in read.having("data-key")}
    for name in resolve(document, path):
        assert f"{path}/{name.replace('/', '~1')}/estimate" in keys


def test_groups_too_small_say_so(page):
    assert page[1].count("too small: 2 patients with an event and 9 without; at least 5 of each are needed") >= 1


def test_what_users_wrote_is_escaped(page):
    document, text, read = page
    assert not read.tagged("script")
    assert "race: &lt;b&gt;A &amp; B/C~D&lt;/b&gt;" in text
    assert "one &lt;note&gt;" in text
    assert "run=&lt;x&gt;" in text
    assert "model" not in document or "&lt;script&gt;alert(1)" in text


def test_it_needs_nothing_but_itself(page):
    _, text, read = page
    policy = next(e["attributes"]["content"] for e in read.having("http-equiv"))
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    for attribute in ("src", "href", "xlink:href"):
        for element in read.having(attribute):
            assert element["attributes"][attribute].startswith(("#", "data:"))
    assert not re.search(r"@import|url\((?!#)", text)


def test_headings_are_in_order_and_ids_unique(page):
    _, _, read = page
    levels = [int(each["tag"][1]) for each in read.tagged("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    ids = [element["attributes"]["id"] for element in read.having("id")]
    assert len(ids) == len(set(ids))
    anchors = [each["attributes"]["href"][1:] for each in read.tagged("a")]
    assert anchors
    assert set(anchors) <= set(ids)


def test_tables_and_figures_are_named_for_those_who_do_not_see_them(page):
    _, _, read = page
    assert read.tagged("html")[0]["attributes"]["lang"] == "en"
    assert len(read.tagged("table")) == len(read.tagged("caption")) > 3
    assert all(each["attributes"].get("scope") for each in read.tagged("th"))
    assert all(each["attributes"]["role"] == "img" for each in read.tagged("svg"))
    assert all(each["attributes"]["alt"] for each in read.tagged("img"))
    assert all(
        each["attributes"]["tabindex"] == "0" for each in read.elements if each["attributes"].get("class") == "box"
    )


def test_the_same_numbers_make_the_same_page(page, tmp_path):
    if "model" in page[0]:
        assert written(tmp_path, "evaluation") == page[:2]
    else:
        assert written(tmp_path, "comparison") == page[:2]


def test_examples_are_shown_with_their_pictures(page):
    document, text, read = page
    if "model" in document:
        assert len(read.tagged("img")) == 4
        assert "Cancer in year 2" in text
        assert "p2/e&lt;2&gt;" in text
    else:
        assert "Example exams" not in text


def test_a_page_that_cannot_be_made_leaves_the_old_one(tmp_path):
    (tmp_path / "report.html").write_text("old")
    document = metrics_document()
    del document["cohort"]["csv_sha256"]
    with pytest.raises(Exception, match="csv_sha256"):
        write_evaluation_page(document, [], tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text() == "old"


def test_the_page_of_a_sweep_shows_the_numbers_of_its_document_and_links_to_the_runs(tmp_path):
    document = sweep_document(mixed_sweep(tmp_path / "sweep"))
    write_sweep_page(document, tmp_path / "sweep.html")
    text = (tmp_path / "sweep.html").read_text()
    read = Page(text)
    numbers = read.having("data-value")
    assert len(numbers) > 40
    for element in numbers:
        value = resolve(document, element["attributes"]["data-key"])
        assert repr(value) == element["attributes"]["data-value"]
        assert element["text"] == rounded(value, element["attributes"]["data-form"])
    links = [each["attributes"]["href"] for each in read.tagged("a") if not each["attributes"]["href"].startswith("#")]
    assert links == [job["link"] for job in document["jobs"] if job["link"]]
    assert len(links) == 5
    assert "batch &lt;1&gt;" in text
    assert not read.tagged("script")
    assert "TRIPOD" not in text
    assert not re.search(r">\s*(nan|None|inf)\b", text)
    assert all(each["attributes"].get("scope") for each in read.tagged("th"))
    ids = [element["attributes"]["id"] for element in read.having("id")]
    assert len(ids) == len(set(ids))
