from __future__ import annotations

import pytest
import torch

from mammorisk.errors import UserError
from mammorisk.models.stochastic_depth import StochasticDepth


def test_stochastic_depth_drops_whole_samples_and_keeps_the_mean():
    torch.manual_seed(0)
    x = torch.ones(4000, 2, 3)
    for sample_dims in (1, 2):
        path = StochasticDepth(0.2, sample_dims).train()
        rows = path(x).flatten(0, sample_dims - 1).flatten(1)
        assert ((rows == 0).all(1) | (rows == 1.25).all(1)).all()
        assert float(rows.mean()) == pytest.approx(1.0, abs=0.02)
        assert torch.equal(path.eval()(x), x)
    with pytest.raises(UserError, match="found 1"):
        StochasticDepth(1.0)
