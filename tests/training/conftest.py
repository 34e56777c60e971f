"""Fixtures of the tests of training: a small cohort, and a model for it."""

from __future__ import annotations

import pytest
import torch
from helpers.epoch_predictions import samples_of
from helpers.model_cases import small_encoder

from mammorisk.datasets.samples import SampleTable
from mammorisk.models.lmv_net import LMVNet
from mammorisk.registration.identity import IdentityRegistration


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> SampleTable:
    """24 breasts with a prior exam, 4 of them cases."""
    return samples_of(tmp_path_factory.mktemp("cohort"))


@pytest.fixture(scope="module")
def model() -> LMVNet:
    torch.manual_seed(0)
    return LMVNet(small_encoder(), IdentityRegistration())
