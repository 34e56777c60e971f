from __future__ import annotations

import numpy as np
import pytest
from helpers.cohorts import SIZE, write_png

from mammorisk.datasets.image_identity import identity_of_bytes, image_identities, image_identity, length_and_size
from mammorisk.errors import UserError


def test_an_image_is_known_by_its_content_wherever_it_lies(tmp_path):
    noise = np.random.default_rng(1).integers(0, 65536, (40, 30))
    changed = noise.copy()
    changed[3, 4] ^= 1
    one, moved, other = (tmp_path / name for name in ("a.png", "b/c.png", "d.png"))
    write_png(one, noise)
    write_png(moved, noise)
    write_png(other, changed)
    assert image_identity(str(one)) == image_identity(str(moved)) == identity_of_bytes(one.read_bytes())
    assert image_identity(str(one)) != image_identity(str(other))
    with pytest.raises(UserError, match=r"nowhere\.png cannot be read"):
        image_identity(str(tmp_path / "nowhere.png"))


def test_every_single_pixel_shows(tmp_path):
    found = {image_identity(str(write_png(tmp_path / "flat.png", 7)))}
    for place in np.ndindex(SIZE):
        pixels = np.full(SIZE, 7)
        pixels[place] += 1
        found.add(image_identity(str(write_png(tmp_path / "one.png", pixels))))
    assert len(found) == 1 + SIZE[0] * SIZE[1]


@pytest.mark.parametrize("content", [b"", b"short", bytes(range(64)), bytes(range(70))])
def test_short_files_have_an_identity_too(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    assert image_identity(str(tmp_path / "a")) == identity_of_bytes(content)
    assert length_and_size(identity_of_bytes(content)) == (len(content), (0, 0))


def test_length_and_size_are_those_of_the_png(tmp_path):
    path = write_png(tmp_path / "a.png", np.zeros((40, 30)))
    assert length_and_size(image_identity(str(path))) == (path.stat().st_size, (40, 30))


def test_many_files_are_looked_at_in_their_order(tmp_path):
    files = [str(write_png(tmp_path / f"{n}.png", n)) for n in range(130)]
    assert image_identities(files) == {file: image_identity(file) for file in files}
    with pytest.raises(UserError, match=r"gone\.png cannot be read"):
        image_identities([*files, "gone.png"])
    assert image_identities([]) == {}
