import inspect
import json

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from mammorisk.config import CONF_DIR
from mammorisk.dicom.conversion_settings import Conversion
from mammorisk.errors import UserError


def test_the_yaml_has_every_parameter_with_its_default():
    node = OmegaConf.load(CONF_DIR / "conversion" / "default.yaml")
    written = OmegaConf.to_container(node)
    assert written.pop("_target_") == "mammorisk.dicom.conversion_settings.Conversion"
    assert list(written) == list(inspect.signature(Conversion).parameters)
    assert written == Conversion().as_dict()
    assert instantiate(node, _convert_="all").as_dict() == Conversion().as_dict()


def test_settings_can_be_written_down():
    assert json.loads(json.dumps(Conversion(image_size=None, allow=("bit_depth",)).as_dict()))["allow"] == ["bit_depth"]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"voi": "windw"}, r"conversion\.voi=windw: expected first or lut or window or none.* Did you mean 'window'"),
        ({"orientation": None}, "conversion.orientation=None"),
        ({"image_size": [2048]}, "a list of 2 whole numbers.*or null"),
        ({"image_size": 2048}, r"conversion\.image_size=2048"),
        ({"image_size": [2048, 1.5]}, "whole numbers"),
        ({"image_size": [8, 99999]}, "from 16 to 16384"),
        ({"image_size": ["a", "b"]}, r"conversion\.image_size"),
        ({"percentiles": [50, 50]}, "the lower one first"),
        ({"percentiles": [-1, 101]}, "from 0 to 100"),
        ({"mask": "yes"}, "true or false"),
        ({"voi_index": -1}, "a whole number from 0 to"),
        ({"voi_index": True}, "a whole number from 0 to"),
        ({"allow": ["colour"]}, "conversion.allow=colour: expected some of other_modality"),
        ({"allow": "bit_depth"}, r"conversion\.allow=bit_depth: expected a list"),
    ],
)
def test_values_that_cannot_be_are_told(changed, told):
    with pytest.raises(UserError, match=told):
        Conversion(**changed)


def test_whether_the_breast_must_be_found():
    assert Conversion().needs_breast
    plain = {"orientation": "as_is", "crop": "none", "mask": False, "intensity": "window"}
    assert not Conversion(**plain).needs_breast
    for key in plain:
        assert Conversion(**{other: value for other, value in plain.items() if other != key}).needs_breast
