"""Image encoders: a mammogram to a feature map."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mammorisk.batch import Batch
from mammorisk.bounds import require_in_bounds
from mammorisk.models.alignment import mask_images
from mammorisk.models.base import freeze as freeze_module
from mammorisk.models.gradient_checkpointing import checkpointed, keeps_graph
from mammorisk.weights.image_settings import MIRAI_IMAGES, ImageSettings
from mammorisk.weights.loading import load_state
from mammorisk.weights.reading import read_weights


class ResNetEncoder(nn.Module):
    """Trunk of ResNet-18 (He et al., CVPR 2016), the image encoder of Mirai (Yala et al. 2021).

    7x7/2 convolution, BatchNorm, ReLU, 3x3/2 max pool, then four stages of two basic blocks. Images come in [0, 1]
    and are brought to the scale of the weights: (x * 65535 - input_mean) / input_std.

    Args:
        width: channels of the first stage; the last one has 8 * width (512 published).
        stride: pixels per feature position, 32, 16, 8 or 4; below 32 the last stages keep their resolution.
        pretrained: file of weights (Mirai's snapshot, BCRBench's, torchvision's, ours; see ``weights/formats.py``),
            ``imagenet`` for torchvision's public ones, or None to start from random weights.
        freeze: take the encoder out of training.
        cache: folder where a training keeps the features of each image, of a frozen encoder and without augmentation
            (``caching/features.py``); the encoder itself does not use it. None: every batch is encoded.
        gradient_checkpointing: keep only the inputs of stem and blocks for the backward pass, and compute the rest
            again there: less memory for more time, the same gradients.
        input_mean: mean of the 16-bit values the weights were trained with. None: the weights' own (Mirai: 7047.99,
            BCRBench: 0, ImageNet: 29425); Mirai's for random weights.
        input_std: their standard deviation. None: as above (12005.5, 65535, 14811).

    Raises:
        UserError: unknown stride, no standard deviation, or a file that cannot be read or does not fit.
    """

    # Buffers: a checkpoint has them, so that it needs no file of pretrained weights to be rebuilt.
    input_mean: Tensor  # [] | 16-bit counts
    input_std: Tensor  # [] | 16-bit counts

    def __init__(
        self,
        width: int = 64,
        stride: int = 32,
        pretrained: str | None = None,
        freeze: bool = False,
        cache: str | None = None,
        gradient_checkpointing: bool = False,
        input_mean: float | None = None,
        input_std: float | None = None,
    ) -> None:
        super().__init__()
        numbers = {"width": width, "stride": stride, "input_mean": input_mean, "input_std": input_std}
        require_in_bounds("mammorisk.models.encoders.ResNetEncoder", numbers, "model.encoder.")
        self.out_channels, self.stride, self.pretrained = 8 * width, stride, pretrained
        self.settings = {"width": width, "stride": stride}  # what its features depend on besides the weights
        self.cache, self.gradient_checkpointing = cache, gradient_checkpointing
        self.orientation: str | None = None  # of the images the weights were trained with: native, left, or unknown
        self._origin = "random initialisation (no pretrained weights)"
        self.register_buffer("input_mean", torch.tensor(MIRAI_IMAGES.input_mean))
        self.register_buffer("input_std", torch.tensor(MIRAI_IMAGES.input_std))
        self.register_load_state_dict_pre_hook(_keep_scale)  # type: ignore[no-untyped-call]
        self.conv1 = GreyConv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _stage(width, width, 1)
        self.layer2 = _stage(width, 2 * width, 2 if stride >= 8 else 1)
        self.layer3 = _stage(2 * width, 4 * width, 2 if stride >= 16 else 1)
        self.layer4 = _stage(4 * width, 8 * width, 2 if stride >= 32 else 1)
        self._initialise()
        if pretrained is not None:
            self._load(pretrained)
        for buffer, given in ((self.input_mean, input_mean), (self.input_std, input_std)):
            if given is not None:
                buffer.fill_(given)
        if freeze:
            freeze_module(self)

    @property
    def pretrained_from(self) -> str:
        """Origin of the weights and their intensity scale, for logs; waits for the device."""
        return f"{self._origin}, sees (16-bit value - {self.input_mean:.6g}) / {self.input_std:.6g}"

    def feature_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Size of the features, (rows, columns), of images of that size."""
        return -(-image_size[0] // self.stride), -(-image_size[1] // self.stride)

    def forward(self, images: Tensor) -> Tensor:
        """Images [N, 1, H, W] in [0, 1] -> features [N, C, ceil(H / stride), ceil(W / stride)]."""
        return self.features((images * 65535.0 - self.input_mean) / self.input_std)

    def features(self, x: Tensor) -> Tensor:
        """Normalised images, grey [N, 1, H, W] or of three channels [N, 3, H, W] -> features [N, C, h, w]."""
        blocks = [block for stage in (self.layer1, self.layer2, self.layer3, self.layer4) for block in stage]
        if self.gradient_checkpointing and keeps_graph(self):
            x = checkpointed(self.stem, x, self.bn1)
            for block in blocks:
                x = checkpointed(block, x)
            return x
        x = self.stem(x)
        for block in blocks:
            x = block(x)
        return x

    def stem(self, x: Tensor) -> Tensor:
        """Normalised images [N, 1 or 3, H, W] -> [N, width, H / 4, W / 4]."""
        x = x.to(memory_format=torch.channels_last)  # also where C = 1, so that all that follows stays so
        pooled: Tensor = self.maxpool(F.relu(self.bn1(self.conv1(x)), inplace=True))
        return pooled

    def _load(self, pretrained: str) -> None:
        """Load the whole trunk, and take over the settings that belong to the weights."""
        weights = read_weights(pretrained)
        load_state(self, *weights.encoder(), source=str(weights.path))
        images = weights.images or ImageSettings(MIRAI_IMAGES.input_mean, MIRAI_IMAGES.input_std)
        self.input_mean.fill_(images.input_mean)
        self.input_std.fill_(images.input_std)
        self.orientation = images.orientation
        self._origin = f"{weights.path}, {weights.format}, SHA-256 {weights.sha256[:12]}"

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, BasicBlock):  # starts as its shortcut (Goyal et al. 2017, arXiv 1706.02677)
                nn.init.zeros_(module.bn2.weight)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


class GreyConv2d(nn.Conv2d):
    """Convolution of colour weights that takes a grey image as its three equal channels, at a third of the cost."""

    def forward(self, input: Tensor) -> Tensor:
        """[N, 1 or C_in, H, W] -> [N, C_out, h, w]; one channel is the same as that channel repeated C_in times."""
        weight = self.weight.sum(1, keepdim=True) if input.shape[1] == 1 else self.weight
        return F.conv2d(input, weight, self.bias, self.stride, self.padding, self.dilation)


class PointwiseConv2d(nn.Conv2d):
    """1x1 convolution with a stride, computed on the positions that the stride keeps.

    The values are those of ``nn.Conv2d``. oneDNN's own kernel writes beyond its memory (torch 2.13, CPU, channels last,
    gradients of a number of channels that is no multiple of 8).
    """

    def forward(self, input: Tensor) -> Tensor:
        """[N, C_in, H, W] -> [N, C_out, ceil(H / stride), ceil(W / stride)]."""
        kept = input[..., :: self.stride[0], :: self.stride[1]]
        return F.conv2d(kept.contiguous(memory_format=torch.channels_last), self.weight, self.bias)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with BatchNorm and a shortcut, 1x1 where shape changes (He et al. 2016).

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: of the first convolution.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        # By channels, not stride: the weights' shapes are the same at every stride of the encoder.
        self.downsample = (
            nn.Identity()
            if in_channels == out_channels
            else nn.Sequential(
                PointwiseConv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """[N, C_in, H, W] -> [N, C_out, ceil(H / stride), ceil(W / stride)]."""
        # In place: no gradient needs the output of BatchNorm, and one more large map costs as much as computing it
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        y += self.downsample(x)
        return F.relu(y, inplace=True)


def encode_batch(encoder: nn.Module, batch: Batch, exams: int | None = None) -> Tensor:
    """Features of a batch's images: from the batch if it has some (a cache), else from the encoder.

    Args:
        encoder: see ``encode_present``; not called if the batch has features.
        batch: of at least one image.
        exams: number of last exams to encode; None: all.

    Returns:
        [B, T, V, C, h, w], zeros for absent images.
    """
    last = slice(None) if exams is None else slice(-exams, None)
    present = batch.view_mask[:, last]  # [B, T, V]
    if batch.features is not None:
        return mask_images(batch.features[:, last], present, batch.complete)
    return encode_present(encoder, batch.images[:, last], batch.presence[:, last], batch.complete)


def encode_present(encoder: nn.Module, images: Tensor, present: Tensor, complete: bool = False) -> Tensor:
    """Encode all images of a batch in one call; features of absent ones are zero.

    An absent image does not pass through the encoder, so it cannot move BatchNorm statistics either.

    Args:
        encoder: [N, 1, H, W] -> [N, C, h, w].
        images: [..., 1, H, W].
        present: [...] bool, true where there is an image; at least one. On the host (``Batch.presence``) it is
            read without waiting for the device.
        complete: true where all are known to be present, so that ``present`` is not read.

    Returns:
        [..., C, h, w].

    Raises:
        ValueError: shapes that do not match, no image at all, or a loader's 16-bit values (``Batch.to`` divides them).
    """
    if not images.is_floating_point():
        raise ValueError(f"expected images of floats in [0, 1], got {images.dtype}: Batch.to makes them so")
    if present.shape != images.shape[:-3]:
        raise ValueError(f"expected a mask {list(images.shape[:-3])}, got {list(present.shape)}")
    flat, kept = images.flatten(0, -4), present.flatten()  # [B, T, V, 1, H, W] -> [B*T*V, 1, H, W]
    if complete or bool(kept.all()):
        features: Tensor = encoder(flat)
    else:
        (rows,) = kept.nonzero(as_tuple=True)
        if not len(rows):
            raise ValueError("no image in the batch is present")
        rows = rows.to(flat.device, non_blocking=True)
        seen = encoder(flat.index_select(0, rows))
        features = seen.new_zeros(len(kept), *seen.shape[1:]).index_copy(0, rows, seen)
    return features.reshape(*present.shape, *features.shape[1:])  # [B*T*V, C, h, w] -> [B, T, V, C, h, w]


def _keep_scale(module: nn.Module, state_dict: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Keep the intensity scale if a state dict (foreign, or an old one of ours) has none."""
    for name in ("input_mean", "input_std"):
        state_dict.setdefault(prefix + name, getattr(module, name))


def _stage(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    return nn.Sequential(BasicBlock(in_channels, out_channels, stride), BasicBlock(out_channels, out_channels))
