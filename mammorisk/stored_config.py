"""The configuration stored in a checkpoint, as other commands may use it: read strictly, past the gate, without paths.

Every checkpoint takes this way, whoever wrote it: a file could claim to be one's own. ``docs/security.md`` says what is
trusted and what is not.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from mammorisk.component_gate import (
    BUILT,
    GateError,
    check_components,
    own_modules,
    refusal,
    without_files,
)
from mammorisk.component_values import PATHS
from mammorisk.config import CONF_DIR, options
from mammorisk.errors import UserError
from mammorisk.plain_references import References, ReferencesError
from mammorisk.regular_files import read_text
from mammorisk.strict_yaml import read_strict_yaml

_STRICT = ("model", "registration")  # what is built: a value that cannot be known is refused there


def read_stored_config(text: str, source: str, allow_modules: Sequence[str] = ()) -> DictConfig:
    """The configuration of a training, plain: no references, no paths of components, no caches.

    Paths of the cohort (``dataset.csv_file``, ``dataset.data_root``) stay; who reads them asks first. A value that only
    a resolver could tell is missing (``???``). A ``file_pattern`` that is not one of ours counts as missing, too: a
    regular expression can be made to run for ever.

    Args:
        text: YAML, as the checkpoint holds it.
        source: the checkpoint, for messages.
        allow_modules: exact names of modules whose own components may be named.

    Raises:
        UserError: it is no configuration of a training, or is refused; names what.
    """
    config = read_strict_yaml(text, source)
    if not isinstance(config, dict) or not all(isinstance(config.get(key), dict) for key in ("model", "dataset")):
        raise UserError(f"{source}: expected the configuration of a training, with model and dataset; found none.")
    try:
        plain = References(config, _STRICT).resolved()
        check_components(plain, allow_modules)
        _forget_paths(plain, allow_modules)
    except (ReferencesError, GateError) as error:
        raise refusal(source, error) from error
    return OmegaConf.create(plain)


def storable_config(config: DictConfig) -> DictConfig:
    """A training's configuration as its checkpoints hold it: model and registration without resolvers.

    What only a resolver can tell is unknown to whoever reads the checkpoint, and refused there. So within model and
    registration a path is left out, as its weights are in the checkpoint, and any other value is written down as it is.
    """
    plain = cast(dict[str, Any], OmegaConf.to_container(config, resolve=False))
    for key in _STRICT:
        _write_down(plain.get(key), key, config)
    return OmegaConf.create(plain)


def check_can_be_stored(config: DictConfig) -> list[str]:
    """See before a training that its checkpoints can be read, and return the modules that ``allow_modules`` must name.

    Raises:
        UserError: they could not be; says why.
    """
    text = OmegaConf.to_yaml(storable_config(config))
    modules = own_modules(cast(dict[str, Any], OmegaConf.to_container(config, resolve=True)))
    try:
        read_stored_config(text, "the checkpoints of this training", modules)
    except UserError as error:
        raise UserError(f"The checkpoints of this training could not be read again.\n{error}") from error
    return modules


def _forget_paths(config: dict[str, Any], allow_modules: Sequence[str]) -> None:
    """Take out what would read or write where the file says; in place."""
    dataset = config["dataset"]
    for key, slot in BUILT.items():
        holder = dataset if key.startswith("dataset.") else config
        name = key.rpartition(".")[2]
        if holder.get(name) is not None:
            holder[name] = without_files(holder[name], slot, allow_modules)
    if isinstance(dataset.get("generator"), dict):
        dataset["generator"]["num_workers"] = None  # this machine's
    dataset["cache"] = "none"
    if isinstance(workers := dataset.get("num_workers"), int):
        dataset["num_workers"] = min(workers, len(os.sched_getaffinity(0)))
    if dataset.get("file_pattern") not in (None, *_own_patterns()):
        dataset["file_pattern"] = "???"


def _own_patterns() -> list[str]:
    files = [CONF_DIR / "dataset" / f"{name}.yaml" for name in options("dataset")]
    read = [read_strict_yaml(read_text(path), str(path)) for path in files]
    return [each["file_pattern"] for each in read if each.get("file_pattern")]


def _write_down(node: Any, key: str, config: DictConfig) -> None:
    """Replace resolvers in a part of a configuration, in place."""
    if isinstance(node, list):
        for i, value in enumerate(node):
            _write_down(value, f"{key}[{i}]", config)
    if not isinstance(node, dict):
        return
    for name, value in node.items():
        if isinstance(value, str) and "${" in value and not _is_plain_reference(value):
            node[name] = None if name in PATHS else OmegaConf.select(config, f"{key}.{name}")
        else:
            _write_down(value, f"{key}.{name}", config)


def _is_plain_reference(text: str) -> bool:
    return ":" not in text and "[" not in text
