"""Augmentation of exam histories: one geometry per sample for all its exams and views, intensity per image.

Parameters are drawn on the host. Pixels are changed on the batch's device, without waiting for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mammorisk.batch import Batch
from mammorisk.bounds import require_in_bounds
from mammorisk.warping import affine_displacement, warp

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


class NoAugment:
    """No augmentation."""

    def __call__(self, batch: Batch, seed: int, epoch: int) -> Batch:
        """Return the batch itself."""
        return batch


@dataclass
class Geometry:
    """Geometric transforms of B samples, on the host."""

    matrix: Floats  # [B, 2, 3] | output (x, y) in [-1, 1] -> sampled (x, y); the identity if not moved
    moved: Bools  # [B]


@dataclass
class Intensity:
    """Intensity transforms of B samples of N = T * V images, on the host."""

    jittered: Bools  # [B, N] | whether brightness and contrast change
    curved: Bools  # [B, N] | whether gamma and gain change
    factors: Floats  # [4, B, N] | brightness, contrast, gamma, gain


class LongitudinalAugment:
    """Random crop, shift, magnification and flip of each sample; brightness, contrast and gamma of each image.

    Defaults are the published settings. All random numbers of a sample depend only on (seed, epoch, sample id), and on
    the number of the draw if an epoch draws a sample several times. They are drawn in a fixed order, applied or not:
    switching one transform off does not change the others, nor do workers, processes or the rest of the batch. Crop,
    affine map and flip are composed into one displacement, and the images are interpolated once. Brightness, contrast
    and gamma follow, as in kornia's ColorJitter (in this order) and RandomGamma. See docs/pitfalls.md#p4.

    Args:
        crop_size: height and width of the crop as shares of the image's; the crop is magnified back to the image's
            size (published: 1946 x 1581 of 2048 x 1664).
        crop_probability: share of samples cropped.
        translation: largest shift, as a share of the height and of the width.
        scale: range of the magnification.
        affine_probability: share of samples shifted and magnified.
        horizontal_flip: share of samples mirrored, all images of the sample alike. A mirrored breast keeps its
            laterality: only for models that do not use the side.
        brightness: brightness factors are in 1 ± this.
        contrast: contrast factors (about the image's mean) are in 1 ± this.
        jitter_probability: share of images changed in brightness and contrast.
        gamma: range of the exponent.
        gain: range of the factor of the gamma correction.
        gamma_probability: share of images gamma-corrected.

    Raises:
        UserError: lists all probabilities and ranges that are out of bounds.
    """

    def __init__(
        self,
        crop_size: Sequence[float] = (0.9501953125, 0.9501201923076923),
        crop_probability: float = 0.2,
        translation: float = 0.1,
        scale: Sequence[float] = (1.0, 1.1),
        affine_probability: float = 0.5,
        horizontal_flip: float = 0.0,
        brightness: float = 0.4,
        contrast: float = 0.4,
        jitter_probability: float = 0.5,
        gamma: Sequence[float] = (0.8, 1.2),
        gain: Sequence[float] = (0.9, 1.05),
        gamma_probability: float = 0.5,
    ) -> None:
        given = {name: value for name, value in locals().items() if name != "self"}
        require_in_bounds("mammorisk.augment.longitudinal.LongitudinalAugment", given, "augment.")
        self.crop_size, self.crop_probability = _pair(crop_size), crop_probability
        self.translation, self.scale, self.affine_probability = translation, _pair(scale), affine_probability
        self.horizontal_flip = horizontal_flip
        self.brightness, self.contrast, self.jitter_probability = brightness, contrast, jitter_probability
        self.gamma, self.gain, self.gamma_probability = _pair(gamma), _pair(gain), gamma_probability

    @torch.no_grad()
    def __call__(self, batch: Batch, seed: int, epoch: int) -> Batch:
        """Augment a batch on its device.

        Args:
            batch: images [B, T, V, 1, H, W] in [0, 1]; not written to.
            seed: of the run.
            epoch: of the training.

        Returns:
            A new batch with new images and, if present, a new displacement; all else is shared. Masked images stay
            zero.

        Raises:
            ValueError: images are outside [0, 1] (a GPU asserts it later, because waiting would cost more than the
                augmentation), or there is not one sample id per sample.
        """
        if len(batch.sample_id) != len(batch):
            raise ValueError(f"expected a sample id for each of {len(batch)} samples, got {len(batch.sample_id)}")
        check_unit_range(batch.images)
        images = batch.images.flatten(1, 3)  # [B, T, V, 1, H, W] -> [B, N, H, W]
        geometry, intensity = self.draw(_draws(batch), images.shape[1], seed, epoch)
        images = change_intensity(move(images, geometry), intensity).reshape(batch.images.shape)
        displacement = batch.displacement
        if displacement is not None:
            displacement = move_displacement(displacement, geometry, (images.shape[-2], images.shape[-1]))
        images = images.masked_fill(~batch.view_mask[..., None, None, None], 0.0)
        return replace(batch, images=images, displacement=displacement)

    def draw(self, sample_id: Sequence[str], num_images: int, seed: int, epoch: int) -> tuple[Geometry, Intensity]:
        """Draw the random parameters of samples with ``num_images`` images each."""
        streams = [_stream(seed, epoch, name) for name in sample_id]
        shared = np.stack([stream.random(8) for stream in streams], axis=1)  # [8, B]
        own = np.stack([stream.random((num_images, 6)) for stream in streams])  # [B, N, 6]
        return self._geometry(shared), self._intensity(np.moveaxis(own, -1, 0))

    def _geometry(self, uniform: Floats) -> Geometry:
        crop, top, left, affine, down, right, scale, flip = uniform  # [B] each
        cropped, shifted = crop < self.crop_probability, affine < self.affine_probability
        flipped = flip < self.horizontal_flip
        magnified = np.where(shifted, _within(self.scale, scale), 1.0)
        matrix = np.zeros((len(crop), 2, 3))
        for axis, (size, corner, shift) in enumerate(
            ((self.crop_size[1], left, right), (self.crop_size[0], top, down))  # x, y
        ):
            # The map inverts the steps, last one first: sampled = centre + extent * ((+-position - shift) / magnified).
            extent = np.where(cropped, size, 1.0)
            centre = (1.0 - extent) * _within((-1.0, 1.0), corner)
            shift = np.where(shifted, 2.0 * self.translation * _within((-1.0, 1.0), shift), 0.0)
            matrix[:, axis, axis] = extent / magnified
            matrix[:, axis, 2] = centre - extent * shift / magnified
        matrix[:, 0, 0] *= np.where(flipped, -1.0, 1.0)
        return Geometry(matrix, cropped | shifted | flipped)

    def _intensity(self, uniform: Floats) -> Intensity:
        jitter, brightness, contrast, curve, gamma, gain = uniform  # [B, N] each
        factors = (
            _within((1 - self.brightness, 1 + self.brightness), brightness),
            _within((1 - self.contrast, 1 + self.contrast), contrast),
            _within(self.gamma, gamma),
            _within(self.gain, gain),
        )
        return Intensity(jitter < self.jitter_probability, curve < self.gamma_probability, np.stack(factors))


def check_unit_range(images: Tensor) -> None:
    """Refuse images outside [0, 1]: augmentations clip there, and 16-bit values would all become white.

    See docs/pitfalls.md#p17.

    Raises:
        ValueError: on a CPU; a GPU asserts it later.
    """
    low, high = torch.aminmax(images)
    message = "augmentation expects images in [0, 1] (16-bit values / 65535), and clips what lies outside"
    if images.device.type != "cpu":
        torch._assert_async((low >= 0) & (high <= 1), message)
    elif not (low >= 0 and high <= 1):  # false for NaN too
        raise ValueError(f"{message}; found values from {float(low):g} to {float(high):g}")


def move(images: Tensor, geometry: Geometry) -> Tensor:
    """Crop, shift, magnify and mirror: all N images of a sample by the same displacement, in one interpolation.

    Args:
        images: [B, N, H, W] in [0, 1].
        geometry: of the B samples.

    Returns:
        [B, N, H, W]; samples that are not moved stay unchanged, bit for bit.
    """
    if not geometry.moved.any():
        return images
    matrix = _on(images, geometry.matrix)
    warped = warp(images, affine_displacement(matrix, (images.shape[-2], images.shape[-1]))).clamp(0.0, 1.0)
    return torch.where(_on(images, geometry.moved)[:, None, None, None], warped, images)


def move_displacement(displacement: Tensor, geometry: Geometry, image_size: tuple[int, int]) -> Tensor:
    """Transform the displacement between two images that ``move`` moves both.

    A position q of the moved images shows the position T q of the original images. A displacement d there leads to
    T^-1(T q + d) = q + L^-1 d in the moved prior, with L the linear part of T. Beyond the border the nearest value is
    used: the displacement of a breast does not end at the edge of the image.

    Args:
        displacement: (dy, dx) in pixels of its own grid, [B, V, 2, h, w].
        geometry: of the B samples.
        image_size: (H, W) of the images, in whose pixels the geometry is defined.

    Returns:
        [B, V, 2, h, w]; samples that are not moved stay unchanged, bit for bit.
    """
    if not geometry.moved.any():
        return displacement
    rows, columns = displacement.shape[-2:]
    offset = affine_displacement(_on(displacement, geometry.matrix), (rows, columns))  # [B, 2, h, w]
    # V displacements as the channels of one image: [B, V, 2, h, w] -> [B, 2V, h, w] and back
    sampled = warp(displacement.flatten(1, 2), offset, outside="border").reshape(displacement.shape)
    inverse = _on(displacement, _inverse_linear(geometry.matrix, (rows, columns), image_size))  # [B, 2, 2]
    dy, dx = sampled.unbind(2)  # [B, V, h, w] each
    a, b, c, d = inverse.flatten(1)[..., None, None, None].unbind(1)  # [B, 1, 1, 1] each
    turned = torch.stack((a * dy + b * dx, c * dy + d * dx), dim=2)
    return torch.where(_on(displacement, geometry.moved)[:, None, None, None, None], turned, displacement)


def _inverse_linear(matrix: Floats, size: tuple[int, int], image_size: tuple[int, int]) -> Floats:
    """Compute L^-1 for (dy, dx) in pixels of a grid of ``size``, [B, 2, 2].

    The matrix acts on (x, y) in [-1, 1] between the outermost pixels of the image. A displacement on another grid is
    scaled by h/H and w/W from the image's pixels (``resize_displacement``).
    """
    unit = np.array([(extent - 1) / 2 * own / extent for own, extent in zip(size, image_size, strict=True)])
    linear = matrix[:, ::-1, 1::-1] * unit[:, None] / unit  # [B, 2, 3] of (x, y) -> [B, 2, 2] of (y, x)
    inverse: Floats = np.linalg.inv(linear)
    return inverse


def change_intensity(images: Tensor, intensity: Intensity) -> Tensor:
    """Change brightness, contrast and gamma, each image by its own factors.

    Sample by sample: the mean of an image, and powers on several threads, differ in the last bit with the number of
    samples computed at once.

    Args:
        images: [B, N, H, W] in [0, 1].
        intensity: of the B samples.

    Returns:
        [B, N, H, W]; images without a transform stay unchanged, bit for bit.
    """
    # Imported here, because kornia imports 430 modules
    from kornia.enhance import adjust_gamma
    from kornia.enhance.adjust import adjust_brightness_accumulative, adjust_contrast_with_mean_subtraction

    factors, jittered = _on(images, intensity.factors), _on(images, intensity.jittered)
    curved = _on(images, intensity.curved)
    samples = []
    for i, sample in enumerate(images.unsqueeze(2)):  # [B, N, H, W] -> B x [N, 1, H, W]
        brightness, contrast, gamma, gain = factors[:, i]  # [N] each
        if intensity.jittered[i].any():
            changed = adjust_brightness_accumulative(sample, brightness)
            changed = adjust_contrast_with_mean_subtraction(changed, contrast)
            sample = torch.where(jittered[i][:, None, None, None], changed, sample)
        if intensity.curved[i].any():
            sample = torch.where(curved[i][:, None, None, None], adjust_gamma(sample, gamma, gain), sample)
        samples.append(sample)
    return torch.stack(samples).squeeze(2)  # B x [N, 1, H, W] -> [B, N, H, W]


def _draws(batch: Batch) -> list[str]:
    """Unique names of an epoch's draws: the sample id, and the number of a repeated draw."""
    draws = batch.draw or [0] * len(batch)
    return [f"{name}#{draw}" if draw else name for name, draw in zip(batch.sample_id, draws, strict=True)]


def _stream(seed: int, epoch: int, sample_id: str) -> np.random.Generator:
    digest = hashlib.blake2b(f"{seed}/{epoch}/{sample_id}".encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))


def _within(ends: tuple[float, float], uniform: Floats) -> Floats:
    """Scale numbers from [0, 1) to the range ``ends``."""
    return ends[0] + (ends[1] - ends[0]) * uniform


def _on(images: Tensor, values: Floats | Bools) -> Tensor:
    """Copy host values to the images' device and dtype (booleans stay), without waiting for the copy."""
    tensor = torch.from_numpy(values)
    return tensor.to(images.device, tensor.dtype if tensor.dtype is torch.bool else images.dtype, non_blocking=True)


def _pair(ends: Sequence[float]) -> tuple[float, float]:
    return float(ends[0]), float(ends[1])
