from __future__ import annotations

import json

import pytest
import torch
from helpers.reference_blocks import REFERENCE

from mammorisk.weights.pickle_names import BUILDERS, admitted
from mammorisk.weights.pickle_records import Storage, TensorView, UnsafePickle

WHOLE = Storage("0", torch.float32, 12, 0, 12)
PART = Storage("0", torch.float32, 12, 6, 6)


def rebuilt(*arguments: object) -> TensorView:
    view = BUILDERS["torch._utils._rebuild_tensor_v2"]((*arguments, False, {}), lambda steps: None)
    assert isinstance(view, TensorView)
    return view


def test_everything_that_a_snapshot_names_is_admitted_as_data():
    names = json.loads((REFERENCE / "mirai_like_snapshot.globals.json").read_text())
    old = ["numpy.core.multiarray _reconstruct", "torch._utils _rebuild_tensor", "torch.nn.backends.thnn _backend"]
    for text in names + old:
        module, _, name = text.partition(" ")
        assert admitted(module, name).name == f"{module}.{name}"


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("builtins", "exec"),
        ("builtins", "list"),
        ("torch", "load"),
        ("torch", "hub.load"),
        ("numpy", "load"),
        ("torch", "nn"),
        ("onconetx.models", "Net"),
        ("onconet.models", "os.system"),
        ("onconet.", "x"),
        ("onconet.models;import os", "system"),
        ("torch.nn.modules\n", "Linear"),
        ("", "x"),
    ],
)
def test_nothing_else_is(module, name):
    with pytest.raises(UnsafePickle, match="refers to"):
        admitted(module, name)


def test_a_name_that_is_no_text_is_refused_unprinted():
    endless: list[object] = []
    endless.append(endless)
    for module in (endless, 10**5000, None):
        with pytest.raises(UnsafePickle, match="no text"):
            admitted(module, "x")


@pytest.mark.parametrize(
    ("storage", "offset", "size", "stride"),
    [(WHOLE, 0, (3, 4), (4, 1)), (WHOLE, 0, (4, 3), (1, 4)), (WHOLE, 11, (), ()), (PART, 2, (2, 2), (2, 1))],
)
def test_tensors_within_their_storage(storage, offset, size, stride):
    view = rebuilt(storage, offset, size, stride)
    assert (view.offset, view.size, view.stride) == (offset, size, stride)


def test_an_empty_tensor_needs_no_storage_to_lie_in():
    assert rebuilt(WHOLE, 99, (0, 5), (5, 1)).offset == 0


@pytest.mark.parametrize(
    ("storage", "offset", "size", "stride"),
    [
        (WHOLE, 1, (3, 4), (4, 1)),
        (WHOLE, 0, (13,), (0,)),
        (WHOLE, 0, (1 << 39,), (0,)),
        (WHOLE, 0, (2,), (12,)),
        (PART, 0, (7,), (1,)),
        (WHOLE, -1, (1,), (1,)),
        (WHOLE, 0, (-1,), (1,)),
        (WHOLE, 0, (2,), (-1,)),
        (WHOLE, 0, (2, 2), (1,)),
        (WHOLE, 0, [2], [1]),
        (WHOLE, True, (1,), (1,)),
        (WHOLE, 0, (1.0,), (1,)),
        (WHOLE, 0, (0, 1 << 40, 1 << 40), (1, 1, 1)),
        (WHOLE, 0, (1,) * 17, (1,) * 17),
        ("storage", 0, (1,), (1,)),
    ],
)
def test_tensors_beyond_it_are_refused(storage, offset, size, stride):
    with pytest.raises(UnsafePickle, match="damaged"):
        rebuilt(storage, offset, size, stride)


def test_containers_are_made_of_containers_only():
    spent: list[int] = []
    assert BUILDERS["collections.OrderedDict"](([["a", 1], (2, 3)],), spent.append) == {"a": 1}
    assert spent == [2]
    for arguments in ((5,), ([1],), ([["a"]],), ([], [])):
        with pytest.raises(UnsafePickle):
            BUILDERS["collections.OrderedDict"](arguments, spent.append)
    for arguments in (("abc",), ([], [])):
        with pytest.raises(UnsafePickle):
            BUILDERS["builtins.set"](arguments, spent.append)
    with pytest.raises(UnsafePickle, match="parameter without a tensor"):
        BUILDERS["torch._utils._rebuild_parameter"](({},), spent.append)
