from __future__ import annotations

import pytest
import torch
from helpers.model_cases import CONF, small_registration
from helpers.model_cases import SMALL_REGISTRATION as SMALL
from hydra.utils import instantiate
from omegaconf import OmegaConf

from mammorisk.errors import UserError
from mammorisk.registration.affine import AffineRegistration
from mammorisk.warping import warp


def pair(size=(32, 24)):
    torch.manual_seed(1)
    return torch.rand(2, 1, *size), torch.rand(2, 1, *size)


def affine_of(network, **settings) -> AffineRegistration:
    model = AffineRegistration(**(SMALL | settings)).eval()
    model.load_state_dict(network.state_dict())
    return model


@torch.no_grad()
@pytest.mark.parametrize("image_size", [None, (32, 16)])
def test_it_is_the_affine_part_of_the_network_with_the_same_weights(image_size):
    network = small_registration(image_size=image_size)
    model, (fixed, moving) = affine_of(network, image_size=image_size), pair((40, 24))
    whole = network.register(fixed, moving, images=True)
    alone = model.register(fixed, moving, images=True)
    assert torch.equal(model(fixed, moving), whole.affine_displacement)
    assert torch.equal(alone.affine, whole.affine)
    assert torch.equal(alone.warped, warp(moving, whole.affine_displacement))
    assert not torch.allclose(whole.displacement, whole.affine_displacement, atol=0.05)


@torch.no_grad()
def test_the_field_is_affine_in_the_place():
    fixed, moving = pair()
    field = affine_of(small_registration())(fixed, moving)
    for axis in (2, 3):
        torch.testing.assert_close(
            field.diff(n=2, dim=axis), torch.zeros_like(field.diff(n=2, dim=axis)), atol=1e-4, rtol=0
        )
    assert field.diff(dim=2).abs().max() > 1e-3


def test_the_finer_levels_are_not_asked():
    model = affine_of(small_registration())
    del model.fine["1"]
    assert model(*pair()).shape == (2, 2, 32, 24)


def test_it_takes_mammoregnets_checkpoint(tmp_path):
    network = small_registration()
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    model = AffineRegistration(checkpoint=tmp_path / "weights.pth", **SMALL)
    assert all(torch.equal(model.state_dict()[key], tensor) for key, tensor in network.state_dict().items())
    with pytest.raises(UserError, match="do not fit AffineRegistration"):
        AffineRegistration(checkpoint=tmp_path / "weights.pth")


def test_the_yaml_is_mammoregnets_but_for_the_class():
    affine, network = (OmegaConf.load(CONF / "registration" / f"{name}.yaml") for name in ("affine", "mammoregnet"))
    assert affine.pop("_target_") != network.pop("_target_")
    assert affine == network
    config = OmegaConf.load(CONF / "registration" / "affine.yaml")
    config.checkpoint = None
    assert isinstance(instantiate(config), AffineRegistration)
