from __future__ import annotations

import pytest
from helpers.composed_configs import composed
from hydra.errors import ConfigCompositionException
from omegaconf.errors import ConfigAttributeError, ValidationError

from mammorisk.config import DatasetConfig
from mammorisk.preparation.schemas import register_prepare_schemas


@pytest.mark.parametrize("word", ["cohort", "images", "check"])
def test_settings_of_each_word_are_strict(word):
    register_prepare_schemas()
    register_prepare_schemas()  # twice does no harm
    config = composed(root=f"prepare_{word}")
    with pytest.raises(ConfigAttributeError):
        config.no_such_key = 1


def test_numbers_are_numbers():
    config = composed(root="prepare_cohort")
    with pytest.raises(ValidationError):
        config.split.train = "half"
    assert config.split.train + config.split.val + config.split.test == pytest.approx(1)


def test_the_check_knows_its_settings_and_refuses_others():
    config = composed("dataset=csaw", "images=true", "out=x.json", root="prepare_check")
    assert (config.dataset.name, config.images, config.out) == ("csaw", True, "x.json")
    assert config._metadata.object_type.__name__ == "PrepareCheckConfig"
    assert config.dataset._metadata.object_type is DatasetConfig
    with pytest.raises(ConfigCompositionException, match="image"):
        composed("image=true", root="prepare_check")
