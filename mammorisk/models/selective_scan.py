"""Selective scan: a linear recurrence whose step, input and output depend on the input (Gu & Dao 2023, "S6").

The scan is never skipped (docs/pitfalls.md#p13): it is plain PyTorch on every device, or the kernel of
``mamba_ssm`` where that package is installed and the tensors are on a CUDA device.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable

import torch
from torch import Tensor

Kernel = Callable[..., Tensor]


def find_kernel() -> Kernel | None:
    """``mamba_ssm``'s ``selective_scan_fn``; None where the package is not installed or does not load."""
    try:
        module = importlib.import_module("mamba_ssm.ops.selective_scan_interface")
    except (ImportError, OSError, RuntimeError):  # the last two: built for another CUDA or torch
        return None
    kernel: Kernel = module.selective_scan_fn
    return kernel


KERNEL = find_kernel()


def selective_scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
    """x_t = exp(delta_t A) x_{t-1} + delta_t B_t u_t;  y_t = C_t x_t + D u_t;  x before the first step is 0.

    G independent scans of E channels; the N states of a channel share B and C with the other channels of their scan.
    Computed in float32 (float64 for float64 inputs) also under autocast: products of many decays need it.

    Args:
        u: input, [batch, G, E, L], oldest first.
        delta: step length, > 0, [batch, G, E, L].
        A: decay rate, < 0, [G, E, N].
        B: how the input is written to the states, [batch, G, N, L].
        C: how the states are read, [batch, G, N, L].
        D: weight of the direct path from input to output, [G, E].

    Returns:
        y, [batch, G, E, L] float32 (or float64).
    """
    exact = torch.promote_types(u.dtype, torch.float32)
    with torch.autocast(u.device.type, enabled=False):
        u, delta, A, B, C, D = (tensor.to(exact) for tensor in (u, delta, A, B, C, D))
        if KERNEL is not None and u.is_cuda and exact == torch.float32:
            return fused_scan(KERNEL, u, delta, A, B, C, D)
        return plain_scan(u, delta, A, B, C, D)


def plain_scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
    """The scan step by step, for any device; arguments and result as in ``selective_scan``, all of one dtype."""
    state = u.new_zeros(*u.shape[:3], A.shape[-1])  # [batch, G, E, N]
    read = []
    for t in range(u.shape[-1]):
        step = delta[..., t, None]  # [batch, G, E, L] -> [batch, G, E, 1]
        state = torch.exp(step * A) * state + (step * u[..., t, None]) * B[:, :, None, :, t]
        read.append((state * C[:, :, None, :, t]).sum(-1))  # [batch, G, E, N] -> [batch, G, E]
    return torch.stack(read, dim=-1) + D[..., None] * u


def fused_scan(kernel: Kernel, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
    """The scan by a kernel with ``mamba_ssm``'s arguments, for which scan and channel are one dimension."""
    flat_u, flat_delta = u.flatten(1, 2).contiguous(), delta.flatten(1, 2).contiguous()  # -> [batch, G*E, L]
    y = kernel(flat_u, flat_delta, A.flatten(0, 1), B.contiguous(), C.contiguous(), D.flatten())
    return y.reshape(u.shape)  # [batch, G*E, L] -> [batch, G, E, L]
