"""Public weights by URL: downloaded once into torch's cache folder, and used only if their SHA-256 matches."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import torch
from filelock import FileLock

from mammorisk.errors import UserError
from mammorisk.system.regular_files import open_regular

RESNET18_IMAGENET = ("https://download.pytorch.org/models/resnet18-f37072fd.pth", "f37072fd")


def hub_file(url: str, sha256_prefix: str) -> Path:
    """The file of a URL in torch's cache folder (``TORCH_HOME``), downloaded if it is not there.

    Several processes download it once: the others wait.

    Args:
        url: of the file.
        sha256_prefix: first hexadecimal digits of its SHA-256.

    Raises:
        UserError: it cannot be downloaded or kept, or is another file; names the place for a copy made by hand.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not path.exists():
        _download(url, path, sha256_prefix)
    with open_regular(path) as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(sha256_prefix):
        raise UserError(
            f"Expected {path} to have a SHA-256 that begins with {sha256_prefix}, found {found}: it is cut off or "
            f"another file. Delete it, and it will be downloaded again from {url}."
        )
    return path


def _download(url: str, path: Path, sha256_prefix: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f"{path.name}.lock")):
            if not path.exists():  # another process may have been faster
                progress = sys.stderr.isatty()
                torch.hub.download_url_to_file(url, str(path), hash_prefix=sha256_prefix, progress=progress)
    except (OSError, RuntimeError) as error:  # OSError: no network or no place; RuntimeError: the wrong sum
        raise UserError(
            f"{path.name} cannot be downloaded from {url}: {error}.\nDownload it on a machine that can, and put it "
            f"into {path.parent}; or give a file you have, model.encoder.pretrained=PATH, or null for random weights."
        ) from error
