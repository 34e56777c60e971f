"""The trained model of an evaluation: its checkpoint, given or found in a run directory, and its description."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mammorisk.errors import UserError
from mammorisk.models.base import RiskModel, parameter_count
from mammorisk.training.checkpoint_payload import read_hashed_payload
from mammorisk.training.trained_model import model_of

CHOICES = {"best": "best_model_*.pth", "last": "model_*_last_epoch.pth"}


@dataclass(frozen=True)
class Trained:
    """A trained model with its origin."""

    network: RiskModel  # in eval mode, on the CPU
    config: DictConfig  # of its training
    checkpoint: Path
    sha256: str  # of the checkpoint
    epoch: int  # epochs it was trained for
    is_run: bool  # whether its run directory is given, whose cohort is then read

    def describe(self) -> dict[str, Any]:
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
    """The checkpoint ``place``, or the one in the run directory ``place``.

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
        raise UserError(f"{path}: expected a checkpoint or the run directory of a training; found nothing there.")
    if which not in CHOICES:
        raise UserError(f"which={which}: expected {' or '.join(CHOICES)}.")
    found = sorted(path.glob(CHOICES[which]))
    if len(found) != 1:
        count = "no" if not found else f"{len(found)} files"
        others = ", ".join(sorted(each.name for each in path.glob("*.pth"))) or "none"
        raise UserError(
            f"{path} has {count} {CHOICES[which]}; expected one. Checkpoints there: {others}. Give one, "
            "checkpoint=PATH."
        )
    return found[0]


def load_trained(place: str | Path, which: str = "best", allow_modules: Sequence[str] = ()) -> Trained:
    """Model and training of a checkpoint, or of the one in a run directory.

    Args:
        place: as ``find_checkpoint``.
        which: best or last, of a run directory.
        allow_modules: exact names of your own modules whose components it may name.

    Raises:
        UserError: there is none, it cannot be read, is refused, or is not one of a risk training.
    """
    checkpoint = find_checkpoint(place, which)
    payload, sha256 = read_hashed_payload(checkpoint)
    network, config = model_of(payload, checkpoint, allow_modules)
    is_run = Path(place).expanduser().is_dir() and Path(place).suffix != checkpoint.suffix
    return Trained(network, config, checkpoint, sha256, int(payload["epoch"]), is_run)


def use_caches(network: RiskModel, encoder_cache: str | None, registration_cache: str | None) -> None:
    """Set the caches of a model's features and displacements.

    Raises:
        UserError: the model has no such cache, so the setting has no effect.
    """
    wanted = (
        ("encoder_cache", encoder_cache, network.encoder_module, "features of a frozen encoder"),
        ("registration_cache", registration_cache, network.registration_module, "displacements of a registration"),
    )
    for key, folder, part, content in wanted:
        if folder is not None and not hasattr(part, "cache"):
            raise UserError(f"{key}={folder}: {type(network).__name__} as trained caches no {content}. Leave it out.")
        if folder is not None:
            part.cache = folder  # type: ignore[union-attr]
