"""Pool of worker processes in which a crash or a hang loses only its own task."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing.connection import Connection, Pipe, wait
from typing import IO, Any, TypeVar, cast

_Task = TypeVar("_Task")
_Answer = TypeVar("_Answer")
_PROGRAM = (
    "import sys; sys.path[:] = sys.argv[3:]; from mammorisk.system.worker_pool import serve; serve(*sys.argv[1:3])"
)
_TICK = 0.5  # seconds between looks at the clock
_LAST = 10.0  # seconds that a process may take to die


@dataclass(frozen=True)
class Lost:
    """Placeholder for the result of a task whose process died or took too long."""

    reason: str


@lru_cache(maxsize=1)
def end_with(parent: int) -> None:
    """End this process as soon as its parent ``parent`` ends, killed or not."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_TICK)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def run_each(
    function: Callable[[_Task], _Answer], tasks: Sequence[_Task], num_workers: int, seconds: float
) -> Iterator[tuple[int, _Answer | Lost]]:
    """Run ``function(task)`` for each task in worker processes; results come in the order of completion.

    Args:
        function: of a module, not of a script: the processes import it.
        tasks: arguments of the function, one at a time.
        num_workers: number of processes.
        seconds: time limit of one task; its process is then ended.

    Yields:
        Number of the task, and its result, or ``Lost`` if its process crashed or was too slow.

    Raises:
        Exception: any exception of ``function``; the other processes are ended first.
    """
    waiting = iter(range(len(tasks)))
    crew: dict[Connection, _Worker] = {}
    try:
        for index in _first(waiting, num_workers):
            worker = _Worker.start(function)
            crew[worker.pipe] = worker
            worker.give(index, tasks[index])
        while crew:
            ready = cast(list[Connection], wait(list(crew), timeout=_TICK))
            slow = [pipe for pipe, worker in crew.items() if worker.busy > seconds and pipe not in ready]
            for pipe in [*ready, *slow]:
                worker = crew.pop(pipe)
                index, result = worker.index, worker.receive(seconds, is_slow=pipe in slow)
                following = next(waiting, None)
                if following is not None:
                    worker = _Worker.start(function) if isinstance(result, Lost) else worker
                    crew[worker.pipe] = worker
                    worker.give(following, tasks[following])
                else:
                    worker.end()
                yield index, result
    finally:
        for worker in crew.values():
            worker.end()


def serve(descriptor: str, parent: str) -> None:
    """Run a worker process: receive tasks and send results until the other end of the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent to handle
    end_with(int(parent))
    pipe = Connection(int(descriptor))
    try:
        function = pipe.recv()
        while True:
            pipe.send_bytes(_answered(function, pipe.recv()))
    except (EOFError, BrokenPipeError):
        return


def _answered(function: Callable[[Any], Any], task: Any) -> bytes:
    """Run a task; return a pickle of (success, result or exception)."""
    try:
        return pickle.dumps((True, function(task)))
    except Exception as error:  # sent to the parent, which raises it
        error.add_note(traceback.format_exc())
        try:
            return pickle.dumps((False, error))
        except (pickle.PicklingError, TypeError, AttributeError):
            return pickle.dumps((False, RuntimeError(traceback.format_exc())))


@dataclass
class _Worker:
    process: subprocess.Popen[bytes]
    pipe: Connection
    errors: IO[bytes]  # its standard error, to which decoders in C print
    index: int = -1
    since: float = 0.0

    @classmethod
    def start(cls, function: Callable[[Any], Any]) -> _Worker:
        # Not multiprocessing's own start: it would import the command, and torch with it, in every process.
        pipe, theirs = Pipe()
        number = theirs.fileno()
        command = [sys.executable, "-c", _PROGRAM, str(number), str(os.getpid()), *sys.path]
        errors = tempfile.TemporaryFile()  # noqa: SIM115  closed by end()
        process = subprocess.Popen(command, pass_fds=[number], stdin=subprocess.DEVNULL, stderr=errors)
        theirs.close()
        pipe.send(function)
        return cls(process, pipe, errors)

    @property
    def busy(self) -> float:
        """Seconds since its task was given."""
        return time.monotonic() - self.since

    def give(self, index: int, task: Any) -> None:
        self.index, self.since = index, time.monotonic()
        try:
            self.pipe.send(task)
        except BrokenPipeError:  # the process has died; reading its result reports that
            return

    def receive(self, seconds: float, is_slow: bool) -> Any:
        if is_slow:
            self.end()
            return Lost(f"took more than {seconds:g} s")
        try:
            succeeded, result = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(_LAST)  # its exit status is the reason
            how = _describe_end(self.process.poll(), self.errors)
            self.end()
            return Lost(how)
        if not succeeded:
            self.end()
            raise result
        return result

    def end(self) -> None:
        self.pipe.close()
        self.process.kill()
        self.process.wait()
        self.errors.close()


def _describe_end(status: int | None, errors: IO[bytes]) -> str:
    if status is None:
        return "its process no longer responds"
    if status < 0:
        return f"its process was ended by {signal.Signals(-status).name}"
    errors.seek(0)
    last = errors.read().decode(errors="replace").strip().rpartition("\n")[2]
    return f"its process ended with status {status}" + (f" ({last[:200]})" if last else "")


def _first(numbers: Iterator[int], count: int) -> Iterator[int]:
    for _ in range(count):
        number = next(numbers, None)
        if number is None:
            return
        yield number
