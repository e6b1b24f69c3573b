"""Photographs: their parts and sizes, and what is said where they are missing."""

import numpy as np
import pytest
from PIL import Image

from reproductions.data import photographs
from reproductions.data.data_dir import DataError


def test_photographs_are_shrunk_and_keep_their_shape():
    images = photographs.photographs(16, 24)
    assert images.shape == (2, 16, 24, 3) and images.dtype == np.uint8
    assert images.std() > 20


def test_kodak_is_turned_to_landscape(tmp_path):
    for i in range(1, 25):
        image = np.zeros((8, 12, 3), "uint8")
        image[:, :6] = 200  # bright on the left
        turned = np.rot90(image, -1) if i == 4 else image
        Image.fromarray(turned).save(tmp_path / f"kodim{i:02}.png")
    images = photographs.kodak(tmp_path, 4, 6)
    assert images.shape == (24, 4, 6, 3)
    assert (images[:, :, 0] > images[:, :, -1]).all()
    np.testing.assert_array_equal(images[3], images[0])
    with pytest.raises(DataError, match="kodim01.png.*--data-dir.*photographs"):
        photographs.kodak(tmp_path / "elsewhere", 4, 6)


def test_a_crop_is_from_the_middle():
    image = np.zeros((10, 30, 3), "uint8")
    image[:, 10:20] = 255
    np.testing.assert_array_equal(photographs._fitted(image, 10, 10), np.full((10, 10, 3), 255))
