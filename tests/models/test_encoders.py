from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.model_cases import small_encoder, snapshot
from helpers.reference_blocks import assert_parity, outputs, wave, weights
from helpers.training_runs import environment

from mammorisk.errors import UserError
from mammorisk.models.encoders import ResNetEncoder, encode_present
from mammorisk.weights.loading import load_state
from mammorisk.weights.renaming import MIRAI_TRUNK


@pytest.fixture(scope="module")
def mirai_trunk() -> ResNetEncoder:
    encoder = ResNetEncoder().eval()
    load_state(encoder, weights("a_mirai_trunk"), MIRAI_TRUNK)
    return encoder


@torch.no_grad()
def test_parity_with_mirai_trunk(mirai_trunk):
    reference, image = outputs("a_mirai_trunk"), wave((1, 3, 256, 208), 0)
    features = mirai_trunk.features(image)
    assert features.shape == (1, mirai_trunk.out_channels, 8, 7)
    assert_parity(mirai_trunk.stem(image)[:, ::8, ::4, ::4], reference["downsampler_out"])
    assert_parity(features, reference["out"])
    assert_parity(features.amax((-2, -1)), reference["maxpool"])


@torch.no_grad()
def test_grey_image_is_its_three_equal_channels(mirai_trunk):
    grey = torch.rand(2, 1, 64, 52)
    assert_parity(mirai_trunk.features(grey), mirai_trunk.features(grey.expand(-1, 3, -1, -1)))


@torch.no_grad()
def test_pitfall_31_intensities_are_brought_to_the_scale_of_the_weights():
    image = torch.rand(1, 1, 64, 52)
    mirai = small_encoder().eval()
    assert_parity(mirai(image), mirai.features((image * 65535 - 7047.99) / 12005.5))
    unnormalised = small_encoder(input_mean=0.0, input_std=65535.0).eval()
    assert_parity(unnormalised(image), unnormalised.features(image))


@pytest.mark.parametrize(("stride", "height", "width"), [(32, 4, 4), (16, 8, 7), (8, 16, 13), (4, 31, 26)])
def test_stride_sets_the_resolution_and_leaves_the_weights_shapes(stride, height, width):
    encoder = ResNetEncoder(width=4, stride=stride).eval()
    assert encoder(torch.rand(2, 1, 121, 104)).shape == (2, 32, height, width)
    shapes = {name: tensor.shape for name, tensor in ResNetEncoder(width=4).state_dict().items()}
    assert {name: tensor.shape for name, tensor in encoder.state_dict().items()} == shapes


def test_features_are_channels_last():
    features = small_encoder()(torch.rand(2, 1, 64, 52))
    assert features.is_contiguous(memory_format=torch.channels_last)


def test_convolutions_start_as_torchvision_does():
    torch.manual_seed(0)
    weight = ResNetEncoder(width=16).layer4[0].conv1.weight.detach()  # 64 -> 128 channels
    assert float(weight.std()) == pytest.approx((2 / (128 * 9)) ** 0.5, rel=0.02)  # fan-out of a 3x3 convolution


@pytest.mark.parametrize("stride", [4, 8, 16, 32])
@pytest.mark.parametrize("size", [(64, 52), (70, 33)])
def test_the_size_of_the_features_is_known_beforehand(stride, size):
    encoder = ResNetEncoder(width=4, stride=stride).eval()
    assert encoder.feature_size(size) == encoder(torch.rand(1, 1, *size)).shape[-2:]


def test_unknown_stride_is_a_user_error():
    with pytest.raises(UserError, match="stride=7: expected a whole number that is 4 or 8 or 16 or 32"):
        ResNetEncoder(width=4, stride=7)


def mirai_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A trunk's weights under the names of Mirai's image encoder, with what belongs to its other parts."""
    renamed = {"_model.fc.weight": torch.zeros(2, 3), "_model.pool.age_fc.bias": torch.zeros(6)}
    for name, tensor in state.items():
        stage, _, rest = name.partition(".")
        named = f"{stage}_{rest}" if stage.startswith("layer") else f"downsampler.{name}"
        renamed[f"_model.{named}"] = tensor
    return renamed


def bcrbench_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same as BCRBench saves it: nine parts in a row."""
    row = ["downsampler", *(f"layer{stage}_{block}" for stage in (1, 2, 3, 4) for block in (0, 1))]
    renamed = {}
    for name, tensor in mirai_names(state).items():
        part, _, rest = name.removeprefix("_model.").partition(".")
        if part in row:
            renamed[f"{row.index(part)}.{rest}"] = tensor
    return renamed


FORMATS = {
    "mirai": (lambda state: mirai_names(state), (7047.99, 12005.5, "left")),
    "bcrbench": (lambda state: bcrbench_names(state), (0.0, 65535.0, None)),
    "torchvision": (lambda state: {**state, "fc.bias": torch.zeros(1000)}, (0.449 * 65535, 0.226 * 65535, None)),
}


@torch.no_grad()
@pytest.mark.parametrize("name", FORMATS)
def test_pitfall_31_settings_travel_with_pretrained_weights(tmp_path: Path, name):
    donor, (named, (mean, std, orientation)) = small_encoder().eval(), FORMATS[name]
    foreign = {key: tensor for key, tensor in donor.state_dict().items() if "input_" not in key}
    torch.save(named(foreign), tmp_path / "w.pth")
    heir, image = small_encoder(pretrained=str(tmp_path / "w.pth")).eval(), torch.rand(1, 1, 64, 52)
    assert_parity(heir(image), donor.features((image * 65535 - mean) / std))
    assert heir.orientation == orientation
    given = small_encoder(pretrained=str(tmp_path / "w.pth"), input_mean=10.0, input_std=20.0).eval()
    assert_parity(given(image), donor.features((image * 65535 - 10) / 20))
    for part in (str(tmp_path / "w.pth"), f"{mean:.6g}", f"{std:.6g}", "SHA-256"):
        assert part in heir.pretrained_from


@torch.no_grad()
def test_the_scale_is_kept_in_the_state_dict():
    trained, image = small_encoder(input_mean=0.0, input_std=65535.0).eval(), torch.rand(1, 1, 64, 52)
    rebuilt = small_encoder().eval()
    rebuilt.load_state_dict(trained.state_dict())
    assert torch.equal(rebuilt(image), trained(image))
    older = {key: tensor for key, tensor in trained.state_dict().items() if "input_" not in key}
    assert small_encoder().load_state_dict(older).missing_keys == []
    assert "random initialisation" in rebuilt.pretrained_from


@torch.no_grad()
def test_an_encoder_comes_out_of_its_own_state_dict_with_its_scale(tmp_path: Path):
    donor, image = small_encoder(input_mean=1.0, input_std=2.0).eval(), torch.rand(1, 1, 64, 52)
    torch.save(donor.state_dict(), tmp_path / "own.pth")
    heir = small_encoder(pretrained=str(tmp_path / "own.pth")).eval()
    assert torch.equal(heir(image), donor(image))
    assert heir.orientation is None


def test_no_scale_is_a_user_error():
    for std in (0.0, -1.0, float("nan")):
        with pytest.raises(UserError, match=r"input_std=.*: expected a number above 0"):
            small_encoder(input_std=std)


def test_the_scale_is_read_without_asking_the_device():
    encoder = small_encoder().to("meta").eval()
    assert encoder(torch.rand(1, 1, 64, 52, device="meta")).shape == (1, 32, 8, 7)


def test_pretrained_weights_of_another_width_are_a_user_error(tmp_path: Path):
    torch.save(mirai_names(small_encoder(width=4).state_dict()), tmp_path / "narrow.pth")
    with pytest.raises(UserError, match=r"narrow.pth do not fit.*\n.*conv1.weight \[4, 3, 7, 7\], expected \[8, 3"):
        small_encoder(width=8, pretrained=str(tmp_path / "narrow.pth"))


def test_frozen_encoder_has_nothing_to_train():
    encoder = small_encoder(freeze=True)
    assert not any(p.requires_grad for p in encoder.parameters())
    assert not encoder.training


def test_absent_images_pass_neither_features_nor_statistics():
    encoder, present = small_encoder().train(), torch.tensor([[True, False], [True, True]])
    images = torch.rand(2, 2, 1, 64, 52)
    before = snapshot(encoder)
    features = encode_present(encoder, images, present)
    after = snapshot(encoder)
    encoder.load_state_dict(before)
    images[0, 1] = 7.0
    assert torch.equal(encode_present(encoder, images, present), features)
    assert all(torch.equal(tensor, after[name]) for name, tensor in encoder.state_dict().items())
    assert features.shape == (2, 2, 32, 8, 7)
    assert not features[0, 1].any()
    assert features[present].any()


def test_encode_present_keeps_every_image_in_its_place():
    encoder, images = small_encoder().eval(), torch.rand(2, 3, 1, 64, 52)
    everything = encode_present(encoder, images, torch.ones(2, 3, dtype=torch.bool))
    for present in (torch.tensor([[False, True, True], [True, False, True]]), torch.eye(2, 3).bool()):
        features = encode_present(encoder, images, present)
        torch.testing.assert_close(features[present], everything[present])


def test_values_of_16_bits_are_refused():
    images = torch.zeros(1, 1, 1, 64, 52, dtype=torch.uint16)
    with pytest.raises(ValueError, match=r"got torch\.uint16: Batch\.to makes them so"):
        encode_present(small_encoder(), images, torch.ones(1, 1, dtype=torch.bool))


def test_a_complete_batch_does_not_ask_the_device():
    """On a device without values (meta) a question would raise; it stands for waiting for a GPU."""
    encoder, images = small_encoder().to("meta"), torch.rand(2, 3, 1, 64, 52, device="meta")
    present = torch.ones(2, 3, dtype=torch.bool, device="meta")
    assert encode_present(encoder, images, present, complete=True).shape == (2, 3, 32, 8, 7)
    with pytest.raises(RuntimeError):
        encode_present(encoder, images, present)


def test_a_batch_that_lacks_images_does_not_ask_the_device_where_the_host_knows():
    encoder, images = small_encoder().to("meta"), torch.rand(2, 3, 1, 64, 52, device="meta")
    assert encode_present(encoder, images, torch.eye(2, 3).bool()).shape == (2, 3, 32, 8, 7)


def test_encode_present_refuses_wrong_masks():
    images = torch.rand(2, 2, 1, 64, 52)
    with pytest.raises(ValueError, match=r"expected a mask \[2, 2\], got \[2\]"):
        encode_present(small_encoder(), images, torch.ones(2, dtype=torch.bool))
    with pytest.raises(ValueError, match="no image in the batch"):
        encode_present(small_encoder(), images, torch.zeros(2, 2, dtype=torch.bool))


def test_a_narrow_encoder_learns_from_larger_images_without_a_crash():
    """In a process of its own: torch's strided 1x1 convolution of four channels broke the heap there."""
    code = (
        "import torch; from mammorisk.models.encoders import ResNetEncoder\n"
        "encoder = ResNetEncoder(width=4, stride=16)\n"
        "for _ in range(3): encoder(torch.rand(32, 1, 128, 104)).square().sum().backward()\n"
        "print('learned')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "learned"
