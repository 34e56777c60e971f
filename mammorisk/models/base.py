"""Base class of all risk models: an InputSpec, a forward to a RiskOutput, a risk, a loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self, cast

import torch
from torch import Tensor, nn

from mammorisk.batch import Batch, InputSpec, RiskOutput

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]  # (logits [B, Y], target [B, Y], target_mask [B, Y]) -> scalar


@dataclass(frozen=True)
class Head:
    """Weight of a head in the loss, and the exam whose label it learns (-1 the current, -2 the prior)."""

    weight: float = 1.0
    exam: int = -1


class RiskModel(nn.Module):
    """Base class of the risk models.

    A subclass sets ``inputs``, ``heads`` (name -> Head), ``primary`` (the head that is the model's risk) and the
    pure function ``loss_function``, and implements ``forward``.

    ``averages_known_years`` says that the loss function is a mean over the known years of its batch, as hazard_bce
    is. Then the loss of several processes is the mean over the known years of all their batches. Otherwise each
    process's loss has the same weight.
    """

    inputs: InputSpec
    heads: dict[str, Head]
    primary: str
    loss_function: Loss
    averages_known_years: bool = True

    def forward(self, batch: Batch) -> RiskOutput:
        """Logits of every head for a batch; implemented by each model."""
        raise TypeError(f"{type(self).__name__} does not implement forward(batch) -> RiskOutput")

    def risk(self, output: RiskOutput) -> Tensor:
        """Probability of cancer within 1..Y years, [B, Y], non-decreasing in the year."""
        # In float64: of equal logits, a vector instruction and the scalar one beside it differ in float32's last bit.
        return torch.sigmoid(output.logits[self.primary].double()).float()

    def loss(self, output: RiskOutput, batch: Batch, share: Tensor | None = None) -> Tensor:
        """Weighted sum of the heads' losses plus the auxiliary ones; a scalar in float32.

        Args:
            output: of the batch.
            batch: its labels.
            share: [T] this process's known years of each exam over the mean of all processes, where the loss is one of
                several that are averaged.
        """
        total: Tensor | float = 0.0
        for name, head in self.heads.items():
            target, mask = batch.target[:, head.exam], batch.target_mask[:, head.exam]
            weight = head.weight if share is None or not self.averages_known_years else head.weight * share[head.exam]
            total = total + weight * self.loss_function(output.logits[name].float(), target, mask)
        for value in output.auxiliary.values():
            total = total + value.float()
        return cast(Tensor, total)

    @property
    def registration_module(self) -> nn.Module | None:
        """The frozen registration that computes the displacement between the last two exams; None without one.

        A displacement in the batch replaces its output (``models/alignment.py``).
        """
        return None

    @property
    def encoder_module(self) -> nn.Module | None:
        """The encoder whose features may come with the batch (``encode_batch``).

        None if the model encodes other images than those of the batch, or accepts no features.
        """
        return None

    def field_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Grid on which the model warps by that displacement, (rows, columns), for images of ``image_size``."""
        return image_size

    def notes(self) -> list[str]:
        """Lines about the model for logs and reports: its samples, and the origin of its weights."""
        found = [f"a sample is {self.inputs}"]
        encoder = getattr(self, "encoder", None)
        if encoder is not None:
            frozen = ", frozen" if is_frozen(encoder) else ""
            found.append(f"image encoder: {getattr(encoder, 'pretrained_from', type(encoder).__name__)}{frozen}")
        return found

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all modules but the frozen ones, which stay in eval (docs/pitfalls.md#p5)."""
        super().train(mode)
        for module in self.modules():
            if is_frozen(module):
                module.eval()
        return self


def freeze(module: nn.Module) -> nn.Module:
    """Take a module out of training for good: no gradients, eval mode, normalisation statistics untouched."""
    module.requires_grad_(False)
    for part in module.modules():
        part.frozen = True  # type: ignore[assignment]
        part.eval()
    return module


def is_frozen(module: nn.Module | None) -> bool:
    """Whether ``freeze`` was called on the module or on one that holds it."""
    return bool(getattr(module, "frozen", False))


def parameter_count(module: nn.Module) -> dict[str, int]:
    """Number of parameters: ``total`` and ``trainable``."""
    return {
        "total": sum(p.numel() for p in module.parameters()),
        "trainable": sum(p.numel() for p in module.parameters() if p.requires_grad),
    }
