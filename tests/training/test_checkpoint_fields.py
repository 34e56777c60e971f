from __future__ import annotations

import math

import pytest
import torch

from mammorisk.training.checkpoint_fields import (
    BadEntry,
    Reader,
    count,
    dict_of,
    items,
    list_of,
    nothing_or,
    number,
    plain,
    record,
    tensor,
    text,
)
from mammorisk.weights.pickle_records import Storage, TensorView


def reader(entries: int = 100) -> Reader:
    """Tensors of consecutive numbers; 1000 bytes of them."""
    return Reader(
        lambda view: torch.arange(math.prod(view.size), dtype=view.storage.dtype).view(view.size), 1000, entries
    )


def view(*size: int, stride: tuple[int, ...] | None = None, key: str = "0", dtype: torch.dtype = torch.float32):
    strides = tuple(torch.empty(size).stride()) if stride is None else stride
    return TensorView(Storage(key, dtype, 1000, 0, 1000), 0, size, strides)


ROW = record(a=count(), b=nothing_or(text(3)))


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        (count(2, 3), 2),
        (number, -0.5),
        (number, math.nan),
        (text(2, lines=True), "a\n"),
        (items(count(), number), [1, 2.0]),
        (list_of(count()), []),
        (dict_of(number), {"a": 1.0}),
        (dict_of(number, key=int), {7: 1.0}),
        (ROW, {"a": 1, "b": None}),
        (plain, [1, (None, True, "a", -math.inf)]),
    ],
)
def test_values_of_their_type_stay_as_they_are(type_, value):
    found = type_(value, "x", reader())
    assert found is value or found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("type_", "value", "told"),
    [
        (count(2, 3), 4, "x: expected 2 to 3, found another number"),
        (count(), True, "x: expected a whole number, found a bool"),
        (count(), 1.0, "x: expected a whole number, found a float"),
        (number, "1", "x: expected a number, found a str"),
        (number, 10**400, "x: expected a number"),
        (text(2), "abc", "at most 2 letters, found 3"),
        (text(2), "\n", r"a text that can be printed, found '\n'"),
        (text(2, lines=True), "\ud800", "a text that can be printed"),
        (items(count()), [1, 2], "x: expected a list of 1, found a list of 2"),
        (items(count()), ["1"], r"x.0: expected a whole number"),
        (list_of(count(), most=1), [1, 2], "a list of at most 1, found a list of 2"),
        (dict_of(number), [1.0], "x: expected a dict, found a list of 1"),
        (dict_of(number), {7: 1.0}, "expected a str"),
        (dict_of(number, key=int), {"a": 1.0}, "expected a int"),
        (dict_of(number), {"\x1b": 1.0}, r"an entry named '\x1b'"),
        (ROW, {"a": 1}, "x.b: it is not there"),
        (ROW, {"a": 1, "b": None, "c": 1}, "x.c: no checkpoint has such an entry"),
        (ROW, {"a": 1, "b": "abcd"}, "x.b: expected a text of at most 3"),
        (plain, math.nan, "x: expected a number, found NaN"),
        (plain, {"a": 1}, "x: expected a number, a name or a tensor, found a dict"),
        (plain, [[[[[1]]]]], "x.0.0.0.0: expected a number, a name"),
        (tensor(), None, "x: expected a tensor, found nothing"),
    ],
)
def test_others_are_named_with_what_was_expected(type_, value, told):
    with pytest.raises(BadEntry) as caught:
        type_(value, "x", reader())
    assert told in str(caught.value)


def test_tensors_of_their_type_are_read():
    wanted = tensor([torch.int64], (2, 3), within=(0, 5))
    assert wanted(view(2, 3, dtype=torch.int64), "x", reader()).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert tensor()(view(3, 2, stride=(1, 3)), "x", reader()).shape == (3, 2)  # in another order of its axes
    assert tensor()(view(0, 3), "x", reader()).numel() == 0


@pytest.mark.parametrize(
    ("type_", "given", "told"),
    [
        (tensor([torch.int64]), view(2), "x: expected int64, found float32"),
        (tensor(shape=(3,)), view(2), "the shape [3], found [2]"),
        (tensor(within=(0, 4)), view(6), "numbers from 0 to 4, found others"),
        (tensor(), view(3, 3, stride=(0, 1)), "do not lie one after another (shape [3, 3], strides [0, 1])"),
        (tensor(), view(3, stride=(2,)), "do not lie one after another"),
        (tensor(), view(251), "more bytes together than the file"),
    ],
)
def test_other_tensors_are_named(type_, given, told):
    with pytest.raises(BadEntry) as caught:
        type_(given, "x", reader())
    assert told in str(caught.value)


def test_numbers_in_common_are_told_unless_they_are_allowed():
    once, shared = tensor(), tensor(shared=True)
    here = reader()
    shared(view(2), "a", here)
    once(view(2), "b", here)
    shared(view(2), "c", here)
    once(view(2, key="1"), "d", here)
    with pytest.raises(BadEntry, match="e: has its numbers in common with b"):
        once(view(2), "e", here)


ROW_OF_20 = [1.0] * 20


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        (list_of(number), [1.0] * 101),
        (list_of(list_of(number)), [ROW_OF_20] * 20),
        (dict_of(number), {f"a{i}": 1.0 for i in range(101)}),
        (list_of(dict_of(number)), [dict.fromkeys("abcdefghijklmnopqrst", 1.0)] * 20),
        (plain, [ROW_OF_20] * 20),
        (items(list_of(number), list_of(number)), [[1.0] * 60, [1.0] * 60]),
    ],
)
def test_each_visit_of_an_entry_counts(type_, value):
    with pytest.raises(BadEntry, match="name each other over and over"):
        type_(value, "x", reader())
    type_(value, "x", reader(1000))
