from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.model_cases import small_encoder
from torch import nn

from mammorisk.caching.arrays import ArrayEntries, network_meaning
from mammorisk.caching.entries import DamagedEntry

NAME = "0123456789abcdef" * 2


class Arrays(ArrayEntries):
    setting, advice, suffix, record_name = "some.cache", "some.cache=null", ".array", "arrays.json"
    dtype, what, of = "<f4", "arrays", "images"


class Halves(Arrays):
    dtype = "<f2"


@pytest.mark.parametrize("kind", [Arrays, Halves])
def test_what_is_kept_comes_back_as_it_is_said_to(tmp_path, kind):
    entries = kind(tmp_path, {}, (3, 4, 5))
    values = 100 * torch.randn(2, 3, 4, 5, dtype=torch.float64 if kind is Halves else torch.float32)
    kept = entries.kept(values)
    entries.write(NAME, kept[1])
    found = entries.read(NAME)
    assert found is not None
    assert found.dtype == np.float32
    assert np.array_equal(found, kept[1])
    assert np.allclose(found, values[1].numpy(), rtol=0 if kind is Arrays else 2**-10, atol=0)
    assert entries.path(NAME).stat().st_size <= entries.entry_bytes == 4096
    assert entries.form == "3 x 4 x 5"


def test_another_shape_is_refused_in_writing_and_damage_in_reading(tmp_path):
    entries, other = Arrays(tmp_path, {}, (3, 4)), Arrays(tmp_path, {}, (3, 5))  # of one folder
    with pytest.raises(ValueError, match=r"expected arrays \[3, 5\], got \[3, 4\]"):
        other.write(NAME, np.zeros((3, 4), np.float32))
    entries.write(NAME, np.zeros((3, 4), np.float32))
    with pytest.raises(DamagedEntry, match="is damaged"):
        other.read(NAME)


def test_the_meaning_is_class_settings_and_every_weight():
    torch.manual_seed(0)
    encoder = small_encoder()
    before = network_meaning(encoder)
    assert before["class"] == "mammorisk.models.encoders.ResNetEncoder"
    assert before == network_meaning(encoder.to(memory_format=torch.contiguous_format))
    assert before["settings"] != network_meaning(small_encoder(width=8))["settings"]
    seen = {before["weights"]}
    for part in (encoder.layer4[1].bn2.running_var, encoder.conv1.weight, encoder.input_mean):
        with torch.no_grad():
            part.view(-1)[0] += 1.0
        seen.add(network_meaning(encoder)["weights"])
    assert len(seen) == 4


def test_a_network_without_settings_cannot_be_told_from_others():
    with pytest.raises(AttributeError, match="settings"):
        network_meaning(nn.Linear(2, 2))


@pytest.mark.parametrize(("name", "value"), [("dtype", None), ("what", ""), ("of", None), ("suffix", "")])
def test_a_subclass_says_what_its_arrays_are(tmp_path, name, value):
    with pytest.raises(TypeError, match=rf"Open\.{name}: expected a text"):
        type("Open", (Arrays,), {name: value})(tmp_path, {}, (2,))


@pytest.mark.parametrize("dtype", ["f4", ">f4", "<i4", "float"])
def test_the_values_are_the_same_bytes_on_every_machine(tmp_path, dtype):
    with pytest.raises(TypeError, match=r"Own\.dtype: expected <f2, <f4 or <f8"):
        type("Own", (Arrays,), {"dtype": dtype})(tmp_path, {}, (2,))


def test_computed_arrays_of_another_shape_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"expected arrays \['N', 3, 4\], got \[2, 4, 3\]"):
        Arrays(tmp_path, {}, (3, 4)).kept(torch.zeros(2, 4, 3))
