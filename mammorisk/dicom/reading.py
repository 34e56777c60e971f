"""Reader of DICOM files: the header is checked first, pixels are decoded with their full depth."""

from __future__ import annotations

import logging
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom import config as pydicom_config
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

from mammorisk.dicom.checks import MAX_PIXELS, check_tags
from mammorisk.dicom.codestreams import NATIVE, PLUGINS, check_codestream
from mammorisk.dicom.conversion_settings import Conversion
from mammorisk.dicom.refusals import Refused
from mammorisk.dicom.tags import PIXELS, Tags, read_tags
from mammorisk.errors import UserError
from mammorisk.system.regular_files import NotRegular, open_regular, read_regular

Pixels = NDArray[np.uint16]
_DEFLATED = "1.2.840.10008.1.2.1.99"
_EXTENDED = "1.2.840.10008.1.2.4.51"  # lossy JPEG of 8 or 12 bits
_MAX_DEFLATED = 2 * MAX_PIXELS + 2**24  # bytes after inflating
_INSTALL = "pip install 'mammorisk[dicom]' brings decoders"


def read_dicom(path: Path, conversion: Conversion) -> tuple[Tags, Pixels]:
    """Read one file.

    Args:
        path: the file.
        conversion: allowed kinds of files.

    Returns:
        Header, and stored values [rows, columns]; those of signed files in two's complement.

    Raises:
        Refused: it is missing, damaged, or of a kind that is not converted.
    """
    with _translated("unreadable", "this is not a whole DICOM file"):
        dataset, syntax = _read(path, until_pixels=True)
        tags = read_tags(dataset, syntax)
    check_tags(tags, conversion)
    if syntax not in (*NATIVE, *PLUGINS):
        raise Refused("transfer_syntax", f"transfer syntax {_called(syntax)} holds no mammogram, or is not known.")
    if syntax == _EXTENDED and tags.bits_stored != 8:
        raise Refused("transfer_syntax", f"{_called(syntax)} of {tags.bits_stored} bits: no free decoder reads it.")
    with _translated("unreadable", "this is not a whole DICOM file"):
        dataset, _ = _read(path, until_pixels=False)
    with _translated("damaged_pixels", f"the pixels ({_called(syntax)}) cannot be decoded"):
        return tags, _decode(dataset, tags)


def read_header(path: Path) -> tuple[Dataset, Tags]:
    """Read a file's header, as it is and as plain values; its pixels are not read.

    Raises:
        Refused: it is missing, or not a DICOM file with an image.
    """
    with _translated("unreadable", "this is not a whole DICOM file"):
        dataset, syntax = _read(path, until_pixels=True)
        return dataset, read_tags(dataset, syntax)


def _read(path: Path, until_pixels: bool) -> tuple[Dataset, str]:
    """Read the dataset and its transfer syntax; with ``until_pixels`` the header alone."""
    with open_regular(path) as file:
        start = file.read(132)
    if start[128:] != b"DICM":
        raise Refused("unreadable", "not a DICOM file: it does not hold DICM at byte 128.")
    syntax = str(read_file_meta_info(path).get("TransferSyntaxUID", ""))
    if syntax == _DEFLATED:
        _check_deflated(path)
    dataset = pydicom.dcmread(path, stop_before_pixels=until_pixels)
    if "Rows" not in dataset or "Columns" not in dataset:
        raise Refused("no_pixels", "holds no image: it has no Rows and Columns.")
    if not until_pixels and not any(name in dataset for name in PIXELS):
        raise Refused("no_pixels", "holds no image: there is a header, but no PixelData behind it.")
    return dataset, syntax


def _check_deflated(path: Path) -> None:
    """Check the inflated size of a deflated file, before pydicom inflates all of it."""
    data = read_regular(path)
    start = data.find(b"DICM") + 4
    length = int(read_file_meta_info(path).FileMetaInformationGroupLength) + 12  # the length's own element
    inflater, total = zlib.decompressobj(-zlib.MAX_WBITS), 0
    piece = data[start + length :]
    while piece and not inflater.eof and total <= _MAX_DEFLATED:
        total += len(inflater.decompress(piece, 2**22))
        piece = inflater.unconsumed_tail
    if total > _MAX_DEFLATED:
        raise Refused("too_large", f"inflates to more than {_MAX_DEFLATED / 1e6:.0f} MB.")


def _decode(dataset: Dataset, tags: Tags) -> Pixels:
    """Decode stored values [rows, columns] as uint16."""
    plugin = ""
    decoder = get_decoder(UID(tags.transfer_syntax))
    if tags.transfer_syntax in PLUGINS:
        plugin = next((name for name in PLUGINS[tags.transfer_syntax] if name in decoder.available_plugins), "")
        if not plugin:
            raise Refused("transfer_syntax", f"no decoder for {_called(tags.transfer_syntax)}: {_INSTALL}.")
        frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
        check_codestream(frame, tags.transfer_syntax, tags.rows, tags.columns)
    array, _ = decoder.as_array(dataset, index=0, raw=True, decoding_plugin=plugin)
    if array.shape != (tags.rows, tags.columns) or array.dtype.kind not in "iu":
        found = f"{array.dtype} of shape {array.shape}"
        raise Refused("damaged_pixels", f"the header declares {tags.rows} x {tags.columns} pixels, found {found}.")
    low, high = tags.stored_range
    if array.min() < low or array.max() > high:
        found = f"{array.min()} to {array.max()}"
        raise Refused("damaged_pixels", f"values from {found} in a file of {tags.bits_stored} bits.")
    return np.ascontiguousarray(array.astype(np.int16 if tags.signed else np.uint16)).view(np.uint16)


def _called(syntax: str) -> str:
    return f"{UID(syntax).name} ({syntax})" if syntax else "none"


@contextmanager
def _translated(kind: str, text: str) -> Iterator[None]:
    """Turn any exception of pydicom and its decoders into ``Refused``; damaged files can raise almost any."""
    logger = logging.getLogger("pydicom")
    level, mode = logger.level, pydicom_config.settings.reading_validation_mode
    logger.setLevel(logging.CRITICAL)  # it logs stack traces
    pydicom_config.settings.reading_validation_mode = pydicom_config.IGNORE
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except UserError:
        raise
    except FileNotFoundError as error:
        raise Refused("missing", "there is no such file.") from error
    except NotRegular as error:
        raise Refused("not_a_file", f"{error}.") from error
    except InvalidDicomError as error:
        raise Refused("unreadable", "not a DICOM file.") from error
    except Exception as error:
        raise Refused(kind, f"{text}: {_first_line(error)}") from error
    finally:
        logger.setLevel(level)
        pydicom_config.settings.reading_validation_mode = mode


def _first_line(error: Any) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[-1] if lines else type(error).__name__
    return text if len(text) < 200 else text[:197] + "..."
