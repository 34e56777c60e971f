"""Run directory: one folder per run, the same for all its processes, and found again when the run resumes.

Hydra calls three resolvers of this module: ``run_stamp`` (this start's time stamp, the same on all ranks), ``run_dir``
and ``sweep_dir``.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from hydra.conf import HydraConf
from omegaconf import DictConfig, OmegaConf

from mammorisk.config import plain_settings
from mammorisk.errors import UserError
from mammorisk.system.regular_files import read_text
from mammorisk.system.strict_yaml import read_strict_yaml

COPY = "config.yaml"  # in the run directory, beside Hydra's own .hydra/
STAMP = "MAMMORISK_RUN_STAMP"  # environment variable: the time stamp shared by all processes of a run
# Settings that may differ between a run and its continuation. A longer training continues in a new folder.
_FREE_KEYS = (
    "trainer.resume_from",
    "trainer.num_processes",
    "trainer.save_every_minutes",
    "tracking",
    "dataset.num_workers",
    "dataset.csv_file",  # a cohort may be copied elsewhere: the checkpoint holds a hash of its samples
    "dataset.data_root",
    "dataset.cancer_types",  # names for tables and pages
    "dataset.cache",  # cached images equal those of the files
    "model.encoder.cache",  # cached features equal the encoder's
    "model.encoder.gradient_checkpointing",  # memory for time, the same gradients
    "registration.cache",  # cached displacements equal the network's
)
_FREE_WORDS = (*(f"{key}{end}" for key in (*_FREE_KEYS, "out_dir") for end in "=."), "hparams=")


def new_stamp() -> str:
    """Make a time stamp with six random digits, because jobs may start in the same moment (docs/pitfalls.md#p9).

    In a Slurm job it includes the job's number, by which a restarted job finds its run.
    """
    return f"{datetime.now():%Y-%m-%d_%H-%M-%S-%f}-{secrets.token_hex(3)}{_job_mark()}"


def _job_mark() -> str:
    job = os.environ.get("SLURM_JOB_ID")
    return f"-job{job}" if job else ""


def register_resolvers() -> None:
    """Register ``${run_stamp:}``, ``${run_dir:out_dir,name,resume_from}`` and ``${sweep_dir:out_dir,kind}``.

    Safe to call twice.
    """
    OmegaConf.register_new_resolver("run_stamp", lambda: os.environ[STAMP], replace=True)
    OmegaConf.register_new_resolver("run_dir", _run_dir, replace=True)
    OmegaConf.register_new_resolver("sweep_dir", _sweep_dir, replace=True)


def _run_dir(out_dir: str, name: str, resume_from: str | None, *, _root_: DictConfig) -> str:
    base = Path(out_dir)
    # A restarted job continues its own run only: another job may train the same configuration.
    earlier = find_run(base, name, plain_settings(_root_), _job_mark()) if is_restarted() else None
    if earlier is None and resume_from == "auto":
        earlier = find_run(base, name, plain_settings(_root_))
    if earlier is not None:
        return str(earlier)
    return str(base / f"{name}_{os.environ[STAMP]}")


def _sweep_dir(out_dir: str, kind: str, *, _root_: DictConfig) -> str:
    """Folder of a sweep, the same for the same command."""
    return str(Path(out_dir) / f"sweep_{kind}_{hashlib.sha256(swept(_root_.hydra).encode()).hexdigest()[:8]}")


def swept(hydra: HydraConf) -> str:
    """Describe a sweep: the words of its command that affect the results, and the values it covers.

    Args:
        hydra: Hydra's own section of the sweep's configuration.
    """
    words = [word for word in map(str, hydra.overrides.task) if not word.lstrip("+~").startswith(_FREE_WORDS)]
    params = OmegaConf.to_container(hydra.sweeper.params) if hydra.sweeper.get("params") else {}
    return json.dumps([sorted(words), params], sort_keys=True)


def wants_newest(resume_from: str | None) -> bool:
    """Whether a run continues in its own directory: by ``trainer.resume_from=auto``, or in a restarted job."""
    return resume_from == "auto" or is_restarted()


def is_restarted() -> bool:
    """Whether Slurm has started this job again, after a preemption, a time-out or a failure of the node."""
    return int(os.environ.get("SLURM_RESTART_COUNT", "0")) > 0


def find_run(base: Path, name: str, settings: Mapping[str, Any], mark: str = "") -> Path | None:
    """Find the newest run directory in ``base`` that was started with the same configuration; None without one.

    The path of the checkpoint (``trainer.resume_from``), tracking and loader settings may differ.

    Args:
        base: folder of run directories.
        name: of the run, without its time stamp.
        settings: the run's configuration as plain containers.
        mark: required end of the time stamp.

    Raises:
        UserError: it holds links, through which the run would write elsewhere.
    """
    wanted = comparable(settings)
    for folder in sorted(base.glob(f"{name}_*{mark}"), reverse=True):  # the time stamp sorts
        # Hydra writes its file in place at every start; if it was killed there, only our copy is whole.
        if any(
            comparable(found) == wanted
            for found in map(read_config, (folder / ".hydra" / "config.yaml", folder / COPY))
        ):
            check_no_links(folder)
            return folder
    return None


def check_no_links(folder: Path) -> None:
    """Check that a resumed run writes only into its directory: Hydra's files, log and lock are written in place.

    Checkpoints may be links: they are replaced, never written through.

    Args:
        folder: the run directory; it need not exist.

    Raises:
        UserError: it holds links.
    """
    places = [place for place in (folder, folder / ".hydra") if place.is_dir()]
    links = [path for place in places for path in sorted(place.iterdir()) if path.is_symlink()]
    links = [path for path in links if path.suffix != ".pth"]
    if links:
        raise UserError(
            f"{', '.join(map(str, links))}: expected files and folders, found links: a run that resumes here would "
            f"write to their targets. Replace them by files, or move {folder} away to start a new run."
        )


def read_config(path: Path) -> dict[str, Any]:
    """Read a configuration from disk as plain data; empty if it is missing or incomplete."""
    try:
        found = read_strict_yaml(read_text(path), str(path))
    except (OSError, ValueError, UserError):
        return {}
    return found if isinstance(found, dict) else {}


def comparable(settings: Mapping[str, Any], also_free: Sequence[str] = ()) -> dict[str, Any]:
    """Select the settings that a run and its continuation must have in common.

    Args:
        settings: the configuration of either as plain containers (``plain_settings``), with unresolved references.
        also_free: more keys that may differ.
    """
    plain: dict[str, Any] = copy.deepcopy(dict(settings))
    plain.pop("hydra", None)
    for key in (*_FREE_KEYS, *also_free):
        *groups, leaf = key.split(".")
        parent: Any = plain
        for group in groups:
            parent = parent.get(group) if isinstance(parent, dict) else None
        if isinstance(parent, dict):
            parent.pop(leaf, None)
    return {str(key): value for key, value in plain.items()}


@dataclass(frozen=True)
class RunFiles:
    """Paths of the files of a run."""

    folder: Path
    id_training: int = 1
    kind: str = "risk_prediction"  # kind of training, part of the names

    @property
    def log(self) -> Path:
        """The log file."""
        return self.folder / f"train_{self.kind}_training_id_{self.id_training}.log"

    @property
    def resume(self) -> Path:
        """The rolling checkpoint, the newest of all."""
        return self.folder / "resume.pth"

    @property
    def best(self) -> Path:
        """Checkpoint of the best epoch by the monitored measure."""
        return self.folder / f"best_model_{self.kind}_id-{self.id_training}.pth"

    @property
    def early_stopping(self) -> Path:
        """Checkpoint of the epoch after which the training was stopped early."""
        return self.folder / f"early_stopping_{self.kind}_id-{self.id_training}.pth"

    @property
    def last_epoch(self) -> Path:
        """Checkpoint of the last epoch."""
        return self.folder / f"model_{self.kind}_training_id_{self.id_training}_last_epoch.pth"

    def periodic(self, epoch: int) -> Path:
        """Checkpoint after ``epoch`` epochs."""
        return self.folder / f"checkpoint_{epoch:04d}.pth"

    @property
    def metrics(self) -> Path:
        """Table of metrics, one row per epoch."""
        return self.folder / "metrics.csv"

    @property
    def curve(self) -> Path:
        """Picture of loss, monitored measure and learning rate over the epochs."""
        return self.folder / "learning_curve.png"

    @property
    def attrition(self) -> Path:
        """Attrition table of the cohort."""
        return self.folder / "attrition.csv"

    @property
    def config(self) -> Path:
        """The run's configuration, always a whole file."""
        return self.folder / COPY


def forget_run(folder: Path) -> None:
    """Remove a run directory in which no work was done: it holds only Hydra's configuration."""
    if [path.name for path in folder.iterdir()] == [".hydra"]:
        shutil.rmtree(folder)
