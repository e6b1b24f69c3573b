"""Omniglot by Vinyals's split, and letters of fonts."""

import numpy as np
import pytest

from reproductions.data import alphabets
from reproductions.data.data_dir import DataError


def test_vinyals_split_has_its_sizes_and_whole_alphabets():
    split = alphabets.vinyals_split()
    characters = {name: c for name, (c, _) in split.items()}
    assert {name: len(c) for name, c in characters.items()} == dict(train=1028, valid=172, test=423)
    assert sorted(np.concatenate(list(characters.values()))) == list(range(1623))
    assert characters["test"][0] == 1200 and 26 in characters["valid"]  # Gurmukhi 42, Armenian 1
    assert np.bincount(split["valid"][1]).tolist() == [41, 46, 22, 22, 41]
    sizes = [4, 41, 26, 47, 40, 30, 45, 46, 28, 23, 25, 42, 26]
    assert np.bincount(split["test"][1]).tolist() == sizes


def test_ink_of_omniglot_is_bright_and_keeps_its_place():
    paper = np.ones((105, 105), bool)
    paper[20:40, 60:80] = False
    drawing = alphabets._shrunk(paper, 28)
    assert drawing.shape == (28, 28) and drawing.max() == 255
    share = drawing / drawing.sum()
    middle = [share.sum(1) @ np.arange(28), share.sum(0) @ np.arange(28)]
    np.testing.assert_allclose(middle, np.array([30, 70]) * 32 / 105 - 2.5, atol=0.1)


def test_files_of_omniglot_are_named_and_checked(tmp_path):
    with pytest.raises(DataError, match=r"images_background.npz was not found .* `letters`"):
        alphabets.omniglot(tmp_path, 28)
    np.savez(tmp_path / "images_background.npz", images=np.ones((3, 20, 105, 105), bool))
    with pytest.raises(DataError, match="does not hold 964 characters"):
        alphabets.omniglot(tmp_path, 28)
    (tmp_path / "images_background.npz").write_bytes(b"no")
    with pytest.raises(DataError, match="not a readable file"):
        alphabets.omniglot(tmp_path, 28)


def test_letters_of_no_two_splits_are_alike():
    letters = alphabets.letters(20, 6)
    assert letters is alphabets.letters(20, 6)  # made once
    rows = {}
    for split, characters in letters.items():
        count = len(characters.images)
        assert characters.images.shape == (count, 6, 20, 20) and characters.images.dtype == np.uint8
        sizes = np.bincount(characters.alphabets)
        assert sizes.sum() == count and len(sizes) == len(alphabets.SCRIPTS[split])
        assert sizes.min() >= 20  # for episodes of twenty characters of one alphabet
        means = characters.images.mean(axis=1).reshape(count, -1)
        rows[split] = means / np.linalg.norm(means, axis=1, keepdims=True)
    assert len(rows["train"]) > 200
    assert (rows["test"] @ rows["train"].T).max() < 0.999


def test_drawings_of_a_letter_differ_but_less_than_letters():
    images = alphabets.letters(20, 6)["test"].images / 255
    own = np.abs(images[:, 0] - images[:, 3]).mean((1, 2))
    others = np.abs(images[:, 0] - np.roll(images[:, 3], 1, axis=0)).mean((1, 2))
    assert 0 < own.min() and own.mean() < 0.8 * others.mean()
