from __future__ import annotations

import pytest
import torch

from mammorisk.weights.image_settings import IMAGENET_IMAGES, MIRAI_IMAGES


def test_scales_are_the_publications():
    assert (MIRAI_IMAGES.input_mean, MIRAI_IMAGES.input_std) == (7047.99, 12005.5)
    colours = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]], dtype=torch.float64).mean(1) * 65535
    assert [IMAGENET_IMAGES.input_mean, IMAGENET_IMAGES.input_std] == pytest.approx(colours.tolist())
