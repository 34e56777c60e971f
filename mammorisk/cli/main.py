"""Entry point of all commands: Hydra's main function, with errors printed as messages for users."""

from __future__ import annotations

import difflib
import logging
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import hydra
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException, ValidationError

from mammorisk.cli.plugins import check_start
from mammorisk.cluster.submitit_jobs import asks_for_jobs, check_can_launch
from mammorisk.config import CONF_DIR, options, register_schemas
from mammorisk.distributed.launch import end_processes, is_main_rank
from mammorisk.errors import Stopped, UserError
from mammorisk.runs.directory import register_resolvers
from mammorisk.runs.start import start_processes
from mammorisk.system.printing import flush_output, give_up, prepare_streams, print_error

FULL_ERROR = "HYDRA_FULL_ERROR"  # Hydra's own switch for stack traces


def run_command(task: Callable[[DictConfig], Any], config_name: str, mistake: int = 1) -> None:
    """Run ``task`` with the config composed from the command line; the body of every entry point.

    A user's mistake ends in one screen of text and exit status ``mistake``; any other exception keeps its stack trace,
    and so does everything when ``HYDRA_FULL_ERROR=1``.
    """
    wants_trace = os.environ.get(FULL_ERROR) == "1"
    os.environ[FULL_ERROR] = "1"  # Hydra then hands exceptions on instead of printing them
    logging.getLogger("numexpr").setLevel(logging.WARNING)  # it logs its threads
    prepare_streams()
    register_schemas()
    register_resolvers()
    try:
        check_start(sys.argv[1:])
        start_processes()
        sys.argv[1:] = overrides_first(sys.argv[1:])
        if asks_for_jobs(sys.argv[1:]):
            check_can_launch(sys.argv[1:])
            sys.argv.insert(1, "hydra.mode=MULTIRUN")  # without -m Hydra would leave the launcher out
        hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name=config_name)(task)()
        flush_output()
    except (UserError, HydraException, OmegaConfBaseException) as error:
        if wants_trace:
            raise
        if is_main_rank():
            print_error(f"\n{_headline()}{_explain(error, config_name)}")
        sys.exit(mistake)
    except Stopped as stopped:
        if is_main_rank():
            print_error(f"\n{stopped}")
        sys.exit(128 + stopped.number)
    except BrokenPipeError:  # `--cfg job | head`
        give_up(sys.stdout)
        sys.exit(0)
    except (OSError, ValueError) as error:  # ValueError: Hydra's options exclude each other
        if wants_trace or _was_reached(task, error):
            raise
        if is_main_rank():
            reason = _no_run_directory(error) if isinstance(error, OSError) else str(error)
            print_error(f"\n{_headline()}{reason}")
        sys.exit(mistake)
    except KeyboardInterrupt:
        print_error("\ninterrupted; a run continues with trainer.resume_from=auto")
        sys.exit(130)
    finally:
        end_processes(after_defect=isinstance(sys.exc_info()[1], Exception))  # all other errors are a SystemExit by now


def overrides_first(words: Sequence[str]) -> list[str]:
    """Sort a command line for Hydra's parser, which takes all overrides in one place."""
    are_overrides = [re.match(r"[~+\w][^=]*=|~", word) is not None for word in words]
    ranked = sorted(zip(are_overrides, words, strict=True), key=lambda pair: not pair[0])
    return [word for _, word in ranked]


def _was_reached(task: Callable[[DictConfig], Any], error: BaseException) -> bool:
    """Whether an exception comes from the task, and not from what Hydra does before it."""
    return any(frame.f_code is task.__code__ for frame, _ in traceback.walk_tb(error.__traceback__))


def _headline() -> str:
    return "mammorisk stopped:\n\n"


def _explain(error: Exception, config_name: str) -> str:
    message = _user_error(error)
    if message is not None:
        return str(message)
    if isinstance(error, OverrideParseException):
        return (
            f"{error.override}: expected key=value, without blanks around the '='.\nPut an override with "
            "brackets, commas or blanks in quotes: 'dataset.image_size=[64,52]'."
        )
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    key = str(getattr(cause, "full_key", "") or "")
    if isinstance(error, MissingConfigException):
        return _unknown_option(error)
    if isinstance(cause, ConfigKeyError | ConfigAttributeError) and key:
        return _unknown_key(key, config_name)
    if isinstance(cause, ValidationError) and key:
        return _wrong_type(key, str(cause).splitlines()[0])
    unmatched = re.search(r"In '(\w+)/([^']+)': Could not override '(\w+)@([\w.]+)'", str(error))
    if isinstance(error, ConfigCompositionException) and unmatched is not None:
        return _unmatched_choice(*unmatched.groups())
    if isinstance(error, ConfigCompositionException) and error.__cause__ is not None:
        return f"{error}\n{error.__cause__}"
    return str(error).splitlines()[0] if isinstance(error, OmegaConfBaseException) else str(error)


def _unmatched_choice(group: str, option: str, changed: str, place: str) -> str:
    needed = " It goes with dataset=phantom." if place == "dataset.generator" else ""
    return (
        f"{group}={option} chooses {changed} for {place}, which the other choices of this command do not "
        f"have.{needed}\n"
        f"Leave {group}={option} out, and set what you want of it: CONF/{group}/{option}.yaml lists its settings."
    ).replace("CONF", str(CONF_DIR))


def _user_error(error: BaseException | None) -> UserError | None:
    """The message for the user that an exception is or came from (Hydra wraps those of constructors)."""
    while error is not None and not isinstance(error, UserError):
        error = error.__cause__
    return error


def _no_run_directory(error: OSError) -> str:
    if error.filename is None:  # of a stream
        return f"The output cannot be written: {error.strerror}."
    return (
        f"{error.filename}: {error.strerror}.\nNo run directory can be made there: give another place, out_dir=FOLDER."
    )


def _wrong_type(key: str, reason: str) -> str:
    found = re.match(r"Value '(.*)' (?:of type '.*' could not be converted to|is not a valid) (\w+)", reason)
    kinds = {"Float": "a number", "Integer": "a whole number", "bool": "true or false"}
    if found is not None and found.group(2) in kinds:
        return f"{key}={found.group(1)}: expected {kinds[found.group(2)]}."
    return f"{key}: expected a list, [a,b]." if "is not a ListConfig" in reason else f"{key}: {reason}"


def _unknown_option(error: MissingConfigException) -> str:
    found = re.search(r"Could not find '([^']+)'", str(error))
    if found is None:
        return str(error)
    group, _, option = found.group(1).partition("/")
    known = options(group)
    if group == "hydra":  # one of Hydra's own groups, such as hydra/launcher: Hydra lists the options
        group, _, option = found.group(1).rpartition("/")
        known = list(error.options or ())
    typed = next((word.partition("=")[0] for word in sys.argv[1:] if word.startswith(f"{group}@")), group)
    text = f"{typed}={option}: there is no such option of '{group}'.\nAvailable: {', '.join(known)}."
    return text + _nearest(option, known, lambda word: f"{typed}={word}")


def _unknown_key(key: str, config_name: str) -> str:
    keys = sorted(set(_flat(_reachable_config(config_name))))
    text = f"{key}: there is no such key in the configuration."
    return text + _nearest(key, keys, str) + "\n`--cfg job` prints every key with its value."


def _nearest(word: str, words: list[str], show: Callable[[str], str]) -> str:
    close = difflib.get_close_matches(word, words, n=3, cutoff=0.5)
    if not close:  # the last part is right, the group is wrong
        close = [other for other in words if other.rpartition(".")[2] == word.rpartition(".")[2]][:3]
    return f"\nDid you mean {' or '.join(show(other) for other in close)}?" if close else ""


def _reachable_config(config_name: str) -> DictConfig:
    """The config of this command line's group choices, other overrides left out."""
    choices = []
    for argument in sys.argv[1:]:
        key, _, value = argument.partition("=")
        if (CONF_DIR / key).is_dir() and value:
            choices.append(f"{key}={value.split(',')[0]}")
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        try:
            return compose(config_name, overrides=choices)
        except HydraException:
            return DictConfig({})


def _flat(config: DictConfig) -> Iterator[str]:
    container = OmegaConf.to_container(config, resolve=False)
    stack: list[tuple[str, Any]] = [("", container)]
    while stack:
        prefix, node = stack.pop()
        for key, value in node.items() if isinstance(node, dict) else ():
            name = f"{prefix}{key}"
            yield name
            stack.append((f"{name}.", value))
