from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
from torch import nn

from mammorisk.component_values import is_path, takes_component, value_problem, words


def parameter(hint: Any) -> inspect.Parameter:
    return inspect.Parameter("x", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=hint)


@pytest.mark.parametrize(
    ("hint", "right", "wrong"),
    [
        (int, [1, -5], [1.5, True, "1", None, [1], {}]),
        (float, [1, 0.5], [True, "1", None, float("nan"), float("inf")]),
        (bool, [True, False], [0, 1, "true", None]),
        (str, ["a", ""], [1, None, "???", "x" * 2000]),
        (int | None, [1, None], [1.5, "1"]),
        (Literal["a", "b"], ["a", "b"], ["c", None, 1, ["a"]]),
        (Literal[0, 1], [0, 1], [True, False, "0"]),
        (Sequence[int], [[], [1, 2]], ["12", [1.5], [True], 1, {"a": 1}]),
        (tuple[int, int], [[1, 2]], [[1], [1, 2, 3], ["a", "b"]]),
        (tuple[float, ...], [[], [1, 2.5, 3]], [["a"]]),
        (Sequence[Sequence[int]], [[[1], []]], [[1]]),
        (Mapping[str, float], [{}, {"a": 1}], [{"a": "b"}, [1]]),
        (list, [[1, "a"]], [{}, [nn.Linear]]),
        (Any, [1, "a", None, [1], {"a": [1]}], [nn.Linear]),
        (nn.Module, [], [1, "a", None, {"a": 1}]),
        (nn.Module | None, [None], ["a", 1]),
        (Callable[[int], int], [], ["a", None]),
        (inspect.Parameter.empty, [1, "a"], []),
    ],
)  # fmt: skip
def test_values_are_of_the_annotated_type(hint, right, wrong):
    assert [value for value in right if value_problem(value, parameter(hint)) is not None] == []
    assert [value for value in wrong if value_problem(value, parameter(hint)) is None] == []


@pytest.mark.parametrize(
    ("hint", "takes"),
    [(nn.Module, True), (nn.Module | None, True), (Callable[[int], int], True), (Any, True), (int, False),
     (str | None, False), (Literal["a"], False), (Sequence[int], False), (Path, False), (Mapping[str, int], False)],
)  # fmt: skip
def test_objects_go_where_the_annotation_leaves_room_for_one(hint, takes):
    assert takes_component(parameter(hint)) is takes


def test_a_path_is_told_by_its_name_its_type_or_in_own_components_by_its_look():
    assert is_path("cache", "x", parameter(str | None), own=False)
    assert is_path("cache", None, parameter(str | None), own=False)
    assert not is_path("cache", 5, parameter(str | None), own=False)
    assert is_path("weights", "x", parameter(str | Path | None), own=False)
    assert not is_path("name", "a/b", parameter(str), own=False)
    for text in ("a/b", "~x", "..", "c:\\x", "https://x"):
        assert is_path("name", text, parameter(str), own=True)
        assert not is_path("name", text, parameter(Literal["a/b"]), own=True)
    assert not is_path("name", "resnet18", parameter(str), own=True)


def test_types_are_told_in_words():
    assert words(Sequence[int] | None) == "a list of a whole number or null"
    assert words(Literal["a", "b"]) == "a or b"
    assert words(nn.Module) == "a component (Module)"
