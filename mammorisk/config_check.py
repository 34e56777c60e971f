"""Check of a configuration before any data is read; all problems are reported at once."""

from __future__ import annotations

import difflib
import inspect
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mammorisk.bound import shown
from mammorisk.bounds import outliers
from mammorisk.config import options
from mammorisk.errors import UserError
from mammorisk.runs.directory import wants_newest
from mammorisk.system.worker_limits import KEY as WORKERS
from mammorisk.system.worker_limits import worker_problem

CHOICES: dict[str, tuple[str, ...]] = {
    "dataset.orientation": ("native", "left"),
    "dataset.missing_followup": ("drop", "one_year"),
    "dataset.duplicate_view": ("newest", "oldest", "error"),
    "dataset.on_error": ("fail", "skip"),
    "trainer.mixed_precision": ("no", "bf16", "fp16"),
    "tracking.backend": ("wandb", "none"),
    "tracking.mode": ("auto", "online", "offline", "disabled"),
}
_REFERENCE = re.compile(r"\$\{([\w.]+)\}")  # to another key, and nothing else


def check_config(config: DictConfig) -> None:
    """Check a composed configuration of ``mammorisk-train``.

    Raises:
        UserError: lists every missing value, value out of range, component that cannot be imported, and keyword of a
            component that is unknown, missing or of another type.
    """
    problems = [f"{key} is not set: give {key}=VALUE" for key in _missing(config)]
    if "_target_" not in (_value(config, "model") or {}):  # an experiment may set a model's keys and choose no model
        problems.append(f"model is not set: choose model={' or model='.join(options('model'))}")
    problems += _unresolved(config)
    problems += list(_bad_values(config))
    numbers = bad_numbers(config)
    workers = _value(config, WORKERS)
    if isinstance(workers, int) and WORKERS not in numbers and (problem := worker_problem(workers)) is not None:
        problems.append(problem)
    for group in ("model", "registration", "augment", "optim.optimizer", "dataset.generator"):
        node = _value(config, group)
        if isinstance(node, DictConfig):
            problems += list(_bad_component(OmegaConf.to_container(node, resolve=False), group))
    if isinstance(generator := _value(config, "dataset.generator"), DictConfig) and "_target_" not in generator:
        problems.append(
            "dataset.generator has no _target_: it is a component that writes a cohort, or null "
            "(registration=ground_truth goes with dataset=phantom alone)"
        )
    reported = {problem.partition("=")[0] for problem in problems}  # a value that is not a number has no bound
    problems += [line for key, line in numbers.items() if key not in reported]
    if problems:
        lines = "\n".join(f"  {problem}" for problem in dict.fromkeys(problems))
        raise UserError(f"The configuration cannot be used:\n{lines}\n`--cfg job` prints every key with its value.")


def check_numbers(config: DictConfig) -> None:
    """Check the numbers of any command's configuration against the table of bounds.

    Raises:
        UserError: lists every number that is out of bounds.
    """
    if wrong := bad_numbers(config):
        raise UserError("\n".join(f"{line}." for line in wrong.values()))


def bad_numbers(config: DictConfig) -> dict[str, str]:
    """Find numbers out of bounds and settings that contradict each other, key -> sentence.

    A value is reported under its own key, not again under keys that refer to it.
    """
    plain = OmegaConf.to_container(config, resolve=False)
    references = dict[str, str]()
    values = _resolved(plain, config, references)
    found = {key: f"{key}={shown(value)}: expected {bound}" for key, value, bound in outliers(values)}
    found = {key: line for key, line in found.items() if not _origins(key, references) & found.keys()}
    rate, least = _value(config, "optim.learning_rate"), _value(config, "optim.min_lr")
    falls = _value(config, "optim.use_scheduler") or _value(config, "optim.lr_decay_per_epoch") != 1
    if (
        not {"optim.learning_rate", "optim.min_lr"} & found.keys()
        and None not in (rate, least)
        and falls
        and least > rate
    ):
        found["optim.min_lr"] = f"optim.min_lr={least}: expected at most optim.learning_rate={rate}, which falls to it"
    return found


def component_problems(node: Any, where: str) -> list[str]:
    """Find the problems of a component's node and of the nodes in it: keywords, types, a target that is missing."""
    return list(_bad_component(node, where))


def bad_choice(key: str, value: object) -> str | None:
    """Describe the problem of a setting with a fixed list of choices; None if there is none."""
    choices = CHOICES[key]
    if value in choices:
        return None
    return f"{key}={value}: expected {' or '.join(choices)}{_nearest(str(value), choices)}"


def _value(config: DictConfig, key: str) -> Any:
    """Value of a key; None also if it is missing or a reference to nothing."""
    try:
        return OmegaConf.select(config, key, throw_on_missing=False)
    except OmegaConfBaseException:
        return None


def _resolved(node: Any, config: DictConfig, references: dict[str, str], prefix: str = "") -> Any:
    """Resolve the references of a container and record which key refers to which; unknown ones stay as text."""
    if isinstance(node, list):
        return [_resolved(each, config, references, f"{prefix}[{i}]") for i, each in enumerate(node)]
    if isinstance(node, dict):
        start = f"{prefix}." if prefix else ""
        return {str(name): _resolved(each, config, references, f"{start}{name}") for name, each in node.items()}
    if not isinstance(node, str) or "${" not in node:
        return node
    value = _value(config, prefix)
    if found := _REFERENCE.fullmatch(node):
        references[prefix] = found.group(1)
    return node if value is None else OmegaConf.to_container(value) if OmegaConf.is_config(value) else value


def _origins(key: str, references: Mapping[str, str]) -> set[str]:
    """Find the keys that a key's value comes from by reference, its own or that of a section around it."""
    within = (start for start in references if key == start or key.startswith(f"{start}."))
    return {references[start] + key[len(start) :] for start in within}


def _missing(config: DictConfig) -> list[str]:
    """List the required keys without a value; ``OmegaConf.missing_keys`` stops at the first reference to nothing."""
    found: list[str] = []
    stack: list[tuple[str, Any]] = [("", OmegaConf.to_container(config, resolve=False))]
    while stack:
        key, node = stack.pop()
        if isinstance(node, dict):
            stack += [(f"{key}.{name}" if key else str(name), each) for name, each in node.items()]
        elif node == "???":
            found.append(key)
    return sorted(found)


def _unresolved(config: DictConfig) -> list[str]:
    try:
        OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        return [str(error).splitlines()[0]]
    return []


def _bad_values(config: DictConfig) -> Iterator[str]:
    for key in CHOICES:
        value = _value(config, key)
        problem = bad_choice(key, value) if value is not None else None
        if problem is not None:
            yield problem
    cache = _value(config, "dataset.cache")
    if cache is not None and not _is_none_or_folder(cache):
        yield f"dataset.cache={cache}: expected none, or a folder with a / in it, as ./image_cache"
    checkpoint = _value(config, "trainer.resume_from")
    if checkpoint is not None and not wants_newest(checkpoint) and not Path(checkpoint).expanduser().is_file():
        yield f"trainer.resume_from={checkpoint}: there is no such file; give a checkpoint's path, or auto"


def _bad_component(node: Any, where: str) -> Iterator[str]:
    """Find the problems of a node that has a ``_target_``, and of the nodes in it."""
    if not isinstance(node, dict) or "_target_" not in node:
        return
    target = str(node["_target_"])
    try:
        component = get_object(target)
        parameters = inspect.signature(component).parameters
    except (ImportError, ValueError, TypeError, AttributeError) as error:
        yield f"{where}._target_={target} cannot be imported: {str(error).splitlines()[0]}"
        return
    given = {key: value for key, value in node.items() if not key.startswith("_")}
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for key in given if not takes_any else ():
        if key not in parameters:
            yield f"{where}.{key}: {target} has no such parameter{_nearest(key, list(parameters))}"
    if not node.get("_partial_"):
        for name, parameter in parameters.items():
            needed = parameter.default is parameter.empty and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
            if needed and name not in given:
                yield f"{where}.{name}: {target} needs it"
    hints = _hints(component)
    for key, value in given.items():
        if isinstance(value, dict):
            yield from _bad_component(value, f"{where}.{key}")
        elif key in hints and not _fits(value, hints[key]):
            yield f"{where}.{key}={value}: expected {_words(hints[key])}"


def _is_none_or_folder(value: Any) -> bool:
    """Whether a value is ``none`` or a folder's path that exists or holds a ``/``; ``off`` or ``lmdb`` is neither."""
    path = Path(str(value)).expanduser()
    return value == "none" or ("/" in str(value) and (path.is_dir() or not path.exists()))


def _hints(component: Any) -> Mapping[str, Any]:
    try:
        return typing.get_type_hints(component.__init__ if inspect.isclass(component) else component)
    except (NameError, TypeError):  # annotations of other packages may not evaluate
        return {}


def _fits(value: Any, hint: Any) -> bool:
    """Whether a plain value can be of the annotated type; accepted if that cannot be decided."""
    if isinstance(value, str) and ("${" in value or value == "???"):
        return True
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return value in arguments
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, argument) for argument in arguments)
    if hint is type(None):
        return value is None
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint in (bool, str):
        return isinstance(value, hint)
    if inspect.isclass(origin) and issubclass(origin, Sequence):
        item = arguments[0] if arguments else Any
        return isinstance(value, list) and all(_fits(each, item) for each in value)
    return True


def _words(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return " or ".join(str(argument) for argument in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_words(argument) for argument in arguments)
    if inspect.isclass(origin) and issubclass(origin, Sequence):
        return f"a list of {_words(arguments[0])}" if arguments else "a list"
    names = {float: "a number", int: "a whole number", bool: "true or false", str: "text", type(None): "null"}
    return names.get(hint, getattr(hint, "__name__", str(hint)))


def _nearest(word: str, words: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, words, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""
