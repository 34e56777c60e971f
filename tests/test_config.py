from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import pytest
from helpers.composed_configs import composed
from hydra.core.config_store import ConfigStore
from hydra.errors import ConfigCompositionException
from omegaconf import OmegaConf

from mammorisk.config import (
    CONF_DIR,
    DatasetConfig,
    OptimConfig,
    TrackingConfig,
    TrainConfig,
    TrainerConfig,
    options,
    register_schemas,
)

SCHEMAS = {"dataset": DatasetConfig, "optim": OptimConfig, "trainer": TrainerConfig, "tracking": TrackingConfig}


def names(schema: type) -> set[str]:
    return {field.name for field in dataclasses.fields(schema)}


def test_the_configuration_is_where_it_is_looked_for():
    assert (CONF_DIR / "train.yaml").is_file()
    assert CONF_DIR.is_absolute()


def test_options_are_what_the_command_line_accepts():
    assert options("registration") == [
        "affine",
        "affine_small",
        "ground_truth",
        "identity",
        "mammoregnet",
        "mammoregnet_small",
    ]
    assert "published/mirai" in options("experiment")
    assert options("experiment") == sorted(options("experiment"))
    assert options("no_such_group") == []
    assert not [name for group in SCHEMAS for name in options(group) if "schema" in name]


def test_schemas_can_be_registered_twice():
    register_schemas()
    register_schemas()
    store = ConfigStore.instance()
    assert store.load("train_schema.yaml").node == OmegaConf.structured(TrainConfig)
    for group, schema in SCHEMAS.items():
        assert store.load(f"{group}/{group}_schema.yaml").node == OmegaConf.structured(schema)


@pytest.mark.parametrize("group", SCHEMAS)
def test_every_key_of_a_schema_stands_in_its_yaml(group):
    """Somebody who reads the YAML reads all there is."""
    silent = {"dataset": {"generator"}, "tracking": set()}.get(group, set())
    whole = {"tracking": ["wandb"]}.get(group, options(group))
    for option in whole:
        written = set(OmegaConf.load(CONF_DIR / group / f"{option}.yaml")) - {"defaults"}
        assert written == names(SCHEMAS[group]) - silent, option


@pytest.mark.parametrize(("group", "option"), [("optim", "adamw"), ("trainer", "default"), ("tracking", "wandb")])
def test_the_yaml_has_the_schemas_defaults(group, option):
    written = OmegaConf.load(CONF_DIR / group / f"{option}.yaml")
    defaults = OmegaConf.structured(SCHEMAS[group])
    for key in set(written) - {"defaults", "optimizer"}:
        assert written[key] == defaults[key], key


def test_the_root_is_the_schema():
    config = composed("model=mirai")
    assert set(config) == names(TrainConfig)
    assert OmegaConf.get_type(config) is TrainConfig
    assert OmegaConf.get_type(config.trainer) is TrainerConfig
    for key in ("out_dir", "seed", "id_training"):
        assert OmegaConf.load(CONF_DIR / "train.yaml")[key] == OmegaConf.structured(TrainConfig)[key]


def test_every_yaml_says_what_it_is():
    silent = [path for path in CONF_DIR.rglob("*.yaml") if not _comment(path)]
    assert [str(path) for path in silent if path.parent.name != "trainer"] == []


def _comment(path: Path) -> bool:
    lines = path.read_text(encoding="utf-8").splitlines()
    return any(line.startswith("# ") and not line.startswith("# @") for line in lines[:2])


@pytest.mark.parametrize("dataset", options("dataset"))
def test_any_risk_factor_of_any_dataset_can_be_given_its_column(dataset):
    config = composed("model=mirai", f"dataset={dataset}", "dataset.risk_factors.menarche_age=MENARCHE")
    assert config.dataset.risk_factors == {"menarche_age": "MENARCHE"}
    assert composed("model=mirai", f"dataset={dataset}", "dataset.risk_factors={brca: X}").dataset.risk_factors == {
        "brca": "X"
    }
    with pytest.raises(ConfigCompositionException):
        composed("model=mirai", f"dataset={dataset}", "dataset.risk_factor.brca=X")


def test_looking_for_a_group_does_not_copy_the_store():
    register_schemas()
    store = ConfigStore.instance()
    assert copy.deepcopy([store])[0] is store
    store.load("train_schema.yaml").node.seed = 7
    assert store.load("train_schema.yaml").node.seed == 2023
