from __future__ import annotations

import pytest
import torch
from helpers.reference_blocks import assert_parity, outputs, wave, weights

from mammorisk.errors import UserError
from mammorisk.models.ordinal_embedding import OrdinalEmbedding
from mammorisk.weights.loading import load_state
from mammorisk.weights.renaming import OA_BREACR


def embedding(dim: int = 8, **settings: object) -> OrdinalEmbedding:
    torch.manual_seed(0)
    return OrdinalEmbedding(dim, **settings)  # type: ignore[arg-type]


@torch.no_grad()
def test_parity_with_poe_latent():
    model, reference = (
        torch.nn.ModuleDict({"embedding": embedding(512, embedding="deterministic")}),
        outputs("h_poe_latent"),
    )
    state = {f"POELatent.{key}": tensor for key, tensor in weights("h_poe_latent").items()}
    load_state(model, state, OA_BREACR)
    drawn, mean, log_variance = model["embedding"].eval()(wave((3, 512), 24))
    assert_parity(drawn, reference["drop_emb"])
    assert_parity(mean, reference["emb"])
    assert_parity(log_variance, reference["log_var"])


@torch.no_grad()
@pytest.mark.parametrize("training", [False, True])
def test_draws_have_the_mean_and_deviation_they_say(training):
    model = embedding(4, max_t=20_000, dropout=0.0).train(training)
    drawn, mean, log_variance = model(torch.randn(3, 4))
    assert drawn.shape == (3, 20_000, 4)
    deviation = (0.5 * log_variance).exp()
    assert float(((drawn.mean(1) - mean) / deviation).abs().max()) < 0.03  # 4 standard errors
    torch.testing.assert_close(drawn.std(1), deviation, atol=0, rtol=0.03)


@torch.no_grad()
def test_draws_of_eval_mode_depend_on_nothing_but_the_sample():
    model, x = embedding().eval(), torch.randn(5, 8)
    state = torch.get_rng_state()
    together = model(x)[0]
    assert torch.equal(torch.get_rng_state(), state)
    torch.testing.assert_close(model(x[3:])[0], together[3:])
    torch.manual_seed(7)
    other = OrdinalEmbedding(8).eval()  # another process, another seed
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(x)[0], together)
    assert not any("noise" in key for key in model.state_dict())


@torch.no_grad()
def test_draws_of_training_are_fresh_for_every_sample_and_call():
    model, x = embedding(dropout=0.0).train(), torch.randn(1, 8).expand(2, 8)
    drawn = model(x)[0]
    assert not torch.allclose(drawn[0], drawn[1])
    assert not torch.allclose(drawn, model(x)[0])


@torch.no_grad()
def test_deterministic_takes_the_mean():
    model, x = embedding(embedding="deterministic").train(), torch.randn(2, 8)
    model.dropout.p = 0.0
    drawn, mean, _ = model(x)
    assert torch.equal(drawn, mean)


@torch.no_grad()
def test_dropout_is_on_what_is_drawn_in_training_only():
    model, x = embedding(dropout=0.5), torch.randn(20, 8)
    assert (model.train()(x)[0] == 0).float().mean() == pytest.approx(0.5, abs=0.05)
    assert (model.eval()(x)[0] != 0).all()


def test_mean_and_deviation_learn_from_the_draws():
    model = embedding().train()
    model(torch.randn(2, 8))[0].square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())


def test_is_float32_under_autocast():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert [t.dtype for t in embedding()(torch.randn(2, 8))] == [torch.float32] * 3


def test_unknown_settings_are_a_user_error():
    with pytest.raises(UserError, match="'stochastic' or 'deterministic', found 'both'"):
        embedding(embedding="both")
    with pytest.raises(UserError, match="at least 1, found 0"):
        embedding(max_t=0)
