from __future__ import annotations

import csv
import io
import json
import math
import os
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
from wandb.proto import wandb_internal_pb2

from mammorisk.config import TrackingConfig
from mammorisk.errors import UserError
from mammorisk.runs.directory import RunFiles
from mammorisk.training.risk import RISK
from mammorisk.training.tracking import Tracker, write_metrics

NAN = float("nan")
NAMES = [
    "Training Risk Loss",
    "Validation Risk Loss",
    "Training C-index",
    "Validation C-index",
    *[f"{split} Year {year} AUC" for split in ("Train", "Val") for year in range(1, 6)],
    "Learning Rate",
]
# A run without key, terminal or answer: argument 1 the run directory, 2 the mode, 3 a module that is not installed.
TRACK = """
import sys
from pathlib import Path
if sys.argv[3]:
    sys.modules[sys.argv[3]] = None
from mammorisk.config import TrackingConfig
from mammorisk.runs.logs import run_log
from mammorisk.training.risk import RISK
from mammorisk.runs.directory import RunFiles
from mammorisk.training.tracking import Tracker
files = RunFiles(Path(sys.argv[1]))
with run_log("{}", files), Tracker(TrackingConfig(mode=sys.argv[2]), files, {}, RISK) as tracker:
    tracker.log([{"epoch": 1.0, "Validation C-index": 0.5}])
"""


@pytest.fixture(autouse=True)
def _no_account(monkeypatch, tmp_path_factory):
    """Neither the key nor the settings of whoever runs the tests."""
    home = str(tmp_path_factory.mktemp("home"))
    for name in [name for name in os.environ if name.startswith("WANDB_")] + ["RANK", "WORLD_SIZE", "NETRC"]:
        monkeypatch.delenv(name, raising=False)
    for name in ("HOME", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, home)


def row(epoch: int) -> dict[str, float]:
    return {"epoch": float(epoch), **{name: epoch + i / 7 for i, name in enumerate(NAMES)}}


def offline(**settings: Any) -> TrackingConfig:
    return TrackingConfig(**{"mode": "offline", **settings})


def none() -> TrackingConfig:
    return TrackingConfig(backend="none")


def records(folder: Path) -> list[Any]:
    """All records of the one offline run below a run directory, as `wandb sync` would send them, once it has ended."""
    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    ends = time.monotonic() + 10
    while True:
        found = [wandb_internal_pb2.Record.FromString(data) for data in _logged(path.read_bytes())]
        if kinds(found, "exit") or time.monotonic() > ends:
            return found
        time.sleep(0.05)  # W&B's own process writes the rest


def _logged(data: bytes) -> Iterator[bytes]:
    """LevelDB's log format, which W&B uses: 32 KiB blocks of (checksum, length, kind, data) after a header."""
    at, whole = 7, b""
    while at + 7 <= len(data):
        left = -at % 32768
        if 0 < left < 7:
            at += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        if at + 7 + length > len(data):
            return  # not yet written
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # the whole of a record, or the last part
            yield whole
            whole = b""


def kinds(found: list[Any], kind: str) -> list[Any]:
    return [getattr(record, kind) for record in found if record.WhichOneof("record_type") == kind]


def logged_rows(found: list[Any]) -> dict[int, dict[str, float]]:
    """Step -> name -> value."""
    return {
        history.step.num: {(item.key or item.nested_key[0]): json.loads(item.value_json) for item in history.item}
        for history in kinds(found, "history")
    }


def test_metrics_csv_holds_every_number_exactly(tmp_path):
    files = RunFiles(tmp_path)
    history = [row(1), {**row(2), "Validation C-index": NAN, "Learning Rate": 1e-7 / 3}]
    with Tracker(none(), files, {}, RISK) as tracker:
        tracker.log(history[:1])
        tracker.log(history)
    with files.metrics.open(newline="") as file:
        read = list(csv.DictReader(file))
    assert list(read[0]) == ["epoch", *NAMES]
    assert [line["epoch"] for line in read] == ["1", "2"]
    assert read[1]["Validation C-index"] == "nan"
    for line, expected in zip(read, history, strict=True):
        for name, value in expected.items():
            assert float(line[name]) == value or math.isnan(value), name
    assert files.curve.stat().st_size > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["learning_curve.png", "metrics.csv"]


def test_a_row_that_cannot_be_written_leaves_the_file_before(tmp_path):
    files = RunFiles(tmp_path)
    write_metrics([row(1)], files)
    before = files.metrics.read_bytes()
    with pytest.raises(ValueError, match="surplus"):
        write_metrics([{**row(1), "surplus": 1.0}, row(2)], files)
    assert files.metrics.read_bytes() == before
    assert list(tmp_path.iterdir()) == [files.metrics]


def test_the_true_risk_is_drawn_into_the_curve(tmp_path):
    pictures = []
    for true_risk in (None, 0.8):
        with Tracker(none(), RunFiles(tmp_path), {}, RISK, true_risk) as tracker:
            tracker.log([row(1)])
        pictures.append(RunFiles(tmp_path).curve.read_bytes())
    assert pictures[0] != pictures[1]


def test_no_epoch_and_other_ranks_write_nothing(tmp_path, monkeypatch):
    with Tracker(none(), RunFiles(tmp_path), {}, RISK) as tracker:
        tracker.log([])
    monkeypatch.setenv("RANK", "1")
    with Tracker(offline(), RunFiles(tmp_path), {}, RISK) as tracker:
        tracker.log([row(1)])
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> dict[str, Any]:
    """Two runs of one process, the second of which fails; W&B takes a second to start and to end."""
    found: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("WANDB_")]:
            patch.delenv(name)
        base = found["base"] = tmp_path_factory.mktemp("runs")
        for name, config in (("well", offline(group="g", tags=["a", "b"])), ("fails", offline(wandb_id="chosen1"))):
            folder = base / f"Model_{name}_2030"
            folder.mkdir()
            try:
                with Tracker(config, RunFiles(folder), {"optim": {"learning_rate": 0.1}}, RISK) as tracker:
                    tracker.log([row(1)])
                    tracker.log([row(1), {**row(2), "Validation C-index": NAN}])
                    if name == "fails":
                        raise UserError("an image cannot be read")
            except UserError:
                assert name == "fails"
            found[name] = records(folder)
    return found


def test_wandb_gets_every_metric_with_the_epoch_as_its_step(recorded):
    found = logged_rows(recorded["well"])
    assert list(found) == [1, 2]
    for epoch, values in found.items():
        expected = row(epoch)
        assert set(expected) <= set(values)
        for name in set(expected) - ({"Validation C-index"} if epoch == 2 else set()):
            assert values[name] == pytest.approx(expected[name]), name
    assert math.isnan(float(found[2]["Validation C-index"]))
    metrics = kinds(recorded["well"], "metric")
    assert any(m.glob_name == "*" and m.step_metric == "epoch" for m in metrics)


def test_wandb_knows_the_run_by_its_folder_and_its_configuration(recorded):
    run = kinds(recorded["well"], "run")[0]
    assert (run.display_name, run.project, run.run_group) == ("Model_well_2030", "mammorisk", "g")
    assert list(run.tags) == ["a", "b"]
    settings = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert settings["optim"] == {"learning_rate": 0.1}


def test_the_id_is_the_given_one_or_the_folders(recorded, tmp_path):
    first = kinds(recorded["well"], "run")[0].run_id
    assert kinds(recorded["fails"], "run")[0].run_id == "chosen1"
    again = tmp_path / recorded["base"].name / "Model_well_2030"
    again.mkdir(parents=True)
    wandb.teardown()  # a run that goes on does so in another process
    with Tracker(offline(), RunFiles(again), {}, RISK) as tracker:
        tracker.log([row(3)])
    assert kinds(records(again), "run")[0].run_id == first  # the same run, continued
    other = tmp_path / "another_sweep" / "Model_well_2030"  # jobs of two sweeps may have one name
    other.mkdir(parents=True)
    with Tracker(offline(), RunFiles(other), {}, RISK):
        pass
    assert kinds(records(other), "run")[0].run_id != first


def test_pitfall_20_a_run_ends_with_its_block_whatever_happens(recorded):
    """A run that is not finished would go on in the next job of a sweep."""
    assert [end.exit_code for end in kinds(recorded["well"], "exit")] == [0]
    assert [end.exit_code for end in kinds(recorded["fails"], "exit")] == [1]
    assert list(logged_rows(recorded["fails"])) == [1, 2]


def track(folder: Path, mode: str, missing: str = "") -> str:
    """What a tracked run in a process of its own says; it must end well."""
    folder.mkdir()
    arguments = [str(folder), mode, missing]
    done = subprocess.run(
        [sys.executable, "-c", TRACK, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=90
    )
    assert done.returncode == 0, done.stderr
    assert (folder / "metrics.csv").read_text().splitlines() == ["epoch,Validation C-index", "1,0.5"]
    return done.stdout + done.stderr


def test_pitfall_20_without_a_key_nobody_is_asked_and_the_run_is_recorded(tmp_path):
    printed = track(tmp_path / "run", "auto")
    assert "W&B offline" in printed
    assert "wandb sync" in printed
    assert "API key" not in printed
    assert logged_rows(records(tmp_path / "run"))[1]["Validation C-index"] == 0.5


def test_a_server_that_cannot_be_reached_does_not_end_a_run(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nobody answers
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "1")
    printed = track(tmp_path / "run", "auto")
    assert "W&B cannot be reached" in printed
    assert "recorded offline" in printed
    assert logged_rows(records(tmp_path / "run"))[1]["Validation C-index"] == 0.5


def test_a_time_to_wait_that_is_no_number_is_a_message(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "soon")
    with pytest.raises(UserError, match="WANDB_INIT_TIMEOUT=soon: expected a number of seconds"):
        Tracker(offline(), RunFiles(tmp_path), {}, RISK)


def test_without_the_package_all_else_works(tmp_path):
    printed = track(tmp_path / "run", "auto", missing="wandb")
    assert "wandb is not installed" in printed
    assert not (tmp_path / "run" / "wandb").exists()


def test_online_without_a_key_is_a_message(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with pytest.raises(UserError, match=r"tracking\.mode=online needs a key") as caught:
        Tracker(TrackingConfig(mode="online"), RunFiles(tmp_path), {}, RISK)
    assert "WANDB_API_KEY" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("by", ["config", "environment"])
def test_switched_off(tmp_path, monkeypatch, by):
    if by == "environment":
        monkeypatch.setenv("WANDB_MODE", "disabled")
    with Tracker(
        TrackingConfig(mode="disabled" if by == "config" else "auto"), RunFiles(tmp_path), {}, RISK
    ) as tracker:
        tracker.log([row(1)])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["learning_curve.png", "metrics.csv"]
