from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.phantom_pairs import phantom_pairs
from matplotlib.figure import Figure
from PIL import Image

from mammorisk.report.registration_figures import PairPicture, registration_contact, registration_picture
from mammorisk.warping import warp

FOLD, BEYOND = (0xFF, 0xD4, 0x00), (0x2F, 0x5D, 0x8A)


def pair(number: int = 2, name: str = "woman 0, L CC", rows: int = 128, share: float = 1.0) -> PairPicture:
    """A phantom pair with its true field, or a share of it."""
    pairs = phantom_pairs(rows=rows)
    images = (each[number, 0].numpy() for each in (pairs.current, pairs.prior))
    return PairPicture(*images, share * pairs.displacement[number].numpy(), name)


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """Draws, and returns the figure that was saved with the PNG's pixels [H, W, 3]; a warning is an error."""
    figures: list[Figure] = []
    save = Figure.savefig

    def keep(figure: Figure, *args: object, **kwargs: object) -> None:
        figures.append(figure)
        save(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", keep)

    def draw(function, what) -> tuple[Figure, np.ndarray]:
        path = tmp_path / f"{len(figures)}.png"
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            function(what, path)
        with Image.open(path) as picture:
            assert picture.format == "PNG"
            return figures[-1], np.asarray(picture.convert("RGB"))

    return draw


def panel(figure: Figure, title: str):
    return next(axes for axes in figure.axes if axes.get_title().startswith(title))


def pixels_of(colour: tuple[int, int, int], picture: np.ndarray) -> int:
    return int((np.abs(picture.astype(int) - colour).max(axis=-1) < 8).sum())


def test_panels_show_what_their_titles_say(drawn):
    one = pair()
    figure, picture = drawn(registration_picture, one)
    field = torch.from_numpy(one.displacement)[None]
    warped = warp(torch.from_numpy(one.prior)[None, None], field)[0, 0].numpy()
    for title, expected in (
        ("current", one.current),
        ("prior", one.prior),
        ("prior, warped", warped),
        ("current's grid", one.prior),
        ("|difference| before", np.abs(one.current - one.prior)),
        ("|difference| after", np.abs(one.current - warped)),
    ):
        np.testing.assert_allclose(panel(figure, title).images[0].get_array(), expected, atol=1e-6)
    assert min(picture.shape[:2]) > 800
    assert (picture < 128).any(axis=-1).mean() > 0.3


def test_pitfall_03_the_grid_lies_where_the_field_points(drawn):
    rows, columns = 60, 40
    image = np.random.default_rng(0).random((rows, columns), dtype=np.float32)
    field = np.stack((np.full((rows, columns), 5.0), np.full((rows, columns), -2.0))).astype(np.float32)  # dy, dx
    figure, _ = drawn(registration_picture, PairPicture(image, image, field))
    lines = np.concatenate(panel(figure, "current's grid").collections[0].get_segments())  # (x, y)
    assert (lines[:, 0].min(), lines[:, 0].max()) == (-2, columns - 1 - 2)
    assert (lines[:, 1].min(), lines[:, 1].max()) == (5, rows - 1 + 5)
    warped = panel(figure, "prior, warped").images[0].get_array()
    np.testing.assert_allclose(warped[:-5, 2:], image[5:, :-2], atol=1e-4)  # the same as the lines say


def test_both_differences_have_one_scale_and_the_three_images_another(drawn):
    figure, _ = drawn(registration_picture, pair())
    before, after = (panel(figure, f"|difference| {when}").images[0].get_clim() for when in ("before", "after"))
    assert before == after
    assert before[0] == 0
    images = [panel(figure, title).images[0].get_clim() for title in ("current", "prior", "prior, warped")]
    assert images[0] == images[1] == images[2]


def test_scores_stand_in_the_titles(drawn):
    figure, _ = drawn(registration_picture, pair())
    one = pair()
    expected = np.corrcoef(one.current.ravel(), one.prior.ravel())[0, 1]
    assert panel(figure, "|difference| before").get_title().endswith(f"NCC {expected:.3f}")
    assert panel(figure, "Jacobian").get_title().endswith("0.00 % folded")
    assert figure.get_suptitle() == "woman 0, L CC"


def test_the_determinant_is_centred_at_one(drawn):
    figure, _ = drawn(registration_picture, pair())
    low, high = panel(figure, "Jacobian").images[0].get_clim()
    assert (low + high) / 2 == pytest.approx(1)
    assert 0.1 <= high - 1 <= 1
    figure, _ = drawn(registration_picture, pair(share=1e-4))
    assert panel(figure, "Jacobian").images[0].get_clim() == pytest.approx((0.9, 1.1))  # rounding is not motion


@pytest.mark.parametrize("rows", [128, 1024])
def test_a_single_folded_pixel_is_seen(drawn, rows):
    still = np.zeros((2, rows, rows * 3 // 4), np.float32)
    image = np.random.default_rng(0).random(still.shape[1:], dtype=np.float32)
    still[1, rows // 2, rows // 3] = 2.5
    figure, picture = drawn(registration_picture, PairPicture(image, image, still))
    mask = panel(figure, "Jacobian").images[1].get_array()
    assert 0 < (~np.ma.getmaskarray(mask)).sum() < 200
    lower = picture[picture.shape[0] // 2 :]  # the row without the grid's yellow
    assert pixels_of(FOLD, lower) > 4


def test_what_lies_beyond_the_prior_is_marked_and_does_not_set_the_scale(drawn):
    still, _ = drawn(registration_picture, pair(share=0.0))
    assert np.ma.getmaskarray(panel(still, "prior, warped").images[1].get_array()).all()
    image = 0.5 * np.ones((40, 30), np.float32)
    image[10:20, 10:20] = 0.55
    field = np.zeros((2, 40, 30), np.float32)
    field[1] = 6
    figure, picture = drawn(registration_picture, PairPicture(image, image, field))
    assert pixels_of(BEYOND, picture) > 1000
    mask = np.ma.getmaskarray(panel(figure, "prior, warped").images[1].get_array())
    np.testing.assert_array_equal(~mask, np.broadcast_to(np.arange(30) >= 24, (40, 30)))
    assert panel(figure, "|difference| after").images[0].get_clim()[1] == pytest.approx(0.05, abs=1e-3)


@pytest.mark.parametrize(("value", "white"), [(0.0, 1.0), (0.7, 0.7)])
def test_flat_images(drawn, value, white):
    flat = np.full((40, 30), value, np.float32)
    figure, _ = drawn(registration_picture, PairPicture(flat, flat, np.zeros((2, 40, 30), np.float32)))
    assert panel(figure, "|difference| after").get_title().endswith("NCC 0.000")
    assert panel(figure, "|difference| after").images[0].get_clim() == (0, 1)
    assert panel(figure, "current").images[0].get_clim() == pytest.approx((0, white))


def test_a_field_that_folds_everywhere(drawn):
    one = pair()
    rows = np.arange(128, dtype=np.float32)[:, None]
    field = np.stack((-2 * rows + 0 * one.current, 0 * one.current))
    figure, _ = drawn(registration_picture, PairPicture(one.current, one.prior, field))
    assert panel(figure, "Jacobian").get_title().endswith("100.00 % folded")


def test_contact_picture_has_a_row_for_each_pair(drawn):
    pairs = [pair(number, f"pair {number}") for number in range(3)]
    figure, picture = drawn(registration_contact, pairs)
    assert len(figure.axes) == 3 * 7
    assert [axes.get_ylabel() for axes in figure.axes[::7]] == ["pair 0", "pair 1", "pair 2"]
    for number, line in enumerate(zip(*[iter(figure.axes)] * 7, strict=True)):
        np.testing.assert_array_equal(line[0].images[0].get_array(), pairs[number].current)
        assert line[4].get_title().count("NCC") == line[5].get_title().count("NCC") == 1
    single, _ = drawn(registration_contact, pairs[:1])
    assert len(single.axes) == 7
    assert picture.shape[1] > 1000


def test_contact_picture_of_unlike_sizes(drawn):
    figure, _ = drawn(registration_contact, [pair(), pair(rows=64)])
    assert figure.axes[7].images[0].get_array().shape == (64, 52)


def test_no_pairs_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="at least one pair"):
        registration_contact([], tmp_path / "none.png")
    assert not list(tmp_path.iterdir())


def test_a_field_of_another_size_is_an_error(tmp_path):
    wrong = PairPicture(pair().current, pair().prior, np.zeros((2, 8, 6), np.float32))
    with pytest.raises(ValueError, match="expected a displacement"):
        registration_picture(wrong, tmp_path / "wrong.png")
    assert not list(tmp_path.iterdir())


def test_the_same_pair_gives_the_same_picture_and_is_not_written(drawn):
    one = pair()
    before = [values.copy() for values in (one.current, one.prior, one.displacement)]
    (_, first), (_, second) = (drawn(registration_picture, one) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    for values, copy in zip((one.current, one.prior, one.displacement), before, strict=True):
        np.testing.assert_array_equal(values, copy)


def test_a_failure_leaves_the_old_picture_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "pair.png"
    registration_picture(pair(), path)
    before = path.read_bytes()

    def disk_full(figure: Figure, target: Path, **kwargs: object) -> None:
        Path(target).write_bytes(b"half a picture")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", disk_full)
    with pytest.raises(OSError, match="No space left"):
        registration_picture(pair(), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
