"""Parameter groups of the optimiser and their learning rates."""

from __future__ import annotations

from typing import Any

from torch import nn

from mammorisk.bounds import out_of_bounds
from mammorisk.errors import UserError


def parameter_groups(model: nn.Module, learning_rate: float, encoder_lr_scale: float) -> list[dict[str, Any]]:
    """Optimiser groups: new modules at ``learning_rate``, ``model.encoder`` at ``encoder_lr_scale`` times that.

    Each trainable parameter is in one group, frozen ones in none. A group without parameters is left out.

    Args:
        model: its image encoder is the attribute ``encoder``.
        learning_rate: base rate.
        encoder_lr_scale: factor of the encoder's rate.

    Returns:
        Dicts with ``name`` (new | encoder), ``params`` and ``lr``, new modules first.

    Raises:
        UserError: there is nothing to train, or a rate is out of bounds.
    """
    rates = {"optim": {"learning_rate": learning_rate, "encoder_lr_scale": encoder_lr_scale}}
    if wrong := list(out_of_bounds(rates)):
        raise UserError("\n".join(f"{line}." for line in wrong))
    in_encoder = {id(p) for p in encoder.parameters()} if (encoder := getattr(model, "encoder", None)) else set()
    trained = [p for p in model.parameters() if p.requires_grad]
    if not trained:
        raise UserError("The model has no parameters to train: everything is frozen. Unfreeze a part of it.")
    groups = [
        {"name": "new", "params": [p for p in trained if id(p) not in in_encoder], "lr": learning_rate},
        {
            "name": "encoder",
            "params": [p for p in trained if id(p) in in_encoder],
            "lr": learning_rate * encoder_lr_scale,
        },
    ]
    return [group for group in groups if group["params"]]
