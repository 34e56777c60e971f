from __future__ import annotations

import math

import pytest
import torch

from mammorisk.errors import UserError
from mammorisk.weights.tensor_checks import (
    check_bytes,
    check_finite,
    check_types,
    converted,
    is_dense,
    not_finite,
    type_name,
)

CUBE = torch.zeros(2, 3, 4, 5)


@pytest.mark.parametrize(
    "tensor",
    [
        CUBE,
        CUBE.to(memory_format=torch.channels_last),
        CUBE.permute(3, 0, 2, 1),
        CUBE[1],
        CUBE[:, :0],
        torch.tensor(1.0),
    ],
)
def test_tensors_that_fill_their_place_are_dense(tensor):
    assert is_dense(tensor.shape, tensor.stride())


@pytest.mark.parametrize(
    "tensor", [CUBE[:, 1], CUBE[..., ::2], torch.zeros(1).expand(3), CUBE.as_strided((3, 3), (1, 1))]
)
def test_tensors_with_gaps_or_of_one_number_are_not(tensor):
    assert not is_dense(tensor.shape, tensor.stride())


def test_numbers_that_are_none_are_counted():
    assert not_finite(torch.tensor([1.0, math.nan, math.inf, -math.inf])) == 3
    assert not_finite(torch.tensor([1, 2])) == not_finite(torch.zeros(3, device="meta")) == 0


def test_the_first_such_tensor_is_named():
    state = {"a": torch.zeros(3), "b.c": torch.tensor([0.0, math.nan]), "d": torch.tensor(math.inf)}
    with pytest.raises(UserError, match=r"w\.pth cannot be used: 1 of 2 numbers of the tensor b\.c are NaN"):
        check_finite(state, "w.pth")
    check_finite({"a": torch.zeros(3)}, "w.pth")


def test_complex_numbers_are_refused():
    with pytest.raises(UserError, match="the tensor b is complex64"):
        check_types({"a": torch.zeros(1), "b": torch.zeros(1, dtype=torch.complex64)}, "w.pth")


def test_tensors_may_share_numbers_a_few_times():
    check_bytes([torch.zeros(25)] * 4, 100, "w.pth")
    with pytest.raises(UserError, match=r"w\.pth are inconsistent: the tensors have 500 bytes, and the file has 100"):
        check_bytes([torch.zeros(25)] * 5, 100, "w.pth")


def test_numbers_of_another_precision_are_converted_and_told():
    state = {"a": torch.ones(2).double(), "b": torch.ones(2).half(), "c": torch.ones(2), "n": torch.tensor(3)}
    found, note = converted(state, dict.fromkeys(state, torch.float32))
    assert {name: type_name(tensor) for name, tensor in found.items()} == {
        "a": "float32",
        "b": "float32",
        "c": "float32",
        "n": "int64",  # no precision, another kind
    }
    assert note == "1 tensors are float64 and are used as float32, 1 tensors are float16 and are used as float32"
    assert converted(found, dict.fromkeys(state, torch.float32)) == (found, "")
