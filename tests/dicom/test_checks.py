from dataclasses import replace

import pytest

from mammorisk.dicom.checks import MAX_PIXELS, check_tags
from mammorisk.dicom.conversion_settings import Conversion
from mammorisk.dicom.refusals import Refused
from mammorisk.dicom.tags import Tags

FINE = Tags(
    modality="MG", photometric="MONOCHROME2", rows=3328, columns=2560, bits_allocated=16, bits_stored=12, high_bit=11
)
REASONS = [
    ({"modality": "CT"}, "other_modality", "Modality CT: expected MG"),
    ({"modality": ""}, "other_modality", "Modality is not given"),
    ({"intent": "FOR PROCESSING"}, "for_processing", "raw detector values"),
    ({"sop_class": "1.2.840.10008.5.1.4.1.1.1.2.1"}, "for_processing", "raw detector values"),
    ({"frames": 60}, "multi_frame", "60 frames: tomosynthesis"),
    ({"sop_class": "1.2.840.10008.5.1.4.1.1.13.1.3"}, "multi_frame", "tomosynthesis"),
    ({"samples": 3, "photometric": "RGB"}, "colour", "RGB, 3 samples"),
    ({"photometric": "PALETTE COLOR"}, "colour", "PALETTE COLOR"),
    ({"photometric": ""}, "colour", "no photometric interpretation"),
    ({"bits_stored": 8, "high_bit": 7}, "bit_depth", "8 bits stored in 16"),
    ({"high_bit": 15}, "bit_depth", "high bit 15"),
    ({"bits_allocated": 32, "bits_stored": 32, "high_bit": 31}, "bit_depth", "32 bits stored in 32"),
    ({"bits_stored": 0, "high_bit": -1}, "bit_depth", "0 bits stored"),
    ({"rows": 60000, "columns": 60000}, "too_large", "60000 x 60000 pixels"),
    ({"rows": 0}, "too_large", "0 rows"),
]


def test_a_mammogram_passes():
    check_tags(FINE, Conversion())
    check_tags(replace(FINE, photometric="MONOCHROME1", bits_stored=16, high_bit=15), Conversion())
    assert FINE.rows * FINE.columns < MAX_PIXELS


@pytest.mark.parametrize(("changed", "kind", "told"), REASONS)
def test_each_kind_of_file_is_refused_for_its_own_reason(changed, kind, told):
    with pytest.raises(Refused, match=told) as caught:
        check_tags(replace(FINE, **changed), Conversion())
    assert caught.value.kind == kind


def test_what_may_be_allowed():
    for changed, kind, _ in REASONS[:4] + REASONS[9:10]:
        check_tags(replace(FINE, **changed), Conversion(allow=[kind]))
    with pytest.raises(Refused, match="expected at most 16 bits"):
        check_tags(replace(FINE, bits_allocated=32, bits_stored=32, high_bit=31), Conversion(allow=["bit_depth"]))
    with pytest.raises(Refused, match="raw detector"):
        check_tags(replace(FINE, modality="CR", intent="FOR PROCESSING"), Conversion(allow=["other_modality"]))
