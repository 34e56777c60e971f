from __future__ import annotations

import copy

import pytest
import torch
from helpers.model_cases import small_registration
from torch import Tensor, nn

from mammorisk.registration import swin_inference
from mammorisk.registration.mammoregnet import MammoRegNet
from mammorisk.registration.swin import SwinStage
from mammorisk.registration.swin_inference import layout, through_layers

CPU = torch.device("cpu")
SIZES = [(10, 10), (11, 8), (3, 4), (13, 20)]


def stage(depth: int = 4, shift: int = 2, scale: float = 1.0) -> SwinStage:
    """A stage whose every weight matters."""
    torch.manual_seed(0)
    made = SwinStage(8, depth, num_heads=2, window=5, shift=shift, mlp_ratio=2)
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.5 * scale)
    return made.eval()


def one_by_one(layers: SwinStage, features: Tensor) -> Tensor:
    """The stage as a training computes it."""
    assert torch.is_grad_enabled()
    return layers(features).detach()


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("shift", [0, 1, 2])
def test_without_gradient_the_numbers_are_the_same(size, count, shift):
    layers, features = stage(shift=shift), torch.randn(count, 8, *size)
    expected = one_by_one(layers, features)
    with torch.no_grad():
        found = layers(features)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert expected.std() > 0.5


@pytest.mark.parametrize("at_once", [1, 1000, 10**9])
def test_how_many_windows_are_gone_through_at_once_does_not_matter(monkeypatch, at_once):
    layers, features = stage(), torch.randn(2, 8, 13, 11)
    expected = one_by_one(layers, features)
    monkeypatch.setattr(swin_inference, "AT_ONCE", at_once)
    with torch.inference_mode():
        torch.testing.assert_close(layers(features), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scale", [1.0, 8.0, 40.0])
def test_scores_too_large_for_an_exponential_are_exact_as_well(scale, monkeypatch):
    layers, features = stage(depth=2), torch.randn(1, 8, 11, 12)
    for layer in layers.layers:
        nn.init.normal_(layer.attention.position_bias, std=scale * 10)
    expected, fused = one_by_one(layers, features), []
    attend = torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(
        swin_inference.F, "scaled_dot_product_attention", lambda *a, **k: fused.append(1) or attend(*a, **k)
    )
    with torch.no_grad():
        found = layers(features)
    assert found.isfinite().all()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert bool(fused) == (scale > 1.0)


def test_it_follows_the_weights_when_they_are_loaded_trained_or_cast():
    """Nothing that hangs on weights is remembered."""
    layers, features = stage(), torch.randn(1, 8, 10, 12)
    with torch.no_grad():
        layers(features)
    other = stage(scale=0.3).state_dict()
    layers.load_state_dict(other)
    expected = one_by_one(layers, features)
    with torch.no_grad():
        torch.testing.assert_close(layers(features), expected, rtol=1e-4, atol=1e-4)
    torch.optim.SGD(layers.parameters(), lr=0.1)
    layers(features).square().mean().backward()
    with torch.no_grad():
        for parameter in layers.parameters():
            parameter -= 0.1 * parameter.grad
    expected = one_by_one(layers, features)
    with torch.no_grad():
        torch.testing.assert_close(layers(features), expected, rtol=1e-4, atol=1e-4)
    double = copy.deepcopy(layers).double()
    with torch.no_grad():
        torch.testing.assert_close(double(features.double()).float(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("size", "shift"), [((11, 8), 2), ((10, 10), 0), ((3, 4), 1)])
def test_every_position_stands_in_one_place_and_only_some_windows_have_a_mask(size, shift):
    made, cells = layout(2, size, 5, shift, CPU), 2 * size[0] * size[1]
    assert torch.equal(made.place[made.back], torch.arange(cells))
    assert [part.start for part in made.parts[1:]] == [part.stop for part in made.parts[:-1]]
    assert made.parts[-1].stop * 25 == len(made.place)
    places = sum(
        25 * (part.stop - part.start) - (0 if part.padding is None else int(part.padding.sum())) for part in made.parts
    )
    assert places == cells
    assert any(part.apart is not None for part in made.parts) == (shift > 0)


def test_of_a_large_map_few_windows_have_a_mask():
    parts = layout(1, (256, 208), 5, 2, CPU).parts
    masked = sum(part.stop - part.start for part in parts if part.apart is not None)
    assert masked == 52 + 42 - 1
    assert parts[-1].stop == 52 * 42


def test_the_input_is_not_written_to():
    tokens = torch.randn(1, 10, 10, 8)
    before = tokens.clone()
    with torch.no_grad():
        through_layers(stage().layers, tokens)
    assert torch.equal(tokens, before)


@pytest.mark.parametrize("autocast", [False, True])
def test_the_whole_network_finds_the_same_field_with_and_without_gradient(autocast):
    network = small_registration()
    fixed, moving = torch.rand(2, 1, 64, 52), torch.rand(2, 1, 64, 52)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        expected = network(fixed, moving).detach()
        with torch.no_grad():
            found = network(fixed, moving)
    assert expected.abs().max() > 1
    tolerance = 0.05 * float(expected.abs().max()) if autocast else 1e-4
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=tolerance)


def test_the_names_of_the_weights_are_what_they_were():
    names = {name.split(".")[-1] for name in MammoRegNet().state_dict()}
    assert names == {"weight", "bias", "position_bias"}
