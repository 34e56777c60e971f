"""The benchmarks compare like with like: every variant gives the plain one's numbers."""

from __future__ import annotations

import pytest
import torch
from helpers.model_cases import logits
from helpers.places import ROOT

from mammorisk.config import register_schemas
from mammorisk.models.alignment import displacement_to_prior
from mammorisk.runs.directory import register_resolvers

BENCHMARKS = ROOT / "benchmarks"
SIZE = (128, 96)


@pytest.fixture
def steps(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    register_schemas()
    register_resolvers()
    import steps

    return steps


CASES = [("mirai", "ours"), ("oa_breacr", "ours"), ("vmra_mar", "ours"), ("imgfeatalign", "ours")]
CASES += [("imgfeatalign", "fields kept"), ("imgfeatalign", "fields and features kept"), ("vmra_mar", "features kept")]
CASES += [("lmv_net", "ours"), ("lmv_net", "fields kept"), ("lmv_net", "fields kept, recomputed")]
CASES += [("mirai", "recomputed"), ("oa_breacr", "recomputed")]


@pytest.mark.parametrize(("name", "variant"), CASES)
def test_a_variant_of_a_model_says_what_the_plain_one_says(steps, name, variant):
    plain, _, batch = steps.built(name, "plain", SIZE)
    expected = logits(plain, batch)
    model, _, own_batch = steps.built(name, variant, SIZE)
    assert type(model) is type(plain)
    for head, values in logits(model, own_batch).items():
        torch.testing.assert_close(values, expected[head], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("name", "variant"), [case for case in CASES if "features" not in case[1]])
def test_a_variant_of_a_model_learns_what_the_plain_one_learns(steps, name, variant):
    """The same gradients; without dropout, and with the normalisation of evaluation, which no batch changes."""
    found = []
    for each in ("plain", variant):
        model, _, batch = steps.built(name, each, SIZE)
        model.eval()
        model.loss(model(batch), batch).backward()
        gradients = {key.replace(".trunk", ""): p.grad for key, p in model.named_parameters() if p.grad is not None}
        found.append({key: gradient for key, gradient in gradients.items() if "registration" not in key})
    assert found[0].keys() == found[1].keys()
    largest = max(float(gradient.abs().max()) for gradient in found[0].values())
    for key, gradient in found[0].items():  # a key's bias has none but rounding
        slack = 1e-4 * float(gradient.abs().max()) + 1e-6 * largest
        torch.testing.assert_close(found[1][key], gradient, rtol=1e-3, atol=slack, msg=key)


def test_the_plain_registration_finds_our_fields(steps):
    torch.manual_seed(0)
    network = steps.model_of(steps.published("lmv_net", SIZE, "registration.image_size=null")).registration_module
    for level in network.fine.values():
        torch.nn.init.normal_(level.head.weight, std=0.05)
    fixed, moving = torch.rand(2, 1, 1, *SIZE)
    ours = displacement_to_prior(network.eval(), fixed, moving)
    plain = displacement_to_prior(steps.PlainRegistration(network, graph_of=None).eval(), fixed, moving)
    assert float(ours.abs().max()) > 1
    torch.testing.assert_close(plain, ours, rtol=1e-4, atol=1e-3)


def test_the_plain_step_builds_the_graph_of_its_registration(steps):
    model, config, batch = steps.built("lmv_net", "plain", SIZE)
    parts = steps.step_parts(model, config, plain=True)
    model.train()
    steps.train_step(parts, batch, 0, 1, True)
    assert not model.registration.kept
    fixed, moving = torch.rand(2, 4, 1, *SIZE)
    assert not model.registration(fixed, moving).requires_grad
    assert all(view.displacement.requires_grad for view in model.registration.kept)
    assert len(model.registration.kept) == 2
