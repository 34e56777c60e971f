"""A stranger's checkpoint runs nothing, reads nothing and writes nowhere, whichever command or function is given it.

Each case is a process under ``sys.addaudithook``: first with a benign file, then with hostile ones, which may do
nothing that the benign one did not (``audited``, ``untrusted``).
"""

from __future__ import annotations

import functools
import json
import shutil
from pathlib import Path

import pytest
from helpers.audit_hooks import Audited, run
from helpers.hostile_checkpoints import REFUSED, TEXTS, evil_files, evil_payload, hostile, told
from helpers.training_runs import COHORTS
from helpers.untrained_checkpoints import dicom_exam, exams, untrained, written
from helpers.untrusted_cases import STRANGER, assert_as_good, assert_nothing_ran, assert_refused, new_place

PREDICT = [f"checkpoint={STRANGER}", "csv_file=exams.csv", "out=risks.csv", "cpu=true"]
COHORT = f"dataset.generator.folder={COHORTS}"
FEW = ["bootstrap_samples=5", "examples=0", "cpu=true"]
LMV = ("model=lmv_net", "registration=mammoregnet_small", "registration.checkpoint=null")


def stranger(name: str | None, *model: str) -> Path:
    """The folder of a case with the hostile checkpoint of this name; None: as the training wrote it."""
    place, source = new_place(), untrained(*(model or ("model=mirai",)))
    target = place / "work" / STRANGER
    if name is None:
        shutil.copyfile(source, target)
    elif name == "pickle":
        evil_payload(source, target, place)
    else:
        hostile(name, source, target, place)
    return place


def predicted(name: str | None, *model: str, fresh: bool = False, **variables: str) -> Audited:
    place = stranger(name, *model)
    written(place / "work", exams(1))
    return run(place, "mammorisk.cli.predict", *PREDICT, fresh=fresh, **variables)


def evaluated(name: str | None, *words: str, model: tuple[str, ...] = ()) -> Audited:
    return run(stranger(name, *model), "mammorisk.cli.evaluate", *(words or (STRANGER, COHORT)), *FEW)


good_prediction = functools.cache(predicted)
good_evaluation = functools.cache(evaluated)


@pytest.mark.parametrize("name", ["sympify", "torch.hub in registration", "a module of the working folder"])
def test_predict_refuses_by_name(name):
    assert_refused(predicted(name), good_prediction(None), told=told(name))


def test_predict_refuses_a_pickle_that_calls():
    assert_refused(predicted("pickle"), good_prediction(None), told=STRANGER)


def test_predict_follows_nothing_of_a_file_that_passes():
    assert_as_good(predicted("both", *LMV), good_prediction(None, *LMV))


def test_predict_gives_no_value_away_that_only_a_resolver_could_tell():
    done = predicted("needed secrets")
    assert_nothing_ran(done, good_prediction(None))
    assert (done.status, done.written) == (1, set())


def test_predict_needs_no_value_of_a_training_that_only_a_resolver_could_tell():
    """``seed=${oc.env:SEED}`` of one's own training on a cluster: the risks do not depend on it."""
    assert predicted("secret seed").status == 0


@pytest.mark.parametrize("name", ["parse_expr in the encoder", "open in the generator", "joined references"])
def test_evaluate_refuses_by_name(name):
    known = good_evaluation(None), good_evaluation(None, STRANGER, COHORT, "confidence=2")
    assert_refused(evaluated(name), *known, told=told(name), leaves={"@/work/outputs/"})


def test_evaluate_generates_the_cohort_in_our_folder_alone():
    assert_as_good(evaluated("both", model=LMV), good_evaluation(None, model=LMV))


def test_evaluate_reads_a_cohort_that_a_file_names_only_where_it_is_told_to():
    """A configuration without a generator, and with the paths of a table and of images."""
    place = stranger("own table")
    known = good_evaluation(None), good_evaluation(None, STRANGER, COHORT, "confidence=2")
    done = run(place, "mammorisk.cli.evaluate", STRANGER, *FEW)
    log = "test_risk_prediction_training_id_1.log"
    assert "is read with cohort=as_trained" in done.printed
    assert_nothing_ran(done, *known)
    assert done.status == 1
    assert {Path(name).name for name in done.written} >= {log, "config.yaml"}
    asked = run(stranger("own table"), "mammorisk.cli.evaluate", STRANGER, "cohort=as_trained", *FEW)
    table = f"{asked.place}/work/theirs.csv"
    assert asked.printed.index(f"is read: csv_file {table}") < asked.printed.index("mammorisk stopped")
    assert_nothing_ran(asked, *known, allowed=["read @/work/theirs.csv"])


@functools.cache
def good_comparison() -> Audited:
    """Two evaluations, compared by their predictions."""
    place = new_place()
    (run_folder,) = (good_evaluation(None).place / "work" / "outputs").iterdir()
    for name in ("one", "two"):
        shutil.copytree(run_folder, place / "work" / name)
    return run(place, "mammorisk.cli.compare", "one", "two", "bootstrap_samples=5", "cpu=true")


@pytest.mark.parametrize("name", ["instantiate", "attribute of a module of ours", "pickle"])
def test_compare_refuses_by_name(name):
    place = stranger(name)
    (run_folder,) = (good_evaluation(None).place / "work" / "outputs").iterdir()
    shutil.copytree(run_folder, place / "work" / "one")
    done = run(place, "mammorisk.cli.compare", "one", STRANGER, COHORT, "bootstrap_samples=5", "cpu=true")
    word = STRANGER if name == "pickle" else told(name)
    assert word in done.printed
    assert done.status == 1
    assert_nothing_ran(done, good_comparison(), good_evaluation(None))
    assert {Path(each).name for each in done.written} - {"outputs", ".hydra"} <= {
        *("Compare_STAMP", "compare.log", "config.yaml", "hydra.yaml", "overrides.yaml", ".lock")
    }


def called(how: str, *names: str | None, more: tuple[str, ...] = ()) -> tuple[Audited, list[str]]:
    """What a function says of hostile checkpoints, one after the other in one process."""
    place = new_place()
    work, source = place / "work", untrained("model=mirai")
    files = []
    for number, name in enumerate(names):
        target = work / f"stranger{number}.pth"
        if name is None:
            shutil.copyfile(source, target)
        elif name == "pickle":
            evil_payload(source, target, place)
        else:
            hostile(name, source, target, place)
        files.append(target.name)
    if how == "load_model" and names != (None,):
        files += [str(path.relative_to(work)) for path in evil_files(work / "evil", place)]
    if how == "predict_dicom":
        dicom_exam(work / "exam", "20200415")
    if how == "predict":
        written(work, exams(1))
    done = run(place, "helpers.stranger_calls", how, *files, "--", *more)
    return done, [json.loads(line)[1] for line in done.out.splitlines() if line.startswith("[")]


good_call = functools.cache(called)
OF_CALLS = (
    ("predict", ("exams.csv",)),
    ("predict_dicom", ("exam",)),
    ("evaluate", (json.dumps({"generator": {"folder": str(COHORTS)}}),)),
)


def but_for_names(done: Audited) -> Audited:
    """Without the reading of the strangers' files themselves, which are many here and one in the benign case."""
    done.__dict__["facts"] = {fact for fact in done.facts if not fact.startswith(("read stranger", "read evil/"))}
    return done


def test_load_model_refuses_every_one_by_name():
    names = [*REFUSED, *TEXTS, "pickle"]
    (benign, well), (done, answers) = good_call("load_model", None), called("load_model", *names)
    assert well == ["well"]
    assert done.status == 0, done.printed
    for name, answer in zip(names, answers, strict=False):
        word = "cannot be read" if name == "pickle" else told(name)
        assert word in answer, f"{name}: {answer}"
        assert "stranger" in answer
    assert len(answers) == len(names) + 12
    assert all("cannot be read" in answer for answer in answers[len(names) :])
    assert_nothing_ran(but_for_names(done), benign)
    assert done.written == set()


@pytest.mark.parametrize(("how", "more"), OF_CALLS)
def test_functions_refuse_by_name(how, more):
    names = ["eval", "partial", "attribute of a model's module", "code in a resolver"]
    (benign, well), (done, answers) = good_call(how, None, more=more), called(how, *names, more=more)
    assert well == ["well"], benign.printed
    assert done.status == 0, done.printed
    assert [told(name) in answer for name, answer in zip(names, answers, strict=True)] == [True] * 4, answers
    assert_nothing_ran(but_for_names(done), benign)
    assert done.written == set()
