from copy import deepcopy

import pytest
from helpers.evaluation_documents import REASON, metrics_document

from mammorisk.report.limitations import limitations, undefined_draws
from mammorisk.report.numbers import Numbers

DOCUMENT = metrics_document()


def said(change=lambda document: None):
    document = deepcopy(DOCUMENT)
    change(document)
    return " ".join(limitations(Numbers(document), ("groups",)))


@pytest.mark.parametrize(
    ("words", "change"),
    [
        ("synthetic", lambda document: document["cohort"].update(is_phantom=True)),
        ("weighted to a population of which", lambda document: document["made"].update(population_incidence=0.02)),
        ("too small to be measured well", lambda document: document["groups"]["all"].update(reason=REASON)),
    ],
)
def test_a_limitation_is_said_when_it_is_there(words, change):
    assert words not in said()
    assert words in said(change)


@pytest.mark.parametrize(
    ("words", "change"),
    [
        ("at least 100 events", lambda document: document["cohort"].update(patients_with_event=100)),
        ("One cohort", lambda document: document["cohort"].update(is_phantom=True)),
        ("case-control", lambda document: document["made"].update(population_incidence=0.02)),
        ("several samples each", lambda document: document["cohort"].update(samples=document["cohort"]["patients"])),
        ("Not measured, since too small", lambda document: document["groups"].popitem()),
        (
            "not defined in every bootstrap sample",
            lambda document: document["groups"]["all"]["measures"].pop("Year 1 AUC"),
        ),
        ("published with Mirai", lambda document: document["groups"]["all"]["measures"].pop("C-index (literature)")),
    ],
)
def test_and_not_when_it_is_not(words, change):
    assert words in said()
    assert words not in said(change)


def test_what_users_wrote_is_escaped():
    assert "race: &lt;b&gt;" in said()
    assert "<b>" not in said()


def test_undefined_draws_are_read_under_both_names():
    assert (undefined_draws({"undefined_draws": 3}), undefined_draws({"left_out": 4}), undefined_draws({})) == (3, 4, 0)
