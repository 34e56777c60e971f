"""Hydra's submitit launchers for trainings of several processes: ``hydra/launcher=slurm`` and ``local``.

Hydra finds launchers only in packages named ``hydra_plugins``. Without the extra ``sweep`` this module has none.
"""

# Annotations stay objects: Hydra executes this file before Python knows its module, which dataclasses would look up.
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore

try:
    from hydra_plugins.hydra_submitit_launcher.config import LocalQueueConf, SlurmQueueConf
    from hydra_plugins.hydra_submitit_launcher.submitit_launcher import (
        BaseSubmititLauncher,
        LocalLauncher,
        SlurmLauncher,
    )
except ImportError:
    pass
else:
    from mammorisk.cluster.submitit_jobs import batch_script_setup, check_launcher, plain_words, run_task
    from mammorisk.runs.directory import STAMP

    @dataclass
    class SlurmJobsConf(SlurmQueueConf):
        """Parameters of the Slurm launcher: submitit's and ``requeue``."""

        _target_: str = "hydra_plugins.mammorisk_launchers.SlurmJobs"
        requeue: bool = True  # start a stopped training again, at most max_num_timeout times

    @dataclass
    class LocalJobsConf(LocalQueueConf):
        """Parameters of the launcher on this machine: submitit's."""

        _target_: str = "hydra_plugins.mammorisk_launchers.LocalJobs"

    class _Jobs(BaseSubmititLauncher):  # type: ignore[misc]
        stamp = ""

        def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[Any]:
            check_launcher(self.params)
            self.stamp = os.environ[STAMP]  # goes to the jobs with this object
            with plain_words(self._EXECUTOR):
                return super().launch(job_overrides, initial_job_idx)  # type: ignore[no-any-return]

        def __call__(self, sweep_overrides: list[str], *job: Any) -> Any:
            run = super().__call__
            return run_task(self.stamp, sweep_overrides, lambda overrides: run(overrides, *job))

    class LocalJobs(_Jobs, LocalLauncher):  # type: ignore[misc]
        """Each job in processes of its own on this machine."""

    class SlurmJobs(_Jobs, SlurmLauncher):  # type: ignore[misc]
        """Each job one of a Slurm array."""

        def __init__(self, requeue: bool, **params: Any) -> None:
            super().__init__(**params)
            may = "requeue" if requeue else "no-requeue"
            self.params["additional_parameters"] = {may: True, **self.params["additional_parameters"]}
            ours = batch_script_setup(self.params["max_num_timeout"] if requeue else None)
            self.params["setup"] = [*ours, *(self.params["setup"] or [])]

    for name, schema in (("slurm_schema", SlurmJobsConf), ("local_schema", LocalJobsConf)):
        ConfigStore.instance().store(group="hydra/launcher", name=name, node=schema, provider="mammorisk")
