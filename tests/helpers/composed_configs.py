"""Configurations composed as the command line composes them, without a command."""

from __future__ import annotations

import copy
import functools

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from mammorisk.config import CONF_DIR, register_schemas
from mammorisk.preparation.schemas import register_prepare_schemas
from mammorisk.runs.directory import register_resolvers


def composed(*overrides: str, root: str | None = "train", hydra: bool = False) -> DictConfig:
    """Compose the config of a root file and overrides; ``hydra`` adds Hydra's own node with the run directory."""
    return copy.deepcopy(_composed(overrides, root, hydra))


@functools.cache
def _composed(overrides: tuple[str, ...], root: str | None, hydra: bool) -> DictConfig:
    register_schemas()
    register_prepare_schemas()
    register_resolvers()
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        return compose(root, overrides=list(overrides), return_hydra_config=hydra)
