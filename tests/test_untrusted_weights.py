"""Weights and checkpoints of a stranger that trainings and ``mammorisk-import-weights`` are given run nothing."""

from __future__ import annotations

import functools
import json
import shutil
import tempfile
from pathlib import Path

import pytest
from helpers.audit_hooks import Audited, named, run
from helpers.hostile_checkpoints import evil_files, evil_payload, hostile, told
from helpers.tiny_training import tiny_parts
from helpers.training_runs import TINY
from helpers.untrained_checkpoints import untrained
from helpers.untrusted_cases import STRANGER, assert_as_good, assert_nothing_ran, assert_refused, new_place
from safetensors.torch import save_file
from torch import nn

from mammorisk.models.encoders import ResNetEncoder
from mammorisk.training.checkpoint import TrainingState, save

IMPORT = [f"source={STRANGER}", "out=ours.safetensors"]
SHORT = ["model=mirai", "trainer.num_epochs=1", "trainer.samples_per_epoch=8"]
FORMS = ["raw0", "zip1", "legacy2"]


@functools.cache
def begun() -> Path:
    """The checkpoint of a short training that has just begun."""
    parts, files = tiny_parts(Path(tempfile.mkdtemp(prefix="mammorisk-begun-")), *SHORT)
    save(parts, TrainingState(), files)
    return files.resume


def evil(form: str) -> tuple[Path, str]:
    """The folder of a case whose file is a pickle in one of the forms of a torch file, and what is told of it."""
    place = new_place()
    for path, word in evil_files(place.parent / "evil", place).items():
        if path.stem == form:
            shutil.copyfile(path, place / "work" / STRANGER)
            return place, word
    raise LookupError(form)


def stranger(name: str | None, source: Path) -> Path:
    place = new_place()
    target = place / "work" / STRANGER
    if name is None:
        shutil.copyfile(source, target)
    elif name == "pickle":
        evil_payload(source, target, place)
    else:
        hostile(name, source, target, place)
    return place


def keep(network: nn.Module, path: Path) -> None:
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, path)


@functools.cache
def good_import() -> Audited:
    return run(stranger(None, untrained("model=mirai")), "mammorisk.cli.import_weights", *IMPORT)


@pytest.mark.parametrize("form", FORMS)
def test_import_weights_refuses_by_name(form):
    place, word = evil(form)
    done = run(place, "mammorisk.cli.import_weights", *IMPORT)
    assert_refused(done, good_import(), told=word, allowed=["import encodings.cp437"])  # a zip archive's names


def test_import_weights_refuses_a_call_in_a_checkpoint():
    place = stranger("pickle", untrained("model=mirai"))
    assert_refused(run(place, "mammorisk.cli.import_weights", *IMPORT), good_import(), told="posix.system")


@pytest.mark.parametrize("name", ["sympify", "alias bomb", "both"])
def test_import_weights_reads_no_component_of_a_configuration(name):
    source = untrained("model=mirai") if name != "both" else untrained(*LMV)
    place = stranger(name, source)
    done = run(place, "mammorisk.cli.import_weights", *IMPORT)
    assert_as_good(done, good_import())


LMV = ("model=lmv_net", "registration=mammoregnet_small", "registration.checkpoint=null")


@pytest.mark.parametrize("note", ["deep", "other form", "constructor"])
def test_import_weights_reads_a_note_as_data(note):
    place = new_place()
    work = place / "work"
    keep(ResNetEncoder(width=4), work / "s.safetensors")
    secret = "${oc.env:MAMMORISK_TEST_CANARY}"
    notes = {
        "deep": "[" * 50_000,
        "other form": json.dumps({"title": {"_target_": "os.system"}, "images": [secret], "kind": secret}),
        "constructor": json.dumps(
            {"title": secret, "images": {"input_mean": 0, "input_std": 1, "orientation": "/etc"}}
        ),
    }
    (work / "s.json").write_text(notes[note])
    done = run(place, "mammorisk.cli.import_weights", "source=s.safetensors", "out=ours.safetensors")
    assert done.status == 0, done.printed
    assert_nothing_ran(done, good_import(), allowed=["read s.json", "read s.safetensors"])
    assert done.written == {"@/work/ours.safetensors", "@/work/ours.json"}


def trained(place: Path, *words: str, short: bool = True) -> Audited:
    return run(place, "mammorisk.cli.train", *TINY, *(SHORT if short else ()), *words)


@functools.cache
def good_training() -> Audited:
    """One that goes on from a checkpoint."""
    return trained(stranger(None, begun()), f"trainer.resume_from={STRANGER}")


@functools.cache
def good_auto() -> Audited:
    """One that goes on in a run directory that it finds."""
    place = new_place()
    strangers_run(place)
    return trained(place, "trainer.resume_from=auto")


def test_the_benign_trainings_are_trainings():
    assert (good_training().status, "resumed from" in good_training().err) == (0, True), good_training().printed


@pytest.mark.parametrize("name", ["sympify", "secret in model", "alias bomb", "pickle"])
def test_a_training_that_is_to_go_on_from_it_refuses_by_name(name):
    done = trained(stranger(name, begun()), f"trainer.resume_from={STRANGER}")
    assert done.status == 1, done.printed
    assert (STRANGER if name == "pickle" else told(name)) in done.printed
    assert_nothing_ran(done, good_training())
    assert not any(each.endswith(".pth") for each in done.written)


def strangers_run(place: Path) -> Path:
    """A run directory that a training with ``resume_from=auto`` takes for its own."""
    (run_folder,) = (good_training().place / "work" / "outputs").iterdir()
    copy = place / "work" / "outputs" / run_folder.name
    shutil.copytree(run_folder, copy)
    return copy


def test_resume_auto_passes_over_checkpoints_that_call():
    place = new_place()
    folder = strangers_run(place)
    evils = list(evil_files(place.parent / "evil", place))
    for path, other in zip(sorted(folder.glob("*.pth")), evils[4:], strict=False):
        shutil.copyfile(other, path)
    done = trained(place, "trainer.resume_from=auto")
    assert done.status == 0, done.printed
    assert "looking for an earlier one" in done.err
    assert_nothing_ran(done, good_training(), good_auto(), allowed=_names_of(folder))


@pytest.mark.parametrize("text", ["bomb", "tag", "resolver"])
def test_resume_auto_reads_a_strangers_configuration_as_data(text):
    place = new_place()
    folder = strangers_run(place)
    texts = {
        "bomb": "a: &a [x, x]\n" + "".join(f"k{i}: &k{i} [*k{i - 1}, *k{i - 1}]\n" for i in range(1, 60)),
        "tag": f"model: !!python/object/apply:os.system ['touch {place}/mark']\n",
        "resolver": "model:\n  _target_: sympy.sympify\nout_dir: ${oc.env:MAMMORISK_TEST_CANARY}\n",
    }
    for path in (folder / ".hydra" / "config.yaml", folder / "config.yaml"):
        path.write_text(texts[text])
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    done = trained(place, "trainer.resume_from=auto")
    assert done.status == 0, done.printed
    assert_nothing_ran(done, good_training(), good_auto(), allowed=_names_of(folder))
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_resume_auto_writes_through_no_link():
    place = new_place()
    folder = strangers_run(place)
    kept = place / "bashrc"
    kept.write_text("mine\n")
    (log,) = folder.glob("*.log")
    log.unlink()
    log.symlink_to(kept)
    done = trained(place, "trainer.resume_from=auto")
    assert_refused(done, good_training(), good_auto(), told="found links", allowed=_names_of(folder))
    assert kept.read_text() == "mine\n"


def _names_of(folder: Path) -> list[str]:
    """The reading of all files of a run directory."""
    names = [str(path.relative_to(folder)) for path in folder.rglob("*")]
    return [named(f"read {place}outputs/{folder.name}/{name}") for name in names for place in ("", "@/work/")]


WEIGHTS = {
    "encoder": ["model=mirai", f"model.encoder.pretrained={STRANGER}"],
    "aggregator": ["model=mirai", f"model.pretrained={STRANGER}"],
    "registration": ["model=lmv_net", "registration=mammoregnet_small", f"registration.checkpoint={STRANGER}"],
}


@functools.cache
def no_weights(part: str) -> Audited:
    """The training with a file that is none of weights."""
    place = new_place()
    (place / "work" / STRANGER).write_text("no weights")
    return trained(place, *WEIGHTS[part], short=False)


def assert_weights_refused(part: str, form: str) -> None:
    place, word = evil(form)
    done = trained(place, *WEIGHTS[part], short=False)
    assert done.status == 1, done.printed
    assert word in done.printed
    assert_nothing_ran(done, no_weights(part), good_import(), allowed=["import encodings.cp437"])
    assert not any(each.endswith(".pth") for each in done.written)


@pytest.mark.parametrize(("part", "form"), list(zip(WEIGHTS, FORMS, strict=True)))
def test_a_training_refuses_weights_by_name(part, form):
    assert_weights_refused(part, form)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("part", list(WEIGHTS))
def test_a_training_refuses_weights_in_every_form(part, form):
    assert_weights_refused(part, form)
