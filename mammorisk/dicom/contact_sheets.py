"""Contact sheets: a hundred files per page, each before and after conversion, for inspection by eye."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mammorisk.dicom.png import Note, read_note, write_png
from mammorisk.errors import UserError
from mammorisk.system.paths_below import LeadsOut, check_inside

FOLDER, PER_SHEET = "contact_sheets", 100
_COLUMNS = 10
_HEIGHT, _WIDTH, _TEXT, _GAP = 150, 122, 26, 4  # of one picture; of the two lines below it
_Bytes = NDArray[np.uint8]
_RED, _GREY = (60, 60, 230), (190, 190, 190)  # blue, green, red
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def tile(before: NDArray[np.uint16], after: NDArray[np.uint16]) -> bytes:
    """Make a JPEG of the file before and after, side by side."""
    both = np.concatenate([_shrunk(before), _shrunk(after)], axis=1)
    return cv2.imencode(".jpg", both, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()


def write_sheet(out: Path, number: int, entries: Sequence[tuple[str, str]]) -> Path:
    """Write the contact sheet of up to a hundred images, unless it exists.

    Args:
        out: the folder of PNGs.
        number: of the sheet, from 0 on.
        entries: name of each PNG, and "" or the reason why there is none.

    Raises:
        UserError: their folder is a link that leads elsewhere.
    """
    path = out / FOLDER / f"sheet_{number + 1:05d}.png"
    try:
        check_inside(out, path)
    except LeadsOut as error:
        raise UserError(f"{path.parent} {error}. Remove the link.") from error
    found = [(name, reason, None if reason else read_note(out / name)) for name, reason in entries]
    content = [(name, reason, each and each[0]) for name, reason, each in found]
    note = {"content": hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()}
    if (there := read_note(path)) is not None and there[0] == note:
        return path
    rows = -(-len(entries) // _COLUMNS)
    height, width = _HEIGHT + _TEXT + _GAP, 2 * _WIDTH + _GAP
    sheet = np.zeros((rows * height, min(len(entries), _COLUMNS) * width, 3), np.uint8)
    for place, (name, reason, each) in enumerate(found):
        top, left = place // _COLUMNS * height, place % _COLUMNS * width
        cell = sheet[top : top + height - _GAP, left : left + width - _GAP]
        _draw(cell, name, reason, each)
    path.parent.mkdir(exist_ok=True)
    write_png(path, sheet, note)
    return path


def _draw(cell: _Bytes, name: str, reason: str, found: tuple[Note, bytes] | None) -> None:
    """Draw one file: its pictures and two lines, or a red frame with the reason why there are none."""
    stem = Path(name).stem
    _write(cell, stem if len(stem) <= 40 else "..." + stem[-37:], _HEIGHT + 10, _GREY)
    if found is None:
        for line, start in enumerate(range(0, min(len(reason), 200), 40)):
            _write(cell, reason[start : start + 40], 20 + 14 * line, _RED)
        cv2.rectangle(cell, (0, 0), (cell.shape[1] - 1, _HEIGHT - 1), _RED, 1)
        return
    note, picture = found
    drawn = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
    if drawn is not None:
        cell[: drawn.shape[0], : drawn.shape[1]] = drawn
    words = [str(note.get(key) or "?") for key in ("laterality", "view")]
    words += [word for word in ("transposed", "upside_down", "mirrored", "inverted") if note.get(word)]
    _write(cell, " ".join(words), _HEIGHT + 22, _RED if note.get("remark") else _GREY)


def _write(cell: _Bytes, text: str, bottom: int, colour: tuple[int, int, int]) -> None:
    plain = text.encode("ascii", "replace").decode()
    cv2.putText(cell, plain, (1, bottom), _FONT, 0.33, colour, 1, cv2.LINE_AA)


def _shrunk(image: NDArray[np.uint16]) -> _Bytes:
    """Shrink an image to the middle of a cell, with 8 bits."""
    scale = min((_HEIGHT - 2) / image.shape[0], (_WIDTH - 2) / image.shape[1])
    size = (max(1, int(image.shape[1] * scale)), max(1, int(image.shape[0] * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = np.asarray(cv2.resize(image, size, interpolation=how)) // 257
    field = np.full((_HEIGHT, _WIDTH), 48, np.uint8)
    top, left = (_HEIGHT - size[1]) // 2, (_WIDTH - size[0]) // 2
    field[top : top + size[1], left : left + size[0]] = small
    return field
