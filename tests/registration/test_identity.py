from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.model_cases import yaml_differences

from mammorisk.registration.identity import IdentityRegistration, ZeroDisplacement
from mammorisk.warping import warp


def test_moves_nothing():
    fixed, moving = torch.rand(2, 1, 64, 52), torch.rand(2, 1, 64, 52)
    displacement = IdentityRegistration()(fixed, moving)
    assert displacement.shape == (2, 2, 64, 52)
    assert not displacement.any()
    torch.testing.assert_close(warp(moving, displacement), moving, rtol=0, atol=2e-5)


def test_has_nothing_to_train():
    assert not list(IdentityRegistration().parameters())


def test_refuses_images_of_unlike_shape():
    with pytest.raises(ValueError, match="one shape"):
        IdentityRegistration()(torch.rand(1, 1, 8, 6), torch.rand(1, 1, 8, 7))


def test_yaml_mirrors_the_constructor():
    assert yaml_differences("registration/identity.yaml") == []


def test_its_fields_need_no_image():
    fields = ZeroDisplacement((4, 3))
    assert fields.size == (4, 3)
    assert np.array_equal(fields.read(1, 2), np.zeros((2, 4, 3)))
