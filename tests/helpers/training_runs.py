"""Real trainings in separate processes: a tiny phantom cohort, a tiny model, seconds each."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from helpers.forked_commands import Fork

# One cohort for all tests and test processes of this user: it is kept by its settings, and written once under a lock.
COHORTS = Path(tempfile.gettempdir()) / f"mammorisk-tests-{os.getuid()}" / "phantom"
TINY = [
    "experiment=quickstart",
    "tracking=none",
    f"dataset.generator.folder={COHORTS}",
    "dataset.generator.num_women=60",
    "dataset.generator.image_height=32",
    "dataset.image_size=[32,26]",
    "dataset.batch_size=8",
    "dataset.num_workers=0",
    "model.encoder.width=4",
    "optim.learning_rate=1e-3",
    "optim.warmup_steps=5",
    "trainer.num_epochs=2",
    "trainer.samples_per_epoch=64",
]
# Two processes on any port that is free
TORCHRUN = [str(Path(sys.executable).parent / "torchrun"), "--nproc-per-node", "2", "--rdzv-backend", "c10d"]
TORCHRUN += ["--rdzv-endpoint", "localhost:0"]
TRAIN = [sys.executable, "-m", "mammorisk.cli.train"]
SECONDS = 240


def environment(**variables: str) -> dict[str, str]:
    """This process's environment with one thread per process, without keys of W&B or of a cluster."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB_", "SLURM_", "HYDRA_"))}
    return {**kept, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", **variables}


def start(
    folder: Path, *overrides: str, launcher: list[str] | None = None, **variables: str
) -> subprocess.Popen[str] | Fork:
    """Start a tiny training with ``folder`` as working directory; later overrides win.

    Without a launcher it is forked from an interpreter that has imported torch already.
    """
    if launcher is None:
        return Fork("mammorisk.cli.train", [*TINY, *overrides], folder, environment(**variables))
    command = [*launcher, "-m", "mammorisk.cli.train", *TINY, *overrides]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen(command, cwd=folder, env=environment(**variables), text=True, **pipes)  # type: ignore


def ended(folder: Path, module: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run ``python -m mammorisk.cli.<module>`` with ``folder`` as working directory; return its result."""
    process = Fork(f"mammorisk.cli.{module}", words, folder, environment(), apart=True)
    out, err = process.communicate(timeout=SECONDS)
    return subprocess.CompletedProcess([module, *words], process.wait(), out, err or "")


def train_ranks(
    folder: Path, *overrides: str, status: int = 0, during: Callable[[list[Fork]], None] = lambda _: None
) -> str:
    """Run a tiny training of two processes, connected by torchrun's environment variables, to its end.

    Both must end with ``status``; ``during`` is called with them after their start.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with socket.create_server(("localhost", 0)) as free:
        meeting = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": "2"}
    each = [meeting | {"LOCAL_WORLD_SIZE": "2", "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in (0, 1)]
    processes = [start(folder, *overrides, **variables) for variables in each]
    during(processes)  # type: ignore[arg-type]
    printed = [process.communicate(timeout=SECONDS)[0] for process in processes]
    assert [process.returncode for process in processes] == [status, status], "\n".join(printed)
    return "\n".join(printed)


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str] | Fork, every: float = 0.05) -> None:
    """Wait until a condition is true while a process runs; ``every``: seconds between checks."""
    ends = time.monotonic() + SECONDS
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        if time.monotonic() > ends:
            process.kill()
            raise AssertionError("it did not come to this")
        time.sleep(every)


def disturbed(
    process: subprocess.Popen[str] | Fork, when: Callable[[], bool], number: int = signal.SIGKILL, every: float = 0.05
) -> str:
    """Send a command a signal as soon as ``when`` is true; it must end by it; return its output."""
    wait_for(when, process, every)
    process.send_signal(number)
    printed, _ = process.communicate(timeout=SECONDS)
    assert process.returncode != 0, f"it ended before its signal:\n{printed}"
    if isinstance(process, Fork):  # a launcher has a status of its own
        assert process.returncode == (-number if number == signal.SIGKILL else 128 + number), printed
    return printed


def has_saved(folder: Path) -> bool:
    """Whether the run in a folder has its first checkpoint."""
    return bool(list(folder.glob("outputs/*/resume.pth")))


def assert_as_undisturbed(folder: Path, undisturbed: Path) -> Path:
    """Assert that the one run of a folder ended like the undisturbed one; return its directory."""
    run = only_run(folder)
    assert_same_training(last_epoch(run), last_epoch(undisturbed))
    assert (run / "metrics.csv").read_bytes() == (undisturbed / "metrics.csv").read_bytes()
    return run


def train(folder: Path, *overrides: str, status: int = 0, **settings: object) -> str:
    """Run a tiny training to its end and return what it printed; it must end with ``status``."""
    folder.mkdir(parents=True, exist_ok=True)
    process = start(folder, *overrides, **settings)  # type: ignore[arg-type]
    try:
        printed, _ = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        printed, _ = process.communicate()
        raise AssertionError(f"still running after {SECONDS} s:\n{printed}") from None
    assert process.returncode == status, f"exit status {process.returncode}, expected {status}:\n{printed}"
    return printed


def run_directories(folder: Path) -> list[Path]:
    """The run directories below ``folder``/outputs."""
    return sorted(path for path in (folder / "outputs").iterdir() if path.is_dir())


def only_run(folder: Path) -> Path:
    """The one run directory."""
    (run,) = run_directories(folder)
    return run


def last_epoch(run: Path) -> dict[str, object]:
    """The final checkpoint of a run."""
    payload: dict[str, object] = torch.load(next(run.glob("*_last_epoch.pth")), weights_only=True)
    return payload


def assert_same_training(one: dict[str, object], other: dict[str, object]) -> None:
    """Assert that two checkpoints agree bit for bit: weights, optimiser, schedules, metrics and random states."""
    for part in ("model", "optimizer", "schedules", "history", "random", "global_step", "epoch", "batch", "best_epoch"):
        assert_equal(one[part], other[part], part)


def assert_equal(one: object, other: object, where: str) -> None:
    """Assert equality to the last bit, NaN equal to NaN, containers item by item."""
    assert type(one) is type(other), where
    if isinstance(one, torch.Tensor):
        assert isinstance(other, torch.Tensor)
        assert one.dtype == other.dtype, where
        assert torch.equal(one.nan_to_num(nan=-1e9), other.nan_to_num(nan=-1e9)), where
    elif isinstance(one, dict):
        assert isinstance(other, dict)
        assert one.keys() == other.keys(), where
        for key in one:
            assert_equal(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list | tuple):
        assert isinstance(other, list | tuple)
        assert len(one) == len(other), where
        for i, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_equal(a, b, f"{where}[{i}]")
    else:
        assert one == other or (one != one and other != other), f"{where}: {one} and {other}"
