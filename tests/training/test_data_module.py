from __future__ import annotations

import hydra
import pytest
import torch
from helpers.model_cases import small_registration
from helpers.tiny_training import tiny_config

from mammorisk.caching.displacements import CachedDisplacements
from mammorisk.datasets.loaders import EpochSampler
from mammorisk.errors import UserError
from mammorisk.training.data_module import (
    decode_images,
    fill_caches,
    precompute_split_displacements,
    read_splits,
    split_loader,
)

CPU = torch.device("cpu")


def model_and(*overrides: str):
    config = tiny_config("model=lmv_net", *overrides)
    return hydra.utils.instantiate(config.model).eval(), config


def test_splits_share_no_woman_and_every_sample_is_loaded_once():
    model, config = model_and()
    cohort, splits = read_splits(config.dataset, model)
    assert list(splits) == ["train", "val", "test"]
    women = [set(split.samples.patient_id) for split in splits.values()]
    assert not women[0] & women[1] | women[0] & women[2] | women[1] & women[2]
    assert set.union(*women) <= set(cohort.table["patient_id"])
    split = splits["test"]
    sampler = EpochSampler(len(split.samples), 4, training=False)
    batches = list(split_loader(split, sampler, config.dataset, config.seed, CPU))
    assert torch.cat([batch.sample for batch in batches]).tolist() == list(range(len(split.samples)))
    assert batches[0].images.shape[-2:] == tuple(config.dataset.image_size)
    assert split.displacements is None
    assert precompute_split_displacements(splits.values(), config.dataset, model, CPU) == 0


def test_fields_that_the_cache_lacks_are_computed_once(tmp_path):
    weights = tmp_path / "registration.pth"
    torch.save(small_registration().state_dict(), weights)
    words = ["registration=mammoregnet", f"registration.checkpoint={weights}", "registration.image_size=[32,32]"]
    words += ["registration.channels=[4,4,8]", "registration.decoder_channels=[8,8,4]"]
    words += ["registration.num_heads=[2,2]", "registration.depth=2", f"registration.cache={tmp_path / 'fields'}"]
    model, config = model_and(*words)
    _, splits = read_splits(config.dataset, model, ["val", "test"])
    sources = [split.displacements for split in splits.values()]
    assert all(isinstance(source, CachedDisplacements) for source in sources)
    count = precompute_split_displacements(splits.values(), config.dataset, model, CPU)
    assert count == sum(len(source.pairs) for source in sources) > 20
    assert precompute_split_displacements(splits.values(), config.dataset, model, CPU) == 0
    batch = next(
        iter(split_loader(splits["val"], EpochSampler(4, 4, training=False), config.dataset, config.seed, CPU))
    )
    assert batch.displacement.shape == (4, 2, 2, *model.field_size(tuple(config.dataset.image_size)))
    assert float(batch.displacement.abs().max()) > 0


def test_decoded_images_are_read_where_there_is_a_store(tmp_path):
    model, config = model_and(f"dataset.cache={tmp_path / 'images'}")
    _, splits = read_splits(config.dataset, model, ["val"])
    store = decode_images(splits.values(), config.dataset)
    assert store is not None
    sampler = EpochSampler(4, 4, training=False)
    kept, plain = (
        next(iter(split_loader(splits["val"], sampler, config.dataset, config.seed, CPU, each)))
        for each in (store, None)
    )
    assert torch.equal(kept.images, plain.images)
    assert list((tmp_path / "images").rglob("*.b2"))
    config.dataset.cache = "none"
    assert decode_images(splits.values(), config.dataset) is None


def test_images_that_features_stand_for_are_not_decoded(tmp_path):
    words = [f"dataset.cache={tmp_path / 'images'}", "model.finetune_all=false", "model.encoder.freeze=true"]
    model, config = model_and(*words, f"model.encoder.cache={tmp_path / 'features'}")
    _, splits = read_splits(config.dataset, model, ["val"])
    assert not splits["val"].needs_images
    assert decode_images(splits.values(), config.dataset) is None
    assert not (tmp_path / "images").exists()
    fill_caches(splits.values(), config.dataset, model, CPU)
    batch = next(
        iter(split_loader(splits["val"], EpochSampler(4, 4, training=False), config.dataset, config.seed, CPU))
    )
    assert batch.features.abs().sum() > 0
    assert not batch.displacement.any()


def test_a_split_that_is_not_there_is_named():
    model, config = model_and()
    with pytest.raises(UserError, match="no usable image in the split 'tset'"):
        read_splits(config.dataset, model, ["tset"])


def test_the_bytes_of_a_sample_are_those_of_its_tensors_in_a_batch(tmp_path):
    words = ["model.finetune_all=false", "model.encoder.freeze=true", f"model.encoder.cache={tmp_path / 'features'}"]
    for more in ([], words):
        model, config = model_and(*more)
        _, splits = read_splits(config.dataset, model, ["val"])
        fill_caches(splits.values(), config.dataset, model, CPU)
        loader = split_loader(splits["val"], EpochSampler(4, 4, training=False), config.dataset, config.seed, CPU)
        batch = next(iter(loader))
        large = [batch.images, batch.features, batch.displacement]
        assert sum(each.nbytes for each in large if each is not None) == 4 * loader.dataset.dataset.bytes_of_one
