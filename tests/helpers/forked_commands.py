"""Commands in processes forked from an interpreter that has already imported them, which saves seconds each.

Arguments, files, streams, signals and exit status work as under ``python -m``.
"""

from __future__ import annotations

import atexit
import functools
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from multiprocessing import forkserver, resource_tracker
from pathlib import Path

import psutil

IMPORTED = [
    "torch._dynamo",
    "kornia.enhance",
    "scipy.stats",
    "sklearn.isotonic",
    "mammorisk.training.loop",
    "mammorisk.training.setup",
]
IMPORTED += ["mammorisk.training.learning_curve", "mammorisk.training.summary", "mammorisk.augment.longitudinal"]
IMPORTED += ["mammorisk.datasets.phantom.phantom_cohort", "mammorisk.caching.displacements", "mammorisk.evaluation.api"]
IMPORTED += [f"mammorisk.models.{name}" for name in ("imgfeatalign", "lmv_net", "mirai", "oa_breacr", "vmra_mar")]
SERVER = multiprocessing.get_context("forkserver")  # its interpreter has imported all that commands import
SERVER.set_forkserver_preload(IMPORTED)


class Fork:
    """Running command with the part of the interface of ``subprocess.Popen`` that tests use; its streams are files.

    Args:
        module: as ``python -m`` is given it.
        words: of the command line.
        folder: working directory.
        environment: all variables of the process.
        apart: whether errors are kept apart from what else it prints.
        record: file into which all of its audit events are written (``audited.watch``); None: none are.
    """

    def __init__(
        self,
        module: str,
        words: Sequence[str],
        folder: Path,
        environment: dict[str, str],
        apart: bool = False,
        record: Path | None = None,
    ) -> None:
        kept = Path(tempfile.mkdtemp(dir=_kept().name))
        self._files = [kept / "out", kept / ("err" if apart else "out")]
        streams = [os.devnull, *map(str, self._files)]
        how = (module, list(words), str(folder), environment, streams, record and str(record))
        self._process = SERVER.Process(target=_run, args=how, daemon=True)  # ended where this process ends
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit status, negative for a signal; None while the command runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """The exit status, if it has ended."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status, once it has ended."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(self._process.name, timeout or 0)
        return self._process.exitcode

    def communicate(self, timeout: float | None = None) -> tuple[str, str | None]:
        """All that it has printed, once it has ended; and its errors, where they are kept apart."""
        self.wait(timeout)
        out, err = (path.read_text() for path in self._files)
        return out, None if self._files[0] == self._files[1] else err

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it has not ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)


def kill_all() -> None:
    """Kill all descendants of this process except the fork server."""
    kept = {forkserver._forkserver._forkserver_pid, resource_tracker._resource_tracker._pid}  # type: ignore
    for child in psutil.Process().children(recursive=True):
        if child.pid not in kept:
            child.kill()


@functools.cache
def _kept() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="mammorisk-")  # removed when this process ends


def _run(
    module: str, words: list[str], folder: str, environment: dict[str, str], streams: list[str], record: str | None
) -> None:
    """Run ``python -m module words`` in a forked process."""
    import torch

    multiprocessing.current_process().daemon = False  # it may start processes, and as a command's start them
    multiprocessing.set_start_method(None, force=True)
    torch.set_num_threads(1)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for stream, path in enumerate(streams):
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        os.dup2(number, stream)
        os.close(number)
    sys.stdin, sys.stdout, sys.stderr = (os.fdopen(i, "r" if i == 0 else "w", closefd=False) for i in range(3))
    sys.argv = ["mammorisk", *words]
    sys.modules.pop(module, None)
    if record is not None:
        from helpers.audit_hooks import watch

        sys.path.insert(0, folder)  # as python -m has it
        watch(record)
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        sys.stdout.flush()
        atexit._run_exitfuncs()
