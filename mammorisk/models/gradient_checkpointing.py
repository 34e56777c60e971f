"""Gradient checkpointing: recompute activations in the backward pass instead of keeping them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def checkpointed(function: Callable[[Tensor], Tensor], x: Tensor, holds: nn.Module | None = None) -> Tensor:
    """Compute ``function(x)`` and keep only ``x`` for the backward pass.

    Output, gradients and normalisation statistics are the same as without.

    Args:
        function: a module, or a method of one; it must draw no random numbers.
        x: its input.
        holds: the module whose BatchNorm layers it passes through; None: the module ``function`` itself.
    """
    module = function if holds is None else holds
    if not isinstance(module, nn.Module):
        raise TypeError(f"expected a module, or the one that {function} passes through as holds=, got neither")

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _statistics_seen(module)

    output: Tensor = checkpoint(function, x, use_reentrant=False, preserve_rng_state=False, context_fn=contexts)
    return output


def keeps_graph(module: nn.Module) -> bool:
    """Whether calling the module now would keep activations for a backward pass."""
    return torch.is_grad_enabled() and any(parameter.requires_grad for parameter in module.parameters())


@contextmanager
def _statistics_seen(module: nn.Module) -> Iterator[None]:
    """Leave the running statistics of BatchNorm as they are within the block: the first pass has updated them.

    Copies are updated in their place and thrown away: without them, the second pass would not save the same tensors.
    """
    norms = [each for each in module.modules() if isinstance(each, _BatchNorm) and each.training]
    own = [dict(norm._buffers) for norm in norms]
    try:
        for norm, buffers in zip(norms, own, strict=True):
            norm._buffers.update({name: None if each is None else each.clone() for name, each in buffers.items()})
        yield
    finally:
        for norm, buffers in zip(norms, own, strict=True):
            norm._buffers.update(buffers)
