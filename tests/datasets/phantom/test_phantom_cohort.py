import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.model_cases import yaml_differences
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from mammorisk.config import CONF_DIR, register_schemas
from mammorisk.datasets.cohort import load_cohort
from mammorisk.datasets.phantom.phantom_cohort import PhantomCohort, read_record
from mammorisk.datasets.phantom.phantom_settings import HazardSettings, MotionSettings, Splits
from mammorisk.errors import UserError

SMALL = PhantomCohort(num_women=30, image_height=32, num_workers=1, hazard=HazardSettings(event_rate=0.5))


def composed(name, *overrides):
    register_schemas()
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        return compose(name, overrides=list(overrides))


def content(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return replace(SMALL, folder=str(tmp_path_factory.mktemp("phantom"))).write()


@pytest.fixture(scope="module")
def loaded(written):
    return load(written.parent)


def load(folder):
    node = ["num_women=30", "image_height=32", "num_workers=1", "hazard.event_rate=0.5", f"folder={folder}"]
    config = composed("dataset/phantom", *[f"dataset.generator.{word}" for word in node], "dataset.image_size=[32,26]")
    return load_cohort(config.dataset)


def test_yaml_and_constructor_agree():
    assert yaml_differences("phantom/benchmark.yaml") == []
    assert instantiate(composed("phantom/benchmark")) == PhantomCohort()


def test_quickstart_is_the_benchmark_with_other_values():
    quick = instantiate(composed("write_phantom", "phantom=quickstart", "out=x", "~out"))
    assert quick.motion == MotionSettings(0.35, 5, 0.35, 3.0, 0.04)
    assert quick.lesion.benign_per_breast == 0.5
    assert (quick.hazard, quick.precursor, quick.picture) == (HazardSettings(), SMALL.precursor, SMALL.picture)
    inside = composed("train", "model=lmv_net", "phantom@dataset.generator=quickstart").dataset.generator
    assert instantiate(inside) == quick


def test_images_of_the_dataset_are_as_written():
    dataset = composed("train", "model=lmv_net").dataset
    generator = instantiate(dataset.generator)
    assert dataset.image_size == [generator.image_height, generator.image_width]


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"num_women": 0}, "num_women=0: expected a whole number from 1"),
        ({"image_height": "big"}, "image_height=big"),
        ({"seed": -1}, "seed=-1"),
        ({"format": "embd"}, "format=embd: expected one of own, embed, csaw. Did you mean 'embed'?"),
        ({"displacements": "maybe"}, "displacements=maybe: expected true or false"),
        ({"num_workers": 0}, "num_workers=0"),
    ],
)
def test_bad_setting_is_named(settings, named):
    with pytest.raises(UserError) as error:
        PhantomCohort(**settings)
    assert named in str(error.value)


def test_folder_is_named_by_what_determines_its_content():
    keys = {SMALL.key, replace(SMALL, num_workers=2, folder="elsewhere").key}
    assert len(keys) == 1
    others = [
        {"seed": 2},
        {"num_women": 31},
        {"displacements": True},
        {"format": "embed"},
        {"splits": Splits(0.6, 0.1, 0.3)},
    ]
    others += [{"hazard": replace(SMALL.hazard, age=0.3)}, {"woman": replace(SMALL.woman, age_max=73)}]
    assert len({SMALL.key, *(replace(SMALL, **change).key for change in others)}) == 1 + len(others)
    assert replace(SMALL, hazard=replace(SMALL.hazard, contrast=3)).key == (
        replace(SMALL, hazard=replace(SMALL.hazard, contrast=3.0)).key
    )


def test_a_cohort_loads_without_complaint(written, loaded):
    counts = read_record(written)["counts"]
    assert loaded.notes == ()
    assert len(loaded.table) == counts["images"] == 4 * counts["exams"]
    assert loaded.table["patient_id"].nunique() == counts["women"] == 30
    assert loaded.table.groupby("patient_id")["years_to_cancer"].min().notna().sum() <= counts["cases"]
    assert "dropped" not in str(loaded.attrition)
    for year in range(1, 6):
        assert loaded.table[f"true_risk_{year}y"].between(0, 1).all()


def test_the_second_time_nothing_is_touched(written):
    before = {path: path.stat().st_mtime_ns for path in written.rglob("*")}
    assert replace(SMALL, folder=str(written.parent)).write() == written
    assert {path: path.stat().st_mtime_ns for path in written.rglob("*")} == before


def test_two_processes_write_the_same_bytes(written, tmp_path):
    other = replace(SMALL, folder=str(tmp_path), num_workers=2).write()
    assert content(other) == content(written)


def test_fewer_women_are_the_first_of_more(written, tmp_path):
    replace(SMALL, num_women=12).write_to(tmp_path / "few")
    few, many = content(tmp_path / "few"), content(written)
    images = [name for name in few if name.endswith(".png")]
    assert len(images) > 50
    assert all(few[name] == many[name] for name in images)
    lines = few["cohort.csv"].splitlines()
    assert lines == many["cohort.csv"].splitlines()[: len(lines)]


def test_record_tells_settings_versions_and_counts(written):
    record = json.loads((written / "settings.json").read_text())
    assert record["key"] == written.name == SMALL.key
    assert record["settings"]["hazard"]["event_rate"] == 0.5
    assert set(record["versions"]) == {"mammorisk", "numpy", "opencv"}
    assert record["baseline_hazard"] > 0
    assert record["counts"]["images"] == len(list((written / "images").rglob("*.png")))


@pytest.mark.parametrize("form", ["embed", "csaw"])
def test_other_formats_tell_of_the_same_women(form, loaded, tmp_path):
    replace(SMALL, format=form).write_to(tmp_path / "c")
    where = [f"dataset.csv_file={tmp_path}/c/cohort.csv", f"dataset.data_root={tmp_path}/c/images"]
    found = load_cohort(composed(f"dataset/{form}", *where).dataset)
    assert "dropped" not in str(found.attrition)
    order = ["patient_id", "exam_time", "laterality", "view"]
    own, other = (cohort.table.sort_values(order).reset_index(drop=True) for cohort in (loaded, found))
    same = ["patient_id", "laterality", "view", "split", "years_to_cancer", "years_to_last_followup", "age"]
    if form == "embed":
        same += ["exam_id", "exam_date", "density", "cancer_type", "race"]
    for column in [*same, "exam_years_to_cancer"]:
        np.testing.assert_array_equal(own[column], other[column], err_msg=column)
    for one, two in zip(own["file"][::9], other["file"][::9], strict=True):
        assert Path(one).read_bytes() == Path(two).read_bytes()


def test_displacements_lie_beside_the_images_of_later_exams(tmp_path):
    replace(SMALL, num_women=3, displacements=True).write_to(tmp_path / "c")
    images = {path.relative_to(tmp_path / "c/images") for path in (tmp_path / "c/images").rglob("*.png")}
    displacements = {
        path.relative_to(tmp_path / "c/displacements") for path in (tmp_path / "c/displacements").rglob("*.npy")
    }
    later = {path.with_suffix(".npy") for path in images if not path.name.split("_")[0].endswith("00000001")}
    assert displacements == later


def test_a_folder_with_other_things_is_refused(written, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match="something else already"):
        SMALL.write_to(tmp_path / "mine")
    with pytest.raises(UserError, match="other settings"):
        replace(SMALL, seed=2).write_to(written)
    assert SMALL.write_to(written) is False
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["letter.txt"]


def test_too_little_room_is_told_before_anything_is_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 10_000})())
    with pytest.raises(UserError, match="Make room, or lower num_women"):
        replace(SMALL, folder=str(tmp_path)).write()
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


WRITER = """
    import sys
    from mammorisk.datasets.phantom.phantom_cohort import PhantomCohort
    PhantomCohort(num_women=400, image_height=64, folder=sys.argv[1], num_workers=2).write()
"""


def has_members(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_killed_writer_leaves_no_cohort(tmp_path):
    command = [sys.executable, "-c", textwrap.dedent(WRITER), str(tmp_path)]
    process = subprocess.Popen(command, start_new_session=True)
    deadline = time.monotonic() + 60
    while not list(tmp_path.rglob("*.png")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert [path.name[0] for path in tmp_path.iterdir()] == [".", "."]  # lock and leftover
    while has_members(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not has_members(process.pid)  # the processes that drew for it have ended too
    folder = replace(SMALL, num_women=2, folder=str(tmp_path)).write()
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == [folder]


def test_the_drawing_processes_need_no_torch():
    code = "import sys, mammorisk.datasets.phantom.phantom_cohort; print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout == "False\n"
