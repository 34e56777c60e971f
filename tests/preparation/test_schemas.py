from __future__ import annotations

import pytest
from composing import composed
from hydra.errors import ConfigCompositionException

from mammorisk.config import DatasetConfig


def test_the_check_knows_its_settings_and_refuses_others():
    config = composed("dataset=csaw", "images=true", "out=x.json", root="prepare_check")
    assert (config.dataset.name, config.images, config.out) == ("csaw", True, "x.json")
    assert config._metadata.object_type.__name__ == "PrepareCheckConfig"
    assert config.dataset._metadata.object_type is DatasetConfig
    with pytest.raises(ConfigCompositionException, match="image"):
        composed("image=true", root="prepare_check")
