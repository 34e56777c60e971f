"""The checkpoint that is evaluated: found in a run directory or named, and what is to be told of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mammorisk.checkpoint import load_payload, rebuild_model
from mammorisk.errors import UserError
from mammorisk.models.base import RiskModel, parameter_count
from mammorisk.regular_files import open_regular

CHOICES = {"best": "best_model_*.pth", "last": "model_*_last_epoch.pth"}


@dataclass(frozen=True)
class Trained:
    """A trained model with its origin."""

    network: RiskModel  # in eval mode, on the CPU
    config: DictConfig  # of its training
    checkpoint: Path
    sha256: str  # of the checkpoint
    epoch: int  # epochs it was trained for

    def described(self) -> dict[str, Any]:
        """Name, size and inputs, for JSON."""
        counts, inputs = parameter_count(self.network), self.network.inputs
        return {
            "name": str(OmegaConf.select(self.config, "model._target_")).split(".")[-2],
            "class": type(self.network).__name__,
            "parameters": counts["total"],
            "trainable": counts["trainable"],
            "epoch": self.epoch,
            "inputs": {"unit": inputs.unit, "exams": inputs.exams, "views": inputs.views},
        }


def find_checkpoint(place: str | Path, which: str = "best") -> Path:
    """The checkpoint that ``place`` is, or that lies in the run directory ``place``.

    Args:
        place: file or folder.
        which: best or last, of a folder.

    Raises:
        UserError: there is none, or more than one.
    """
    path = Path(place).expanduser()
    if path.is_file():
        return path
    if not path.is_dir():
        raise UserError(f"{path}: expected a checkpoint or the run directory of a training; there is no such thing.")
    if which not in CHOICES:
        raise UserError(f"which={which}: expected {' or '.join(CHOICES)}.")
    found = sorted(path.glob(CHOICES[which]))
    if len(found) != 1:
        count = "no" if not found else f"{len(found)} files"
        others = ", ".join(sorted(each.name for each in path.glob("*.pth"))) or "none"
        raise UserError(
            f"{path} has {count} {CHOICES[which]}; expected one. Checkpoints there: {others}. Name one, "
            "checkpoint=PATH."
        )
    return found[0]


def load_trained(checkpoint: Path) -> Trained:
    """Model and training of a checkpoint.

    Raises:
        UserError: it cannot be read, or is not one of a risk training.
    """
    payload = load_payload(checkpoint)
    target = str(OmegaConf.select(OmegaConf.create(payload["config"]), "model._target_"))
    if not target.startswith("mammorisk.models.") and "registration" in target:
        raise UserError(f"{checkpoint} is that of a registration: score it with mammorisk-register evaluate.")
    network, config = rebuild_model(checkpoint)
    with open_regular(checkpoint) as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return Trained(network, config, checkpoint, sha256, int(payload["epoch"]))
