from __future__ import annotations

import numpy as np
import pytest
from helpers.cohort_checks import breast
from helpers.cohorts import write_png
from PIL import Image

from mammorisk.datasets.phantom.phantom_cohort import PhantomCohort
from mammorisk.preparation.image_facts import chest_wall, look_at


def test_a_sound_image(tmp_path):
    facts = look_at(str(write_png(tmp_path / "a.png", breast("a", "R", (40, 30)))))
    assert (facts.problem, facts.size, facts.side) == ("", (40, 30), "R")
    same = look_at(str(write_png(tmp_path / "b.png", breast("a", "R", (40, 30)))))
    other = look_at(str(write_png(tmp_path / "c.png", breast("c", "R", (40, 30)))))
    turned = look_at(str(write_png(tmp_path / "d.png", breast("a", "R", (40, 30)).reshape(30, 40))))
    assert facts.digest == same.digest
    assert len({facts.digest, other.digest, turned.digest}) == 3


@pytest.mark.parametrize("mode", ["missing", "empty", "truncated", "damaged", "no PNG"])
def test_what_cannot_be_read(mode, tmp_path):
    path = tmp_path / "a.png"
    data = write_png(path).read_bytes()
    if mode == "missing":
        path.unlink()
    else:
        middle = data[:60] + bytes([data[60] ^ 1]) + data[61:]
        path.write_bytes({"empty": b"", "truncated": data[:-9], "damaged": middle, "no PNG": b"DICM" + data}[mode])
    facts = look_at(str(path))
    assert (facts.problem, facts.size, facts.digest) == ("image_unreadable", (0, 0), "")
    assert str(path) in facts.message


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "LA"])
def test_another_depth_or_colour(mode, tmp_path):
    Image.new(mode, (20, 20)).save(tmp_path / "a.png")
    facts = look_at(str(tmp_path / "a.png"))
    assert facts.problem == "image_depth"
    assert "Expected a 16-bit greyscale PNG" in facts.message


def test_pitfall_16_eight_bits_in_a_file_of_sixteen(tmp_path):
    levels = np.random.default_rng(0).integers(0, 256, (200, 150))
    facts = look_at(str(write_png(tmp_path / "a.png", levels * 257)))
    assert facts.problem == "image_depth"
    assert "has 256 grey levels" in facts.message
    full = np.random.default_rng(0).integers(0, 4096, (200, 150))
    assert look_at(str(write_png(tmp_path / "b.png", full))).problem == ""


@pytest.mark.parametrize("noise", [0, 50])
def test_a_blank_image(noise, tmp_path):
    pixels = 700 + np.random.default_rng(0).integers(0, noise + 1, (200, 150))
    pixels[0, :20] = 65535  # a label is no breast
    facts = look_at(str(write_png(tmp_path / "a.png", pixels)))
    assert (facts.problem, facts.digest) == ("image_blank", "")
    pixels[50:60, :40] = np.random.default_rng(1).integers(20_000, 60_000, (10, 40))
    assert look_at(str(write_png(tmp_path / "b.png", pixels))).problem == ""


@pytest.mark.parametrize("side", ["L", "R"])
def test_the_chest_wall_is_the_bright_edge(side):
    pixels = breast("a", side)
    assert chest_wall(pixels.astype(np.uint16)) == side
    assert chest_wall(pixels[:, ::-1].astype(np.uint16)) == {"L": "R", "R": "L"}[side]
    assert chest_wall(np.full((8, 3), 900, dtype=np.uint16)) == ""


def test_phantoms_have_their_chest_wall_where_it_belongs(tmp_path):
    PhantomCohort(num_women=3, image_height=64).write_to(tmp_path / "c")
    files = [str(path) for path in (tmp_path / "c").rglob("*.png")]
    wanted = ["L" if "_L_" in path or "L_CC" in path or "L_MLO" in path else "R" for path in files]
    assert [look_at(path).side for path in files] == wanted
