"""Audit of commands by ``sys.addaudithook``: their imports, files, processes and system calls.

A hook cannot be removed, so each command has its own process. ``watch`` records all events. ``facts`` turns them into
a set of lines that is equal for two runs with the same actions, whatever their folders and times.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import runpy
import site
import subprocess
import sys
import sysconfig
import types
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
CANARY = "MAMMORISK_TEST_CANARY"
# Ignored: thousands of events of the interpreter itself.
_SILENT = ("object.", "sys.", "marshal.", "gc.", "builtins.id", "code.", "function.", "cpython.", "time.", "array.")
_WITH_HANDLES = ("os.remove", "os.rmdir", "os.scandir", "os.listdir")  # numbers of open folders
_NAMES = [  # what differs between two runs that do the same
    (r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d-\d{6}-[0-9a-f]{6}", "STAMP"),
    (r"\.\d+-[0-9a-f]{6}\.unfinished", ".unfinished"),
    (r"\.\d+-[0-9a-f]{6}(?=\.|$)", ".HERE"),
    (r"(?<=/)(tmp|pymp-|mammorisk-|torch_|torchinductor_)[\w-]{6,}", r"\1NAME"),
    (r"/proc/\d+/", "/proc/PID/"),
    (r"_job_\d+_[0-9a-f]{6}", "_job_N"),
    (r"0x[0-9a-f]{6,}", "0xADDRESS"),
]


def watch(record: str) -> None:
    """Record every audit event of this process and its forks in a file, one per line."""
    number = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC)

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if not event.startswith(_SILENT):
            os.write(number, (json.dumps([event, [_plain(each) for each in arguments]]) + "\n").encode())

    sys.dont_write_bytecode = True
    sys.addaudithook(hook)


def _plain(value: object) -> object:
    """An argument of an event as JSON; code by its name and a hash of what it does."""
    if isinstance(value, types.CodeType):
        text = repr((value.co_code, value.co_names, [each for each in value.co_consts if not hasattr(each, "co_code")]))
        return ["code", value.co_filename, value.co_name, hashlib.sha256(text.encode()).hexdigest()[:12]]
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, bytes):
        return value[:2000].decode("utf-8", "backslashreplace")
    if isinstance(value, str):
        return value[:2000]
    return value if isinstance(value, int | float | None) else repr(value)[:500]


def _libraries() -> tuple[str, ...]:
    """Folders of installed code, which any program may read."""
    paths = [*site.getsitepackages(), sys.prefix, sys.base_prefix, sysconfig.get_path("stdlib"), str(PROJECT)]
    paths += [str(Path(module.__file__).resolve().parents[1]) for module in _some_modules()]
    return (*(f"{path.rstrip('/')}/" for path in paths), "/proc/", "/sys/", "/dev/", "/usr/", "<frozen")


def _some_modules() -> list[Any]:
    import numpy
    import torch

    return [numpy, torch]  # the environment may share their folder with another


_LIBRARIES = _libraries()


@dataclass
class Audited:
    """Finished command with its recorded actions."""

    status: int
    out: str
    err: str
    record: Path  # of its events
    place: Path  # folder of all that is the case's own
    before: dict[str, str]  # file -> hash
    after: dict[str, str]

    @property
    def printed(self) -> str:
        """Both streams."""
        return self.out + self.err

    @cached_property
    def events(self) -> list[tuple[str, list[Any]]]:
        """All of its events that are not the interpreter's own."""
        return [tuple(json.loads(line)) for line in self.record.read_text().splitlines()]

    @cached_property
    def facts(self) -> set[str]:
        """Actions of the command, as lines that are equal for two runs of one kind."""
        return {self._named(fact) for event, arguments in self.events if (fact := _fact(event, arguments))}

    @property
    def written(self) -> set[str]:
        """Files that it made or changed, and folders that it made."""
        return {self._named(name) for name, digest in self.after.items() if self.before.get(name) != digest}

    @property
    def removed(self) -> set[str]:
        """Files that are gone."""
        return {self._named(name) for name in self.before.keys() - self.after.keys()}

    def _named(self, fact: str) -> str:
        return named(fact.replace(str(self.place), "@").replace(canary(self.place), "<secret>"))


def named(text: str) -> str:
    """Replace the parts of a text that differ between two equal runs by fixed names."""
    for pattern, name in _NAMES:
        text = re.sub(pattern, name, text)
    return text


def _fact(event: str, arguments: list[Any]) -> str | None:
    if event == "import":  # a table of letters of Python's own, which a zip file's names are read with
        return None if str(arguments[0]).startswith("encodings.") else f"import {arguments[0]}"
    if event == "open":
        return _opened(*arguments)
    if event in ("compile", "exec"):
        return _code(event, arguments)
    if event in ("os.listdir", "os.scandir") and str(arguments[0] or ".").startswith(_LIBRARIES):
        return None
    if event in _WITH_HANDLES:
        arguments = ["HANDLE" if isinstance(each, int) and each >= 0 else each for each in arguments]
    return f"{event} {json.dumps(arguments)}"


def _opened(path: Any, mode: Any, flags: Any) -> str | None:
    if not isinstance(path, str):  # a number: it was opened before
        return None
    writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    path = os.path.normpath(path) if path else path
    if not writes and path.startswith(_LIBRARIES):
        return None
    return f"{'write' if writes else 'read'} {path}"


def _code(event: str, arguments: list[Any]) -> str | None:
    """Describe code by its file or text; library modules are skipped, because their imports are recorded."""
    if event == "compile":
        text, place = [*arguments, None, None][:2]
        if str(place).startswith((*_LIBRARIES, "<unknown>")):  # unknown: only parsed, for the lines of a trace
            return None
        return f"compile {place} {hashlib.sha256(str(text).encode()).hexdigest()[:12]} {str(text)[:60]!r}"
    code = arguments[0]
    place = code[1] if isinstance(code, list) else str(code)
    return None if str(place).startswith(_LIBRARIES) else f"exec {json.dumps(code)}"


def run(place: Path, module: str, *words: str, fresh: bool = False, seconds: int = 240, **variables: str) -> Audited:
    """Run ``python -m module words`` in ``place``/work with every audit event noted down.

    Args:
        place: folder of the case; ``work`` in it is the working directory, and first on the path as under ``-m``.
        module: of the command.
        words: its command line.
        fresh: in an interpreter that has imported nothing yet; else in one that has imported torch.
        seconds: at most.
        variables: of the environment; ``CANARY`` and the key of W&B are set to the canary of ``place``.
    """
    from helpers.forked_commands import Fork
    from helpers.training_runs import environment

    record, before = place.with_name(f"{place.name}.events"), _hashes(place)
    secrets = {CANARY: canary(place), "WANDB_API_KEY": canary(place), "PYTHONDONTWRITEBYTECODE": "1"}
    kept = environment(**secrets, **variables)
    kept.pop("PYTEST_CURRENT_TEST", None)
    if fresh:
        line = [sys.executable, str(Path(__file__)), str(record), module, *words]
        path = os.pathsep.join(filter(None, [variables.get("PYTHONPATH"), str(PROJECT), str(PROJECT / "tests")]))
        kept.update(PYTHONPATH=path, PYTHONHASHSEED="0")  # code that is generated is the same twice
        streams = {"stdin": subprocess.DEVNULL, "capture_output": True}
        done = subprocess.run(line, cwd=place / "work", env=kept, text=True, timeout=seconds, **streams)  # type: ignore
        status, out, err = done.returncode, done.stdout, done.stderr
    else:
        fork = Fork(module, words, place / "work", kept, apart=True, record=record)
        out, errors = fork.communicate(timeout=seconds)
        status, err = fork.wait(), errors or ""
    return Audited(status, out, err, record, place, before, _hashes(place))


def canary(place: Path) -> str:
    """Secret of a case, which must not leak."""
    return "c4nary" + hashlib.sha256(f"{place}{os.getpid()}".encode()).hexdigest()[:24]


def _hashes(place: Path) -> dict[str, str]:
    found = {}
    for path in sorted(place.rglob("*")):
        if path.is_symlink():
            found[str(path)] = f"link {path.readlink()}"
        elif path.is_dir():
            found[f"{path}/"] = "folder"
        elif path.is_file():
            found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def leaks(done: Audited) -> list[str]:
    """Find where a command leaked the canary of its case: streams, files, names and events."""
    secret = canary(done.place)
    found = [name for name, text in (("stdout", done.out), ("stderr", done.err)) if secret in text]
    found += [name for name in done.after if secret in name]
    files = [Path(name) for name in done.after if Path(name).is_file()]
    found += [str(path) for path in files if secret.encode() in path.read_bytes()]
    return found + [fact for fact in done.facts if "<secret>" in fact and not fact.startswith("os.putenv")]


if __name__ == "__main__":
    watch(sys.argv[1])
    sys.path[0] = str(Path.cwd())  # as python -m has it
    sys.argv = sys.argv[2:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
