from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.model_cases import losses_while_fitting, random_batch, without_gradient
from helpers.phantom_pairs import phantom_pairs

from mammorisk.batch import Batch, RiskOutput
from mammorisk.errors import UserError
from mammorisk.registration.mammoregnet import MammoRegNet
from mammorisk.registration.objectives import ncc
from mammorisk.training.registration import REGISTRATION, PairRegistration, measure_registration

SMALL = {"channels": (4, 8, 8), "decoder_channels": (16, 8, 8), "num_heads": (2, 2), "depth": 1}


def small_model() -> PairRegistration:
    torch.manual_seed(0)
    return PairRegistration(MammoRegNet(**SMALL))  # type: ignore[arg-type]


def phantom_batch(rows: int = 32) -> Batch:
    """The phantom's pairs as a batch, the prior exam first."""
    pairs = phantom_pairs(rows=rows)
    batch = random_batch(small_model().inputs, samples=len(pairs.current))
    batch.images = torch.stack([pairs.prior, pairs.current], 1).unsqueeze(2)  # -> [B, 2, 1, 1, H, W]
    return batch


def test_scores_are_of_the_current_exam_fixed_and_the_prior_moved():
    unwrapped_model, batch = small_model().eval(), phantom_batch()
    calls = []
    unwrapped_model.network.encoder.register_forward_pre_hook(lambda _, inputs: calls.append(inputs[0].clone()))
    with torch.no_grad():
        output = unwrapped_model(batch)
    fixed, moving = calls
    assert torch.equal(fixed[..., :32, :26], batch.images[:, 1, 0])
    assert torch.equal(moving[..., :32, :26], batch.images[:, 0, 0])
    assert torch.equal(output.scores["ncc_before"], ncc(fixed[..., :32, :26], moving[..., :32, :26]))
    assert {name: tuple(score.shape) for name, score in output.scores.items()} == dict.fromkeys(
        ("loss", "ncc", "ncc_affine", "ncc_before", "folded"), (8,)
    )
    assert torch.equal(unwrapped_model.loss(output, batch), output.scores["loss"].mean())


def test_every_parameter_gets_a_gradient_and_training_registers():
    unwrapped_model, batch = small_model(), phantom_batch()
    assert without_gradient(unwrapped_model, batch) == []  # type: ignore[arg-type]
    losses = losses_while_fitting(unwrapped_model, batch, steps=40, rate=3e-3)  # type: ignore[arg-type]
    with torch.no_grad():
        scores = unwrapped_model.eval()(batch).scores
    assert losses[-1] < losses[0] - 0.02
    assert scores["ncc"].mean() > scores["ncc_before"].mean() + 0.01


def test_measures_are_means_over_the_pairs():
    scores = {
        name: torch.arange(4.0) + i for i, name in enumerate(("loss", "ncc", "ncc_affine", "ncc_before", "folded"))
    }
    samples = SimpleNamespace(sample_id=np.array(["a", "b", "c", "d", "e"]))
    found = measure_registration(None, samples, np.arange(4), RiskOutput({}, scores=scores))  # type: ignore[arg-type]
    assert found == {
        "Registration Loss": 1.5,
        "NCC": 2.5,
        "NCC affine": 3.5,
        "NCC before": 4.5,
        "Folded": 5.5,
    }
    assert {REGISTRATION.loss, REGISTRATION.monitor} <= set(found)
    scores["loss"][2] = torch.inf
    with pytest.raises(UserError, match=r"not finite for 1 of 4 pairs, the first of them d"):
        measure_registration(None, samples, np.array([0, 1, 3, 4]), RiskOutput({}, scores=scores))  # type: ignore[arg-type]


def test_what_it_says_of_itself():
    assert "registration at the images' own size" in small_model().notes()
    sized = PairRegistration(MammoRegNet(image_size=(64, 32), **SMALL))  # type: ignore[arg-type]
    assert "registration at 64 x 32 pixels" in sized.notes()
