"""Resuming sweepers: a grid, and a search with Optuna.

Hydra loads this module at every start of any command, so imports for a sweep wait until there is one.
"""

from __future__ import annotations

from functools import partial
from typing import Any, cast

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class ResumingGridSweeper(BasicSweeper):
    """Hydra's grid without the jobs that are finished in the sweep's directory.

    Args:
        params: key -> values, as on the command line.
    """

    def __init__(self, params: dict[str, str] | None = None) -> None:
        super().__init__(max_batch_size=None, params=params)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Wrap Hydra's launcher in one that skips finished jobs."""
        from mammorisk.sweeps.launching import ResumingLauncher

        compose_job = partial(hydra_context.config_loader.load_sweep_config, config)
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        self.launcher = self.resuming = ResumingLauncher(
            cast(Launcher, self.launcher), str(config.hydra.sweep.dir), compose_job
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Run the unfinished jobs."""
        with self.resuming.sweeping():
            return super().sweep(arguments)


class ResumingOptunaSweeper(Sweeper):
    """hydra-optuna-sweeper with a study in the sweep's directory, resumed until ``n_trials`` are finished.

    Args:
        sampler: component, an Optuna sampler; gets ``seed``.
        seed: of the sampler's first start.
        direction: maximize | minimize.
        n_trials: number of finished trials, those of earlier starts included.
        n_jobs: trials at a time.
        params: key -> interval or values, as on the command line.
    """

    def __init__(
        self, sampler: Any, seed: int, direction: str, n_trials: int, n_jobs: int, params: DictConfig | None = None
    ) -> None:
        self.sampler, self.seed, self.direction = sampler, seed, direction
        self.n_trials, self.n_jobs, self.params = n_trials, n_jobs, params

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Make the plug-in's sweeper, its launcher wrapped in one that skips finished jobs.

        Raises:
            UserError: the plug-in is not installed, or this is one of several processes.
        """
        from mammorisk.sweeps.launching import ResumingLauncher
        from mammorisk.sweeps.study import make_sweeper

        self.inner = make_sweeper(self, config.hydra)
        self.inner.setup(hydra_context=hydra_context, task_function=task_function, config=config)
        compose_job = partial(hydra_context.config_loader.load_sweep_config, config)
        self.inner.launcher = self.resuming = ResumingLauncher(
            self.inner.launcher, str(config.hydra.sweep.dir), compose_job
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Run trials until enough are finished."""
        from mammorisk.sweeps.study import sweep_study

        with self.resuming.sweeping():
            return sweep_study(self.inner, self, arguments)
