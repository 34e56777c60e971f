from __future__ import annotations

import pytest
from composing import composed
from omegaconf.errors import ConfigAttributeError, ValidationError

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
