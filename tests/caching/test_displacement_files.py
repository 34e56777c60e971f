from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from helpers.model_cases import SMALL_REGISTRATION, small_registration

from mammorisk.caching.displacement_files import DisplacementCache, entry_name, meaning_of
from mammorisk.caching.entries import DamagedEntry
from mammorisk.errors import UserError
from mammorisk.registration.affine import AffineRegistration

NAME, SIZE = "ab" + 30 * "0", (6, 5)


def cache(folder, meaning=None, size=SIZE) -> DisplacementCache:
    return DisplacementCache(folder, meaning or {"registration": "some"}, size)


def field(scale=1.0, size=SIZE):
    return (scale * np.random.default_rng(0).standard_normal((2, *size))).astype(np.float32)


def test_what_is_written_is_read_to_half_precision(tmp_path):
    kept = cache(tmp_path)
    for scale in (0.01, 1.0, 300.0):
        kept.write(NAME, field(scale))
        found = kept.read(NAME)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, field(scale), rtol=1 / 2048, atol=1e-7)
        np.testing.assert_array_equal(found, field(scale).astype(np.float16).astype(np.float32))
    assert kept.path(NAME).parent.name == "ab"
    assert [path.name for path in kept.path(NAME).parent.iterdir()] == [kept.path(NAME).name]


@pytest.mark.parametrize(
    "other", [{"registration": "another"}, {"registration": "some", "weights": "1"}, {"registration": "some", "x": [1]}]
)
def test_every_part_of_the_meaning_has_a_folder_of_its_own(tmp_path, other):
    assert cache(tmp_path).folder == cache(tmp_path).folder
    assert cache(tmp_path, other).folder != cache(tmp_path).folder
    assert cache(tmp_path, size=(5, 6)).folder != cache(tmp_path).folder


def test_the_meaning_of_a_network_follows_its_weights_settings_and_class():
    torch.manual_seed(0)
    network = small_registration()
    meaning = meaning_of(network, (64, 52))
    assert meaning == meaning_of(small_registration(), (64, 52))
    assert json.loads(json.dumps(meaning)) == meaning
    affine = AffineRegistration(**SMALL_REGISTRATION)
    affine.load_state_dict(network.state_dict())
    others = [
        meaning_of(network, (64, 56)),
        meaning_of(small_registration(image_size=(32, 24)), (64, 52)),
        meaning_of(small_registration(shift=1), (64, 52)),  # no weight shows it
        meaning_of(affine, (64, 52)),
    ]
    with torch.no_grad():
        network.fine["1"].head.bias[0] += 1e-6
    others.append(meaning_of(network, (64, 52)))
    texts = {json.dumps(each) for each in [meaning, *others]}
    assert len(texts) == 6


def test_where_the_cache_is_does_not_change_its_meaning(tmp_path):
    one, other = small_registration(cache=str(tmp_path), cache_size="registration"), small_registration()
    assert meaning_of(one, (64, 52)) == meaning_of(other, (64, 52))


def test_a_pair_has_an_order_and_an_orientation():
    names = {entry_name(a, b, m) for a, b in ((b"x", b"y"), (b"y", b"x"), (b"xy", b"")) for m in (False, True)}
    assert len(names) == 6
    assert all(len(name) == 32 for name in names)


def test_wrong_shapes_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"\[2, 6, 5\]"):
        cache(tmp_path).write(NAME, field(size=(5, 6)))


def test_a_field_of_another_size_is_damage(tmp_path):
    one, other = cache(tmp_path), cache(tmp_path, size=(5, 6))  # as many values
    other.write(NAME, field(size=(5, 6)))
    one.path(NAME).parent.mkdir(parents=True)
    shutil.copyfile(other.path(NAME), one.path(NAME))
    with pytest.raises(DamagedEntry, match="is damaged"):
        one.read(NAME)
    assert one.find_missing([NAME]) == ([], [NAME])


def test_messages_name_the_setting(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"registration\.cache=.*cannot be written to.*registration\.cache=null"):
        cache(tmp_path / "file").write(NAME, field())


def test_a_field_takes_whole_blocks_of_the_disk(tmp_path):
    for size, blocks in (((6, 5), 1), ((64, 52), 4)):
        kept = cache(tmp_path, size=size)
        kept.write(NAME, field(size=size))
        assert kept.entry_bytes == blocks * 4096 >= kept.path(NAME).stat().st_size
