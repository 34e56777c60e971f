from __future__ import annotations

import os

import pytest
from helpers.composed_configs import composed
from omegaconf import OmegaConf

from mammorisk.config import options
from mammorisk.errors import UserError
from mammorisk.training.stored_config import check_can_be_stored, read_stored_config, storable_config

DATASET = "dataset: {image_size: [2, 2], orientation: left}"
PUBLISHED = [name for name in options("experiment") if name.startswith("published/")]


def text(*overrides: str) -> str:
    cohort = [] if any(word.startswith("dataset=") for word in overrides) else ["experiment=quickstart"]
    return OmegaConf.to_yaml(storable_config(composed(*cohort, *overrides)))


def read(*overrides: str, allow: tuple[str, ...] = ()):
    return read_stored_config(text(*overrides), "a.pth", allow)


@pytest.mark.parametrize("registration", options("registration"))
@pytest.mark.parametrize("model", options("model"))
def test_every_shipped_choice_is_read(model, registration):
    more = ["registration.checkpoint=x.pth"] if registration not in ("identity", "ground_truth") else []
    found = read(f"model={model}", f"registration={registration}", *more)
    assert "${" not in OmegaConf.to_yaml(found)
    assert OmegaConf.is_missing(found, "trainer") is False


@pytest.mark.parametrize("experiment", PUBLISHED)
def test_every_published_recipe_is_read(experiment):
    config = composed(f"experiment={experiment}", f"model={experiment.rpartition('/')[2]}")
    for key in OmegaConf.missing_keys(config):
        OmegaConf.update(config, key, "x")
    found = read_stored_config(OmegaConf.to_yaml(storable_config(config)), "a.pth")
    assert found.model._target_ == config.model._target_


def test_no_path_of_a_component_and_no_cache_is_kept():
    found = read(
        "model=lmv_net", "registration=mammoregnet", "registration.checkpoint=/x/reg.pth",
        "registration.cache=/x/fields",
        "model.encoder.pretrained=/x/enc.pth", "model.encoder.cache=/x/features", "dataset.cache=/x/images",
        "dataset.generator.folder=/x/phantom", "dataset.generator.num_workers=7", "dataset.num_workers=15",
    )  # fmt: skip
    kept = OmegaConf.to_yaml(OmegaConf.masked_copy(found, ["model", "registration", "dataset"]))
    assert "/x/" not in kept
    assert found.dataset.cache == "none"
    assert found.dataset.generator.num_workers is None
    assert found.dataset.num_workers == min(15, len(os.sched_getaffinity(0)))


def test_where_the_cohort_lies_is_kept_for_who_asks_first():
    found = read("model=mirai", "dataset=csaw", "dataset.csv_file=/data/c.csv", "dataset.data_root=/data/png")
    assert (found.dataset.csv_file, found.dataset.data_root) == ("/data/c.csv", "/data/png")


def test_what_only_a_resolver_tells_is_missing(monkeypatch):
    monkeypatch.setenv("CANARY_IN_A_MINE", "/secret")
    words = ["dataset.data_root='${oc.env:CANARY_IN_A_MINE}/x'", "dataset.name='${oc.env:CANARY_IN_A_MINE}'"]
    found = read("model=mirai", "dataset=csaw", "dataset.csv_file=c.csv", *words)
    assert OmegaConf.is_missing(found.dataset, "data_root")
    assert found.dataset.name == "cohort"
    assert "secret" not in OmegaConf.to_yaml(found)


@pytest.mark.parametrize("key", ["num_heads", "width", "auxiliary_weight", "pretrained"])
def test_a_resolver_in_a_model_is_refused(key, monkeypatch):
    monkeypatch.setenv("CANARY_IN_A_MINE", "0.5")
    lines = text("model=lmv_net").splitlines()
    at = next(i for i, line in enumerate(lines) if line.strip().startswith(f"{key}:"))
    lines[at] = f"{lines[at].partition(':')[0]}: ${{oc.decode:${{oc.env:CANARY_IN_A_MINE}}}}"
    with pytest.raises(UserError, match=r"is refused\. Nothing of it was run"):
        read_stored_config("\n".join(lines), "a.pth")


def test_a_training_writes_down_what_a_resolver_says_of_its_model(monkeypatch):
    """Else it would be locked out of its own checkpoints; paths are left out, whose weights the checkpoint holds."""
    monkeypatch.setenv("LAB_WEIGHTS", "/scratch/job1")
    monkeypatch.setenv("LAB_DROPOUT", "0.25")
    words = ["model=lmv_net", "registration=mammoregnet", "registration.checkpoint='${oc.env:LAB_WEIGHTS}/reg.pth'",
             "model.dropout='${oc.decode:${oc.env:LAB_DROPOUT}}'",
             "dataset.data_root='${oc.env:LAB_WEIGHTS}/png'"]  # fmt: skip
    config = composed("experiment=quickstart", *words)
    stored = storable_config(config)
    assert stored.registration.checkpoint is None
    assert stored.model.dropout == 0.25
    plain = OmegaConf.to_container(stored, resolve=False)
    assert plain["dataset"]["data_root"] == "${oc.env:LAB_WEIGHTS}/png"
    assert plain["model"]["registration"] == "${registration}"
    assert check_can_be_stored(config) == []
    monkeypatch.setenv("LAB_WEIGHTS", "/scratch/job2")  # requeued: the same training
    assert storable_config(composed("experiment=quickstart", *words)) == stored


def test_a_pattern_of_file_names_is_ours_or_missing():
    embed = ["model=mirai", "dataset=embed", "dataset.csv_file=c.csv", "dataset.data_root=x"]
    assert read(*embed).dataset.file_pattern.startswith("(?P<patient_id>")
    found = read(*embed, "dataset.file_pattern='(?P<patient_id>(a+)+)b'")
    assert OmegaConf.is_missing(found.dataset, "file_pattern")


@pytest.mark.parametrize(
    ("stored", "told"),
    [
        ("", "expected the configuration of a training"),
        ("[]", "expected the configuration of a training"),
        ("a: 1", "expected the configuration of a training"),
        ("model: mirai\ndataset: {}", "expected the configuration of a training"),
        (f"model: {{}}\n{DATASET}", "model: expected a component"),
        ("model: {}\ndataset: {}", "dataset.image_size: it is not there"),
        ("model: {a: [}", "cannot be read"),
        ("a: &a [1]\nb: *a", "an anchor"),
        (f"model: {{_target_: os.system, command: 'touch /tmp/x'}}\n{DATASET}", "model._target_=os.system"),
        ("model: {_target_: '${a}.b'}\na: os\ndataset: {}", "named by a reference"),
        ("model: &x {}\ndataset: *x", "an anchor"),
    ],
)  # fmt: skip
def test_a_text_that_is_none_is_a_message(stored, told):
    with pytest.raises(UserError, match=told):
        read_stored_config(stored, "a.pth")


def test_a_training_whose_checkpoints_could_not_be_read_is_not_begun():
    config = composed("experiment=quickstart", "model=mirai", "+model.encoder._convert_=all")
    with pytest.raises(UserError, match=r"could not be read again.\n.*refused(.|\n)*model.encoder._convert_"):
        check_can_be_stored(config)
    assert check_can_be_stored(composed("experiment=quickstart", "model=mirai")) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("id_training", "/../../../../planted"), ("id_training", True), ("seed", "abc"), ("seed", [1]),
        ("dataset.num_workers", "3000"), ("dataset.batch_size", "1000000000"), ("dataset.image_size", ["2000", "2000"]),
        ("dataset.image_size", "large"), ("dataset.columns", ["a"]), ("dataset.codes", {"view": {"a": {"b": "c"}}}),
        ("dataset.cancer_types", {"1": ["x"]}), ("dataset.name", {"a": 1}), ("dataset.orientation", 5),
        ("seed", 10**60), ("seed", -5), ("id_training", 10**60), ("dataset.name", "x" * 300), ("dataset.name", "a\nb"),
        ("dataset.codes", {"race": {"1": "x" * 20_000}}), ("dataset.image_size", [16384, 16384]),
        ("trainer", [1]), ("optim.learning_rate", "fast"),
    ],
)  # fmt: skip
def test_a_value_of_another_type_is_refused_and_not_converted(key, value):
    plain = OmegaConf.to_container(OmegaConf.create(text("model=mirai")), resolve=False)
    *groups, leaf = key.split(".")
    node = plain
    for group in groups:
        node = node[group]
    node[leaf] = value
    with pytest.raises(UserError, match=rf"{key}"):
        read_stored_config(OmegaConf.to_yaml(OmegaConf.create(plain)), "a.pth")


@pytest.mark.parametrize("key", ["image_size", "orientation"])
@pytest.mark.parametrize("value", [None, "???", "${oc.env:HOME}", "gone"])
def test_what_decides_which_images_a_model_sees_is_never_a_default(key, value):
    plain = OmegaConf.to_container(OmegaConf.create(text("model=mirai")), resolve=False)
    plain["dataset"][key] = value
    if value == "gone":
        del plain["dataset"][key]
    with pytest.raises(UserError, match=f"dataset.{key}"):
        read_stored_config(OmegaConf.to_yaml(OmegaConf.create(plain)), "a.pth")


def test_a_training_writes_down_which_images_its_model_sees(monkeypatch):
    monkeypatch.setenv("LAB_ROWS", "64")
    words = ["model=mirai", "dataset.image_size=['${oc.decode:${oc.env:LAB_ROWS}}',52]", "seed='${oc.decode:\"7\"}'"]
    found = read(*words)
    assert list(found.dataset.image_size) == [64, 52]
    assert found.seed == 7


def test_a_path_that_refers_to_a_resolver_locks_nobody_out(monkeypatch):
    monkeypatch.setenv("LAB_WEIGHTS", "/scratch/job1")
    words = [
        "model=mirai",
        "dataset.data_root='${oc.env:LAB_WEIGHTS}'",
        "model.encoder.pretrained='${dataset.data_root}/w'",
    ]
    assert check_can_be_stored(composed("experiment=quickstart", *words)) == []
