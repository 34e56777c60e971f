"""Alignment of a prior exam with the current one, by the displacement between their images."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mammorisk.batch import Batch
from mammorisk.warping import resize_displacement, warp


def displacement_of_last_pair(batch: Batch, registration: nn.Module, images: Tensor) -> Tensor:
    """Displacement between the last two exams: from the batch if it has one, else from the registration.

    If the batch has displacements (cached, or a phantom's true ones), the registration is not called.

    Args:
        batch: of at least two exams.
        registration: see ``displacement_to_prior``.
        images: of the last two exams, absent ones zero, [B, 2, V, 1, H, W], the prior first.

    Returns:
        (dy, dx) in pixels of its own grid, [B*V, 2, h, w].
    """
    if batch.displacement is not None:
        paired = batch.view_mask[:, -2:].all(1)  # [B, 2, V] -> [B, V]
        masked = mask_images(batch.displacement, paired, batch.complete)
        return masked.flatten(0, 1)  # [B, V, 2, h, w] -> [B*V, 2, h, w]
    moving, fixed = (exam.flatten(0, 1) for exam in images.unbind(1))  # [B, V, 1, H, W] -> [B*V, 1, H, W]
    return displacement_to_prior(registration, fixed, moving)


def displacement_to_prior(registration: nn.Module, current: Tensor, prior: Tensor) -> Tensor:
    """Displacement from the current to the prior image, without gradient and in float32 (docs/pitfalls.md#p11).

    A displacement of a hundred pixels has half a pixel of rounding in bfloat16, so autocast is left out.

    Args:
        registration: (fixed, moving) [N, 1, H, W] -> (dy, dx) in pixels, [N, 2, H, W].
        current: images [N, 1, H, W] in [0, 1]; fixed.
        prior: images [N, 1, H, W] in [0, 1]; moving.

    Returns:
        (dy, dx) in pixels of the images, [N, 2, H, W].
    """
    with torch.no_grad(), torch.autocast(current.device.type, enabled=False):
        displacement: Tensor = registration(current.float(), prior.float())
    return displacement


def warp_features(features: Tensor, displacement: Tensor) -> Tensor:
    """Warp features (or images) of the prior exam onto the current one.

    Args:
        features: [N, C, h, w] of the prior exam.
        displacement: (dy, dx) in its own pixels, [N, 2, H, W]; resized to h x w.

    Returns:
        [N, C, h, w], in the features' dtype; differentiable in the features.
    """
    with torch.autocast(features.device.type, enabled=False):
        return warp(features, resize_displacement(displacement, (features.shape[-2], features.shape[-1])))


def mask_images(images: Tensor, present: Tensor, complete: bool) -> Tensor:
    """Replace absent images (or displacements) by zeros.

    Args:
        images: [..., C, H, W].
        present: [...] bool.
        complete: true where all are known to be present.
    """
    return images if complete else images.masked_fill(~present[..., None, None, None], 0.0)
