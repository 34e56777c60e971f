from __future__ import annotations

import inspect
import os
import pickle
from pathlib import Path

import pytest
import torch
from helpers.model_cases import CONF, small_registration
from helpers.model_cases import SMALL_REGISTRATION as SMALL
from helpers.reference_blocks import assert_parity, outputs, wave, weights
from hydra.utils import instantiate
from omegaconf import OmegaConf
from omegaconf.errors import MissingMandatoryValue
from safetensors.torch import save_file

from mammorisk.errors import UserError
from mammorisk.models.base import freeze, parameter_count
from mammorisk.registration.mammoregnet import MammoRegNet
from mammorisk.warping import resize_displacement, warp
from mammorisk.weights.loading import load_state
from mammorisk.weights.renaming import MAMMOREGNET

REFERENCE = outputs("d_mammoregnet")


@pytest.fixture(scope="module")
def published() -> MammoRegNet:
    """The published architecture with the reference's weights."""
    model = MammoRegNet().eval()
    load_state(model, weights("d_mammoregnet"), MAMMOREGNET)
    return model


def assert_close_to_largest(ours, reference, share):
    torch.testing.assert_close(ours, reference, rtol=share, atol=share * float(reference.abs().max()))


@torch.no_grad()
def test_parity_at_256_by_208(published):
    fixed, moving = wave((1, 1, 256, 208), 3), wave((1, 1, 256, 208), 4.5)
    assert_parity(published.encoder(fixed)[-1][:, ::4], REFERENCE["enc5"])
    result = published.register(fixed, moving, images=True)
    assert_close_to_largest(result.affine, REFERENCE["affine_para"], 1e-5)
    assert_close_to_largest(result.displacement[..., ::4, ::4], REFERENCE["flow"], 1e-5)
    assert_parity(result.affine_warped[..., ::4, ::4], REFERENCE["affined"])
    # Neighbouring rows differ by up to 1, so what the field may be off (1e-5 of 62 pixels) shows in the image.
    assert_close_to_largest(result.warped[..., ::4, ::4], REFERENCE["warped"], 6e-4)


@torch.no_grad()
def test_parity_at_192_by_144_in_a_batch_of_two(published):
    fixed, moving = wave((2, 1, 192, 144), 5), wave((2, 1, 192, 144), 6.1)
    result = published.register(fixed, moving)
    assert_close_to_largest(result.affine, REFERENCE["affine_b2_192x144"], 1e-5)
    assert_close_to_largest(result.displacement[..., ::4, ::4], REFERENCE["flow_b2_192x144"], 1e-5)
    assert result.warped is None


def test_published_size():
    assert parameter_count(MammoRegNet())["total"] == 4_836_136


@torch.no_grad()
def test_untrained_network_moves_next_to_nothing():
    torch.manual_seed(0)
    field = MammoRegNet(**SMALL)(torch.rand(1, 1, 64, 52), torch.rand(1, 1, 64, 52))
    assert 0 < field.abs().max() < 0.05


@torch.no_grad()
def test_sizes_not_divisible_are_padded_and_cropped():
    model, fixed, moving = small_registration(), torch.rand(1, 1, 30, 21), torch.rand(1, 1, 30, 21)
    padded = [torch.nn.functional.pad(image, (0, 3, 0, 2)) for image in (fixed, moving)]
    result, whole = model.register(fixed, moving, images=True), model.register(*padded)
    assert torch.equal(result.displacement, whole.displacement[..., :30, :21])
    assert torch.equal(result.affine_displacement, whole.affine_displacement[..., :30, :21])
    assert result.warped.shape == (1, 1, 30, 21)


@torch.no_grad()
def test_pitfall_03_field_and_warped_images_share_the_convention():
    model, fixed, moving = small_registration(), torch.rand(2, 1, 32, 24), torch.rand(2, 1, 32, 24)
    result = model.register(fixed, moving, images=True)
    assert torch.equal(result.displacement, model(fixed, moving))
    assert torch.equal(result.warped, warp(moving, result.displacement))
    assert torch.equal(result.affine_warped, warp(moving, result.affine_displacement))


@torch.no_grad()
def test_pitfall_03_own_resolution_rescales_each_axis():
    # Smooth images at twice the height and thrice the width of the network's own size.
    model, own = small_registration(image_size=(32, 24)), small_registration()
    fixed, moving = (torch.nn.functional.interpolate(torch.rand(1, 1, 8, 6), (64, 72)) for _ in range(2))
    field = model(fixed, moving)
    assert field.shape == (1, 2, 64, 72)
    shrunk = [
        torch.nn.functional.interpolate(image, (32, 24), mode="bilinear", antialias=True) for image in (fixed, moving)
    ]
    expected = own(*shrunk)
    assert expected.abs().max() > 0.5
    torch.testing.assert_close(field[0, :, 0, 0], expected[0, :, 0, 0] * torch.tensor([2.0, 3.0]))
    torch.testing.assert_close(field, resize_displacement(expected, (64, 72)))


def test_pitfall_11_frozen_use_keeps_no_graph():
    model = freeze(MammoRegNet(**SMALL))
    fixed, moving = torch.rand(1, 1, 32, 24, requires_grad=True), torch.rand(1, 1, 32, 24)
    with torch.no_grad():
        field = model(fixed, moving)
    assert field.grad_fn is None
    assert not any(p.requires_grad for p in model.parameters())
    assert not any(part.training for part in model.modules())


def test_every_parameter_learns_when_trained():
    model = MammoRegNet(**SMALL).train()
    result = model.register(torch.rand(1, 1, 32, 24), torch.rand(1, 1, 32, 24), images=True)
    result.warped.square().mean().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


@torch.no_grad()
def test_blank_images_give_a_finite_field():
    assert small_registration()(torch.zeros(1, 1, 32, 24), torch.zeros(1, 1, 32, 24)).isfinite().all()


@pytest.mark.parametrize("wrapped", [False, True], ids=["plain", "in a dict, from DataParallel"])
def test_checkpoint_in_published_names(tmp_path, published, wrapped):
    state = weights("d_mammoregnet")
    content = {"model": {f"module.{key}": tensor for key, tensor in state.items()}, "epoch": 3} if wrapped else state
    torch.save(content, tmp_path / "registration.pth")
    loaded = MammoRegNet(checkpoint=tmp_path / "registration.pth").state_dict()
    assert all(torch.equal(loaded[key], tensor) for key, tensor in published.state_dict().items())


def test_checkpoint_in_our_names(tmp_path):
    model = small_registration()
    save_file(model.state_dict(), tmp_path / "ours.safetensors")
    loaded = MammoRegNet(checkpoint=tmp_path / "ours.safetensors", **SMALL).state_dict()
    assert all(torch.equal(loaded[key], tensor) for key, tensor in model.state_dict().items())


def test_checkpoint_with_missing_and_left_over_keys(tmp_path):
    state = weights("d_mammoregnet")
    state["Decoder.surprise.weight"] = state.pop("Decoder.reghead_2.reg_head.bias")
    torch.save(state, tmp_path / "wrong.pth")
    with pytest.raises(UserError, match=r"(?s)1 missing: fine\.2\.head\.bias.*1 unexpected: Decoder\.surprise\.weight"):
        MammoRegNet(checkpoint=tmp_path / "wrong.pth")


class Malice:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


def test_pitfall_23_registration_checkpoint_runs_no_code(tmp_path):
    with (tmp_path / "evil.pth").open("wb") as file:
        pickle.dump({"state_dict": Malice(tmp_path / "harm")}, file, protocol=2)
    with pytest.raises(UserError, match=r"evil\.pth"):
        MammoRegNet(checkpoint=tmp_path / "evil.pth")
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"num_heads": (2,)}, "num_heads"),
        ({"num_heads": (3, 2)}, "divisors"),
        ({"image_size": (64,)}, "image_size"),
        ({"precision": "float16"}, "registration.precision=float16: expected float32 or bfloat16"),
        ({"cache_size": "image"}, "registration.cache_size=image: expected feature or registration"),
    ],
)
def test_impossible_architecture(settings, named):
    with pytest.raises(UserError, match=named):
        MammoRegNet(**(SMALL | settings))


def alike(**settings: object) -> list[MammoRegNet]:
    """Two networks of the same weights, the second with ``settings``."""
    networks = []
    for each in ({}, settings):
        torch.manual_seed(0)
        networks.append(small_registration(**each))
    return networks


def test_in_bfloat16_the_displacement_is_off_by_a_fraction_of_a_pixel():
    exact, half = alike(precision="bfloat16")
    fixed, moving = torch.rand(2, 2, 1, 128, 104)
    with torch.no_grad():
        expected, found = exact.register(fixed, moving), half.register(fixed, moving)
    assert found.displacement.dtype == found.affine.dtype == torch.float32
    largest = float(expected.displacement.abs().max())
    assert largest > 3
    assert 0 < float((found.displacement - expected.displacement).abs().max()) < 0.05 * largest
    torch.testing.assert_close(found.affine, expected.affine, rtol=0, atol=0.02)
    assert half.settings == exact.settings | {"precision": "bfloat16"}  # its kept fields are others


@pytest.mark.slow  # a compiler runs
def test_compiled_it_finds_the_same_and_can_be_copied():
    plain, compiled = alike(compile=True)
    fixed, moving = torch.rand(2, 1, 1, 64, 52)
    compiled = pickle.loads(pickle.dumps(freeze(compiled)))
    before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    with torch.no_grad():
        torch.testing.assert_close(compiled(fixed, moving), plain(fixed, moving), rtol=1e-4, atol=1e-4)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > before


def test_unlike_images_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        MammoRegNet(**SMALL)(torch.rand(1, 1, 32, 24), torch.rand(1, 1, 24, 32))


def test_yaml_mirrors_the_constructor(tmp_path, published):
    config = OmegaConf.load(CONF / "registration" / "mammoregnet.yaml")
    parameters = inspect.signature(MammoRegNet).parameters
    assert [key for key in config if not str(key).startswith("_")] == list(parameters)
    values = OmegaConf.to_container(config)
    for name, parameter in parameters.items():
        if name not in ("image_size", "checkpoint"):  # the YAML holds the published pipeline, not a bare network
            default = parameter.default
            assert values[name] == (list(default) if isinstance(default, tuple) else default)
    with pytest.raises(MissingMandatoryValue, match="checkpoint"):
        instantiate(config)
    torch.save(weights("d_mammoregnet"), tmp_path / "weights.pth")
    config.checkpoint = str(tmp_path / "weights.pth")
    model = instantiate(config)
    assert model.image_size == (1024, 512)
    assert model.state_dict().keys() == published.state_dict().keys()
