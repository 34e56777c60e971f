"""A launcher around any launcher of Hydra: it skips finished jobs and resumes the others.

A job is identified by its configuration, not by its number. So the same command, or one with more values, finds the run
directories of earlier jobs.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext
from omegaconf import DictConfig

from mammorisk.config import plain_settings, quoted
from mammorisk.distributed.collectives import broadcast_object
from mammorisk.distributed.errors import run_on_main_rank
from mammorisk.distributed.launch import is_main_rank
from mammorisk.errors import Stopped, UserError
from mammorisk.runs.directory import COPY, check_no_links, comparable, read_config
from mammorisk.sweeps.record import JobRecord, check_folder, read_record, write_record
from mammorisk.sweeps.states import FINISHED, NOT_STARTED, RUNNING, Progress, progress_of
from mammorisk.system.printing import print_out

LOOK_EVERY = 5.0  # seconds between looks at jobs of other processes
_LET_GO = 15.0  # seconds: loader processes hold the lock for some time after their parent was killed


@dataclass
class Job:
    """A job of this command."""

    number: int
    overrides: Sequence[str]
    folder: str  # in the sweep's
    result: JobReturn | None = None


class ResumingLauncher(Launcher):
    """Hand the unfinished jobs to ``launcher``.

    Args:
        launcher: already set up.
        folder: the sweep's directory.
        compose_job: from a job's overrides to its configuration, Hydra's own section included.
    """

    def __init__(self, launcher: Launcher, folder: str, compose_job: Callable[[list[str]], DictConfig]) -> None:
        self._launcher, self._compose_job = launcher, compose_job
        self._sweep = Path(folder).absolute()
        self._known: dict[str, str] = {}  # configuration -> folder of its job
        self._records: dict[str, JobRecord] = {}
        self.failures: dict[str, Exception] = {}  # folder -> error of its job

    def setup(self, *, hydra_context: HydraContext, task_function: Any, config: DictConfig) -> None:
        """Do nothing: the inner launcher is set up already."""

    @contextmanager
    def sweeping(self) -> Iterator[None]:
        """Lock the sweep for this process; at the end raise all failures at once.

        Raises:
            UserError: another process works on the sweep, or jobs failed.
            Stopped: a signal came to a job.
        """
        lock = FileLock(self._sweep / ".lock", timeout=_LET_GO)
        run_on_main_rank(lambda: self._open(lock))
        try:
            yield
        except Exception as error:  # Hydra's grid raises that of the first job that failed
            if isinstance(error, Stopped) or not self.failures:
                raise
            raise self._failure() from error
        finally:
            lock.release()
        if self.failures:
            raise self._failure() from next(iter(self.failures.values()))
        if is_main_rank():
            print_out(f"The sweep is finished; `mammorisk-sweep-report {self._sweep}` shows all of its jobs.")

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the unfinished jobs; return the values of all, in order.

        Raises:
            Stopped: a signal came to a job; the jobs after it were not started.
        """
        jobs = run_on_main_rank(lambda: [self._job(initial_job_idx + i, each) for i, each in enumerate(job_overrides)])
        self._note(jobs)
        states = broadcast_object([progress_of(self._sweep / job.folder).state for job in jobs])
        waiting = [job for job, state in zip(jobs, states, strict=True) if state != FINISHED]
        if is_main_rank() and len(waiting) < len(jobs):
            print_out(f"{len(jobs) - len(waiting)} of {len(jobs)} jobs are finished in {self._sweep}")
        elsewhere = [job for job, state in zip(jobs, states, strict=True) if state == RUNNING]
        self._run([job for job in waiting if job not in elsewhere])
        if elsewhere:
            run_on_main_rank(lambda: self._wait(elsewhere))
            self._run([job for job in elsewhere if broadcast_object(self._progress(job).state) != FINISHED])
        return [job.result or _value(job.overrides, broadcast_object(self._progress(job))) for job in jobs]

    def _open(self, lock: FileLock) -> None:
        try:
            self._sweep.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout as error:
            raise UserError(
                f"Another process is working on the sweep {self._sweep}. Wait for it, or give this one a folder of its "
                "own: hydra.sweep.dir=FOLDER."
            ) from error
        except OSError as error:
            raise UserError(f"The sweep {self._sweep} cannot be written to: {error}.") from error
        self._records = {record.folder: record for record in read_record(self._sweep)}
        self._known = {record.identity: record.folder for record in self._records.values()}
        for path in sorted(self._sweep.glob("*/")):  # a sweep may have no record
            # Hydra rewrites its file in place at every start; if it is killed then, only our copy is whole.
            for name in (".hydra/config.yaml", COPY) if path.name not in self._records else ():
                if found := read_config(path / name):
                    self._known[_identity(found)] = path.name

    def _job(self, number: int, overrides: Sequence[str]) -> Job:
        config = self._compose_job(list(overrides))
        identity = _identity(plain_settings(config))
        if identity not in self._known:
            plain = re.sub(r"[^\w.+-]", "-", str(config.hydra.job.name))
            # The random end is for W&B, where a run's name must be unique in its project.
            self._known[identity] = f"{plain}_job_{len(self._records)}_{secrets.token_hex(3)}"
        folder = self._known[identity]
        check_folder(self._sweep, folder)
        check_no_links(self._sweep / folder)
        self._records.setdefault(folder, JobRecord(folder, identity, list(overrides)))
        return Job(number, overrides, folder)

    def _note(self, jobs: Sequence[Job]) -> None:
        """Record planned and failed jobs, for reports and for the next start."""

        def write() -> None:
            for job in jobs:
                record, error = self._records[job.folder], self.failures.get(job.folder)
                record.overrides, record.error = list(job.overrides), _words(error) if error else ""
            write_record(self._sweep, list(self._records.values()))

        run_on_main_rank(write)

    def _run(self, jobs: Sequence[Job]) -> None:
        one_by_one = isinstance(self._launcher, BasicLauncher)  # in this process: a signal to stop is for all of them
        for batch in [[job] for job in jobs] if one_by_one else [list(jobs)] if jobs else []:
            results = self._launched(batch)
            stopped: Stopped | None = None
            for job, result in zip(batch, results, strict=True):
                job.result = result
                found = result._return_value  # the property would raise it
                if isinstance(found, Stopped):
                    stopped = found
                elif isinstance(found, Exception):
                    self.failures[job.folder] = found
            self._note(batch)
            if stopped is not None:
                raise stopped

    def _launched(self, jobs: Sequence[Job]) -> Sequence[JobReturn]:
        place = f"hydra.sweep.dir={quoted(str(self._sweep))}"
        words = [[*job.overrides, place, f"hydra.sweep.subdir={job.folder}"] for job in jobs]
        try:
            return self._launcher.launch(words, initial_job_idx=jobs[0].number)
        except Exception as error:  # one killed process loses the results of all others
            run_on_main_rank(lambda: self._wait(jobs))
            found = [(job.overrides, broadcast_object(self._progress(job))) for job in jobs]
            return [_value(*each) if each[1].state == FINISHED else _failed(each[0], error) for each in found]

    def _progress(self, job: Job) -> Progress:
        return progress_of(self._sweep / job.folder)

    def _wait(self, jobs: Sequence[Job]) -> None:
        """Wait for jobs that an earlier start of this sweep left running, for instance on a cluster."""
        for job in jobs:
            if self._progress(job).state == RUNNING:
                print_out(f"waiting for {self._sweep / job.folder}, which another process trains")
            while self._progress(job).state == RUNNING:
                time.sleep(LOOK_EVERY)

    def _failure(self) -> UserError:
        lines = "\n".join(f"  {self._place(folder)}: {_words(error)}" for folder, error in self.failures.items())
        return UserError(
            f"{len(self.failures)} of the sweep's jobs failed:\n{lines}\nThe others were run. The same command "
            f"resumes the unfinished jobs; `mammorisk-sweep-report {self._sweep}` shows all."
        )

    def _place(self, folder: str) -> str:
        started = progress_of(self._sweep / folder).state != NOT_STARTED
        return folder if started else f"{folder} (not begun)"


def _identity(settings: Mapping[str, Any]) -> str:
    """Short hash of the settings that a resumed job must share."""
    text = json.dumps(comparable(settings, ("out_dir",)), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _value(overrides: Sequence[str], progress: Progress) -> JobReturn:
    best = progress.best[progress.monitor]
    return JobReturn(overrides=overrides, status=JobStatus.COMPLETED, _return_value=best)


def _failed(overrides: Sequence[str], error: Exception) -> JobReturn:
    return JobReturn(overrides=overrides, status=JobStatus.FAILED, _return_value=error)


def _words(error: Exception) -> str:
    lines = str(error).splitlines() or [""]
    return (
        lines[0] if isinstance(error, UserError) and len(lines) == 1 else "\n    ".join([type(error).__name__, *lines])
    )
