from __future__ import annotations

import io
import logging
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from rich.console import Console

from mammorisk.errors import Stopped, UserError
from mammorisk.runs import logs
from mammorisk.runs.directory import RunFiles
from mammorisk.runs.logs import LOGGER, run_log
from mammorisk.version import __version__

CONFIG = OmegaConf.create({"seed": 3, "model": {"_target_": "x"}, "twice": "${seed}"})
SETTINGS = OmegaConf.to_yaml(CONFIG)


@pytest.fixture
def console(monkeypatch) -> io.StringIO:
    """What is printed on the console."""
    monkeypatch.delenv("RANK", raising=False)
    text = io.StringIO()
    monkeypatch.setattr(logs, "CONSOLE", Console(file=text, width=40))
    return text


def lines(path: Path) -> list[str]:
    """Log lines without their time."""
    return [line.split(" ", 2)[2] for line in path.read_text().splitlines()]


def test_lines_go_to_the_file_and_to_the_console(tmp_path, console):
    files = RunFiles(tmp_path)
    long = "x" * 60
    with run_log(SETTINGS, files):
        LOGGER.info("epoch %d [bold]%s[/bold]", 1, long)
        LOGGER.debug("for the file only")
        logging.getLogger("mammorisk.part").warning("careful")
    start = f"INFO mammorisk {__version__}, run directory {tmp_path}"
    assert lines(files.log) == [
        start,
        f"INFO epoch 1 [bold]{long}[/bold]",
        "DEBUG for the file only",
        "WARNING careful",
    ]
    printed = console.getvalue()
    assert f"epoch 1 [bold]{long}[/bold]\n" in printed  # neither broken nor taken for markup
    assert "careful" in printed
    assert "for the file only" not in printed


def test_a_run_that_goes_on_appends(tmp_path, console):
    files = RunFiles(tmp_path)
    for word in ("first", "second"):
        with run_log(SETTINGS, files):
            LOGGER.info(word)
    assert [line for line in lines(files.log) if "run directory" not in line] == ["INFO first", "INFO second"]


def test_opening_clears_what_was_half_written_and_notes_the_configuration(tmp_path, console):
    (tmp_path / ".resume.pth.77.unfinished").touch()
    (tmp_path / "resume.pth").touch()
    files = RunFiles(tmp_path, 2)
    with run_log(SETTINGS, files):
        assert sorted(path.name for path in tmp_path.iterdir() if path.name != ".lock") == [
            "config.yaml",
            "resume.pth",
            "train_risk_prediction_training_id_2.log",
        ]
    noted = OmegaConf.load(files.config)
    assert noted == CONFIG
    assert OmegaConf.to_container(noted, resolve=False)["twice"] == "${seed}"  # type: ignore[index, call-overload]


def test_other_ranks_are_silent(tmp_path, console, monkeypatch, capfd):
    monkeypatch.setenv("RANK", "1")
    (tmp_path / ".resume.pth.77.unfinished").touch()  # the main process may be at it
    with run_log(SETTINGS, RunFiles(tmp_path)):
        LOGGER.info("nobody hears")
        LOGGER.error("nobody hears")
    assert [path.name for path in tmp_path.iterdir()] == [".resume.pth.77.unfinished"]
    assert console.getvalue() == ""
    assert capfd.readouterr() == ("", "")


def test_handlers_are_removed_whatever_happens(tmp_path, console):
    before = list(LOGGER.handlers)

    def fail() -> None:
        with run_log(SETTINGS, RunFiles(tmp_path)):
            assert len(LOGGER.handlers) == len(before) + 2
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert LOGGER.handlers == before


def test_a_users_error_ends_the_log_file_but_is_not_said_twice(tmp_path, console):
    files = RunFiles(tmp_path)
    with pytest.raises(UserError, match="no such image"), run_log(SETTINGS, files):
        raise UserError("no such image")
    assert lines(files.log)[-1] == "DEBUG ended by: no such image"
    assert "no such image" not in console.getvalue()


def test_one_process_at_a_time_trains_in_a_run_directory(tmp_path):
    with (
        run_log(SETTINGS, RunFiles(tmp_path)),
        pytest.raises(UserError, match="Another process is training in"),
        run_log(SETTINGS, RunFiles(tmp_path)),
    ):
        pass
    with run_log(SETTINGS, RunFiles(tmp_path)):  # free again
        pass


def test_a_signal_and_a_defect_are_noted_in_the_log_file(tmp_path):
    files = RunFiles(tmp_path)
    for end in (Stopped(15), ZeroDivisionError("a defect")):
        with pytest.raises(type(end)), run_log(SETTINGS, files):
            raise end
    text = files.log.read_text()
    assert "stopped by SIGTERM" in text
    assert "ZeroDivisionError: a defect" in text
