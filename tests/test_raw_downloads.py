"""The generated downloads are what they claim to be: mammograms whose pictures belong to their rows."""

import numpy as np
import pandas as pd
import pydicom
from helpers.raw_downloads import embed_download, write_dicoms


def test_dicoms_are_mammograms_for_presentation(tmp_path):
    download = embed_download(tmp_path, image_height=32)
    download.pictures = download.pictures[:40]  # of a few women
    assert write_dicoms(download, tmp_path / "dicom") == len(download.pictures)
    files = sorted((tmp_path / "dicom").rglob("*.dcm"))
    assert len(files) == len(download.pictures) == len({path for path, *_ in download.pictures})
    kinds = set()
    for path, _, _, side, view in download.pictures:
        image = pydicom.dcmread(tmp_path / "dicom" / path)
        assert (image.ImageLaterality, image.ViewPosition, image.Modality) == (side, view, "MG")
        assert image.PresentationIntentType == "FOR PRESENTATION"
        assert float(image.PixelSpacing[0]) * image.Rows == 240
        pixels = image.pixel_array.astype(int)
        shown = pixels if image.PhotometricInterpretation == "MONOCHROME2" else 4095 - pixels
        columns = shown.sum(axis=0)
        wall = columns[: image.Columns // 2].sum() > columns[image.Columns // 2 :].sum()
        assert wall == (side == "L")  # the breast lies at the chest wall
        assert np.median(shown[:, -1 if side == "L" else 0]) < 400  # the air is dark, whatever is stored
        kinds.add(image.PhotometricInterpretation)
    assert kinds == {"MONOCHROME1", "MONOCHROME2"}


def test_a_seed_is_a_download(tmp_path):
    one, same, other = (embed_download(tmp_path / name, seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 3)))
    tables = [pd.read_csv(each.tables["clinical"], dtype=str) for each in (one, same, other)]
    assert tables[0].equals(tables[1])
    assert not tables[0].equals(tables[2])
    assert one.planted == same.planted
