"""The tasks' data: generated, embedded in scikit-learn, or read from `--data-dir`.

A set is an object with `train(seed, epoch)`, an iterable of batches `(x, y)` that depends on
nothing but its two arguments, and with `valid` and `test`, fixed arrays `(x, y)`. Heavy packages
are imported where they are used.
"""

import gzip
import os
import struct
from functools import cached_property
from pathlib import Path

import numpy as np

IDX_FILES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}


class DataError(RuntimeError):
    """Data that is missing or unreadable; the message says what to do."""


def digits(scale=2):
    """scikit-learn's 1797 digits of 8×8, pixels repeated: {split: ([n, 8s, 8s, 1], labels [n])}."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise DataError("The data `digits` needs scikit-learn: pip install scikit-learn") from None
    images, labels = load_digits(return_X_y=True)
    images = (
        (images.reshape(-1, 8, 8, 1) / 16.0).astype("float32").repeat(scale, 1).repeat(scale, 2)
    )
    order = np.random.default_rng(0).permutation(len(images))
    parts = {"train": order[:1197], "valid": order[1197:1497], "test": order[1497:]}
    return {split: (images[i], labels[i].astype("int32")) for split, i in parts.items()}


def mnist(data_dir=None):
    """MNIST, the last 5000 training digits as validation: {split: ([n, 28, 28, 1], labels [n])}."""
    folder = Path(data_dir or os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")).expanduser()
    names = [name for pair in IDX_FILES.values() for name in pair]
    for place in (folder, folder / "mnist", folder / "downloads" / "manual"):
        if all((place / name).is_file() for name in names):
            read = {s: [_read_idx(place / name) for name in pair] for s, pair in IDX_FILES.items()}
            break
    else:
        read = _prepared_mnist(folder, names)
    arrays = {
        split: ((x.reshape(-1, 28, 28, 1) / np.float32(255)), y.astype("int32"))
        for split, (x, y) in read.items()
    }
    x, y = arrays["train"]
    return {
        "train": (x[:-5000], y[:-5000]),
        "valid": (x[-5000:], y[-5000:]),
        "test": arrays["test"],
    }


def _prepared_mnist(folder, names):
    if not any(folder.glob("mnist/*/dataset_info.json")):  # before an import that takes seconds
        raise DataError(
            f"MNIST was not found in {folder}. Put the four files {', '.join(names)} into a folder "
            "and name it with --data-dir DIR, or prepare MNIST once, with a network: "
            "python -c \"import tensorflow_datasets as t; t.load('mnist')\". "
            "The data `digits` needs no files."
        )
    try:
        import tensorflow_datasets as tfds

        read = tfds.load("mnist", data_dir=folder, download=False, batch_size=-1)
    except Exception as error:
        message = f"MNIST in {folder} could not be read by tensorflow-datasets: {error}"
        raise DataError(message) from error
    return {
        split: [read[split][k].numpy() for k in ("image", "label")] for split in ("train", "test")
    }


def _read_idx(path):
    try:
        with gzip.open(path) as file:
            content = file.read()
        _, _, kind, rank = struct.unpack(">4B", content[:4])
        shape = struct.unpack(f">{rank}I", content[4 : 4 + 4 * rank])
        if kind != 8:
            raise ValueError(f"expected unsigned bytes (type 8), got type {kind}")
        return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)
    except (OSError, EOFError, ValueError, struct.error) as error:
        raise DataError(f"{path} is not a readable idx file: {error}") from error


def clutter(rng, images, labels, count, canvas, distractors, crop):
    """Digits among pieces of other digits, after DeepMind's generator for Mnih et al. (2014).

    `distractors` pieces of `crop` × `crop` pixels, each from a uniform place of a random digit, are
    added at uniform places and capped at 1; then one digit is added, wholly inside, and the sum
    clipped to [0, 1]. Returns `(x [count, canvas, canvas, 1], y [count])`.
    """
    x = np.zeros((count, canvas, canvas, 1), "float32")
    row = np.arange(count)[:, None, None]

    def window(side, outer):
        top, left = rng.integers(0, outer - side + 1, (2, count))
        return (
            row,
            (top[:, None] + np.arange(side))[:, :, None],
            (left[:, None] + np.arange(side))[:, None, :],
        )

    for _ in range(distractors):
        source = images[rng.integers(0, len(images), count)]
        x[window(crop, canvas)] += source[window(crop, images.shape[1])]
    np.minimum(x, 1.0, out=x)
    chosen = rng.integers(0, len(images), count)
    x[window(images.shape[1], canvas)] += images[chosen]
    return np.clip(x, 0.0, 1.0, out=x), labels[chosen]


class Cluttered:
    """Cluttered pictures of the `splits`' digits, each split from its own digits alone."""

    def __init__(self, splits, batch, steps, valid_count, test_count, **generator):
        self.splits, self.batch, self.steps = splits, batch, steps
        self.valid_count, self.test_count, self.generator = valid_count, test_count, generator

    def train(self, seed, epoch):
        """Batches made by `tf.data` while the network trains on those before."""
        import tensorflow as tf

        def batches():
            rng = np.random.default_rng([0, seed, epoch])
            for _ in range(self.steps):
                yield clutter(rng, *self.splits["train"], self.batch, **self.generator)

        canvas = self.generator["canvas"]
        images = tf.TensorSpec((self.batch, canvas, canvas, 1), tf.float32)
        labels = tf.TensorSpec((self.batch,), tf.int32)
        made = tf.data.Dataset.from_generator(batches, output_signature=(images, labels))
        return made.prefetch(4)

    @cached_property
    def valid(self):
        rng = np.random.default_rng(1)
        return clutter(rng, *self.splits["valid"], self.valid_count, **self.generator)

    @cached_property
    def test(self):
        return self.other_test()

    def other_test(self, **changes):
        """A test set by another generator: as `test`, but for `changes`."""
        rng = np.random.default_rng(2)
        return clutter(rng, *self.splits["test"], self.test_count, **self.generator | changes)
