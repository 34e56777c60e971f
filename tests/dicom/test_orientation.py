import numpy as np
import pytest

from mammorisk.dicom.conversion_settings import Conversion
from mammorisk.dicom.orientation import Turn, chest_side, find_turn
from mammorisk.dicom.refusals import Refused


def mask(side, rows=40, columns=30):
    y, x = np.mgrid[0:rows, 0:columns]
    left = (x / 18) ** 2 + ((y - rows / 2) / 15) ** 2 < 1
    return left if side == "left" else left[:, ::-1]


@pytest.mark.parametrize(
    ("orientation", "laterality", "lies", "mirrored", "chest"),
    [
        ("native", "L", "left", False, "left"),
        ("native", "L", "right", True, "left"),
        ("native", "R", "right", False, "right"),
        ("native", "R", "left", True, "right"),
        ("left", "R", "right", True, "left"),
        ("left", "L", "left", False, "left"),
        ("right", "L", "left", True, "right"),
        ("right", "R", "right", False, "right"),
        ("as_is", "L", "right", False, "right"),
    ],
)
def test_the_chest_wall_is_put_where_it_is_asked_for(orientation, laterality, lies, mirrored, chest):
    turn = find_turn(mask(lies), (), (laterality, "CC"), Conversion(orientation=orientation))
    assert turn == Turn(mirrored=mirrored, chest=chest, laterality=laterality)
    assert chest_side(turn.apply(mask(lies))) == chest


@pytest.mark.parametrize(
    ("tag", "image", "lies", "turned"),
    [
        (("A", "R"), ("L", "CC"), "left", (False, False, False)),
        (("P", "L"), ("R", "CC"), "right", (False, False, False)),
        (("P", "L"), ("L", "CC"), "right", (False, True, True)),  # turned by half
        (("A", "L"), ("L", "CC"), "left", (False, True, False)),
        (("A", "L"), ("R", "CC"), "left", (False, False, True)),
        (("P", "HR"), ("R", "MLO"), "right", (False, True, False)),
        (("P", "FL"), ("R", "MLO"), "right", (False, False, False)),
        (("A", "F"), ("L", "MLO"), "left", (False, False, False)),
        (("A", "R"), ("L", "LM"), "left", (False, False, False)),
    ],
)
def test_patient_orientation_tells_what_is_upside_down(tag, image, lies, turned):
    turn = find_turn(mask(lies), tag, image, Conversion())
    assert (turn.transposed, turn.upside_down, turn.mirrored) == turned
    assert turn.remark == ""
    ignored = find_turn(mask(lies), tag, image, Conversion(patient_orientation="ignore"))
    assert not ignored.upside_down


def test_an_image_that_lies_on_its_side_is_put_up():
    lying = mask("left").T
    turn = find_turn(lying, ("F", "A"), ("L", "MLO"), Conversion())
    assert turn.transposed
    assert np.array_equal(turn.apply(lying), mask("left"))
    turn = find_turn(mask("right").T, ("H", "P"), ("L", "MLO"), Conversion())
    assert (turn.transposed, turn.upside_down, turn.mirrored) == (True, True, True)


def test_a_tag_that_contradicts_the_image_is_not_believed():
    turn = find_turn(mask("left"), ("P", "L"), ("L", "CC"), Conversion())
    assert (turn.mirrored, turn.upside_down) == (False, False)
    assert turn.remark == "PatientOrientation P/L contradicts the image"


@pytest.mark.parametrize("tag", [("",), ("A",), ("X", "Y"), ("A", "R", "F"), ("", "")])
def test_a_tag_that_is_none_is_not_used(tag):
    assert find_turn(mask("left"), tag, ("L", "CC"), Conversion()) == Turn(laterality="L")


def test_where_the_image_does_not_say_the_tag_does():
    assert find_turn(np.ones((9, 9), bool), ("P", "L"), ("L", "CC"), Conversion()).mirrored
    assert not find_turn(np.ones((9, 9), bool), (), ("L", "CC"), Conversion()).mirrored


def test_the_side_is_told_from_the_halves_where_a_strip_is_missing():
    gap = np.zeros((40, 30), bool)
    gap[:, 4:] = mask("left")[:, :-4]
    assert chest_side(gap) == "left"
    assert chest_side(np.ones((9, 9), bool)) is None


def test_an_unknown_laterality_is_refused_or_taken_from_the_image():
    with pytest.raises(Refused, match="neither the table nor ImageLaterality") as caught:
        find_turn(mask("right"), (), ("", "CC"), Conversion())
    assert caught.value.kind == "laterality"
    turn = find_turn(mask("right"), (), ("", "CC"), Conversion(unknown_laterality="from_image"))
    assert (turn.laterality, turn.mirrored, turn.remark) == ("R", False, "laterality from the image")
    assert find_turn(mask("right"), (), ("", "CC"), Conversion(orientation="left")).mirrored
