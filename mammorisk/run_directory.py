"""Where a run writes: one folder a run, known to all its processes, found again when it resumes.

Hydra asks two resolvers of ours: ``run_stamp`` (this start's time stamp, the same on all ranks) and ``run_dir``.
"""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

STAMP = "MAMMORISK_RUN_STAMP"  # environment variable: the stamp all processes of a run agree on
# What may differ between a run and its continuation.
_FREE_KEYS = (
    "trainer.resume_from",
    "trainer.num_processes",
    "trainer.save_every_minutes",
    "tracking",
    "dataset.num_workers",
)


def new_stamp() -> str:
    """Date and time to the microsecond: jobs of one sweep start in the same second (specs: pitfall 9)."""
    return datetime.now().strftime("%Y-%m-%d_%H-%M-%S-%f")


def register_resolvers() -> None:
    """Make ``${run_stamp:}`` and ``${run_dir:out_dir,name,resume_from}`` known to OmegaConf; safe to call twice."""
    OmegaConf.register_new_resolver("run_stamp", lambda: os.environ[STAMP], replace=True)
    OmegaConf.register_new_resolver("run_dir", _run_dir, replace=True)


def _run_dir(out_dir: str, name: str, resume_from: str | None, *, _root_: DictConfig) -> str:
    base = Path(out_dir)
    if resume_from == "auto" or int(os.environ.get("SLURM_RESTART_COUNT", "0")) > 0:
        earlier = find_run(base, name, _root_)
        if earlier is not None:
            return str(earlier)
    return str(base / f"{name}_{os.environ[STAMP]}")


def find_run(base: Path, name: str, config: DictConfig) -> Path | None:
    """The newest run directory in ``base`` that was started with the same configuration, or None.

    The paths of the continuation itself (``trainer.resume_from``), tracking and loader settings may differ.
    """
    wanted = comparable(config)
    for folder in sorted(base.glob(f"{name}_*"), reverse=True):  # the time stamp sorts
        saved = folder / ".hydra" / "config.yaml"
        try:
            found = OmegaConf.create(yaml.safe_load(saved.read_text(encoding="utf-8")))
        except (OSError, yaml.YAMLError):
            continue
        if isinstance(found, DictConfig) and comparable(found) == wanted:
            return folder
    return None


def comparable(config: DictConfig) -> Any:
    """What a run and its continuation must have in common, as plain containers."""
    plain = OmegaConf.create(OmegaConf.to_yaml(config))
    assert isinstance(plain, DictConfig)
    plain.pop("hydra", None)
    for key in _FREE_KEYS:
        group, _, leaf = key.rpartition(".")
        parent = OmegaConf.select(plain, group) if group else plain
        if isinstance(parent, DictConfig):
            parent.pop(leaf, None)
    return OmegaConf.to_container(plain, resolve=False)
