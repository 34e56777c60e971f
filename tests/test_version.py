from __future__ import annotations

from importlib.metadata import version

import mammorisk
from mammorisk.version import __version__


def test_the_version_is_the_installed_one_and_offered_by_the_package():
    assert mammorisk.version.__version__ == __version__ == version("mammorisk")
