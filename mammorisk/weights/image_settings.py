"""Image settings of weights: scale and orientation of the images that they expect."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ImageSettings:
    """Scale and orientation that weights expect of an image x in [0, 1]: (x * 65535 - input_mean) / input_std."""

    input_mean: float  # 16-bit counts
    input_std: float  # 16-bit counts
    orientation: str | None = None  # native | left (right breasts mirrored); None: not known


MIRAI_IMAGES = ImageSettings(7047.99, 12005.5, "left")  # Yala et al. 2021
# Mean over the colours of ImageNet's statistics, (0.485, 0.456, 0.406) and (0.229, 0.224, 0.225) of [0, 1].
IMAGENET_IMAGES = ImageSettings(0.449 * 65535, 0.226 * 65535)  # of photographs: no orientation
BCRBENCH_IMAGES = ImageSettings(0.0, 65535.0)  # [0, 1] as it is
