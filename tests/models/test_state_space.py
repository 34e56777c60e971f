from __future__ import annotations

import math

import pytest
import torch
from helpers.reference_blocks import assert_parity, outputs, wave, weights
from torch import Tensor, nn

from mammorisk.errors import UserError
from mammorisk.models.state_space import SS2D, VMRNNCell, VSSBlock, in_four_directions, merged_directions
from mammorisk.weights.loading import load_state
from mammorisk.weights.renaming import VMRA_MAR


def as_row(tokens: Tensor) -> Tensor:
    """The reference's tokens [B, L, D] on its grid of one row, [B, 1, L, D]."""
    return tokens[:, None]


@torch.no_grad()
def test_parity_with_ss2d():
    layer = SS2D(32)
    load_state(layer, weights("i_ss2d"), VMRA_MAR)
    assert_parity(layer(wave((2, 3, 4, 32), 28)), outputs("i_ss2d")["out"])


@torch.no_grad()
def test_parity_with_vss_block():
    block, reference = VSSBlock(32, norm_eps=1e-6), outputs("i_vsb")
    load_state(block, weights("i_vsb"), VMRA_MAR)
    x, hidden = as_row(wave((2, 2, 32), 29)), as_row(wave((2, 2, 32), 30))
    assert_parity(block(x), as_row(reference["out_no_hx"]))
    assert_parity(block(x, hidden), as_row(reference["out_hx"]))


@torch.no_grad()
def test_parity_with_vmrnn_over_two_steps():
    # The reference is two cells: "Upsample" takes the output of "Downsample", and each keeps a state of its own. Its
    # output is the sigmoid of the second cell's h, its latent the first cell's. The model has the first one alone.
    cells, reference = nn.ModuleDict({"down": VMRNNCell(64), "up": VMRNNCell(64)}), outputs("i_vmrnn")
    table = [(r"^Downsample\.layers\.0\.", "down."), (r"^Upsample\.layers\.0\.", "up."), *VMRA_MAR]
    load_state(cells, weights("i_vmrnn"), table)
    down = cells["down"](as_row(wave((2, 2, 64), 31)))
    up = cells["up"](down[0])
    assert_parity(down[0], as_row(reference["H_down"]))
    assert_parity(down[1], as_row(reference["C_down"]))
    assert_parity(up[0], as_row(reference["H_up"]))
    assert_parity(up[0].sigmoid(), as_row(reference["output"]))
    down = cells["down"](as_row(wave((2, 2, 64), 32)), down)
    up = cells["up"](down[0], up)
    assert_parity(down[0], as_row(reference["latent_step2"]))
    assert_parity(up[0].sigmoid(), as_row(reference["output_step2"]))


def test_directions_are_rows_columns_and_both_backwards():
    grid = torch.arange(6.0).view(1, 1, 2, 3)  # 0 1 2 / 3 4 5
    sequences = in_four_directions(grid)[0, :, 0].tolist()
    assert sequences == [[0, 1, 2, 3, 4, 5], [0, 3, 1, 4, 2, 5], [5, 4, 3, 2, 1, 0], [5, 2, 4, 1, 3, 0]]


def test_merging_puts_every_direction_back_in_its_place():
    grid = torch.rand(2, 3, 4, 5)
    torch.testing.assert_close(merged_directions(in_four_directions(grid), 4, 5), 4 * grid)


@torch.no_grad()
@pytest.mark.parametrize("place", [(0, 0), (3, 4), (1, 2)])
def test_pitfall_13_every_position_sees_the_whole_grid(place):
    torch.manual_seed(0)
    layer, grid = SS2D(8).double(), torch.rand(1, 6, 7, 8, dtype=torch.float64)
    changed = grid.clone()
    changed[0, place[0], place[1]] += 1.0
    moved = (layer(changed) - layer(grid)).abs().amax(-1)[0]  # a convolution alone would reach one position
    assert (moved > 1e-12).all()


def test_starts_as_mamba_does():
    layer = SS2D(64)
    assert (layer.dt_rank, layer.in_proj.out_features, layer.conv.groups) == (4, 256, 128)
    torch.testing.assert_close(layer.A_log.exp(), torch.arange(1.0, 17).expand(512, 16))
    assert (layer.D == 1).all()
    step = nn.functional.softplus(layer.dt_bias.detach())
    assert float(step.min()) >= 1e-3 * (1 - 1e-3)
    assert float(step.max()) <= 0.1 * (1 + 1e-3)
    middle = step.log().median()  # log-uniform: as many steps below 0.01 as above
    assert abs(float(middle) - math.log(0.01)) < 0.4


def test_states_need_the_layer_that_joins_them():
    grid = torch.rand(1, 1, 1, 8)
    with pytest.raises(ValueError, match="takes no hidden state"):
        VSSBlock(8, joins=False)(grid, grid)


def test_a_cell_without_blocks_is_a_user_error():
    with pytest.raises(UserError, match="at least 1 block, found 0"):
        VMRNNCell(8, depth=0)


@torch.no_grad()
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_cell_is_its_formula(depth):
    torch.manual_seed(0)
    cell, x = VMRNNCell(8, depth=depth), torch.rand(2, 3, 2, 8)
    hidden, memory = torch.rand(2, 3, 2, 8), torch.rand(2, 3, 2, 8)
    output = cell.blocks[0](x, hidden)
    for block in cell.blocks[1:]:
        output = block(output)
    gate = torch.sigmoid(output)
    expected = gate * (memory + torch.tanh(output))
    found = cell(x, (hidden, memory))
    torch.testing.assert_close(found[1], expected)
    torch.testing.assert_close(found[0], gate * torch.tanh(expected))
    zeros = torch.zeros_like(x)
    torch.testing.assert_close(cell(x), cell(x, (zeros, zeros)))


def test_every_parameter_of_a_cell_gets_a_gradient_in_its_first_step():
    cell = VMRNNCell(8)
    cell(torch.rand(2, 1, 1, 8))[0].sum().backward()
    assert [name for name, p in cell.named_parameters() if p.grad is None] == []


def test_bfloat16_autocast_keeps_the_state_in_float32():
    torch.manual_seed(0)
    cell, x = VMRNNCell(16), torch.rand(2, 2, 3, 16)
    exact = cell(x, cell(x))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = cell(x, cell(x))
        rounded[0].square().mean().backward()
    assert {state.dtype for state in rounded} == {torch.float32}
    torch.testing.assert_close(rounded, exact, rtol=0.05, atol=0.02)
    assert all(p.grad.isfinite().all() for p in cell.parameters())


@torch.no_grad()
def test_compiles_without_a_break():
    torch.manual_seed(0)
    cell, x = VMRNNCell(8), torch.rand(2, 2, 2, 8)
    compiled = torch.compile(cell, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), cell(x))
