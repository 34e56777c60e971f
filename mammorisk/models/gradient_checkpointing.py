"""Gradient checkpointing: activations that are computed again in the backward pass, not kept for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def recomputed(function: Callable[[Tensor], Tensor], x: Tensor, holds: nn.Module | None = None) -> Tensor:
    """``function(x)``, of which only ``x`` is kept for the backward pass.

    The same output, gradients and normalisation statistics as without.

    Args:
        function: draws no random numbers; a module, or a method of one.
        x: its input.
        holds: where there is BatchNorm that it passes through; None: the module ``function`` itself.
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
    """Within the block, batches do not count in the running statistics of BatchNorm: they did in the first pass.

    Copies that are thrown away do count: without any, the second pass would not save what the first one did.
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
