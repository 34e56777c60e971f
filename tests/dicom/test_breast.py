import cv2
import numpy as np
import pytest
from helpers.dicom_files import breast

from mammorisk.dicom.breast import find_breast
from mammorisk.dicom.refusals import Refused


def grey(**settings):
    return breast(400, 300, 16, **settings)


def truth():
    return breast(400, 300, 16) > 0


def test_the_breast_is_found_with_a_narrow_rim():
    mask = find_breast(grey())
    assert mask[truth()].mean() > 0.999
    rim = mask & ~truth()
    distance = cv2.distanceTransform((~truth()).astype(np.uint8), cv2.DIST_L2, 5)
    assert rim.sum() > 0
    assert distance[rim].max() < 0.03 * 400


@pytest.mark.parametrize("laterality", ["L", "R"])
@pytest.mark.parametrize("noise", [0, 300])
def test_a_marker_changes_nothing_outside_itself(laterality, noise):
    draw = np.random.default_rng(1).integers(0, noise + 1, (400, 300))
    images = [grey(laterality=laterality, marker=marker) for marker in (False, True)]
    without, with_marker = (np.maximum(image, draw).astype(np.uint16) for image in images)
    assert (with_marker == 65535).sum() > 1000
    mask = find_breast(with_marker)
    assert not mask[images[1] == 65535].any()
    assert np.array_equal(mask, find_breast(without))


def test_a_marker_beside_the_skin_is_left_out_too():
    image = grey()
    tip = int(np.flatnonzero(image[208])[-1])
    image[200:216, tip + 3 : tip + 30] = 65535
    mask = find_breast(image)
    assert not mask[200:216, tip + 3 : tip + 30].any()
    assert mask[truth()].mean() > 0.999


def test_a_marker_brighter_than_the_breast_does_not_hide_it():
    dim = (grey(marker=True) // 16) * (grey() > 0) + (grey(marker=True) == 65535) * np.uint16(65535)
    mask = find_breast(dim.astype(np.uint16))
    assert mask[breast(400, 300, 16) > 2000].mean() > 0.99
    assert mask.mean() < 0.4


def test_noise_and_glow_around_the_breast_are_left_out():
    draw = np.random.default_rng(2).normal(2500, 250, (400, 300))
    noisy = np.clip(np.maximum(grey(), draw), 0, 65535).astype(np.uint16)
    mask = find_breast(noisy)
    assert (mask == find_breast(grey())).mean() > 0.98


def test_lines_and_dots_are_left_out():
    image = grey()
    image[:, 250] = 65535
    image[390] = 65535
    image[np.random.default_rng(3).integers(0, 60, 40), np.random.default_rng(4).integers(200, 300, 40)] = 65535
    mask = find_breast(image)
    assert (mask == find_breast(grey())).mean() > 0.99


def test_dark_spots_inside_are_part_of_it():
    image = grey()
    image[190:220, 40:70] = 0
    assert find_breast(image)[190:220, 40:70].all()


@pytest.mark.parametrize("image", [np.zeros((100, 80)), np.full((100, 80), 4000), np.full((3, 2), 9)])
def test_an_image_without_a_breast_is_refused(image):
    with pytest.raises(Refused, match="no breast found") as caught:
        find_breast(image.astype(np.uint16))
    assert caught.value.kind == "no_breast"


def test_only_a_marker_is_no_breast():
    image = np.zeros((400, 300), np.uint16)
    image[20:40, 20:60] = 65535
    with pytest.raises(Refused, match=r"the largest bright region is 0\.\d\d% of the image"):
        find_breast(image)


@pytest.mark.parametrize("noise", [0, 500])
def test_an_inverted_image_is_told(noise):
    draw = np.random.default_rng(2).integers(0, noise + 1, (400, 300))
    with pytest.raises(Refused, match="grey scale seems inverted") as caught:
        find_breast((65535 - np.maximum(grey(marker=True), draw)).astype(np.uint16))
    assert caught.value.kind == "inverted"
