"""The study of a search: what is queued again, and a search that is interrupted."""

from __future__ import annotations

import json
import signal

import pytest
from helpers.interrupted_sweeps import interrupted, jobs_of, starts
from helpers.training_runs import only_run, train

from mammorisk.errors import UserError
from mammorisk.sweeps.states import FINISHED, PREEMPTED, progress_of
from mammorisk.sweeps.study import TRIES, _check_same, _opened, repair

optuna = pytest.importorskip("optuna")
RATES = optuna.distributions.LogUniformDistribution(1e-5, 1e-2)
COMPLETE, FAIL, RUNNING, WAITING = (
    getattr(optuna.trial.TrialState, name) for name in ("COMPLETE", "FAIL", "RUNNING", "WAITING")
)


@pytest.fixture
def study(tmp_path):
    return optuna.create_study(study_name="sweep", storage=f"sqlite:///{tmp_path}/study.db", direction="maximize")


def ask(study, end=None, value=None):
    """A trial that ends so, or goes on; its rate."""
    trial = study.ask()
    rate = trial._suggest("rate", RATES)
    if end is not None:
        study.tell(trial, value, state=end)
    return rate


def states(study):
    return [trial.state for trial in study.trials]


def test_an_interrupted_trial_is_asked_for_again_until_it_is_finished(study):
    ask(study, COMPLETE, 0.6)
    rate = ask(study)
    for _ in range(2 * TRIES):
        assert repair(study) == 1
        assert states(study).count(RUNNING) == 0
        assert states(study).count(WAITING) == 1
        assert ask(study) == rate  # the very same number, and interrupted again
    assert repair(study) == 1
    assert ask(study, COMPLETE, 0.7) == rate
    assert repair(study) == 2
    assert states(study).count(WAITING) == 0


def test_a_trial_that_failed_is_tried_twice_and_then_left(study):
    rate = ask(study, FAIL)
    assert repair(study) == 0
    assert repair(study) == 0  # a start that did not come to it queues it once
    assert states(study) == [FAIL, WAITING]
    assert ask(study, FAIL) == rate
    repair(study)
    assert states(study) == [FAIL, FAIL]
    assert ask(study, COMPLETE, 0.5) != rate


def test_a_trial_that_is_finished_at_last_is_not_tried_again(study):
    rate = ask(study, FAIL)
    repair(study)
    assert ask(study, COMPLETE, 0.5) == rate
    assert repair(study) == 1
    assert states(study) == [FAIL, COMPLETE]


def test_a_search_of_other_settings_is_refused(study, tmp_path):
    then, now = (json.dumps([["model=mirai", f"seed={seed}"], {"rate": "interval(0, 1)"}]) for seed in (1, 2))
    _check_same(study, then, tmp_path)
    _check_same(study, then, tmp_path)
    with pytest.raises(UserError, match=r"then seed=1\n  now  seed=2\n"):
        _check_same(study, now, tmp_path)


@pytest.mark.parametrize("attribute", [{"a": 1}, "[", "[1]"])
def test_a_study_that_cannot_be_read_is_a_message(tmp_path, attribute):
    study = _opened(str(tmp_path), "maximize")
    assert study.trials == []
    study.set_user_attr("swept", attribute)
    with pytest.raises(UserError, match=r"study\.db cannot be read"):
        _opened(str(tmp_path), "maximize")
    (tmp_path / "study.db").write_bytes(b"no database" * 100)
    with pytest.raises(UserError, match=r"study\.db cannot be read"):
        _opened(str(tmp_path), "maximize")


@pytest.mark.slow
def test_a_killed_search_goes_on_to_the_number_that_was_asked_for(tmp_path):
    words = ["hparams=tpe", "model=mirai", "hydra.sweeper.n_trials=3", "trainer.num_epochs=4", "optim.warmup_steps=2"]
    interrupted(tmp_path, words, signal.SIGKILL)
    sweep = only_run(tmp_path)
    first, second = jobs_of(sweep)
    assert [progress_of(job).state for job in (first, second)] == [FINISHED, PREEMPTED]

    printed = train(tmp_path, *words)
    assert "1 of 3 trials are finished" in printed
    assert "learning_rate" not in printed.splitlines()[-2]  # the command gives one: it is not searched
    first, second, third = jobs_of(sweep)
    assert [progress_of(job).state for job in (first, second, third)] == [FINISHED] * 3
    assert [starts(job) for job in (first, second, third)] == [1, 2, 1]
    assert "resumed from" in next(second.glob("*.log")).read_text()
    study = optuna.load_study("sweep", f"sqlite:///{sweep}/study.db")
    assert states(study) == [COMPLETE, FAIL, COMPLETE, COMPLETE]
    done = [trial for trial in study.trials if trial.state == COMPLETE]
    goals = [progress_of(job).best["Validation C-index"] for job in (first, second, third)]
    assert [trial.value for trial in done] == goals
    assert len({trial.params["optim.weight_decay"] for trial in done}) == 3  # no point was drawn again
    assert f"best of 3 finished trials: {max(goals):.4f}" in printed

    printed = train(tmp_path, *words, "hydra.sweeper.n_trials=4")  # more of the same search
    assert "3 of 4 trials are finished" in printed
    assert [starts(job) for job in jobs_of(sweep)] == [1, 2, 1, 1]
