"""The reproductions' data: the clutter generator, the splits, and missing files."""

import gzip
import struct
import subprocess
import sys

import numpy as np
import pytest

from reproductions import data

GENERATOR = dict(canvas=20, distractors=3, crop=4)


def numbered(count, side=6):
    """Images whose pixels tell which image they are from."""
    values = np.linspace(0.1, 0.9, count, dtype="float32")
    return np.ones((count, side, side, 1), "float32") * values[:, None, None, None], np.arange(
        count
    )


def test_clutter_is_a_function_of_its_seed():
    first, again = (
        data.clutter(np.random.default_rng(3), *numbered(5), 7, **GENERATOR) for _ in range(2)
    )
    other = data.clutter(np.random.default_rng(4), *numbered(5), 7, **GENERATOR)
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert (first[0] != other[0]).any()


def test_clutter_holds_the_whole_digit_and_stays_in_range():
    images, labels = numbered(5)
    x, y = data.clutter(np.random.default_rng(0), images, labels, 200, **GENERATOR)
    assert x.shape == (200, 20, 20, 1) and x.dtype == np.float32
    assert x.min() >= 0 and x.max() <= 1
    for picture, label in zip(x[..., 0], y, strict=True):
        windows = np.lib.stride_tricks.sliding_window_view(picture, (6, 6))
        bright = windows.min((-1, -2)) >= images[label].max() - 1e-6
        assert bright.any(), "no window of the digit's size is at least as bright as the digit"


def test_clutter_reaches_every_border():
    images, labels = numbered(2, side=3)
    x, _ = data.clutter(
        np.random.default_rng(0), images, labels, 500, canvas=5, distractors=0, crop=1
    )
    corners = [x[:, :3, :3], x[:, 2:, :3], x[:, :3, 2:], x[:, 2:, 2:]]
    assert all((corner.min((1, 2, 3)) > 0).any() for corner in corners)


def test_digits_are_split_by_digit():
    splits = data.digits(scale=2)
    assert {split: len(y) for split, (_, y) in splits.items()} == dict(
        train=1197, valid=300, test=300
    )
    assert splits["train"][0].shape[1:] == (16, 16, 1)
    _, counts = np.unique(np.concatenate([y for _, y in splits.values()]), return_counts=True)
    assert counts.min() > 170
    seen = {split: {image.tobytes() for image in x} for split, (x, _) in splits.items()}
    assert not seen["train"] & seen["test"] and not seen["valid"] & (seen["train"] | seen["test"])


def test_cluttered_uses_each_split_alone_and_fixes_its_test_set():
    images, labels = numbered(9)
    parts = {
        s: (images[i : i + 3], labels[i : i + 3]) for s, i in dict(train=0, valid=3, test=6).items()
    }
    first, again = (data.Cluttered(parts, 4, 2, 30, 40, **GENERATOR) for _ in range(2))
    batches = list(first.train(0, 0).as_numpy_iterator())
    assert len(batches) == 2 and {len(y) for _, y in batches} == {4}
    assert set(np.concatenate([y for _, y in batches])) <= {0, 1, 2}
    assert set(first.valid[1]) == {3, 4, 5} and set(first.test[1]) == {6, 7, 8}
    np.testing.assert_array_equal(first.test[0], again.test[0])
    assert first.other_test(canvas=30)[0].shape == (40, 30, 30, 1)
    np.testing.assert_array_equal(first.other_test()[0], first.test[0])
    same, other, later = (
        next(iter(again.train(*at)))[0].numpy() for at in ((0, 0), (1, 0), (0, 1))
    )
    np.testing.assert_array_equal(batches[0][0], same)
    assert (same != other).any() and (same != later).any()


def idx(path, array):
    header = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes()))


@pytest.fixture
def raw_mnist(tmp_path):
    rng = np.random.default_rng(0)
    for split, count in dict(train=5010, test=3).items():
        images, labels = data.IDX_FILES[split]
        idx(tmp_path / images, rng.integers(0, 256, (count, 28, 28), dtype=np.uint8))
        idx(tmp_path / labels, rng.integers(0, 10, count, dtype=np.uint8))
    return tmp_path


def test_mnist_reads_raw_files(raw_mnist):
    splits = data.mnist(raw_mnist)
    assert {split: x.shape for split, (x, _) in splits.items()} == {
        "train": (10, 28, 28, 1),
        "valid": (5000, 28, 28, 1),
        "test": (3, 28, 28, 1),
    }
    assert splits["train"][0].max() <= 1 and splits["train"][1].dtype == np.int32


def test_mnist_names_a_damaged_file(raw_mnist):
    path = raw_mnist / data.IDX_FILES["test"][0]
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(data.DataError, match=path.name):
        data.mnist(raw_mnist)


def test_missing_data_is_said_at_once(tmp_path):
    words = [
        "run",
        "attention",
        "--preset",
        "full",
        "--data-dir",
        str(tmp_path),
        "--out",
        str(tmp_path),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "reproductions", *words], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert "--data-dir" in done.stderr and "train-images-idx3-ubyte.gz" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("**/*.json"))
