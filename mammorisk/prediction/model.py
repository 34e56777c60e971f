"""A trained model as notebooks and commands hold it: network, settings of its training, and where it came from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import DictConfig

from mammorisk.batch import Batch, InputSpec, RiskOutput
from mammorisk.checkpoint import rebuild_model
from mammorisk.errors import UserError
from mammorisk.models.base import RiskModel, parameter_count
from mammorisk.regular_files import open_regular


@dataclass(frozen=True)
class TrainedModel:
    """A model of a checkpoint, ready to be asked."""

    network: RiskModel  # in eval mode, on ``device``
    config: DictConfig  # of its training, whole
    device: torch.device
    checkpoint: Path
    sha256: str  # of the checkpoint

    @property
    def inputs(self) -> InputSpec:
        """What one sample is."""
        return self.network.inputs

    def __call__(self, batch: Batch) -> RiskOutput:
        """The network's output for a batch on any device, without gradients."""
        with torch.inference_mode():
            output: RiskOutput = self.network(batch.to(self.device))
        return output

    def __str__(self) -> str:
        """In words, for logs and notebooks."""
        count = parameter_count(self.network)["total"] / 1e6
        lines = [f"{type(self.network).__name__}, {count:.1f} M parameters, on {self.device}, from {self.checkpoint}"]
        return "\n  ".join([*lines, *self.network.notes()])


def load_model(checkpoint: str | Path, device: str | torch.device | None = None) -> TrainedModel:
    """The model of a checkpoint that a training wrote; config and weights come from this file alone.

    Caches of fields and features that the training had are not used: other exams have others.

    Args:
        checkpoint: for example ``best_model_risk_prediction_id-1.pth`` of a run directory.
        device: where it computes; None: the GPU where there is one.

    Raises:
        UserError: no such file, or none of a training's.
    """
    path = Path(checkpoint).expanduser()
    if not path.is_file():
        raise UserError(
            f"checkpoint: there is no file {path}. Expected one that a training wrote, as "
            "outputs/RUN/best_model_risk_prediction_id-1.pth."
        )
    network, config = rebuild_model(path)
    for part in (network.aligns_by, network.encodes_by):
        if getattr(part, "cache", None) is not None:
            part.cache = None  # type: ignore[union-attr]
    chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    with open_regular(path) as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return TrainedModel(network.to(chosen).eval(), config, chosen, path, sha256)
