from __future__ import annotations

import argparse
import collections
import io
import pickle
import time
from contextlib import suppress
from pathlib import Path

import pytest
from helpers.foreign_files import evil_pickles
from hypothesis import given, settings
from hypothesis import strategies as st

from mammorisk.weights.pickle_records import Inert, Name, Storage, TensorView, UnsafePickle
from mammorisk.weights.safe_pickle import PICKLE_MOST, STEPS_MOST, Pickle, read_pickle

EVIL = evil_pickles(Path("/nowhere/executed"))
PLAIN = {"a": [1, -2, 2**80, 2.5, None, True], "b": ("x", b"y", ()), "c": {"d": {}}, "long": "z" * 300}
HEAD = b"\x80\x02"
STORAGE = HEAD + b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x06"


def read(data: bytes) -> Pickle:
    return read_pickle(io.BytesIO(data))


@pytest.mark.parametrize("protocol", range(6))
def test_containers_and_scalars_are_as_python_reads_them(protocol):
    assert read(pickle.dumps({**PLAIN, "b": ("x", ())}, protocol=protocol)).content == {**PLAIN, "b": ("x", ())}
    if protocol > 2:  # before, bytes are a call of _codecs.encode, and stay one
        assert read(pickle.dumps(PLAIN, protocol=protocol)).content == PLAIN


@pytest.mark.parametrize("protocol", [2, 4])
def test_sets_and_ordered_dicts_are_lists_and_dicts(protocol):
    made = {"set": {1}, "ordered": collections.OrderedDict(a=1, b=[2])}
    assert read(pickle.dumps(made, protocol=protocol)).content == {"set": [1], "ordered": {"a": 1, "b": [2]}}


def test_objects_of_admitted_classes_are_records():
    namespace = read(pickle.dumps(argparse.Namespace(__setstate__=1, dropout=0.1), protocol=2)).content
    assert type(namespace) is Inert
    assert namespace.name == "argparse.Namespace"
    assert namespace.state == {"__setstate__": 1, "dropout": 0.1}


def test_one_pickle_is_read_and_the_next_one_left():
    file = io.BytesIO(pickle.dumps(1) + pickle.dumps("two") + b"rest")
    assert [read_pickle(file).content, read_pickle(file).content, file.read()] == [1, "two", b"rest"]


def test_a_storage_may_be_asked_for_whole_in_part_and_again():
    whole = read(STORAGE + b"tQ.")
    assert isinstance(whole.content, Storage)
    assert (whole.content.total, whole.content.numel, set(whole.storages)) == (6, 6, {"0"})
    part = read(STORAGE + b"X\x01\x00\x00\x00vK\x02K\x03\x87tQ.").content
    assert isinstance(part, Storage)
    assert (part.start, part.numel, part.total) == (2, 3, 6)
    assert isinstance(read(HEAD + b"(X\x06\x00\x00\x00moduleconconet.x\nNet\nNNtQ.").content, Name)


@pytest.mark.parametrize(
    "data",
    [
        STORAGE + b"X\x01\x00\x00\x00vK\x05K\x03\x87tQ.",
        STORAGE + b"K\x01tQ.",
        STORAGE + b"tQ0" + STORAGE[2:-1] + b"\x07tQ.",
        HEAD + b"(X\x07\x00\x00\x00storageconconet.x\nNet\nX\x01\x00\x00\x000NK\x01tQ.",
        HEAD + b"(X\x06\x00\x00\x00moduleK\x01tQ.",
        HEAD + b")Q.",
        HEAD + b"K\x01Q.",
    ],
    ids=["view beyond", "no view", "two sizes", "no storage type", "no class", "empty", "number"],
)
def test_other_persistent_ids_are_refused(data):
    with pytest.raises(UnsafePickle, match="damaged"):
        read(data)


@pytest.mark.parametrize("name", EVIL)
def test_pitfall_23_what_wants_to_run_is_refused_by_name(name):
    data, told = EVIL[name]
    with pytest.raises(UnsafePickle) as caught:
        read(data)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "damaged"),
        (b"hello world", "damaged"),
        (HEAD, "damaged"),
        (HEAD + b"K", "damaged"),
        (HEAD + b".", "loose part"),
        (HEAD + b"NN.", "loose part"),
        (HEAD + b"0.", "empty stack"),
        (HEAD + b"(0.", "empty stack"),
        (HEAD + b"t.", "mark"),
        (HEAD + b"h\x05.", "never stored"),
        (HEAD + b"NN\x85R.", "no class"),
        (HEAD + b"NNb.", "no"),
        (HEAD + b"N(K\x01K\x02u.", "sets items"),
        (HEAD + b"}(K\x01u.", "sets items"),
        (HEAD + b"N(K\x01e.", "appends"),
        (HEAD + b"K\x01K\x02\x93.", "no text"),
        (HEAD + b"conconet.x\nNet\nNR.", "calls"),
        (HEAD + b"X\xff\xff\xff\x7f", "more than 16 MiB"),
        (b"\x80\x04\x8d" + b"\xff" * 7 + b"\x7f", "more than 16 MiB"),
        (b"\x80\x04\x8e" + b"\xff" * 8, "damaged"),
        (HEAD + b"\x8b\xff\xff\xff\x7f", "more than 16 MiB"),
        (HEAD + b"I" + b"1" * 5000 + b"\n.", "damaged"),
    ],
)
def test_damaged_pickles(data, told):
    with pytest.raises(UnsafePickle, match=told):
        read(data)


def test_a_memo_of_four_billion_places_is_one_entry():
    assert read(HEAD + b"Nr\xff\xff\xff\xffj\xff\xff\xff\xff0.").content is None


def test_long_files_are_not_read_to_their_end():
    for data in (HEAD + b"N0" * STEPS_MOST, HEAD + b"N" * (STEPS_MOST + 10)):
        with pytest.raises(UnsafePickle, match="instructions"):
            read(data)
    with pytest.raises(UnsafePickle, match=r"damaged|more than"):
        read(b"c" + b"a" * (PICKLE_MOST + 100))


def test_depth_is_no_matter():
    """Tuples in tuples, lists that hold themselves, and their end: nothing of ours goes down into them."""
    deep = 300_000
    content = read(HEAD + b")" + b"\x85" * deep + b".").content
    assert isinstance(content, tuple)
    del content
    content = read(
        HEAD + b"conconet.x\nNet\nq\x00)\x81" + b"h\x00)\x81}X\x01\x00\x00\x00ah\x00)\x81sb" * 3 + b"0" * 3 + b"."
    )
    assert isinstance(content.content, Inert)
    endless = read(HEAD + b"]q\x00h\x00a.").content
    assert isinstance(endless, list)
    assert endless[0] is endless


def test_no_small_pickle_keeps_us_busy():
    items = b"(" + b"N" * 100_000 + b"l"
    sets = HEAD + items + b"\x85q\x000cbuiltins\nset\nq\x01" + b"0h\x01h\x00R" * 100_000 + b"."
    tensors = STORAGE + b"tQq\x010" + b"(" + b"K\x01" * 100_000 + b"tq\x02"
    tensors += b"ctorch._utils\n_rebuild_tensor\nq\x030" + b"(h\x01K\x00h\x02h\x02t0" * 50_000 + b"."
    ordered = HEAD + b"(" + b"N" * 100_000 + b"l\x85q\x000ccollections\nOrderedDict\nq\x01" + b"0h\x01h\x00R" * 100_000
    start = time.monotonic()
    assert read(sets).content
    assert isinstance(read(tensors).content, tuple)
    with pytest.raises(UnsafePickle):
        read(ordered)
    assert time.monotonic() - start < 15


INSTRUCTIONS = [
    *(bytes([code]) for code in b"()]}.012NbRQtleuasdo\x81\x85\x86\x87\x88\x89\x8f\x90\x91\x92\x93\x94"),
    *(code + b"\x00" for code in (b"h", b"q", b"K")),
    b"X\x07\x00\x00\x00storage",
    b"X\x01\x00\x00\x000",
    b"\x8c\x06system",
    b"\x8c\x09onconet.x",
    b"J\xff\xff\xff\xff",
    b"ctorch\nFloatStorage\n",
    b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"ctorch._utils\n_rebuild_parameter\n",
    b"ccollections\nOrderedDict\n",
    b"cbuiltins\nset\n",
    b"conconet.x\nNet\n",
    b"cargparse\nNamespace\n",
    b"\x95\xff\xff\xff\xff\xff\xff\xff\xff",
]


@settings(max_examples=400, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(INSTRUCTIONS), st.binary(max_size=4)), max_size=40))
def test_random_instructions_end_in_data_or_a_refusal(parts):
    kinds = (dict, list, tuple, str, bytes, int, float, type(None), Name, Inert, Storage, TensorView)
    with suppress(UnsafePickle):
        assert isinstance(read(HEAD + b"".join(parts) + b".").content, kinds)
