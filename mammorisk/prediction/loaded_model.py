"""A trained model, for notebooks and commands: network, settings of its training, and origin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import DictConfig

from mammorisk.batch import Batch, InputSpec, RiskOutput
from mammorisk.errors import UserError
from mammorisk.models.base import RiskModel, parameter_count
from mammorisk.training.checkpoint_payload import read_hashed_payload
from mammorisk.training.trained_model import model_of


@dataclass(frozen=True)
class TrainedModel:
    """A model of a checkpoint, ready to predict."""

    network: RiskModel  # in eval mode, on ``device``
    config: DictConfig  # of its training, whole
    device: torch.device
    checkpoint: Path
    sha256: str  # of the checkpoint

    @property
    def inputs(self) -> InputSpec:
        """The inputs of one sample."""
        return self.network.inputs

    def __call__(self, batch: Batch) -> RiskOutput:
        """The network's output for a batch on any device, without gradients."""
        with torch.inference_mode():
            output: RiskOutput = self.network(batch.to(self.device))
        return output

    def __str__(self) -> str:
        """Description for logs and notebooks."""
        count = parameter_count(self.network)["total"] / 1e6
        lines = [f"{type(self.network).__name__}, {count:.1f} M parameters, on {self.device}, from {self.checkpoint}"]
        return "\n  ".join([*lines, *self.network.notes()])


def load_model(
    checkpoint: str | Path, device: str | torch.device | None = None, allow_modules: Sequence[str] = ()
) -> TrainedModel:
    """The model of a checkpoint that a training wrote; config and weights come from this file alone.

    Of the components that the file names, only mammorisk's own are run, and none of its paths is followed
    (docs/security.md); caches of the training are not used.

    Args:
        checkpoint: for example ``best_model_risk_prediction_id-1.pth`` of a run directory.
        device: of the model; None: the GPU if there is one.
        allow_modules: exact names of your own modules whose components the checkpoint may name: ``["mylab.models"]``.

    Raises:
        UserError: no such file, no checkpoint of a training, or a forbidden component, which the message names.
    """
    path = Path(checkpoint).expanduser()
    if not path.is_file():
        raise UserError(
            f"checkpoint: there is no file {path}. Expected one that a training wrote, as "
            "outputs/RUN/best_model_risk_prediction_id-1.pth."
        )
    payload, sha256 = read_hashed_payload(path)
    network, config = model_of(payload, path, allow_modules)
    chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return TrainedModel(network.to(chosen).eval(), config, chosen, path, sha256)
