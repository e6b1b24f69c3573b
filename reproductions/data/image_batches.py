"""Batches of images: changed at random, or put among clutter.

A set is an object with `train(seed, epoch)`, an iterable of batches `(x, y)` that depends on
nothing but its two arguments, and with `valid` and `test`, fixed arrays `(x, y)`.
"""

from collections.abc import Iterator
from functools import cached_property

import numpy as np


def clutter(
    rng: np.random.Generator,
    images: np.ndarray,
    labels: np.ndarray,
    count: int,
    canvas: int,
    distractors: int,
    crop: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Digits among pieces of other digits, after DeepMind's generator for Mnih et al. (2014).

    `distractors` pieces of `crop` × `crop` pixels, each from a uniform place of a random digit, are
    added at uniform places and capped at 1; then one digit is added, wholly inside, and the sum
    clipped to [0, 1]. Returns `(x [count, canvas, canvas, 1], y [count])`.
    """
    x, every = np.zeros((count, canvas, canvas, 1), "float32"), np.arange(count)
    # An index a pixel takes half the time of one for each axis.
    pixels, source = x.reshape(-1), images.reshape(-1)

    def window(chosen, side, outer):
        top, left = rng.integers(0, outer - side + 1, (2, count))
        first = (chosen * outer + top) * outer + left
        return first[:, None, None] + outer * np.arange(side)[:, None] + np.arange(side)

    for _ in range(distractors):
        chosen = rng.integers(0, len(images), count)
        pixels[window(every, crop, canvas)] += source[window(chosen, crop, images.shape[1])]
    np.clip(x, 0.0, 1.0, out=x)
    chosen = rng.integers(0, len(images), count)
    pixels[window(every, images.shape[1], canvas)] += images[chosen, ..., 0]
    return np.clip(x, 0.0, 1.0, out=x), labels[chosen]


class Cluttered:
    """Cluttered pictures of the `splits`' digits, each split from its own digits alone.

    With `augment(rng, digits)`, a batch to train with is made of digits of which it changes half,
    pieces and all: were the pieces left as they are, a network would find digits by what changing
    does to strokes, and were all changed, it would never see the strokes of tests.
    """

    def __init__(self, splits, batch, steps, valid_count, test_count, augment=None, **generator):
        self.splits, self.batch, self.steps, self.augment = splits, batch, steps, augment
        self.valid_count, self.test_count, self.generator = valid_count, test_count, generator

    def train(self, seed: int, epoch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        rng = np.random.default_rng([0, seed, epoch])
        for _ in range(self.steps):
            yield clutter(rng, *self.digits(rng), self.batch, **self.generator)

    def digits(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """What a batch is made of: all digits, or some, of which half are changed."""
        images, labels = self.splits["train"]
        if self.augment is None:
            return images, labels
        chosen = rng.integers(0, len(images), 4 * self.batch)
        digits, half = images[chosen], 2 * self.batch
        digits[:half] = self.augment(rng, digits[:half])
        return digits, labels[chosen]

    @cached_property
    def valid(self) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(1)
        return clutter(rng, *self.splits["valid"], self.valid_count, **self.generator)

    @cached_property
    def test(self) -> tuple[np.ndarray, np.ndarray]:
        return self.other_test()

    def other_test(self, **changes: int) -> tuple[np.ndarray, np.ndarray]:
        """A test set by another generator: as `test`, but for `changes`."""
        rng = np.random.default_rng(2)
        return clutter(rng, *self.splits["test"], self.test_count, **self.generator | changes)


def shifted(
    rng: np.random.Generator, images: np.ndarray, reach: int, flip: bool = False
) -> np.ndarray:
    """Images moved by up to `reach` pixels each way, zeros coming in, and flipped half the time."""
    n, height, width, _ = images.shape
    padded = np.pad(images, [(0, 0), (reach, reach), (reach, reach), (0, 0)])
    top, left = rng.integers(0, 2 * reach + 1, (2, n))
    rows, columns = top[:, None] + np.arange(height), left[:, None] + np.arange(width)
    if flip:
        columns = np.where(rng.random(n)[:, None] < 0.5, columns, columns[:, ::-1])
    return padded[np.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]


def stretched(rng: np.random.Generator, images: np.ndarray, count: int) -> np.ndarray:
    """`count` rows and columns put in at random places, as means of their neighbors; then a crop.

    After Ha et al. (2016): digits grow a little, and move by up to `count` pixels.
    """
    n, *sides, _ = images.shape
    for axis, side in enumerate(sides, start=1):
        new = rng.integers(1, side - 1, (n, count)) - 0.5  # half-way between two old lines
        places = np.sort(np.concatenate([np.tile(np.arange(side), (n, 1)), new], axis=1))
        lines = rng.integers(0, count + 1, n)[:, None] + np.arange(side)
        places = np.take_along_axis(places, lines, axis=1)
        places = places[:, :, None, None] if axis == 1 else places[:, None, :, None]
        low, high = (
            np.take_along_axis(images, edge(places).astype(int), axis=axis)
            for edge in (np.floor, np.ceil)
        )
        images = (low + high) / 2
    return images.astype("float32")


def skewed(
    rng: np.random.Generator, images: np.ndarray, most: float, bend: float = 0.0, knots: int = 5
) -> np.ndarray:
    """Images turned, sheared, and made larger or smaller along each axis, around their center.

    Each of the four numbers that an affine map has beside its shift is moved by up to `most`. Then
    `knots` × `knots` even places move by up to `bend` pixels each way, and what is between them as
    linear interpolation has it.
    """
    n, *sides, _ = images.shape
    center = (np.array(sides)[:, None, None] - 1) / 2
    inside = np.indices(sides) - center  # [2, height, width]
    maps = np.eye(2) + rng.uniform(-most, most, (n, 2, 2))
    # Where each pixel comes from, [n, 2, height, width].
    places = (maps @ inside.reshape(2, -1)).reshape(n, *inside.shape) + center
    if bend:
        moves = rng.uniform(-bend, bend, (n, 2, knots, knots))
        places += _hats(knots, sides[0]).T @ moves @ _hats(knots, sides[1])
    return _sampled(images, *np.moveaxis(places.astype("float32"), 1, 0))


def _hats(knots, side):
    """What each of `knots` even places counts for each of `side`: linear interpolation."""
    return np.maximum(0, 1 - np.abs(np.linspace(0, knots - 1, side) - np.arange(knots)[:, None]))


def _sampled(images, rows, columns):
    """Images `[n, h, w, c]` read bilinearly at `rows` and `columns`, `[n, …]`; zero outside."""
    n, height, width, channels = images.shape
    padded = np.pad(images, [(0, 0), (1, 1), (1, 1), (0, 0)]).reshape(-1, channels)
    rows, columns = np.clip(rows + 1, 0, height + 1), np.clip(columns + 1, 0, width + 1)
    top, left = np.minimum(np.floor(rows), height), np.minimum(np.floor(columns), width)
    down, right = (rows - top)[..., None], (columns - left)[..., None]
    corner = (top * (width + 2) + left).astype(int)
    corner += np.arange(n)[:, None, None] * (height + 2) * (width + 2)
    first, second = (
        padded.take(line, axis=0) * (1 - right) + padded.take(line + 1, axis=0) * right
        for line in (corner, corner + width + 2)
    )
    return first * (1 - down) + second * down


class Images:
    """Batches of the `splits`' images, in a new order each epoch, changed by `augment(rng, x)`.

    Where pixels are bytes they are standardized by the training images' mean and deviation, a
    number a channel.
    """

    def __init__(self, splits, batch, steps, augment):
        self.splits, self.batch, self.steps, self.augment = splits, batch, steps, augment
        x = splits["train"][0]
        self.mean, self.deviation = np.float32(0), np.float32(1)
        if x.dtype == np.uint8:
            self.mean = x.mean((0, 1, 2)).astype("float32")
            self.deviation = x.std((0, 1, 2)).astype("float32")

    def scale(self, x):
        return (x - self.mean) / self.deviation

    def train(self, seed: int, epoch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        rng, (x, y) = np.random.default_rng([3, seed, epoch]), self.splits["train"]
        order = rng.permutation(len(x))
        for step in range(self.steps):
            # Where an epoch asks for more than there is, the order begins again.
            chosen = order.take(np.arange(self.batch) + step * self.batch, mode="wrap")
            # Scaled first, the zeros that shifts bring in are the mean color.
            yield self.augment(rng, self.scale(x[chosen])), y[chosen]

    @cached_property
    def valid(self) -> tuple[np.ndarray, np.ndarray]:
        x, y = self.splits["valid"]
        return self.scale(x), y

    @cached_property
    def test(self) -> tuple[np.ndarray, np.ndarray]:
        x, y = self.splits["test"]
        return self.scale(x), y
