"""What other people's names and a command's streams do to real commands: nothing, or a message."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
import torch
from helpers.dicom_files import breast, write
from helpers.training_runs import TINY, ended, environment, last_epoch, only_run
from safetensors.torch import save_file

IMAGES = [sys.executable, "-m", "mammorisk.cli.prepare", "images", "num_workers=2", "conversion.image_size=[64,52]"]
LOST = "standard output cannot be written to"
PHANTOM = ["num_women=3", "image_height=32"]


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """A folder on a file system that takes no writes, not even root's."""
    folder.mkdir(exist_ok=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("only root can mount a file system")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def shell(folder: Path, command: list[str], redirected: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """A command whose streams a shell redirects."""
    words = ["bash", "-c", f'exec "$@" {redirected}', "bash", *command]
    return subprocess.run(
        words, cwd=folder, env=environment(**variables), text=True, capture_output=True, timeout=240, check=False
    )


@pytest.mark.parametrize(
    ("redirected", "variables", "told"),
    [
        pytest.param(">/dev/full", {}, f"{LOST} (No space left on device)", id="full"),
        pytest.param(">&-", {}, f"{LOST} (it is closed)", id="closed", marks=pytest.mark.slow),  # as "full"
        pytest.param("2>/dev/full", {}, "", id="errors full"),
        pytest.param("", {"PYTHONIOENCODING": "ascii"}, "", id="ascii", marks=pytest.mark.slow),  # as "C"
        pytest.param("", {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, "", id="C"),
    ],
)
def test_a_training_that_is_complete_says_so_whatever_its_streams_are(tmp_path, redirected, variables, told):
    command = [sys.executable, "-m", "mammorisk.cli.train", *TINY, "model=mirai", "trainer.num_epochs=1"]
    done = shell(tmp_path, command, redirected, **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert last_epoch(only_run(tmp_path))["epoch"] == 1
    (log,) = only_run(tmp_path).glob("*.log")
    assert "Run directory" in log.read_text(encoding="utf-8")


def test_an_answer_that_was_lost_is_a_mistake(tmp_path):
    for words in (["--cfg", "job"], ["--help"]):
        done = shell(tmp_path, [sys.executable, "-m", "mammorisk.cli.train", "model=mirai", *words], ">/dev/full")
        assert done.returncode == 1
        assert "No space left on device" in done.stderr
        assert "Traceback" not in done.stderr
        assert "run directory" not in done.stderr


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """DICOM files of all names, and what is no file; ``out`` with a link that leads out of it."""
    root = tmp_path / "d"
    for name in ("a.dcm", "ok.dcm", "x" * 240 + ".dcm", "esc\x1b[2J.dcm", "sub/in.dcm"):
        write(root / name, breast())
    os.rename(root / "a.dcm", os.fsencode(root) + b"/caf\xe9.dcm")  # noqa: PTH104  of bytes
    os.mkfifo(root / "pipe.dcm")
    (root / "dead.dcm").symlink_to("nowhere")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / ".half.unfinished").touch()
    (tmp_path / "elsewhere" / "in.png").write_bytes(b"of someone else")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sub").symlink_to("../elsewhere")
    return tmp_path


def test_bad_names_pipes_and_links_are_refused_one_by_one_and_all_are_reported(hostile):
    done = shell(hostile, [*IMAGES, "dicom_root=d", "out=out"])
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    with (hostile / "out" / "images_report.csv").open(encoding="utf-8") as file:
        found = {row["dicom_path"]: row["kind"] for row in csv.DictReader(file)}
    expected = {r"caf\xe9.dcm": "name", r"esc\x1b[2J.dcm": "name", "sub/in.dcm": "leads_out"}
    assert found == expected | {"pipe.dcm": "not_a_file", "dead.dcm": "missing"}
    made = pd.read_csv(hostile / "out" / "images.csv")["file_name"].tolist()
    assert sorted(made) == ["ok.png", "x" * 240 + ".png"]
    assert all((hostile / "out" / name).is_file() for name in made)
    assert json.loads((hostile / "out" / "images.json").read_text())["counts"]["images"] == 2
    assert sorted(path.name for path in (hostile / "elsewhere").iterdir()) == [".half.unfinished", "in.png"]
    assert (hostile / "elsewhere" / "in.png").read_bytes() == b"of someone else"


def test_a_table_may_name_anything(hostile):
    rows = [("ok.dcm", "ok.png"), ("pipe.dcm", "p.png"), ("sub", "f.png"), ("n" * 300 + ".dcm", "n.png")]
    rows += [("ok.dcm", "l" * 300 + ".png"), ("ok.dcm", "sub/in.png")]
    text = "dicom_path,file_name\n" + "".join(f"{source},{name}\n" for source, name in rows)
    (hostile / "t.csv").write_text(text)
    done = shell(hostile, [*IMAGES, "dicom_root=d", "out=out", "csv_file=t.csv"])
    assert done.returncode == 3, done.stderr
    with (hostile / "out" / "images_report.csv").open(encoding="utf-8") as file:
        kinds = [row["kind"] for row in csv.DictReader(file)]
    assert kinds == ["not_a_file", "not_a_file", "missing", "name", "leads_out"]
    assert (hostile / "elsewhere" / "in.png").read_bytes() == b"of someone else"


def test_sheets_do_not_follow_a_link_either(hostile):
    (hostile / "out" / "contact_sheets").symlink_to("../elsewhere")
    done = shell(hostile, [*IMAGES, "dicom_root=d", "out=out"])
    assert done.returncode == 1
    assert "contact_sheets leads out of" in done.stderr
    assert sorted(path.name for path in (hostile / "elsewhere").iterdir()) == [".half.unfinished", "in.png"]


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("prepare", ["images", "dicom_root=.", "out=o", "csv_file=pipe"]),
        ("prepare", ["check", "pipe", "dataset=phantom"]),
        ("predict", ["checkpoint=pipe", "csv_file=x.csv", "out=o.csv"]),
        ("train", [*TINY, "model=mirai", "dataset.generator=null", "dataset.csv_file=pipe", "dataset.data_root=."]),
        ("train", [*TINY, "model=mirai", "model.encoder.pretrained=pipe"]),
        ("import_weights", ["source=pipe", "out=o.safetensors"]),
        ("evaluate", ["pipe"]),
    ],
)
def test_a_pipe_in_place_of_a_file_is_not_waited_for(tmp_path, module, words):
    os.mkfifo(tmp_path / "pipe")
    done = ended(tmp_path, module, *words)
    assert done.returncode in (1, 2), done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "pipe" in done.stdout + done.stderr


def test_a_title_of_a_strangers_file_obeys_nobody(tmp_path):
    title = "good\x1b]0;owned\x07\nmammorisk: all is well"
    save_file({"a": torch.zeros(2)}, tmp_path / "w.safetensors", {"mammorisk": json.dumps({"title": title})})
    for module, words in (
        ("import_weights", ["source=w.safetensors", "kind=resnet", "out=o.safetensors"]),
        ("train", [*TINY, "model=mirai", "model.encoder.pretrained=w.safetensors"]),
    ):
        done = ended(tmp_path, module, *words)
        printed = done.stdout + done.stderr
        assert done.returncode == 1
        assert "\x1b" not in printed
        assert "\x07" not in printed
        assert "\nmammorisk: all is well" not in printed


def test_values_of_a_strangers_table_obey_nobody(tmp_path):
    rows = [f"P1\x1b[2J,E{exam},2010-01-01,{side},CC,a.png,train\u202e,0,5" for exam in (1, 2) for side in "LR"]
    head = "patient_id,exam_id,exam_date,laterality,view,file_name,split,years_to_cancer,years_to_last_followup"
    (tmp_path / "c.csv").write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    done = ended(tmp_path, "prepare", "check", "c.csv", "dataset=phantom", "dataset.data_root=.")
    assert done.returncode == 1
    printed = done.stdout + done.stderr
    assert r"train\u202e" in printed
    assert not {"\x1b", "\u202e"} & set(printed)


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("phantom", [*PHANTOM, "out=ro/p"]),
        ("train", [*TINY, "model=mirai", "dataset.generator.folder=ro/phantoms"]),
        ("train", [*TINY, "model=mirai", "dataset.cache=ro/images"]),
        ("train", [*TINY, "model=mirai", "out_dir=ro/outputs"]),
        ("prepare", ["images", "dicom_root=d", "out=ro/out", "conversion.image_size=[64,52]"]),
        ("prepare", ["check", "c.csv", "dataset=phantom", "dataset.data_root=.", "out=ro/report.json"]),
        ("predict", ["checkpoint=x", "csv_file=x.csv", "out=ro/o.csv"]),
        ("import_weights", ["source=w.safetensors", "kind=mammorisk", "out=ro/o.safetensors"]),
        ("evaluate", ["w.safetensors", "out_dir=ro/outputs"]),
        ("compare", ["d", "d", "out_dir=ro/outputs"]),
        ("sweep_report", ["d", "--out", "ro/report"]),
    ],
)
def test_a_folder_that_is_read_only_is_a_message(tmp_path, module, words):
    write(tmp_path / "d" / "a.dcm", breast())
    (tmp_path / "c.csv").write_text("patient_id,exam_id\n1,2\n")
    save_file({"a": torch.zeros(2)}, tmp_path / "w.safetensors")
    with read_only(tmp_path / "ro"):
        done = ended(tmp_path, module, *words)
    assert done.returncode in (1, 2), done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.strip()
