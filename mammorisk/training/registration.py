"""Registration training: its task, a network with its objective, and the measures of pairs of exams."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from torch import Tensor, nn

from mammorisk.batch import Batch, InputSpec, RiskOutput
from mammorisk.datasets.samples import SampleTable
from mammorisk.errors import UserError
from mammorisk.registration.mammoregnet import MammoRegNet
from mammorisk.registration.objectives import FOLDING_WEIGHT, ncc, registration_loss
from mammorisk.registration.scores import folded_percent
from mammorisk.training.task import Task

LOSS, MONITOR = "Registration Loss", "NCC"
MEASURES = {LOSS: "loss", MONITOR: "ncc", "NCC affine": "ncc_affine", "NCC before": "ncc_before", "Folded": "folded"}


class PairRegistration(nn.Module):
    """A registration network with its objective (Thrun et al., MICCAI 2025, arXiv 2506.19363).

    The current exam's image is fixed, the prior one's of the same breast and view is moved.

    Args:
        network: to be trained.
        smoothness_weight: of the displacement's mean squared gradient.
        folding_weight: of its folding per pixel.
    """

    def __init__(
        self, network: MammoRegNet, smoothness_weight: float = 1.0, folding_weight: float = FOLDING_WEIGHT
    ) -> None:
        super().__init__()
        self.inputs = InputSpec("image", 2)
        self.registration_module = None  # its batches need no displacement
        self.network = network
        self.smoothness_weight, self.folding_weight = smoothness_weight, folding_weight

    def forward(self, batch: Batch) -> RiskOutput:
        """Scores of B pairs, [B] each: ``loss``, ``ncc``, ``ncc_affine``, ``ncc_before``, ``folded`` (%)."""
        moving, fixed = batch.images[:, -2:, 0].unbind(1)  # [B, 2, 1, 1, H, W] -> [B, 1, H, W] each
        found = self.network.register(fixed, moving, images=True)
        affine_warped, warped = cast(Tensor, found.affine_warped), cast(Tensor, found.warped)  # asked for: images=True
        weights = self.smoothness_weight, self.folding_weight
        scores = {
            "loss": registration_loss(fixed, affine_warped, warped, found.displacement, *weights),
            "ncc": ncc(fixed, warped),
            "ncc_affine": ncc(fixed, affine_warped),
            "ncc_before": ncc(fixed, moving),
            "folded": folded_percent(found.displacement),
        }
        return RiskOutput(logits={}, scores=scores)

    def field_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """The size of the displacements: that of the images."""
        return image_size

    def loss(self, output: RiskOutput, batch: Batch, share: Tensor | None = None) -> Tensor:
        """Mean objective of the pairs; a scalar."""
        return output.scores["loss"].mean()

    def notes(self) -> list[str]:
        """Facts for logs and reports."""
        size = self.network.image_size
        own = "the images' own size"
        return [
            f"a sample is {self.inputs}",
            f"registration at {own if size is None else f'{size[0]} x {size[1]} pixels'}",
        ]


def measure_registration(
    unwrapped_model: Any, samples: SampleTable, seen: np.ndarray, output: RiskOutput
) -> dict[str, float]:
    """Means over the pairs: loss, NCC after registration, after its affine part and before it, folded pixels in %.

    Raises:
        UserError: a score is not a number; the message names samples.
    """
    bad = ~output.scores["loss"].isfinite().numpy()
    if bad.any():
        names = ", ".join(str(samples.sample_id[i]) for i in seen[bad][:5])
        raise UserError(
            f"The registration is not finite for {int(bad.sum())} of {len(seen)} pairs, the first of them {names}.\n"
            "The weights diverged: lower optim.learning_rate or set optim.max_grad_norm=1, and go on from an "
            "earlier checkpoint."
        )
    return {name: float(output.scores[score].double().mean()) for name, score in MEASURES.items()}


REGISTRATION = Task(loss=LOSS, monitor=MONITOR, measure=measure_registration)
