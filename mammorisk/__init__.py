"""mammorisk: breast-cancer risk models on screening mammograms, trained, evaluated and compared.

The package root imports nothing heavy, so that command-line help and tab completion respond at once. The functions for
notebooks are imported at their first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mammorisk.version import __version__ as __version__

if TYPE_CHECKING:
    from mammorisk.evaluation.api import evaluate as evaluate
    from mammorisk.prediction.api import predict as predict
    from mammorisk.prediction.dicom_exam import predict_dicom as predict_dicom
    from mammorisk.prediction.loaded_model import load_model as load_model

_OFFERED = {  # public name -> its module
    "evaluate": "mammorisk.evaluation.api",
    "load_model": "mammorisk.prediction.loaded_model",
    "predict": "mammorisk.prediction.api",
    "predict_dicom": "mammorisk.prediction.dicom_exam",
}


def __getattr__(name: str) -> Any:
    if name not in _OFFERED:
        raise AttributeError(f"module 'mammorisk' has no attribute '{name}'")
    return getattr(import_module(_OFFERED[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_OFFERED])
