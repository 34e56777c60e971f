"""Visual state-space layers: SS2D and VSS block (VMamba, Liu et al. 2024), VMRNN cell (Tang et al. 2024)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mammorisk.errors import UserError
from mammorisk.models.selective_scan import selective_scan

DIRECTIONS = 4  # along rows, along columns, and both backwards
SHORTEST_STEP, LONGEST_STEP = 1e-3, 0.1  # initial step lengths (Gu & Dao 2023)

State = tuple[Tensor, Tensor]


class SS2D(nn.Module):
    """Selective scan over a grid in four directions, between a convolution and a gate (VMamba).

    Linear to x and gate z (2 x E channels), depthwise convolution, SiLU, the scans, their sum, LayerNorm, times
    SiLU(z), Linear back. Every position of the result depends on the whole grid.

    Args:
        dim: channels of the grid, D.
        d_state: states per channel, N.
        d_conv: odd width of the convolution.
        expand: E / D.
        dt_rank: rank R of the map to step lengths; None: ceil(D / 16).
    """

    def __init__(
        self, dim: int, d_state: int = 16, d_conv: int = 3, expand: float = 2, dt_rank: int | None = None
    ) -> None:
        super().__init__()
        inner, rank = int(expand * dim), dt_rank or math.ceil(dim / 16)
        self.d_state, self.dt_rank = d_state, rank
        self.in_proj = nn.Linear(dim, 2 * inner, bias=False)
        self.conv = nn.Conv2d(inner, inner, d_conv, padding=d_conv // 2, groups=inner)
        self.x_proj = nn.Parameter(torch.empty(DIRECTIONS, rank + 2 * d_state, inner))
        self.dt_proj = nn.Parameter(torch.empty(DIRECTIONS, inner, rank))
        self.dt_bias = nn.Parameter(torch.empty(DIRECTIONS, inner))
        self.A_log = nn.Parameter(torch.empty(DIRECTIONS * inner, d_state))
        self.D = nn.Parameter(torch.ones(DIRECTIONS * inner))
        self.out_norm = nn.LayerNorm(inner)
        self.out_proj = nn.Linear(inner, dim, bias=False)
        self._initialise()

    def forward(self, grid: Tensor) -> Tensor:
        """[B, h, w, D] -> [B, h, w, D]."""
        x, gate = self.in_proj(grid).chunk(2, dim=-1)  # [B, h, w, 2 E] -> [B, h, w, E] twice
        x = F.silu(self.conv(x.permute(0, 3, 1, 2)))  # [B, h, w, E] -> [B, E, h, w]
        y = self.out_norm(self.scan(x).permute(0, 2, 3, 1))  # [B, E, h, w] -> [B, h, w, E]
        result: Tensor = self.out_proj(y * F.silu(gate))
        return result

    def scan(self, x: Tensor) -> Tensor:
        """Sum of the selective scans in four directions, [B, E, h, w] -> [B, E, h, w] float32."""
        sequences = in_four_directions(x)  # [B, E, h, w] -> [B, 4, E, h*w]
        inputs = torch.einsum("bkel,kce->bkcl", sequences, self.x_proj)  # [B, 4, E, L] -> [B, 4, R + 2 N, L]
        step, (B, C) = inputs[:, :, : self.dt_rank], inputs[:, :, self.dt_rank :].chunk(2, dim=2)
        step = torch.einsum("bkrl,ker->bkel", step, self.dt_proj)  # [B, 4, R, L] -> [B, 4, E, L]
        delta = F.softplus(step.float() + self.dt_bias.unsqueeze(-1))
        A = -self.A_log.float().exp().reshape(DIRECTIONS, -1, self.d_state)  # [4 E, N] -> [4, E, N]
        y = selective_scan(sequences, delta, A, B, C, self.D.reshape(DIRECTIONS, -1))
        return merged_directions(y, x.shape[-2], x.shape[-1])

    @torch.no_grad()
    def _initialise(self) -> None:
        """Initialise as Mamba does (Gu & Dao 2023): decay rates 1..N, step lengths log-uniform whatever the input."""
        nn.init.uniform_(self.x_proj, -(self.x_proj.shape[-1] ** -0.5), self.x_proj.shape[-1] ** -0.5)
        nn.init.uniform_(self.dt_proj, -(self.dt_rank**-0.5), self.dt_rank**-0.5)
        self.A_log.copy_(torch.arange(1.0, self.d_state + 1).log().expand_as(self.A_log))
        share = torch.rand_like(self.dt_bias)
        step = torch.exp(math.log(SHORTEST_STEP) + share * math.log(LONGEST_STEP / SHORTEST_STEP))
        self.dt_bias.copy_(step + torch.log(-torch.expm1(-step)))  # the inverse of softplus


def in_four_directions(x: Tensor) -> Tensor:
    """A grid as sequences by rows, by columns, and both backwards, [B, E, h, w] -> [B, 4, E, h*w]."""
    forwards = torch.stack([x.flatten(2), x.transpose(2, 3).flatten(2)], dim=1)  # [B, 2, E, h*w]
    return torch.cat([forwards, forwards.flip(-1)], dim=1)


def merged_directions(y: Tensor, height: int, width: int) -> Tensor:
    """Sum over the four directions at each position, [B, 4, E, h*w] -> [B, E, h, w]."""
    rows, columns = (y[:, :2] + y[:, 2:].flip(-1)).unbind(1)  # [B, 4, E, L] -> [B, E, L] twice
    by_rows = rows.reshape(*rows.shape[:2], height, width)
    by_columns = columns.reshape(*columns.shape[:2], width, height)
    return by_rows + by_columns.transpose(2, 3)


class VSSBlock(nn.Module):
    """x + SS2D(LayerNorm(x)), where a hidden state h may join: SS2D(Linear([LayerNorm(x), LayerNorm(h)])).

    Args:
        dim: D, channels of tokens.
        d_state: see SS2D.
        d_conv: see SS2D.
        expand: see SS2D.
        joins: whether the block has the linear layer for h.
        norm_eps: of the LayerNorm that x and h share.
    """

    def __init__(
        self,
        dim: int,
        d_state: int = 16,
        d_conv: int = 3,
        expand: float = 2,
        joins: bool = True,
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=norm_eps)
        self.join = nn.Linear(2 * dim, dim) if joins else None
        self.ss2d = SS2D(dim, d_state, d_conv, expand)

    def forward(self, x: Tensor, hidden: Tensor | None = None) -> Tensor:
        """Grid x, and the state of as many positions, [B, h, w, D] -> [B, h, w, D].

        Raises:
            ValueError: a state for a block without the layer that joins it.
        """
        inner = self.norm(x)
        if hidden is not None:
            if self.join is None:
                raise ValueError("this block was built with joins=False: it takes no hidden state")
            inner = self.join(torch.cat([inner, self.norm(hidden)], dim=-1))  # [..., 2 D] -> [..., D]
        result: Tensor = x + self.ss2d(inner)
        return result


class VMRNNCell(nn.Module):
    """Recurrent cell of VSS blocks with one gate (VMRNN, Tang et al. 2024): one call is one step of time.

    o = blocks(x, h);  f = sigmoid(o);  c <- f (c + tanh(o));  h <- f tanh(c). The first block gets h, the others the
    output of the block before them. The weights are the same at every step; before the first, h and c are 0.

    Args:
        dim: D, channels.
        depth: VSS blocks.
        d_state: see SS2D.
        d_conv: see SS2D.
        expand: see SS2D.
        norm_eps: of the blocks' LayerNorms.

    Raises:
        UserError: no block.
    """

    def __init__(
        self, dim: int, depth: int = 2, d_state: int = 16, d_conv: int = 3, expand: float = 2, norm_eps: float = 1e-5
    ) -> None:
        super().__init__()
        if depth < 1:
            raise UserError(f"The depth of the recurrent cell must be at least 1 block, found {depth}.")
        self.blocks = nn.ModuleList(
            VSSBlock(dim, d_state, d_conv, expand, joins=index == 0, norm_eps=norm_eps) for index in range(depth)
        )

    def start(self, x: Tensor) -> State:
        """The state before the first step of a grid like x, (h, c), float32 zeros."""
        zeros = torch.zeros_like(x, dtype=torch.promote_types(x.dtype, torch.float32))
        return zeros, zeros

    def forward(self, x: Tensor, state: State | None = None) -> State:
        """One step: grid x [B, h, w, D] and state (h, c) -> the next (h, c), each [B, h, w, D] float32.

        h is the cell's output.
        """
        hidden, memory = self.start(x) if state is None else state
        output = self.blocks[0](x, hidden)
        for block in list(self.blocks)[1:]:
            output = block(output)
        output = output.to(memory.dtype)  # gates in float32: the state passes through every step
        gate = output.sigmoid()
        memory = gate * (memory + output.tanh())
        return gate * memory.tanh(), memory
