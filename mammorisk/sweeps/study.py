"""The Optuna study of a sweep: kept in a file beside the jobs, and repaired before it continues.

hydra-optuna-sweeper opens an existing study, but counts its trials from zero, draws the same first points again, and
leaves interrupted trials. This module corrects that, and nothing else.
"""

from __future__ import annotations

import json
import logging
import warnings
from pathlib import Path
from typing import Any, Protocol, cast

from hydra.conf import HydraConf
from hydra.utils import instantiate
from omegaconf import OmegaConf

from mammorisk.bounds import out_of_bounds
from mammorisk.distributed.launch import world_size
from mammorisk.errors import UserError
from mammorisk.runs.directory import swept
from mammorisk.system.printing import print_out

STUDY, NAME = "study.db", "sweep"
INTERRUPTED, SWEPT = "interrupted", "swept"  # attributes of a trial and of the study
TRIES = 2  # of a point that fails, before another takes its place


class SearchSettings(Protocol):
    """Settings of a search, as the sweeper of ``hydra_plugins`` has them."""

    sampler: Any  # component, an Optuna sampler
    seed: int  # of its first start
    direction: str  # maximize | minimize
    n_trials: int  # to finish
    n_jobs: int  # trials at a time
    params: Any  # key -> interval or values


def make_sweeper(settings: SearchSettings, hydra: HydraConf) -> Any:
    """The plug-in's sweeper, with its study in the sweep's directory.

    Args:
        settings: of the search.
        hydra: Hydra's own section of the sweep's configuration.

    Raises:
        UserError: the plug-in is not installed, this is one of several processes, or a number is out of bounds.
    """
    plain = cast(dict[str, Any], OmegaConf.to_container(hydra.sweeper, resolve=True))
    if wrong := list(out_of_bounds(plain, "hydra.sweeper.")):
        raise UserError("\n".join(f"{line}." for line in wrong))
    if world_size() > 1:
        raise UserError(
            "hparams=tpe: the search runs in one process. Start it without torchrun or accelerate launch, and let a "
            "launcher of Hydra's (hydra/launcher=…) start the trainings."
        )
    try:
        import optuna
        from hydra_plugins.hydra_optuna_sweeper.optuna_sweeper import OptunaSweeper
    except ImportError as error:
        raise UserError(f"hparams=tpe needs Optuna ({error}): pip install 'mammorisk[sweep]'.") from error
    optuna.logging.set_verbosity(logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)  # TPE over several parameters
    return OptunaSweeper(
        sampler=cast(Any, None),  # set with the study
        direction=settings.direction,
        storage=_storage(str(hydra.sweep.dir)),
        study_name=NAME,
        n_trials=settings.n_trials,
        n_jobs=settings.n_jobs,
        max_failure_rate=1.0,  # the other trials go on
        search_space=None,
        custom_search_space=None,
        params=settings.params,
    ).sweeper


def sweep_study(sweeper: Any, settings: SearchSettings, arguments: list[str]) -> None:
    """Repair the study and continue until ``settings.n_trials`` trials are finished.

    Raises:
        UserError: the study is one of other settings, or cannot be read.
    """
    hydra = sweeper.config.hydra
    folder = str(hydra.sweep.dir)
    study = _opened(folder, settings.direction)
    _check_same(study, swept(hydra), Path(folder))
    finished = repair(study)
    sweeper.n_trials, sweeper.job_idx = settings.n_trials - finished, len(study.trials)
    # A new sampler with the same seed would draw the same points again.
    sweeper.sampler = instantiate(settings.sampler, seed=settings.seed + len(study.trials))
    if finished:
        print_out(f"{finished} of {settings.n_trials} trials are finished")
    sweeper.sweep(arguments)
    best = study.best_trial
    words = " ".join(
        f"{key}={value:.3g}" if isinstance(value, float) else f"{key}={value}" for key, value in best.params.items()
    )
    print_out(f"best of {_count(study)} finished trials: {best.value:.4f} with {words}")


def repair(study: Any) -> int:
    """Queue interrupted and failed trials again; return the number of finished trials.

    A trial that was interrupted is queued until it is finished; one that failed is tried ``TRIES`` times.
    """
    import optuna

    states = optuna.trial.TrialState
    for trial in study.trials:
        if trial.state == states.RUNNING:
            optuna.trial.Trial(study, trial._trial_id).set_user_attr(INTERRUPTED, True)
            study.tell(trial.number, state=states.FAIL)
            study.enqueue_trial(trial.params)
    trials = study.trials
    tried = [trial.params for trial in trials if trial.state == states.FAIL and INTERRUPTED not in trial.user_attrs]
    waiting = [trial.system_attrs.get("fixed_params") for trial in trials if trial.state == states.WAITING]
    done = [trial.params for trial in trials if trial.state == states.COMPLETE]
    for number, params in enumerate(tried):
        if params not in tried[:number] and params not in waiting + done and tried.count(params) < TRIES:
            study.enqueue_trial(params)
    return _count(study)


def _opened(folder: str, direction: str) -> Any:
    """The study of a sweep's directory; a new one if there is none.

    Raises:
        UserError: the file is no study, or damaged.
    """
    import optuna
    from sqlalchemy.exc import SQLAlchemyError  # type: ignore[import-untyped]

    try:
        study = optuna.create_study(study_name=NAME, storage=_storage(folder), direction=direction, load_if_exists=True)
        _words_of(study.user_attrs.get(SWEPT, "[[], {}]"))
        _ = study.trials  # reads all of them
    except (SQLAlchemyError, optuna.exceptions.OptunaError, LookupError, TypeError, ValueError, RuntimeError) as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"{Path(folder) / STUDY} cannot be read as a search's study: {first_line}. Remove it "
            "to start the search again, or give this search a folder of its own, hydra.sweep.dir=FOLDER."
        ) from error
    return study


def _words_of(swept_then: str) -> set[str]:
    words, params = json.loads(swept_then)
    return set(map(str, (*words, *params.items())))


def _storage(folder: str) -> str:
    return f"sqlite:///{Path(folder).absolute() / STUDY}"


def _count(study: Any) -> int:
    return sum(trial.state.name == "COMPLETE" for trial in study.trials)


def _check_same(study: Any, now: str, folder: Path) -> None:
    then = study.user_attrs.get(SWEPT)
    if then is None:
        study.set_user_attr(SWEPT, now)
    elif then != now:
        words = [_words_of(text) for text in (then, now)]
        raise UserError(
            f"{folder} holds a search with other settings, whose trials cannot be used for these:\n"
            f"  then {' '.join(sorted(words[0] - words[1]))}\n  now  {' '.join(sorted(words[1] - words[0]))}\n"
            "Give the same settings again, or this search a folder of its own: hydra.sweep.dir=FOLDER."
        )
