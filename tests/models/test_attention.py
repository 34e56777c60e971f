from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from mammorisk.errors import UserError
from mammorisk.models.attention import AttentionPool, MultiHeadAttention, TransformerLayer
from mammorisk.weights.renaming import DUAL_STREAM, rename

# VmHWM, not getrusage: a child's maximum there starts at its parent's.
PEAK_MEMORY = """
import re, sys, torch
from mammorisk.models.attention import MultiHeadAttention
torch.set_num_threads(1)
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read()).group(1)) / 1024
attention, x = MultiHeadAttention(384, 4), torch.rand(1, 3328, 384)
attention(x[:, :8]).sum().backward()
before = peak()
attention(x).sum().backward()
print(peak() - before)
"""


def explicit(attention: MultiHeadAttention, x, context, mask=None):
    """softmax(q k' / sqrt(d)) v, written out."""
    B, N, D = x.shape
    heads = attention.num_heads
    q, k, v = (
        linear(tokens).view(B, -1, heads, D // heads).permute(0, 2, 1, 3)
        for linear, tokens in ((attention.query, x), (attention.key, context), (attention.value, context))
    )
    score = q @ k.mT / (D // heads) ** 0.5
    if mask is not None:
        score = score.masked_fill(~mask[:, None, None], -torch.inf)
    return attention.output((score.softmax(-1) @ v).permute(0, 2, 1, 3).reshape(B, N, D))


def test_attention_is_the_explicit_softmax():
    attention, x, context = MultiHeadAttention(24, 3), torch.randn(2, 5, 24), torch.randn(2, 7, 24)
    mask = torch.rand(2, 7) > 0.4
    mask[:, 0] = True
    torch.testing.assert_close(attention(x), explicit(attention, x, x))
    torch.testing.assert_close(attention(x, context), explicit(attention, x, context))
    torch.testing.assert_close(attention(x, context, mask), explicit(attention, x, context, mask))


def test_attention_equals_torch_multihead_attention_through_the_table():
    reference, ours = (
        nn.MultiheadAttention(24, 3, batch_first=True),
        nn.ModuleDict({"self_attention": MultiHeadAttention(24, 3)}),
    )
    state = {f"mha_self.{key}": tensor + 0.1 for key, tensor in reference.state_dict().items()}
    reference.load_state_dict({key.removeprefix("mha_self."): tensor for key, tensor in state.items()})
    ours.load_state_dict(rename(state, DUAL_STREAM))
    x, context = torch.randn(2, 5, 24), torch.randn(2, 7, 24)
    torch.testing.assert_close(ours["self_attention"](x, context), reference(x, context, context)[0])


def test_reset_packed_starts_as_torch_multihead_attention():
    ours, reference = MultiHeadAttention(96, 4), nn.MultiheadAttention(96, 4)
    ours.reset_packed()
    packed = torch.cat([ours.query.weight, ours.key.weight, ours.value.weight]).detach()
    assert float(packed.abs().max()) == pytest.approx(float(reference.in_proj_weight.abs().max()), rel=0.01)
    assert float(packed.std()) == pytest.approx(float(reference.in_proj_weight.std()), rel=0.03)
    assert not any(bias.any() for name, bias in ours.named_parameters() if name.endswith("bias"))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peak memory is read from /proc")
def test_pitfall_12_attention_weights_are_not_materialised():
    run = subprocess.run([sys.executable, "-c", PEAK_MEMORY], capture_output=True, text=True, check=True)
    one_matrix = 4 * 3328**2 * 4 / 2**20  # MiB of the weights of four heads; a backward pass holds several
    inputs_and_gradients = 14 * 3328 * 384 * 4 / 2**20
    assert float(run.stdout) < inputs_and_gradients + 0.25 * one_matrix


def test_masked_keys_are_not_seen():
    layer, x, mask = TransformerLayer(24, 3), torch.randn(2, 4, 24), torch.tensor([[True, True, False, True]] * 2)
    changed = x.clone()
    changed[:, 2] = 100.0
    assert torch.equal(layer(x, mask)[:, [0, 1, 3]], layer(changed, mask)[:, [0, 1, 3]])
    assert not torch.allclose(layer(x)[:, 0], layer(changed)[:, 0])


def test_pool_is_the_softmax_weighted_mean_of_the_tokens_that_count():
    pool, tokens = AttentionPool(8), torch.randn(2, 5, 8)
    weight = pool.score(tokens).softmax(1)
    torch.testing.assert_close(pool(tokens), (weight * tokens).sum(1))
    mask = torch.tensor([[True, True, True, False, False]] * 2)
    torch.testing.assert_close(pool(tokens, mask), pool(tokens[:, :3]))


def test_heads_must_divide_the_width():
    with pytest.raises(UserError, match="divide the attention width 24, found 7"):
        MultiHeadAttention(24, 7)
