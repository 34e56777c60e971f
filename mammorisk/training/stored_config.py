"""Configuration stored in a checkpoint: strict reading, the component gate, no paths.

Every checkpoint is read in this way, whoever wrote it, because a file could claim to be one's own (docs/security.md).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import is_dataclass
from typing import Any, cast, get_type_hints

from omegaconf import DictConfig, OmegaConf

from mammorisk.component_gate import (
    BUILT,
    GateError,
    check_components,
    own_modules,
    refusal,
    without_files,
)
from mammorisk.component_values import PATHS, fits, words
from mammorisk.config import CONF_DIR, TrainConfig, options
from mammorisk.errors import UserError
from mammorisk.plain_references import MISSING, References, ReferencesError, is_plain_reference
from mammorisk.system.printing import cited
from mammorisk.system.regular_files import read_text
from mammorisk.system.strict_yaml import read_strict_yaml

_STRICT = ("model", "registration")  # sections to build from: an unknown value is refused there
_NEEDED = ("image_size", "orientation")  # of dataset: with another value the model would get other images
MAX_WORD, MAX_PATH = 200, 4096  # characters of a name, and of a path
MAX_PIXELS, MAX_BATCH_PIXELS = 2**25, 2**28  # of an image, and of a batch of single images
_PLACES = ("csv_file", "data_root", "cache", "file_pattern")
_WRITTEN_DOWN = (*_NEEDED, "batch_size", "num_workers")  # of dataset


def read_stored_config(text: str, source: str, allow_modules: Sequence[str] = ()) -> DictConfig:
    """The configuration of a training, plain: no references, no paths of components, no caches.

    Paths of the cohort (``dataset.csv_file``, ``dataset.data_root``) stay; whoever reads them asks the user first. A
    value that needs a resolver is missing (``???``). So is a ``file_pattern`` that mammorisk does not ship, since a
    regular expression can run for ever.

    Args:
        text: YAML, as the checkpoint holds it.
        source: the checkpoint, for messages.
        allow_modules: exact names of modules whose own components may be named.

    Raises:
        UserError: it is no configuration of a training, or is refused; the message names the entry.
    """
    config = read_strict_yaml(text, source)
    if not isinstance(config, dict) or not all(isinstance(config.get(key), dict) for key in ("model", "dataset")):
        raise UserError(f"{source}: expected the configuration of a training, with model and dataset; found none.")
    try:
        plain = References(config, _STRICT).resolved()
        _check_types(plain)
        check_components(plain, allow_modules)
        _forget_paths(plain, allow_modules)
    except (ReferencesError, GateError) as error:
        raise refusal(source, error) from error
    return OmegaConf.create(plain)


def storable_config(config: DictConfig) -> DictConfig:
    """A training's configuration as its checkpoints hold it: what a model needs is written without resolvers.

    A reader of the checkpoint cannot know the value of a resolver. So in model and registration a path is left out, as
    its weights are in the checkpoint, and any other value is written as it is. So are the settings of the cohort that
    decide which images a model gets.
    """
    plain = cast(dict[str, Any], OmegaConf.to_container(config, resolve=False))
    for key in _STRICT:
        _write_down(plain.get(key), key, config)
    for key in _WRITTEN_DOWN:
        plain["dataset"][key] = _plain(config.dataset.get(key))
    for key in ("seed", "id_training"):
        plain[key] = config.get(key)
    return OmegaConf.create(plain)


def check_can_be_stored(config: DictConfig) -> list[str]:
    """Check before a training that its checkpoints can be read; return the modules that ``allow_modules`` must name.

    Raises:
        UserError: they could not be; the message has the reason.
    """
    text = OmegaConf.to_yaml(storable_config(config))
    modules = own_modules(cast(dict[str, Any], OmegaConf.to_container(config, resolve=True)))
    try:
        read_stored_config(text, "the checkpoints of this training", modules)
    except UserError as error:
        raise UserError(f"The checkpoints of this training could not be read again.\n{error}") from error
    return modules


def _check_types(config: dict[str, Any]) -> None:
    """Check the sections that our own code reads against their schemas, without conversion of text to numbers.

    Raises:
        GateError: a value is of another type, or one that a model needs is missing.
    """
    problems = list(_wrong_types(config, TrainConfig, ""))
    for key in _NEEDED:
        if config["dataset"].get(key, MISSING) == MISSING:
            problems.append(f"dataset.{key}: it is not there, and the model sees other images without it")
    problems += _too_large(config["dataset"])
    if problems:
        raise GateError("\n".join(problems))
    for key in ("seed", "id_training"):
        if config.get(key, MISSING) == MISSING:
            config[key] = getattr(TrainConfig, key)
    dataset = config["dataset"]
    if dataset.get("name", MISSING) == MISSING:
        dataset["name"] = "cohort"
    for key in ("columns", "codes", "cancer_types", "risk_factors"):
        dataset[key] = _known(dataset.get(key) or {})


def _too_large(dataset: dict[str, Any]) -> Iterator[str]:
    """Texts and sizes of a cohort that no table and no mammogram has."""
    for key, value in dataset.items():
        for text in _texts(value) if key != "generator" else ():
            most = MAX_PATH if key in _PLACES else MAX_WORD
            if len(text) > most or (key not in _PLACES and not text.isprintable()):
                yield f"dataset.{cited(key, 100)}: expected short printable text, found {cited(text, 60)}"
    size, batch = dataset.get("image_size"), dataset.get("batch_size", 1)
    if isinstance(size, list) and isinstance(batch, int) and all(isinstance(each, int) for each in size):
        pixels = math.prod(size)
        if pixels > MAX_PIXELS or pixels * batch > MAX_BATCH_PIXELS:
            yield f"dataset.image_size={size}: expected at most {MAX_PIXELS:,} pixels, and {MAX_BATCH_PIXELS:,} a batch"


def _texts(value: Any) -> list[str]:
    """All texts of plain data, keys included."""
    if isinstance(value, dict):
        return [text for key, each in value.items() for text in (key, *_texts(each))]
    if isinstance(value, list):
        return [text for each in value for text in _texts(each)]
    return [value] if isinstance(value, str) else []


def _known(node: dict[str, Any]) -> dict[str, Any]:
    """A mapping without the values that are not known."""
    found = {key: _known(value) if isinstance(value, dict) else value for key, value in node.items()}
    return {key: value for key, value in found.items() if value != MISSING}


def _wrong_types(node: dict[str, Any], schema: type, prefix: str) -> Iterator[str]:
    for name, hint in get_type_hints(schema).items():
        value = node.get(name, MISSING)
        if value == MISSING:
            continue
        if is_dataclass(hint):
            if isinstance(value, dict):
                yield from _wrong_types(value, cast(type, hint), f"{name}.")
            else:
                yield f"{prefix}{name}: expected a section of settings"
        elif not fits(value, hint):
            yield f"{prefix}{name}={cited(value, 100)}: expected {words(hint)}"


def _forget_paths(config: dict[str, Any], allow_modules: Sequence[str]) -> None:
    """Remove, in place, every setting by which the file would choose where to read or write."""
    dataset = config["dataset"]
    for key, slot in BUILT.items():
        holder = dataset if key.startswith("dataset.") else config
        name = key.rpartition(".")[2]
        if holder.get(name) is not None:
            holder[name] = without_files(holder[name], slot, allow_modules)
    dataset["cache"] = "none"
    if isinstance(workers := dataset.get("num_workers"), int):
        dataset["num_workers"] = max(0, min(workers, len(os.sched_getaffinity(0))))
    if dataset.get("file_pattern") not in (None, *_own_patterns()):
        dataset["file_pattern"] = "???"


def _own_patterns() -> list[str]:
    files = [CONF_DIR / "dataset" / f"{name}.yaml" for name in options("dataset")]
    read = [read_strict_yaml(read_text(path), str(path)) for path in files]
    return [each["file_pattern"] for each in read if each.get("file_pattern")]


def _write_down(node: Any, key: str, config: DictConfig) -> None:
    """Replace resolvers in a part of a configuration, in place."""
    places = enumerate(node) if isinstance(node, list) else node.items() if isinstance(node, dict) else ()
    for name, value in list(places):
        if not isinstance(value, str) or "${" not in value:
            _write_down(value, f"{key}[{name}]" if isinstance(node, list) else f"{key}.{name}", config)
        elif name in PATHS:
            node[name] = None
        elif not is_plain_reference(value):
            node[name] = OmegaConf.select(config, f"{key}[{name}]" if isinstance(node, list) else f"{key}.{name}")


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
