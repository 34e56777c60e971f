import os
from dataclasses import replace

import cv2
import pytest
from helpers.dicom_files import breast, write

from mammorisk.dicom.conversion_settings import Conversion
from mammorisk.dicom.png import read_note
from mammorisk.dicom.refusals import Refused
from mammorisk.dicom.work import Job, Order, carry_out, look

SMALL = Conversion(image_size=(64, 52))


@pytest.fixture
def order(tmp_path):
    write(tmp_path / "d" / "a.dcm", breast())
    return Order(Job("a.dcm", "p/a.png"), tmp_path / "d", tmp_path / "o", SMALL)


def test_an_order_is_carried_out_once(order):
    assert look(order) is None
    made = carry_out(order)
    assert made.is_new
    assert cv2.imread(str(order.target), cv2.IMREAD_UNCHANGED).shape == (64, 52)
    assert read_note(order.target)[0] == made.note
    assert (made.note["laterality"], made.note["view"], made.note["rows"]) == ("L", "CC", 160)
    again = look(order)
    assert (again.note, again.is_new) == (made.note, False)


@pytest.mark.parametrize(
    "change",
    [
        lambda order: replace(order, conversion=Conversion(image_size=(64, 52), voi="none")),
        lambda order: replace(order, job=replace(order.job, laterality="R")),
        lambda order: replace(order, job=replace(order.job, view="MLO")),
        lambda order: write(order.source, breast(170, 120)) and order,
        lambda order: os.utime(order.source, ns=(1, 1)) or order,
        lambda order: order.target.write_bytes(order.target.read_bytes()) and order,
    ],
)
def test_what_an_image_depends_on(change, order, request):
    key = carry_out(order).note["key"]
    changed = change(order)
    is_same = "[<lambda>5]" in request.node.name
    assert (look(changed) is not None) is is_same
    assert (changed.key() == key) is is_same


def test_a_file_of_another_origin_is_not_replaced(order):
    order.target.parent.mkdir(parents=True)
    cv2.imwrite(str(order.target), breast())
    found = look(order)
    assert found.kind == "not_ours"
    assert "move it away" in found.reason


def test_what_is_refused_leaves_no_image_of_other_settings(order):
    carry_out(order)
    stricter = replace(order, conversion=replace(SMALL, voi="lut"))
    refused = carry_out(stricter)
    assert (refused.note, refused.kind) == (None, "grey_scale")
    assert not order.target.exists()
    assert list(order.target.parent.iterdir()) == []


def test_missing_files_and_unknown_sides_are_settled_at_once(order):
    gone = look(replace(order, job=Job("gone.dcm", "gone.png")))
    assert (gone.kind, gone.note) == ("missing", None)
    odd = look(replace(order, job=Job("a.dcm", "a.png", "B")))
    assert odd.kind == "laterality"
    assert "laterality 'B': expected L, R" in odd.reason
    with pytest.raises(Refused, match="there is no file"):
        replace(order, job=Job("gone.dcm", "gone.png")).key()
