"""Pairs of sentences as numbers, in batches of few lengths."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from reproductions.data.data_dir import DataError
from reproductions.data.sentence_pairs.subwords import END, PADDING, START, Subwords

Texts = tuple[list[str], list[str]]
Numbers = tuple[tuple[np.ndarray, np.ndarray], np.ndarray]


def padded_length(longest: int, lengths: Sequence[int]) -> int:
    """The first of `lengths` that is enough, else the next multiple of the last one."""
    last = lengths[-1]
    return next((n for n in lengths if longest <= n), -(-longest // last) * last)


def padded(rows: Sequence[Sequence[int]], length: int) -> np.ndarray:
    """Rows of numbers `[n, length]`, filled up with padding."""
    filled = np.full((len(rows), length), PADDING, "int32")
    for row, numbers in zip(filled, rows, strict=True):
        row[: len(numbers)] = numbers
    return filled


class SentencePairs:
    """A task's data: x is a sentence and its translation so far, y the translation's next piece.

    A sentence has an end behind it, and a translation so far has a start before it. All are filled
    up with padding, 0, to one of a few lengths, since recurrent layers compile for each length.

    Args:
        splits: {"train" | "valid" | "test" | "other": (sentences, translations)}.
        pieces: Integer, subwords of both languages together, learned from the training sentences.
        batch: Integer, pairs in a batch.
        steps: Integer, batches an epoch.
        lengths: Lengths of training batches, rising. Longer pairs are not trained on.
    """

    def __init__(
        self, splits: dict[str, Texts], pieces: int, batch: int, steps: int, lengths: Sequence[int]
    ):
        self.texts, self.lengths = splits, tuple(lengths)
        self.batch, self.steps = batch, steps
        self.subwords = Subwords([text for side in splits["train"] for text in side], pieces)

    def _encoded(self, split: str) -> tuple[list, list]:
        sentences, translations = (self.subwords.encode(side) for side in self.texts[split])
        return [[*row, END] for row in sentences], [[START, *row, END] for row in translations]

    def _numbers(self, sentences, translations, length: int | None = None) -> Numbers:
        """x and y, filled up to `length`, or else each to what all of these need."""
        source = length or padded_length(max(map(len, sentences)), self.lengths)
        target = length or padded_length(max(map(len, translations)) - 1, self.lengths)
        before, behind = [row[:-1] for row in translations], [row[1:] for row in translations]
        return (padded(sentences, source), padded(before, target)), padded(behind, target)

    @cached_property
    def buckets(self) -> list[Numbers]:
        """Training pairs by the length that both of a pair fit in."""
        groups: dict[int, list] = {length: [] for length in self.lengths}
        for pair in zip(*self._encoded("train"), strict=True):
            length = padded_length(max(len(pair[0]), len(pair[1]) - 1), self.lengths)
            groups.get(length, []).append(pair)
        found = [
            self._numbers(*zip(*pairs, strict=True), length)
            for length, pairs in groups.items()
            if pairs
        ]
        if not found:
            raise DataError(f"No training pair has at most {self.lengths[-1]} pieces")
        return found

    def train(self, seed: int, epoch: int) -> Iterable:
        """Batches of pairs of a like length; each pair comes before one comes again."""
        import keras

        if keras.backend.backend() != "tensorflow":
            return self.batches(seed, epoch)
        import tensorflow as tf

        # Told that lengths differ, `fit` traces its step once.
        kind = tf.TensorSpec((self.batch, None), "int32")
        return tf.data.Dataset.from_generator(
            lambda: self.batches(seed, epoch), output_signature=((kind, kind), kind)
        ).prefetch(4)

    def batches(self, seed: int, epoch: int) -> Iterator[Numbers]:
        rng, left = np.random.default_rng([6, seed, epoch]), []
        for _ in range(self.steps):
            left = left or self._shuffled(rng)
            bucket, rows = left.pop()
            (source, before), behind = self.buckets[bucket]
            yield (source[rows], before[rows]), behind[rows]

    def _shuffled(self, rng) -> list[tuple[int, np.ndarray]]:
        """Batches of all buckets; what is left of a bucket waits for another order."""
        found: list[tuple[int, Any]] = []
        for bucket, (_, behind) in enumerate(self.buckets):
            count = max(1, len(behind) // self.batch)  # a small one repeats its pairs
            order = np.resize(rng.permutation(len(behind)), count * self.batch)
            found += [(bucket, rows) for rows in order.reshape(count, self.batch)]
        return [found[i] for i in rng.permutation(len(found))]

    def references(self, split: str) -> list[str]:
        return self.texts[split][1]

    @cached_property
    def valid(self) -> Numbers:
        return self._numbers(*self._encoded("valid"))

    @cached_property
    def test(self) -> Numbers:
        return self._numbers(*self._encoded("test"))

    @cached_property
    def other_test(self) -> Numbers:
        return self._numbers(*self._encoded("other"))
