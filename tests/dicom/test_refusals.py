import pickle

import pytest

from mammorisk.dicom.refusals import ALLOWABLE, KINDS, Refused
from mammorisk.errors import UserError


def test_a_refusal_is_a_message_that_travels_between_processes():
    refused = pickle.loads(pickle.dumps(Refused("colour", "RGB")))
    assert isinstance(refused, UserError)
    assert (refused.kind, refused.reason, str(refused)) == ("colour", "RGB", "RGB")


def test_damaged_tags_are_cited_in_one_printable_line():
    assert Refused("unreadable", "UID 1.2\x00\n\x1b[31m").reason == r"UID 1.2\x00\n\x1b[31m"


def test_kinds_are_known():
    assert set(ALLOWABLE) < set(KINDS)
    with pytest.raises(ValueError, match="expected one of"):
        Refused("color", "RGB")
