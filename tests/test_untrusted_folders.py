"""A stranger's sweep, evaluation, recalibration or cache is read as data, by whichever command reads it."""

from __future__ import annotations

import functools
import json
import pickle
import shutil
import sqlite3
from pathlib import Path

import pytest
from helpers.audit_hooks import Audited, run
from helpers.evaluated_checkpoints import phantom_predictions
from helpers.evaluation_documents import metrics_document
from helpers.foreign_files import Calls
from helpers.hostile_checkpoints import mark
from helpers.sweep_directories import mixed_sweep, write_job, write_plan
from helpers.training_runs import TINY
from helpers.untrained_checkpoints import exams, untrained, written
from helpers.untrusted_cases import assert_nothing_ran, assert_refused, new_place

from mammorisk.caching.entries import HEADER

SECRET = "${oc.env:MAMMORISK_TEST_CANARY}"
TAG = "a: !!python/object/apply:os.system ['touch mark']\n"
BOMB = "a: &a [x, x]\n" + "".join(f"k{i}: &k{i} [*{'k' + str(i - 1) if i > 1 else 'a'}, *a]\n" for i in range(1, 60))


# Sweeps.


@functools.cache
def good_report() -> Audited:
    place = new_place()
    mixed_sweep(place / "work" / "sweep")
    return run(place, "mammorisk.cli.sweep_report", "sweep")


@pytest.mark.parametrize("text", [TAG, BOMB, f"model:\n  _target_: sympy.sympify\n  a: {SECRET}\n"])
def test_a_sweeps_report_reads_configurations_as_data(text):
    place = new_place()
    sweep = mixed_sweep(place / "work" / "sweep")
    for path in sweep.glob("*_job_1_x/.hydra/*.yaml"):
        path.write_text(text)
    done = run(place, "mammorisk.cli.sweep_report", "sweep")
    assert done.status == 0, done.printed
    copies = [f"read {'@/work/' * absolute}sweep/a_job_1_x/config.yaml" for absolute in (False, True)]
    assert_nothing_ran(done, good_report(), allowed=copies)
    assert done.written == good_report().written


@pytest.mark.parametrize("folder", ["../../elsewhere", "/etc", "linked"])
def test_a_sweeps_report_stays_in_its_folder(folder):
    place = new_place()
    sweep = mixed_sweep(place / "work" / "sweep")
    write_job(place, "elsewhere", {"seed": 1}, [0.5], "2030-01-01 10:05:00,123 DEBUG ended by: what is mine\n")
    (sweep / "linked").symlink_to(place / "elsewhere")
    write_plan(sweep, {folder: {"seed": 1}})
    done = run(place, "mammorisk.cli.sweep_report", "sweep")
    assert_refused(done, good_report(), told=repr(folder))
    assert "what is mine" not in done.printed


def test_a_sweeps_report_reads_deep_records_and_overrides_as_data():
    place = new_place()
    sweep = mixed_sweep(place / "work" / "sweep")
    overrides = [f"seed={SECRET}", "model=!!python/object/apply:os.system [ls]", "optim.learning_rate=&a [*a]"]
    job = {"folder": "b_job_2_x", "identity": "1", "overrides": overrides, "error": SECRET}
    (sweep / "jobs.json").write_text(json.dumps({"jobs": [job]}))
    shutil.rmtree(sweep / "b_job_2_x")
    done = run(place, "mammorisk.cli.sweep_report", "sweep")
    assert done.status == 0, done.printed
    assert_nothing_ran(done, good_report(), allowed=["read sweep/b_job_2_x/config.yaml"])
    (sweep / "jobs.json").write_text("[" * 100_000)
    done = run(place, "mammorisk.cli.sweep_report", "sweep")
    assert done.status == 0, done.printed
    assert_nothing_ran(done, good_report(), allowed=["read sweep/b_job_2_x/config.yaml"])


GRID = [*TINY, "model=mirai", "hparams=grid", "optim.learning_rate=1e-3", "seed=1", "hydra.sweep.dir=sweep"]


def finished_grid(place: Path, name: str = "a_job_0_x") -> Path:
    """A sweep whose one job is finished: going on with it trains nothing."""
    from helpers.composed_configs import composed

    from mammorisk.config import plain_settings
    from mammorisk.sweeps.launching import _identity

    words = [word for word in GRID if not word.startswith("hydra.")]
    identity = _identity(plain_settings(composed(*words, hydra=True)))
    sweep = place / "work" / "sweep"
    write_job(sweep, "a_job_0_x", {"seed": 1}, [0.5], finished=True)
    job = {"folder": name, "identity": identity, "overrides": [], "error": ""}
    (sweep / "jobs.json").write_text(json.dumps({"jobs": [job]}))
    return sweep


@functools.cache
def good_grid() -> Audited:
    place = new_place()
    finished_grid(place)
    return run(place, "mammorisk.cli.train", *GRID)


def test_the_benign_sweep_is_found_finished():
    assert "1 of 1 jobs are finished" in good_grid().printed


@pytest.mark.parametrize("folder", ["../../elsewhere", SECRET, "a,hydra.launcher.n_jobs=2"])
def test_a_sweep_that_goes_on_starts_no_job_elsewhere(folder):
    place = new_place()
    finished_grid(place, folder)
    done = run(place, "mammorisk.cli.train", *GRID)
    assert done.status == 1, done.printed
    assert repr(folder) in done.printed
    assert_nothing_ran(done, good_grid())
    assert not (place / "elsewhere").exists()


def test_a_sweep_that_goes_on_writes_through_no_link():
    place = new_place()
    sweep = finished_grid(place)
    (sweep / "a_job_0_x" / ".hydra" / "config.yaml").unlink()
    (sweep / "a_job_0_x" / ".hydra" / "config.yaml").symlink_to(place / "mine.yaml")
    done = run(place, "mammorisk.cli.train", *GRID)
    assert done.status == 1, done.printed
    assert "found links" in done.printed
    assert_nothing_ran(done, good_grid())
    assert not (place / "mine.yaml").exists()


TPE = [*TINY, "model=mirai", "hparams=tpe", "hydra.sweeper.n_trials=1", "hydra.sweep.dir=sweep"]


def study(place: Path, kind: str) -> None:
    """A study.db of a stranger's."""
    sweep = place / "work" / "sweep"
    sweep.mkdir()
    if kind == "pickle":
        import os

        (sweep / "study.db").write_bytes(pickle.dumps(Calls(os.system, f"touch {mark(place)}")))
        return
    with sqlite3.connect(sweep / "study.db") as database:
        if kind == "attribute":
            import optuna

            made = optuna.create_study(study_name="sweep", storage=f"sqlite:///{sweep}/study.db", direction="maximize")
            made.set_user_attr("swept", {"_target_": "os.system", "a": SECRET})
        else:
            database.execute("CREATE VIEW studies AS SELECT load_extension('/x/y') AS study_id")
    database.close()


@pytest.mark.parametrize("kind", ["pickle", "attribute", "view"])
def test_a_strangers_study_is_a_message(kind):
    place = new_place()
    study(place, kind)
    done = run(place, "mammorisk.cli.train", *TPE)
    assert done.status == 1, done.printed[-2000:]
    assert "Traceback" not in done.printed, done.printed[-2000:]
    assert "study.db" in done.printed
    assert not mark(place).exists()
    assert not any("os.system" in fact or "subprocess" in fact for fact in done.facts)
    assert not any(name.startswith("@/work/sweep/") and name.endswith(".hydra/") for name in done.written)


# Evaluations.


def evaluation(folder: Path, change: dict[str, object] | None = None, cell: str | None = None) -> Path:
    """An evaluation of someone, with changed parts of its measures, and a text in its predictions."""
    folder.mkdir()
    table = phantom_predictions(300)
    document = metrics_document()
    document["cohort"]["samples"] = len(table)
    (folder / "metrics.json").write_text(json.dumps({**document, **(change or {})}))
    if cell is not None:
        table = table.assign(race=cell)
    table.to_csv(folder / "predictions.csv", index=False)
    return folder


COMPARE = ["one", "stranger", "bootstrap_samples=5", "cpu=true", "names=[a,b]"]


@functools.cache
def good_comparison() -> Audited:
    place = new_place()
    for name in ("one", "stranger"):
        evaluation(place / "work" / name)
    return run(place, "mammorisk.cli.compare", *COMPARE)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"made": {"checkpoint": "/etc/passwd"}}, "made lacks checkpoint_sha256"),
        ({"model": {"name": {"_target_": "sympy.sympify"}}}, "model lacks name"),
        ({"cohort": SECRET}, "cohort lacks samples"),
    ],
)
def test_compare_refuses_measures_of_another_form(change, told):
    place = new_place()
    evaluation(place / "work" / "one")
    evaluation(place / "work" / "stranger", change)
    done = run(place, "mammorisk.cli.compare", *COMPARE)
    assert done.status == 1, done.printed
    assert told in done.printed
    assert_nothing_ran(done, good_comparison())


def test_compare_takes_texts_of_an_evaluation_as_texts():
    place = new_place()
    script = "<script>fetch('//x')</script>"
    made = {**metrics_document()["made"], "checkpoint": SECRET, "version": script}
    model = {**metrics_document()["model"], "name": script}
    evaluation(place / "work" / "one")
    evaluation(place / "work" / "stranger", {"made": made, "model": model}, cell=f"=cmd|{SECRET}|{script}")
    done = run(place, "mammorisk.cli.compare", *COMPARE)
    assert done.status == 0, done.printed
    assert_nothing_ran(done, good_comparison())
    (page,) = (place / "work" / "outputs").glob("*/report.html")
    assert script not in page.read_text()


# Recalibrations.


@functools.cache
def predicted(recalibration: str | None, *words: str) -> Audited:
    place = new_place()
    written(place / "work", exams(1))
    shutil.copyfile(untrained("model=mirai"), place / "work" / "own.pth")
    if recalibration is not None:
        (place / "work" / "scales.json").write_text(recalibration)
        words = (*words, "recalibration=scales.json")
    line = ["checkpoint=own.pth", "csv_file=exams.csv", "out=risks.csv", "cpu=true"]
    return run(place, "mammorisk.cli.predict", *line, *words)


SCALES = {"format": 1, "method": "platt", "years": {str(k): {"slope": 1.0, "intercept": 0.0} for k in range(1, 6)}}


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        json.dumps({**SCALES, "years": {"1": {"slope": SECRET, "intercept": {"_target_": "os.system"}}}}),
        pickle.dumps([1], protocol=0).decode(),
    ],
)
def test_a_recalibration_is_numbers_or_a_message(text):
    assert_refused(predicted(text), predicted(json.dumps(SCALES)), told="cannot be read as a recalibration")


# Caches.


def spoilt(content: bytes, head: bytes, kind: str, place: Path) -> bytes:
    """An entry of a cache with another body, whose check sum is right."""
    import os

    import xxhash

    if kind == "pickle":
        body = pickle.dumps(Calls(os.system, f"touch {mark(place)}"))
    elif kind == "codec":  # of a number for which Blosc2 would look for a library
        changed = bytearray(content[HEADER.size :])
        changed[2] = changed[2] & 31 | 6 << 5
        changed[22] = 36
        body = bytes(changed)
    else:
        body = b"\x80\x04cos\nsystem\n" + b"\xff" * 100_000
    mark_of, record, _, _ = HEADER.unpack(head)
    return HEADER.pack(mark_of, record, len(body), xxhash.xxh3_64_intdigest(body)) + body


def with_caches(kind: str | None) -> Audited:
    """A training whose three caches were filled before by someone."""
    from helpers.tiny_training import tiny_parts

    place = new_place()
    work = place / "work"
    caches = [f"dataset.cache={work}/kept", "model.encoder.freeze=true", f"model.encoder.cache={work}/features"]
    frozen = ["model=lmv_net", "registration=mammoregnet_small", "registration.checkpoint=null", "augment=none"]
    words = [
        *frozen,
        *caches,
        f"registration.cache={work}/fields",
        "trainer.num_epochs=1",
        "trainer.samples_per_epoch=8",
    ]
    tiny_parts(place / "made", *words)
    entries = [path for path in work.rglob("*") if path.suffix in (".b2", ".features", ".field")]
    assert len({path.suffix for path in entries}) >= 2
    for path in entries if kind is not None else ():
        content = path.read_bytes()
        made = "truncated" if kind == "codec" and path.suffix != ".b2" else str(kind)
        path.write_bytes(spoilt(content, content[: HEADER.size], made, place))
    for path in work.rglob("*.json") if kind is not None else ():
        path.write_text("[" * 50_000)
    return run(place, "mammorisk.cli.train", *TINY, *words)


good_caches = functools.cache(with_caches)


@pytest.mark.parametrize("kind", ["pickle", "codec", "truncated"])
def test_entries_of_a_cache_are_data_or_made_again(kind):
    done = with_caches(kind)
    assert done.status == good_caches(None).status == 0, done.printed
    assert "damaged" in done.err
    made_again = {fact for fact in done.facts if "/kept/" in fact or "/features/" in fact or "/fields/" in fact}
    images = {fact for fact in done.facts if fact.startswith("read ") and fact.endswith(".png")}
    assert_nothing_ran(done, good_caches(None), allowed=made_again | images)
