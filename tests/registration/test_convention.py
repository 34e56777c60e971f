"""One convention, (dy, dx) with current(p) = prior(p + d), held by all that makes, keeps, moves or draws a field.

The truth is made without our warp: both images are windows cut from one picture, ``d`` apart.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.model_cases import small_registration
from torch import Tensor

from mammorisk.augment.longitudinal import LongitudinalAugment, move, move_displacement
from mammorisk.caching.displacement_files import DisplacementCache
from mammorisk.caching.displacements import displacements_of
from mammorisk.models.alignment import warp_features
from mammorisk.registration.objectives import ncc
from mammorisk.report.registration_figures import PairPicture, registration_picture
from mammorisk.warping import resize_displacement, warp

SIZES = [(64, 40), (48, 72)]  # neither is square
DY, DX = 8, -4  # what the prior is ahead, in pixels; unlike in size and sign
MARGIN = 10  # what lies nearer to the edge may come from beyond the prior image


def windows(size: tuple[int, int], seed: int = 0) -> tuple[Tensor, Tensor]:
    """A current and a prior image [1, 1, H, W]: current(p) = prior(p + (DY, DX))."""
    rows, columns = size[0] + 2 * MARGIN, size[1] + 2 * MARGIN
    noise = torch.rand(1, 1, rows // 6 + 1, columns // 6 + 1, generator=torch.Generator().manual_seed(seed))
    whole = F.interpolate(noise, (rows, columns), mode="bicubic", align_corners=True).clamp(0, 1)

    def cut(dy: int, dx: int) -> Tensor:
        return whole[..., MARGIN + dy : MARGIN + dy + size[0], MARGIN + dx : MARGIN + dx + size[1]].clone()

    return cut(DY, DX), cut(0, 0)


def true_field(size: tuple[int, int]) -> Tensor:
    return torch.tensor([float(DY), float(DX)]).reshape(1, 2, 1, 1).expand(1, 2, *size).clone()


def inner(image: Tensor, margin: int = MARGIN) -> Tensor:
    return image[..., margin:-margin, margin:-margin]


def misfit(one: Tensor, other: Tensor, margin: int = MARGIN) -> float:
    return float((inner(one, margin) - inner(other, margin)).abs().max())


@pytest.mark.parametrize("size", SIZES)
def test_pitfall_03_the_one_warp(size):
    current, prior = windows(size)
    field = true_field(size)
    assert misfit(warp(prior, field), current) < 1e-5
    for wrong in (field.flip(1), -field):
        assert misfit(warp(prior, wrong), current) > 0.1


@pytest.mark.parametrize("size", SIZES)
def test_pitfall_03_a_network_trained_on_the_pair_says_the_same(size):
    torch.manual_seed(0)
    current, prior = windows(size)
    network = small_registration().train()
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)  # with 1e-2 the processor decides where it ends
    for _ in range(150):
        found = network.register(current, prior, images=True)
        loss = 1 - ncc(inner(current), inner(found.warped)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    field = inner(network.eval()(current, prior).detach()).mean((0, 2, 3))
    assert field.tolist() == pytest.approx([DY, DX], abs=4)  # swapped or negated axes are 11 pixels away and more


@pytest.mark.parametrize("size", SIZES)
def test_pitfall_03_features_are_aligned_by_the_images_field(size):
    current, prior = (F.avg_pool2d(image, 2) for image in windows(size))
    aligned = warp_features(prior, true_field(size))
    assert misfit(aligned, current, 6) < 0.1 * misfit(prior, current, 6)


@pytest.mark.parametrize("size", SIZES)
def test_pitfall_03_the_cache_gives_back_what_aligns(size, tmp_path):
    class Known(torch.nn.Module):  # a registration that errs nowhere
        def forward(self, fixed: Tensor, moving: Tensor) -> Tensor:
            return true_field(size).expand(len(fixed), -1, -1, -1)

    small = (size[0] // 2, size[1] // 4)
    cache = DisplacementCache(tmp_path, {"registration": "known"}, small)
    (field,) = displacements_of(Known(), torch.stack(windows(size), dim=1), small)
    cache.write("abc", field.numpy())
    kept = torch.from_numpy(np.asarray(cache.read("abc")))[None]
    assert kept[0, :, 0, 0].tolist() == [DY / 2, DX / 4]
    current, prior = (F.avg_pool2d(image, (2, 4)) for image in windows(size))
    assert misfit(warp_features(prior, kept), current, 4) < 0.2 * misfit(prior, current, 4)
    back = resize_displacement(kept, size)
    assert misfit(warp(windows(size)[1], back), windows(size)[0]) < 1e-5


@pytest.mark.parametrize("size", SIZES)
def test_pitfall_03_the_augmentation_moves_it_with_the_images(size):
    current, prior = windows(size)
    augment = LongitudinalAugment(horizontal_flip=1, crop_probability=1, affine_probability=1)
    geometry = augment.draw(["p0"], 1, seed=1, epoch=0)[0]
    moved_current, moved_prior = move(torch.cat((current, prior), dim=1), geometry).split(1, dim=1)
    field = move_displacement(true_field(size)[None], geometry, size)[0]
    assert misfit(warp(moved_prior, field), moved_current, 2 * MARGIN - 4) < 0.05
    assert misfit(warp(moved_prior, true_field(size)), moved_current, 2 * MARGIN - 4) > 0.1  # mirrored: -dx


@pytest.mark.parametrize("size", SIZES)
def test_pitfall_03_pictures_show_it(size, tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    figures: list[Figure] = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *args, **more: (figures.append(self), save(self, *args, **more))
    )
    (current,), (prior,) = (image[0].numpy() for image in windows(size))
    field = true_field(size)[0].numpy()
    registration_picture(PairPicture(current, prior, field), tmp_path / "pair.png")
    panels = {axes.get_title(loc="left") or axes.get_title(): axes for axes in figures[0].axes}
    warped = next(axes for title, axes in panels.items() if "warped" in title)
    shown = torch.from_numpy(np.asarray(warped.images[0].get_array(), dtype=np.float32))
    assert misfit(shown, torch.from_numpy(current)) < 1e-4
