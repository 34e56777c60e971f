from __future__ import annotations

import torch

from mammorisk.weights.pickle_records import Inert, Name, Storage, is_count, kind_of, printable


def test_counts_and_texts_of_a_file():
    assert [is_count(value) for value in (0, 5, -1, True, 1.0, "1", 1 << 50)] == [True, True] + [False] * 5
    assert printable("a\x1b[31m\nb" + "c" * 200) == r"a\x1b[31m\nb" + "c" * 92


def test_records_are_told_apart_by_what_they_are_not_by_what_they_hold():
    """A file cannot make two of them equal, or have one compare its parts."""
    one, other = (Inert("onconet.x.Net", {"a": 1}) for _ in range(2))
    assert one != other
    assert one == one
    assert len({one, other, Storage("0", torch.uint8, 1, 0, 1)}) == 3


def test_values_are_named_in_messages():
    assert kind_of(Inert("onconet.x.Net")) == kind_of(Name("onconet.x.Net")) == "onconet.x.Net"
    assert [kind_of(value) for value in ([], 1, None)] == ["a list", "a int", "a NoneType"]
