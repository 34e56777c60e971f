from __future__ import annotations

import subprocess
import sys

import pytest

import mammorisk
from mammorisk.prediction.api import predict


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, mammorisk; print(*sorted(sys.modules))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "mammorisk" in printed
    assert not {"torch", "pandas", "numpy", "hydra", "omegaconf"} & set(printed)


def test_it_offers_what_notebooks_need():
    assert mammorisk.predict is predict
    assert {"load_model", "predict", "predict_dicom", "__version__"} <= set(dir(mammorisk))
    assert callable(mammorisk.load_model)
    with pytest.raises(AttributeError, match="no attribute 'predcit'"):
        mammorisk.predcit  # noqa: B018
