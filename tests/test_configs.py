"""Every option and experiment of ``conf/`` composes, and holds what the training guide says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.composed_configs import composed
from omegaconf import DictConfig, OmegaConf

from mammorisk.config import CONF_DIR, options

# The training guide's table: key -> default. A model has none.
DEFAULTS = {
    "out_dir": "outputs",
    "trainer.num_epochs": 100,
    "dataset.batch_size": 12,
    "optim.learning_rate": 5e-5,
    "optim.encoder_lr_scale": 0.1,
    "optim.weight_decay": 1e-4,
    "optim.warmup_steps": 5000,
    "optim.use_scheduler": True,
    "optim.patience_lr_scheduler": 5,
    "optim.lr_decay": 0.5,
    "optim.min_lr": 1e-7,
    "trainer.patience": 15,
    "trainer.resume_from": None,
    "tracking.wandb_id": None,
    "seed": 2023,
    "id_training": 1,
    "trainer.mixed_precision": "no",
    "trainer.gradient_accumulation_steps": 1,
    "trainer.checkpoint_every": 10,
}
RECIPES: dict[str, dict[str, Any]] = {
    "lmv_net": {"dataset.batch_size": 4, "trainer.num_epochs": 30, "model.finetune_all": True},
    "imgfeatalign": {"dataset.batch_size": 8, "trainer.num_epochs": 30},
    "mirai": {"dataset.batch_size": 6, "trainer.num_epochs": 40},
    "oa_breacr": {
        "dataset.batch_size": 12,
        "trainer.num_epochs": 30,
        "optim.weight_decay": 1e-6,
        "optim.encoder_lr_scale": 1.0,
    },
    "vmra_mar": {
        "dataset.batch_size": 2,
        "trainer.num_epochs": 40,
        "optim.learning_rate": 1e-4,
        "model.encoder.freeze": True,
    },
}
# Published augmentation: a crop of 1946 x 1581 from 2048 x 1664, ...
AUGMENT = {
    "crop_size": [1946 / 2048, 1581 / 1664],
    "crop_probability": 0.2,
    "translation": 0.1,
    "scale": [1.0, 1.1],
    "affine_probability": 0.5,
    "horizontal_flip": 0.0,
    "brightness": 0.4,
    "contrast": 0.4,
    "jitter_probability": 0.5,
    "gamma": [0.8, 1.2],
    "gain": [0.9, 1.05],
    "gamma_probability": 0.5,
}
# Keys of every training; a sweep over models may set any of them (docs/pitfalls.md#p24).
SHARED = [
    *(f"{key}=1" for key in ("optim.learning_rate", "optim.weight_decay", "optim.warmup_steps", "optim.max_grad_norm")),
    *(f"trainer.{key}=2" for key in ("num_epochs", "patience", "gradient_accumulation_steps", "checkpoint_every")),
    *(f"dataset.{key}=3" for key in ("batch_size", "num_workers")),
    "dataset.class_balance=0.5",
    "dataset.image_size=[64,52]",
    "dataset.orientation=left",
    "trainer.mixed_precision=bf16",
    "tracking.project=p",
    "seed=1",
    "model.encoder.width=8",
    "model.encoder.stride=8",
    "model.encoder.pretrained=weights.pth",
]
OF_HYDRA = [f"hydra/{path.name}" for path in (CONF_DIR / "hydra").iterdir()]
GROUPS = sorted([*(path.name for path in CONF_DIR.iterdir() if path.is_dir() and path.name != "hydra"), *OF_HYDRA])
PLACES = {"phantom": "phantom@dataset.generator"}
# roots of the groups that no risk training has
ROOTS = {"recipe": "register", "conversion": "prepare_images", "raw": "prepare_cohort"}
# where an option shows
NODES = {
    "phantom": "dataset.generator",
    "experiment": "model",
    "experiment_overrides": "optim",
    "recipe": "trainer",
    "hparams": "hydra.sweeper.params",
}
EVERY = [(group, option) for group in GROUPS for option in options(group)]
MODELS = options("model")


def value(config: DictConfig, key: str) -> Any:
    found = OmegaConf.select(config, key)
    return OmegaConf.to_container(found) if OmegaConf.is_config(found) else found


def test_every_folder_is_found():
    """A new group must not slip past the tests below."""
    files = {path.relative_to(CONF_DIR).with_suffix("").as_posix() for path in CONF_DIR.glob("*/**/*.yaml")}
    assert files == {f"{group}/{option}" for group, option in EVERY}
    assert {"model", "dataset", "optim", "augment", "registration", "trainer", "tracking", "experiment"} <= set(GROUPS)


@pytest.mark.parametrize(("group", "option"), EVERY)
def test_every_option_composes(group, option):
    brings_its_model = group == "experiment" and option.startswith("published/")
    root = ROOTS.get(group, "train")
    others = [] if group == "model" or brings_its_model or root != "train" else [f"model={MODELS[0]}"]
    config = composed(*others, f"{PLACES.get(group, group)}={option}", root=root, hydra=True)
    assert config.hydra.runtime.choices[PLACES.get(group, group)] == option
    OmegaConf.resolve(OmegaConf.masked_copy(config, [key for key in config if key != "hydra"]))
    node = value(config, NODES.get(group, group.replace("/", ".")))
    assert node
    assert "defaults" not in node


@pytest.mark.parametrize("root", sorted(path.stem for path in CONF_DIR.glob("*.yaml")))
def test_every_root_composes(root):
    assert len(composed(root=root)) > 1


def test_keys_and_defaults_are_the_training_guides():
    config = composed("model=mirai")
    assert {key: value(config, key) for key in DEFAULTS} == DEFAULTS
    choices = composed("model=mirai", hydra=True).hydra.runtime.choices
    assert (choices.dataset, choices.augment, choices.experiment) == ("phantom", "default", None)


def test_the_optimiser_is_adamw_at_the_configured_rates():
    optimizer = composed("model=mirai", "optim.learning_rate=0.5", "optim.weight_decay=0.25").optim.optimizer
    expected = {"_target_": "torch.optim.AdamW", "_partial_": True, "fused": True, "lr": 0.5, "weight_decay": 0.25}
    assert optimizer == expected


def test_the_augmentation_is_the_training_guides():
    node = value(composed("model=mirai"), "augment")
    assert set(node) == {"_target_", *AUGMENT}
    for key, expected in AUGMENT.items():
        assert node[key] == pytest.approx(expected), key


@pytest.mark.parametrize("name", RECIPES)
def test_published_recipes_have_the_published_numbers(name):
    config = composed(f"experiment=published/{name}", hydra=True)
    assert config.hydra.runtime.choices.model == name
    found = {key: value(config, key) for key in DEFAULTS}
    assert found == {**DEFAULTS, **{key: v for key, v in RECIPES[name].items() if key in DEFAULTS}}
    for key, expected in RECIPES[name].items():
        assert value(config, key) == expected, key


def test_every_published_model_has_its_recipe():
    assert {f"published/{name}" for name in RECIPES} == {n for n in options("experiment") if n.startswith("published/")}
    assert set(RECIPES) <= set(MODELS)


def test_an_experiment_may_suit_a_model():
    suited = {tuple(option.rsplit("/", 1)) for option in options("experiment_overrides")}
    assert suited <= {(experiment, model) for experiment in options("experiment") for model in MODELS}
    quick = ["experiment=quickstart", "trainer.patience=3"]
    others, mirai = composed(*quick, "model=lmv_net"), composed(*quick, "model=mirai")
    assert (others.trainer.num_epochs, mirai.trainer.num_epochs) == (5, 8)
    assert composed(*quick, "model=mirai", "trainer.num_epochs=2").trainer.num_epochs == 2


@pytest.mark.parametrize("model", RECIPES)
def test_a_recipe_can_be_changed_on_the_command_line(model):
    config = composed(f"experiment=published/{model}", "trainer.num_epochs=3", "dataset.batch_size=5")
    assert (config.trainer.num_epochs, config.dataset.batch_size) == (3, 5)


@pytest.mark.parametrize("model", MODELS)
def test_pitfall_24_shared_keys_can_be_set_whatever_the_model(model):
    config = composed(f"model={model}", *SHARED)
    for override in SHARED:
        key, _, text = override.partition("=")
        assert str(value(config, key)).replace(" ", "") in (text, f"{text}.0"), key


@pytest.mark.parametrize("dataset", options("dataset"))
@pytest.mark.parametrize("key", ["csv_file", "data_root", "batch_size", "image_size", "no_cancer_value", "generator"])
def test_pitfall_24_shared_keys_can_be_set_whatever_the_dataset(dataset, key):
    text = {"batch_size": 3, "image_size": [3, 4], "no_cancer_value": 7.0, "generator": None}.get(key, "path")
    override = f"dataset.{key}={'null' if text is None else str(text).replace(' ', '')}"
    assert value(composed(f"model={MODELS[0]}", f"dataset={dataset}", override), f"dataset.{key}") == text


@pytest.mark.parametrize("model", MODELS)
def test_the_quick_start_is_of_any_model_and_can_be_changed(model):
    config = composed("experiment=quickstart", f"model={model}", "model.encoder.width=4", "seed=3")
    assert (config.model.encoder.width, config.model.encoder.stride, config.seed) == (4, 8, 3)
    assert config.dataset.image_size[0] == config.dataset.generator.image_height
    assert "registration" not in config.model or config.registration._target_.endswith("IdentityRegistration")


def test_no_yaml_names_a_place_of_its_author():
    for path in Path(CONF_DIR).rglob("*.yaml"):
        text = path.read_text(encoding="utf-8")
        assert not [word for word in ("/home/", "/root/", "/work/", "/mnt/") if word in text], path
