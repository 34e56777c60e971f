from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from mammorisk.training.learning_curve import learning_curve
from mammorisk.training.risk import RISK

NAN = float("nan")
SIZE = (910, 975)  # pixels: 7.0 x 7.5 inches at 130 dpi
TRUE_RISK_COLOUR, VALIDATION_COLOUR = (0x00, 0x9E, 0x73), (0xD5, 0x5E, 0x00)


def history(epochs: int = 12) -> list[dict[str, float]]:
    """A run that learns and then overfits; the best validation C-index is in the middle."""
    return [
        {
            "epoch": epoch,
            "Training Risk Loss": 0.7 * 0.9**epoch,
            "Validation Risk Loss": 0.7 * 0.95**epoch + 0.002 * epoch**2,
            "Training C-index": 0.9 - 0.4 * 0.85**epoch,
            "Validation C-index": 0.72 - 0.004 * (epoch - 6) ** 2,
            "Learning Rate": 5e-5 * 0.5 ** (epoch // 6),
        }
        for epoch in range(1, epochs + 1)
    ]


def draw(rows: list[dict[str, float]], path: Path, **settings: float) -> np.ndarray:
    """The picture's pixels [H, W, 3]; a warning while drawing is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learning_curve(rows, path, RISK, **settings)
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert picture.size == SIZE
        return np.asarray(picture.convert("RGB"))


def pixels_of(colour: tuple[int, int, int], picture: np.ndarray) -> int:
    return int((np.abs(picture.astype(int) - colour).max(axis=-1) < 8).sum())


def drawn(monkeypatch: pytest.MonkeyPatch, rows: list[dict[str, float]], path: Path, **settings: float) -> Figure:
    """The figure that was saved."""
    figures: list[Figure] = []
    save = Figure.savefig

    def keep(figure: Figure, *args: object, **kwargs: object) -> None:
        figures.append(figure)
        save(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", keep)
    learning_curve(rows, path, RISK, **settings)
    return figures[0]


def legend(figure: Figure) -> list[str]:
    """The words of the C-index panel's legend."""
    return [text.get_text() for text in figure.axes[1].get_legend().get_texts()]


def test_a_readable_picture(tmp_path):
    picture = draw(history(), tmp_path / "curve.png", true_risk=0.8)
    for third in np.array_split(picture, 3):  # something is drawn in each of the panels
        assert (third < 128).any(axis=-1).sum() > 300
    assert pixels_of(VALIDATION_COLOUR, picture) > 500
    assert (picture == 255).all(axis=-1).mean() > 0.8
    assert [file.name for file in tmp_path.iterdir()] == ["curve.png"]


def test_every_curve_has_its_panel(tmp_path, monkeypatch):
    rows = history()
    loss, concordance, rate = drawn(monkeypatch, rows, tmp_path / "curve.png").axes
    for panel, labels, names in (
        (loss, ["training", "validation"], ["Training Risk Loss", "Validation Risk Loss"]),
        (concordance, ["training", "validation"], ["Training C-index", "Validation C-index"]),
        (rate, ["_child0"], ["Learning Rate"]),
    ):
        curves = {line.get_label(): line for line in panel.lines}
        for label, name in zip(labels, names, strict=True):
            assert curves[label].get_xdata().tolist() == [row["epoch"] for row in rows]
            assert curves[label].get_ydata().tolist() == [row[name] for row in rows]


def test_the_same_numbers_give_the_same_picture(tmp_path):
    first, second = (draw(history(), tmp_path / name) for name in ("one.png", "two.png"))
    np.testing.assert_array_equal(first, second)


def test_the_true_risk_is_drawn_where_there_is_one(tmp_path):
    assert pixels_of(TRUE_RISK_COLOUR, draw(history(), tmp_path / "with.png", true_risk=0.8)) > 300
    assert pixels_of(TRUE_RISK_COLOUR, draw(history(), tmp_path / "without.png")) == 0
    assert pixels_of(TRUE_RISK_COLOUR, draw(history(), tmp_path / "nan.png", true_risk=NAN)) == 0


def test_the_legend_names_the_best_epoch(tmp_path, monkeypatch):
    words = legend(drawn(monkeypatch, history(), tmp_path / "curve.png", true_risk=0.8))
    assert words == ["training", "validation", "chance 0.500", "true risk 0.800", "best 0.720, epoch 6"]


def test_the_first_of_equally_good_epochs_is_the_best(tmp_path, monkeypatch):
    rows = [{"epoch": epoch, "Validation C-index": value} for epoch, value in enumerate([NAN, 0.6, 0.7, 0.7], start=1)]
    assert legend(drawn(monkeypatch, rows, tmp_path / "curve.png"))[-1] == "best 0.700, epoch 3"


def test_nan_and_missing_values_leave_gaps(tmp_path):
    whole = draw(history(), tmp_path / "whole.png")
    rows = history()
    for row in rows[3:6]:
        row["Validation Risk Loss"] = NAN
        del row["Validation C-index"]
    gaps = draw(rows, tmp_path / "gaps.png")
    assert 0 < pixels_of(VALIDATION_COLOUR, gaps) < pixels_of(VALIDATION_COLOUR, whole)


def test_a_split_without_events_has_no_best(tmp_path, monkeypatch):
    rows = [row | {"Validation C-index": NAN, "Training C-index": NAN} for row in history()]
    draw(rows, tmp_path / "curve.png")
    assert legend(drawn(monkeypatch, rows, tmp_path / "curve.png"))[-1] == "best: not defined"


def test_one_epoch(tmp_path):
    picture = draw(history(1), tmp_path / "curve.png")
    assert pixels_of(VALIDATION_COLOUR, picture) > 20  # a marker in each panel, no line


def test_one_epoch_without_any_number(tmp_path):
    picture = draw([{"epoch": 1}], tmp_path / "curve.png")
    assert pixels_of(VALIDATION_COLOUR, picture) <= pixels_of(VALIDATION_COLOUR, draw(history(1), tmp_path / "two.png"))


def test_an_empty_history_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="empty history"):
        learning_curve([], tmp_path / "curve.png", RISK)
    assert list(tmp_path.iterdir()) == []


def test_the_picture_of_the_epoch_before_is_replaced(tmp_path):
    path = tmp_path / "curve.png"
    first, second = draw(history(3), path), draw(history(4), path)
    assert (first != second).any()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("step", ["savefig", "replace"])
def test_a_failure_leaves_the_old_picture_and_nothing_else(tmp_path, monkeypatch, step):
    path = tmp_path / "curve.png"
    draw(history(3), path)
    before = path.read_bytes()

    def disk_full(*args: object, **kwargs: object) -> None:
        if step == "savefig":
            Path(args[1]).write_bytes(b"half a picture")  # type: ignore[arg-type]
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*{"savefig": (Figure, "savefig"), "replace": (os, "replace")}[step], disk_full)
    with pytest.raises(OSError, match="No space left"):
        learning_curve(history(4), path, RISK)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_the_picture_is_never_there_by_halves(tmp_path, monkeypatch):
    path, seen = tmp_path / "curve.png", []
    save = Figure.savefig

    def look(figure: Figure, target: Path, **kwargs: object) -> None:
        save(figure, target, **kwargs)
        seen.append((path.exists(), Path(target).parent == tmp_path))

    monkeypatch.setattr(Figure, "savefig", look)
    learning_curve(history(3), path, RISK)
    assert seen == [(False, True)]  # written beside its name, on the same disk
    assert path.exists()


def test_the_history_is_not_written(tmp_path):
    rows = history(3)
    learning_curve(rows, tmp_path / "curve.png", RISK)
    assert rows == history(3)
