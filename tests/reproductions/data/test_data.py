"""The reproductions' data: the clutter generator, the splits, and missing files."""

import gzip
import io
import struct
import tarfile

import numpy as np
import pytest

from reproductions.__main__ import main
from reproductions.data import data_dir, images
from reproductions.data.image_batches import Cluttered, Images, clutter, shifted, skewed, stretched
from reproductions.tasks import attention

GENERATOR = dict(canvas=20, distractors=3, crop=4)


def numbered(count, side=6):
    """Images whose pixels tell which image they are from."""
    values = np.linspace(0.1, 0.9, count, dtype="float32")
    return np.ones((count, side, side, 1), "float32") * values[:, None, None, None], np.arange(
        count
    )


def test_clutter_is_a_function_of_its_seed():
    first, again = (
        clutter(np.random.default_rng(3), *numbered(5), 7, **GENERATOR) for _ in range(2)
    )
    other = clutter(np.random.default_rng(4), *numbered(5), 7, **GENERATOR)
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert (first[0] != other[0]).any()


def test_clutter_holds_the_whole_digit_and_stays_in_range():
    images, labels = numbered(5)
    x, y = clutter(np.random.default_rng(0), images, labels, 200, **GENERATOR)
    assert x.shape == (200, 20, 20, 1) and x.dtype == np.float32
    assert x.min() >= 0 and x.max() <= 1
    for picture, label in zip(x[..., 0], y, strict=True):
        windows = np.lib.stride_tricks.sliding_window_view(picture, (6, 6))
        bright = windows.min((-1, -2)) >= images[label].max() - 1e-6
        assert bright.any(), "no window of the digit's size is at least as bright as the digit"


def test_clutter_reaches_every_border():
    images, labels = numbered(2, side=3)
    x, _ = clutter(np.random.default_rng(0), images, labels, 500, canvas=5, distractors=0, crop=1)
    corners = [x[:, :3, :3], x[:, 2:, :3], x[:, :3, 2:], x[:, 2:, 2:]]
    assert all((corner.min((1, 2, 3)) > 0).any() for corner in corners)


def test_digits_are_split_by_digit():
    splits = images.digits(scale=2)
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
    first, again = (Cluttered(parts, 4, 2, 30, 40, **GENERATOR) for _ in range(2))
    batches = list(first.train(0, 0))
    assert len(batches) == 2 and {len(y) for _, y in batches} == {4}
    assert set(np.concatenate([y for _, y in batches])) <= {0, 1, 2}
    assert set(first.valid[1]) == {3, 4, 5} and set(first.test[1]) == {6, 7, 8}
    np.testing.assert_array_equal(first.test[0], again.test[0])
    assert first.other_test(canvas=30)[0].shape == (40, 30, 30, 1)
    np.testing.assert_array_equal(first.other_test()[0], first.test[0])
    same, other, later = (next(again.train(*at))[0] for at in ((0, 0), (1, 0), (0, 1)))
    np.testing.assert_array_equal(batches[0][0], same)
    assert (same != other).any() and (same != later).any()


def idx(path, array):
    header = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes()))


@pytest.fixture
def raw_mnist(tmp_path):
    rng = np.random.default_rng(0)
    for split, count in dict(train=5010, test=3).items():
        image_file, label_file = images.IDX_FILES[split]
        idx(tmp_path / image_file, rng.integers(0, 256, (count, 28, 28), dtype=np.uint8))
        idx(tmp_path / label_file, rng.integers(0, 10, count, dtype=np.uint8))
    return tmp_path


def test_mnist_reads_raw_files(raw_mnist):
    splits = images.mnist(raw_mnist)
    assert {split: x.shape for split, (x, _) in splits.items()} == {
        "train": (10, 28, 28, 1),
        "valid": (5000, 28, 28, 1),
        "test": (3, 28, 28, 1),
    }
    assert splits["train"][0].max() <= 1 and splits["train"][1].dtype == np.int32


def test_mnist_names_a_damaged_file(raw_mnist):
    path = raw_mnist / images.IDX_FILES["test"][0]
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(data_dir.DataError, match=path.name):
        images.mnist(raw_mnist)


def test_missing_data_is_said_at_once(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(attention.TASK, "build", None)
    words = ["run", "attention", "--preset", "full", "--data-dir", str(tmp_path)]
    assert main([*words, "--out", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "--data-dir" in said and "train-images-idx3-ubyte.gz" in said
    assert "Traceback" not in said
    assert not list(tmp_path.glob("**/*.json"))


def test_shifts_move_and_flip_images():
    x = np.arange(1, 13, dtype="float32").reshape(1, 4, 3, 1).repeat(400, axis=0)
    moved = shifted(np.random.default_rng(0), x, 1, flip=True)
    assert moved.shape == x.shape and moved.dtype == x.dtype
    seen = {picture.tobytes() for picture in moved}
    padded = np.pad(x[0], [(1, 1), (1, 1), (0, 0)])
    crops = [padded[i : i + 4, j : j + 3] for i in range(3) for j in range(3)]
    assert seen == {
        np.ascontiguousarray(c).tobytes() for c in [*crops, *(c[:, ::-1] for c in crops)]
    }
    still = shifted(np.random.default_rng(0), x, 0)
    np.testing.assert_array_equal(still, x)


def test_stretching_puts_in_means_of_neighbors():
    ramp = np.arange(8.0)[:, None] + 10 * np.arange(9.0)
    x = ramp.reshape(1, 8, 9, 1).repeat(300, axis=0).astype("float32")
    y = stretched(np.random.default_rng(0), x, 2)
    assert y.shape == x.shape and y.dtype == np.float32
    rows, columns = np.diff(y[..., 0], axis=1), np.diff(y[..., 0], axis=2)
    assert set(np.unique(rows)) <= {0, 0.5, 1} and set(np.unique(columns)) <= {0, 5, 10}
    assert len(np.unique(y[:, 0, 0, 0])) > 3  # places differ from image to image
    np.testing.assert_array_equal(stretched(np.random.default_rng(0), x, 0), x)


def test_skewing_is_an_affine_map_around_the_center():
    rows, columns = np.indices((9, 11), dtype="float32") + 1
    x = np.stack([rows, columns], axis=-1)[None].repeat(200, axis=0)
    np.testing.assert_array_equal(skewed(np.random.default_rng(0), x, 0.0), x)
    y = skewed(np.random.default_rng(0), x, 0.2)
    np.testing.assert_allclose(y[:, 4, 5], x[:, 4, 5], rtol=1e-5)
    inner = y[:, 3:6, 4:7]  # which nothing from outside reaches
    slopes = np.stack([np.diff(inner, axis=axis)[:, 0, 0] for axis in (1, 2)], axis=1)
    for axis in (1, 2):  # the same from pixel to pixel
        steps = np.diff(inner, axis=axis)
        np.testing.assert_allclose(steps, steps[:, :1, :1] + 0 * steps, atol=1e-4)
    moved = slopes - np.eye(2)
    assert np.abs(moved).max() <= 0.2 + 1e-4 and np.abs(moved).max(0).min() > 0.18
    assert np.abs(np.corrcoef(moved.reshape(200, 4).T) - np.eye(4)).max() < 0.3


def test_bending_moves_places_a_little_and_linearly_between_knots():
    rows, columns = np.indices((25, 31), dtype="float32")
    x = np.stack([rows, columns], axis=-1)[None].repeat(100, axis=0)
    y = skewed(np.random.default_rng(0), x, 0.0, 2.0)
    assert y.dtype == np.float32
    moves = (y - x)[:, 2:-2, 2:-2]  # which nothing from outside reaches
    assert 1.8 < np.abs(moves).max() < 2.001 and np.abs(moves.mean((0, 1, 2))).max() < 0.2
    between = moves[:, 5:10]  # of knots in rows 6 and 12
    np.testing.assert_allclose(np.diff(between, n=2, axis=1), 0, atol=1e-4)
    corner = moves[:, 4, 5]  # half a pixel from a knot
    assert np.corrcoef(corner.T)[0, 1] < 0.3 and corner.std(0).min() > 0.8
    outside = skewed(np.random.default_rng(0), np.ones((100, 9, 9, 1), "float32"), 0.0, 3.0)
    assert outside.min() == 0 and outside[:, 3:6, 3:6].min() == 1


def test_half_of_digits_and_pieces_are_changed_in_training_alone():
    splits, erase = dict.fromkeys(("train", "valid", "test"), numbered(5)), lambda rng, x: 0 * x
    for distractors in (0, 1):
        generator = GENERATOR | dict(distractors=distractors)
        plain, changed = (Cluttered(splits, 200, 1, 5, 5, a, **generator) for a in (None, erase))
        for split in ("valid", "test"):
            np.testing.assert_array_equal(getattr(plain, split)[0], getattr(changed, split)[0])
        blank = [next(one.train(0, 0))[0].max((1, 2, 3)) == 0 for one in (plain, changed)]
        assert not blank[0].any()
        assert abs(blank[1].mean() - 0.5 ** (1 + distractors)) < 0.12


def test_images_come_in_a_new_order_each_epoch_and_scaled():
    pixels = np.arange(10, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    splits = {split: (pixels, np.arange(10)) for split in ("train", "valid", "test")}

    def augment(rng, x):
        return x + rng.integers(0, 2) * 0

    made = Images(splits, 4, 3, augment)
    batches = list(made.train(0, 0))
    labels = np.concatenate([y for _, y in batches])
    assert sorted(labels[:10]) == list(range(10)) and len(labels) == 12
    np.testing.assert_allclose(
        batches[0][0][:, 0, 0, 0], (labels[:4] - 4.5) / pixels.std(), rtol=1e-6
    )
    for other in ((1, 0), (0, 1)):
        assert (np.concatenate([y for _, y in made.train(*other)]) != labels).any()
    np.testing.assert_array_equal([y for _, y in made.train(0, 0)], [y for _, y in batches])
    np.testing.assert_allclose(made.test[0].std(), 1, rtol=1e-5)


def jpeg_archive(folder):
    """Each class's color in a few images."""
    from PIL import Image

    with tarfile.open(folder / "cifar10_jpeg_small.tar.xz", "w:xz") as file:
        for split, count in (("train", 10), ("test", 2)):
            for c, name in enumerate(images.CIFAR10_CLASSES):
                for i in range(count):
                    content = io.BytesIO()
                    Image.new("RGB", (32, 32), (20 * c, 100, 50)).save(content, "jpeg")
                    member = tarfile.TarInfo(f"{split}/{name}/{i:04}.jpg")
                    member.size = content.tell()
                    content.seek(0)
                    file.addfile(member, content)


def test_cifar10_reads_jpegs_from_their_archive(tmp_path):
    jpeg_archive(tmp_path)
    splits = images.cifar10_jpeg(tmp_path)
    assert {split: x.shape for split, (x, _) in splits.items()} == {
        "train": (90, 32, 32, 3),
        "valid": (10, 32, 32, 3),
        "test": (20, 32, 32, 3),
    }
    for x, y in splits.values():
        assert x.dtype == np.uint8 and np.abs(x[:, 9, 9, 0] - 20.0 * y).max() < 8
    path = next(tmp_path.glob("*.xz"))
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(data_dir.DataError, match=path.name):
        images.cifar10_jpeg(tmp_path)


def test_cifar10_reads_its_binary_files(tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for name in (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"):
        rows = rng.integers(0, 256, (4, 3073), dtype=np.uint8)
        rows[:, 0] = range(4)
        rows[:, 1:1025] = 10 * rows[:, :1]  # red
        rows.tofile(folder / name)
    splits = images.cifar10(tmp_path)
    assert [len(splits[split][1]) for split in ("train", "valid", "test")] == [18, 2, 4]
    for x, y in splits.values():
        assert x.shape[1:] == (32, 32, 3) and (x[..., 0] == 10 * y[:, None, None]).all()
    (folder / "test_batch.bin").write_bytes(b"abc")
    with pytest.raises(data_dir.DataError, match="test_batch.bin"):
        images.cifar10(tmp_path)


@pytest.mark.parametrize("source", [images.cifar10, images.cifar10_jpeg])
def test_missing_photographs_are_said(source, tmp_path):
    with pytest.raises(data_dir.DataError, match="--data-dir DIR"):
        source(tmp_path)
