"""The whole command, in processes of its own and on generated downloads."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from helpers.composed_configs import composed
from helpers.raw_downloads import Download, csaw_download, embed_download
from helpers.training_runs import environment
from omegaconf import OmegaConf

from mammorisk.cli.prepare import prepare_cohort
from mammorisk.config import CONF_DIR
from mammorisk.datasets.cohort import load_cohort
from mammorisk.errors import UserError
from mammorisk.preparation.csaw import CsawDownload
from mammorisk.preparation.embed import EmbedDownload
from mammorisk.preparation.make_cohort import as_overrides

DOWNLOADS = {"embed": embed_download, "csaw": csaw_download}


def command(*words: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "mammorisk.cli.prepare", "cohort", *words]
    return subprocess.run(line, capture_output=True, text=True, check=False, env=environment())


def in_this_process(*overrides: str) -> None:
    """The command without a process of its own, which takes seconds to start."""
    prepare_cohort(composed(*overrides, root="prepare_cohort"))


@pytest.fixture(scope="module", params=["embed", "csaw"])
def prepared(request, tmp_path_factory) -> tuple[str, Download, Path, subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp(request.param)
    download = DOWNLOADS[request.param](folder / "download")
    out = folder / "cohort" / "cohort.csv"
    answer = command(f"dataset={request.param}", *download.overrides, f"out={out}", "split.rule=exact")
    assert answer.returncode == 0, answer.stderr
    return request.param, download, out, answer


def test_the_table_is_read_with_no_further_option(prepared, tmp_path):
    name, download, out, _ = prepared
    table = pd.read_csv(out, dtype=str, keep_default_na=False)
    png = cv2.imencode(".png", np.zeros((4, 4), dtype=np.uint16))[1].tobytes()
    for file in table["file_name"]:
        (tmp_path / file).write_bytes(png)
    paths = (f"dataset.csv_file={out}", f"dataset.data_root={tmp_path}")
    cohort = load_cohort(composed("model=mirai", f"dataset={name}", *paths).dataset)
    found = cohort.table
    assert len(found) == len(table) > 500
    assert all(len(cohort.split(split)) for split in ("train", "val", "test"))
    keys = zip(found["patient_id"], found["exam_id"], found["laterality"], strict=True)
    truth = [download.truth[key] for key in keys]
    assert found["years_to_cancer"].fillna(-1).tolist() == [-1 if years is None else years for years, _ in truth]
    assert found["years_to_last_followup"].tolist() == [followup for _, followup in truth]
    assert [Path(file).name for file in found["file"]] == [Path(file).name for file in found["file"].unique()]


def test_every_image_of_the_table_has_its_dicom_in_the_download(prepared):
    _, download, out, _ = prepared
    table = pd.read_csv(out, dtype=str)
    pictures = {path: (side, view) for path, _, _, side, view in download.pictures}
    view = table["view"] if "view" in table else table["viewposition"]
    side = table["ImageLateralityFinal"] if "view" in table else table["laterality"].str[0]
    assert [pictures[path] for path in table["dicom_path"]] == list(zip(side, view, strict=True))
    assert table["dicom_path"].is_unique


def test_it_says_what_the_table_holds_and_leaves_a_record(prepared):
    name, download, out, answer = prepared
    record = json.loads(out.with_suffix(".json").read_text())
    assert record["options"]["dataset"] == name
    assert record["options"]["split"]["rule"] == "exact"
    assert not set(download.tables) & set(record["options"]["raw"])
    assert [each["file"] for each in record["inputs"]] == [path.name for path in download.tables.values()]
    attrition = pd.read_csv(out.with_name("cohort_attrition.csv"))
    assert dict(zip(attrition["reason"][1:], attrition["images"][1:], strict=True)) == dict(download.planted)
    counts = record["counts"]["all"]
    assert f"all   {counts['patients']} women ({counts['patients_with_cancer']} with cancer)" in answer.stdout
    assert answer.stdout.splitlines()[-1].strip().startswith(f"mammorisk-train model=mirai dataset={name} ")
    assert "Attrition" in answer.stdout
    assert answer.stderr == ""


def test_the_same_again_keeps_the_table_and_another_is_refused(prepared):
    name, download, out, _ = prepared
    words = (f"dataset={name}", *download.overrides, f"out={out}")
    before = out.read_bytes()
    in_this_process(*words, "split.rule=exact")
    for other in ("split.seed=1", "raw.labels=woman"):
        with pytest.raises(UserError, match="is there already, and was made with other options"):
            in_this_process(*words, "split.rule=exact", other)
    assert out.read_bytes() == before
    assert not list(out.parent.glob(".*"))


def test_another_table_replaces_only_when_asked(prepared, tmp_path):
    name, download, *_ = prepared
    words = (f"dataset={name}", *download.overrides, f"out={tmp_path}/c.csv", "split.rule=exact")
    in_this_process(*words)
    before = (tmp_path / "c.csv").read_bytes()
    in_this_process(*words, "split.seed=1", "overwrite=true")
    assert (tmp_path / "c.csv").read_bytes() != before
    assert json.loads((tmp_path / "c.json").read_text())["options"]["split"]["seed"] == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["dataset=embed"], r"out is not set.*\n.*raw.clinical is not set.*\n.*raw.metadata is not set"),
        (["dataset=csaw", "out=c.csv", "raw.csv=gone.csv"], r"raw\.csv: there is no file gone\.csv"),
        (["dataset=csaw", "out=c", "raw.csv=gone.csv"], r"expected a name that ends with \.csv"),
        (["dataset=csaw", "out=c.csv", "raw.csv=x", "raw.interval_rule=plus3"], "expected plus1 or plus2"),
        (["dataset=csaw", "out=c.csv", "raw.csv=x", "raw.last_year=3000"], "raw.last_year=3000: expected a whole"),
        (["dataset=csaw", "out=c.csv", "raw.csv=x", "split.seed=-1"], "split.seed=-1: expected a whole number from 0"),
        (["dataset=csaw", "out=c.csv", "raw.csv=x", "raw.last_year=soon"], "raw.last_year=soon: expected a whole"),
    ],
)
def test_mistakes_are_told(words, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=told):
        in_this_process(*words)
    assert not list(tmp_path.iterdir())


def test_a_mistake_ends_the_command_without_a_trace(tmp_path):
    answer = command("dataset=mirai_csv", f"out={tmp_path}/c.csv")
    assert answer.returncode == 1
    assert "raw=mirai_csv: there is no such option of 'raw'.\nAvailable: csaw, embed." in answer.stderr
    assert "Traceback" not in answer.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "component"), [("embed", EmbedDownload), ("csaw", CsawDownload)])
def test_the_yaml_holds_every_parameter_with_its_default(name, component):
    node = OmegaConf.to_container(OmegaConf.load(CONF_DIR / "raw" / f"{name}.yaml"))
    parameters = inspect.signature(component).parameters
    assert set(node) == {"_target_", *parameters}
    for key, parameter in parameters.items():
        if key != "accepted_codes":
            assert node[key] == ("???" if parameter.default is parameter.empty else parameter.default), key
    text = Path(inspect.getfile(component)).read_text()
    assert all(not words and re.search(r"\w", column) for column, words in node["accepted_codes"].items())
    assert "accepted_codes" in text


def test_the_words_are_hydras():
    assert as_overrides(["a=1", "--cfg", "job"]) == ["a=1", "--cfg", "job"]
