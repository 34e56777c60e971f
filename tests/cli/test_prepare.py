from __future__ import annotations

import pytest
from helpers.cohort_checks import prepare

from mammorisk.cli.prepare import ACTIONS


def test_help_names_every_action():
    answer = prepare("--help")
    assert answer.returncode == 0
    assert [f"  {name:8} {text}" in answer.stdout for name, text in ACTIONS.items()] == [True] * len(ACTIONS)


def test_an_unknown_action_ends_with_2():
    answer = prepare("chekc")
    assert answer.returncode == 2
    assert "'chekc': expected cohort, images, check." in answer.stderr


@pytest.mark.parametrize("words", [("a.csv", "b.csv"), ("dataset.colour=red",)])
def test_mistakes_in_words_end_with_the_status_of_the_action(words):
    answer = prepare("check", *words)
    assert answer.returncode == 2
    assert "Traceback" not in answer.stderr
    assert "Expected one cohort CSV" in answer.stderr or "dataset.colour" in answer.stderr
