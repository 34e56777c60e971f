"""Jobs of a sweep that submitit starts on a cluster or on this machine: submission, environment and exit status.

Hydra's submitit launcher (the extra ``sweep``) submits and runs the jobs; hydra_plugins/mammorisk_launchers.py calls
these functions. submitit is imported at its first use.
"""

from __future__ import annotations

import atexit
import os
import shlex
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from hydra.core.utils import JobStatus

from mammorisk.bounds import out_of_bounds
from mammorisk.distributed.launch import end_processes, is_main_rank, join_processes, world_size
from mammorisk.errors import STOP_SIGNALS, Stopped, UserError
from mammorisk.runs.directory import STAMP, register_resolvers
from mammorisk.runs.start import NOT_HYDRAS_FILES
from mammorisk.system.printing import print_error

LAUNCHERS = ("slurm", "local", "submitit_slurm", "submitit_local")
_PLUGIN = "hydra_plugins.hydra_submitit_launcher"
_RANKS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR")


def asks_for_jobs(words: Sequence[str]) -> bool:
    """Whether a command line starts a sweep: by -m, or by a launcher, which Hydra ignores without -m."""
    return bool({"-m", "--multirun"} & set(words)) or _launcher(words) is not None


def check_can_launch(words: Sequence[str]) -> None:
    """Check that the sweep of a command line can be started from here.

    Raises:
        UserError: the launcher's package is not installed; this is one of several processes, each of which would
            start the sweep.
    """
    launcher = _launcher(words)
    if launcher is not None and find_spec(_PLUGIN) is None:
        raise UserError(
            f"hydra/launcher={launcher} needs the package hydra-submitit-launcher, which is not installed.\nInstall "
            "the extra: pip install 'mammorisk[sweep]', in a checkout pip install -e '.[sweep]'."
        )
    if world_size() > 1:
        raise UserError(
            f"A sweep starts its jobs itself, but this command runs as {world_size()} processes (torchrun, accelerate "
            "launch or srun).\nStart it as one: `mammorisk-train … hydra/launcher=slurm "
            f"hydra.launcher.tasks_per_node={world_size()}` gives each job its processes; on this machine "
            "hydra/launcher=local does."
        )


def _launcher(words: Sequence[str]) -> str | None:
    return next((name for name in LAUNCHERS if f"hydra/launcher={name}" in words), None)


@contextmanager
def plain_words(cluster: str) -> Iterator[None]:
    """Within the block, translate submitit's errors of jobs that cannot start or end into messages for the user.

    Raises:
        UserError: there is no Slurm here, Slurm refuses the jobs, or a job has ended without a result.
    """
    if cluster == "slurm" and shutil.which("sbatch") is None:
        raise UserError(
            "hydra/launcher=slurm: there is no sbatch here. Start the command on a login node of the cluster; on this "
            "machine hydra/launcher=local starts the jobs."
        )
    from submitit.core.utils import FailedJobError, FailedSubmissionError, UncompletedJobError

    try:
        yield
    except (FailedJobError, FailedSubmissionError) as error:
        raise UserError(f"hydra/launcher={cluster}: {str(error).strip()}") from error
    except UncompletedJobError as error:
        raise UserError(
            f"A job has ended without a result: it was cancelled, killed, or its node has failed. The others go on.\n"
            f"{error}"
        ) from error


def check_launcher(settings: Mapping[str, Any]) -> None:
    """Check the numbers of a launcher against the table of bounds.

    Raises:
        UserError: lists those that are out of bounds.
    """
    if wrong := list(out_of_bounds(settings, "hydra.launcher.")):
        raise UserError("\n".join(f"{line}." for line in wrong))


def batch_script_setup(max_requeues: int | None) -> list[str]:
    """Build the lines of a batch script before its ``srun``.

    Args:
        max_requeues: limit of restarts by Slurm after a signal has stopped the training; None: no restart.
    """
    # srun no longer takes it from the job (since Slurm 22.05), and would give each process a single core
    lines = ['export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}"']
    if max_requeues is not None:
        lines.append(f"trap '{shlex.quote(sys.executable)} -m mammorisk.cluster.requeue $? {max_requeues}' EXIT")
    return lines


def run_task(stamp: str, overrides: Sequence[str], run: Callable[[list[str]], Any]) -> Any:
    """Run one process of a job: set its rank, run, and end with a status for the batch script and Slurm.

    Args:
        stamp: of the sweep; part of its directory's name.
        overrides: of the job.
        run: Hydra's function that runs a job with overrides and returns its ``JobReturn``.

    Returns:
        The result of ``run``.
    """
    for (
        number
    ) in STOP_SIGNALS:  # submitit would requeue at once; here the training saves first, and the script requeues
        signal.signal(number, signal.SIG_DFL)
    register_resolvers()
    os.environ[STAMP] = stamp
    _export_ranks()
    error: Exception | None = None
    returned = None
    try:
        join_processes()
        returned = run([*overrides, *([] if is_main_rank() else [NOT_HYDRAS_FILES])])
        error = returned._return_value if returned.status is JobStatus.FAILED else None  # the public property prints
    except Exception as found:  # an error before the training
        error = found
    end_processes(after_defect=error is not None and not isinstance(error, UserError | Stopped))
    if isinstance(error, Stopped):
        if is_main_rank():
            print_error(f"\n{error}")
        sys.exit(128 + error.number)  # without a result, so that the waiting sweep continues to wait
    if error is not None:
        _tell(error)
        if returned is None:
            raise error
    return returned


def _export_ranks() -> None:
    """Set this process's rank and the meeting address in the environment, as torchrun does."""
    import submitit

    for name in _RANKS:
        os.environ.pop(name, None)  # inherited from the shell that submitted the job
    if submitit.JobEnvironment().num_tasks > 1:
        submitit.helpers.TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)


def _tell(error: Exception) -> None:
    """Write the error into the job's log and fail the process: submitit treats any return as a success."""
    if not isinstance(error, UserError):
        print_error("".join(traceback.format_exception(error)).rstrip())
    elif is_main_rank():
        print_error(f"\nmammorisk stopped:\n\n{error}")
    atexit.register(os._exit, 1)
