"""Phantom pairs whose true displacement is known."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from mammorisk.datasets.phantom.render import PictureRules, render_woman
from mammorisk.datasets.phantom.woman import Settings, draw_woman


@dataclass(frozen=True)
class Pairs:
    """Right CC, right MLO, left CC, left MLO of each woman; shared between tests, so do not write to them."""

    current: Tensor  # [N, 1, H, W] in [0, 1]
    prior: Tensor  # [N, 1, H, W]
    displacement: Tensor  # [N, 2, H, W] pixels | the true one


@lru_cache
def phantom_pairs(women: int = 2, rows: int = 128) -> Pairs:
    current, prior, field = [], [], []
    for index in range(women):
        found = render_woman(draw_woman(Settings(), 11, index), (0.0, 2.0), PictureRules(), rows, displacements=True)
        exams = {(picture.exam, picture.laterality, picture.view): picture for picture in found}
        for key in (key for key in exams if key[0] == 1):
            current.append(exams[key].pixels)
            prior.append(exams[(0, *key[1:])].pixels)
            field.append(exams[key].displacement)
    images = [torch.from_numpy(np.stack(each) / np.float32(65535))[:, None] for each in (current, prior)]
    return Pairs(*images, torch.from_numpy(np.stack(field)))
