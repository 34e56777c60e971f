from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mammorisk.models import selective_scan as scans
from mammorisk.models.selective_scan import find_kernel, fused_scan, plain_scan, selective_scan


def inputs(
    batch: int = 2,
    groups: int = 3,
    channels: int = 4,
    states: int = 5,
    length: int = 7,
    dtype: torch.dtype = torch.float64,
) -> list[Tensor]:
    """u, delta, A, B, C, D with decays from slow to fast."""
    draw = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw, dtype=dtype)

    delta = 0.3 * normal(batch, groups, channels, length).exp()
    A = -normal(groups, channels, states).exp()
    shared = [normal(batch, groups, states, length) for _ in range(2)]
    return [normal(batch, groups, channels, length), delta, A, *shared, normal(groups, channels)]


def by_hand(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
    """Number by number, in double precision: what the kernel of ``mamba_ssm`` is documented to compute."""
    y = torch.zeros(u.shape, dtype=torch.float64)
    for b in range(u.shape[0]):
        for g in range(u.shape[1]):
            for e in range(u.shape[2]):
                state = [0.0] * A.shape[-1]
                for t in range(u.shape[3]):
                    total, step, value = float(D[g, e] * u[b, g, e, t]), float(delta[b, g, e, t]), float(u[b, g, e, t])
                    for n in range(len(state)):
                        decay = torch.exp(torch.tensor(step * float(A[g, e, n]), dtype=torch.float64))
                        state[n] = float(decay) * state[n] + step * float(B[b, g, n, t]) * value
                        total += float(C[b, g, n, t]) * state[n]
                    y[b, g, e, t] = total
    return y


def test_scan_is_the_recurrence_in_double_precision():
    given = inputs()
    torch.testing.assert_close(selective_scan(*given), by_hand(*given), rtol=1e-12, atol=1e-12)


def test_scan_in_float32_agrees_with_double_precision():
    given = inputs(length=64)
    single = selective_scan(*[tensor.float() for tensor in given])
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), selective_scan(*given), rtol=1e-4, atol=1e-4)


def test_pitfall_13_an_early_token_reaches_all_later_outputs_and_no_earlier_one():
    u, *rest = inputs(length=9)
    changed = u.clone()
    changed[..., 3] += 1.0
    moved = (selective_scan(changed, *rest) - selective_scan(u, *rest)).abs().amax((0, 1, 2))
    assert not moved[:3].any()
    assert (moved[3:] > 1e-6).all()
    assert not torch.allclose(selective_scan(u, *rest), u)


def test_gradients_of_all_arguments():
    given = [tensor.requires_grad_() for tensor in inputs(1, 2, 2, 3, 4)]
    assert torch.autograd.gradcheck(selective_scan, given)


def test_bfloat16_under_autocast_is_scanned_in_float32():
    rounded = [tensor.bfloat16() for tensor in inputs(length=64)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = selective_scan(*rounded)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, selective_scan(*[tensor.float() for tensor in rounded]), rtol=0, atol=0)


def test_compiles_without_a_break():
    given = [tensor.float() for tensor in inputs()]
    compiled = torch.compile(selective_scan, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(*given), selective_scan(*given))


def test_without_mamba_ssm_there_is_no_kernel_and_a_cpu_scans_all_the_same():
    if "mamba_ssm" not in sys.modules:
        assert find_kernel() is None
        assert scans.KERNEL is None
    given = inputs()
    assert torch.equal(selective_scan(*given), plain_scan(*given))


@pytest.fixture
def package(tmp_path, monkeypatch) -> Iterator[Path]:
    """An empty ``mamba_ssm`` to import; the file to be written is its module of the scan."""

    def forget() -> None:
        for name in [name for name in sys.modules if name.split(".")[0] == "mamba_ssm"]:
            del sys.modules[name]

    folder = tmp_path / "mamba_ssm" / "ops"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").touch()
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    forget()
    yield folder / "selective_scan_interface.py"
    forget()


@pytest.mark.parametrize("error", ["ImportError('no')", "OSError('libcudart.so.11.0: cannot open shared object file')"])
def test_a_kernel_that_does_not_load_is_none(package, error):
    package.write_text(f"raise {error}\n")
    assert find_kernel() is None


def test_an_installed_kernel_is_found_and_gets_its_own_layout(package):
    # The real package needs CUDA to build. This one has its signature, and for each of G E channels scans on its own.
    package.write_text(
        textwrap.dedent("""
            import torch

            def selective_scan_fn(u, delta, A, B, C, D=None, z=None, delta_bias=None, delta_softplus=False):
                assert z is None and delta_bias is None and not delta_softplus
                assert all(tensor.is_contiguous() for tensor in (u, delta, B, C))
                share = u.shape[1] // B.shape[1]  # channels that share B and C stand together
                B, C = B.repeat_interleave(share, 1), C.repeat_interleave(share, 1)
                state, y = torch.zeros(len(u), *A.shape, dtype=u.dtype), torch.empty_like(u)
                for t in range(u.shape[2]):
                    step = delta[:, :, t, None]
                    state = torch.exp(step * A) * state + step * B[..., t] * u[:, :, t, None]
                    y[:, :, t] = (state * C[..., t]).sum(-1) + D * u[:, :, t]
                return y
        """)
    )
    kernel, given = find_kernel(), inputs()
    assert kernel is not None
    torch.testing.assert_close(fused_scan(kernel, *given), by_hand(*given))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_the_scan_is_the_same():
    given = [tensor.float() for tensor in inputs(length=64)]
    on_gpu = selective_scan(*[tensor.cuda() for tensor in given]).cpu()
    torch.testing.assert_close(on_gpu, selective_scan(*given), rtol=1e-4, atol=1e-4)
