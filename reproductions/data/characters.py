"""Texts for language models of characters, and their batches.

The readers give {split: text}; `Characters` is a set as the harness takes it.
"""

import gzip
import re
import zlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np

from reproductions.data.data_dir import DataError, find


def penn_treebank(data_dir: Path | None = None) -> dict[str, str]:
    """Characters of the Penn Treebank in Mikolov's files, blanks again for underscores."""
    splits = {}
    for split in ("train", "valid", "test"):
        path = find(f"ptb.char.{split}.txt.gz", data_dir, "ptb", embedded="python")
        text = _read(path)
        if "_" not in text or re.search(r"\S\S", text):
            raise DataError(
                f"{path} does not hold single characters with blanks between them, and _ for blanks"
            )
        splits[split] = text.replace(" ", "").replace("_", " ")
    return splits


def text8(data_dir: Path | None = None) -> dict[str, str]:
    """The file text8, or what there is of its beginning, in parts of 90, 5 and 5 %."""
    return _cut(_read(find("text8*", data_dir, "text", embedded="python")))


def tinyshakespeare(data_dir: Path | None = None) -> dict[str, str]:
    """A million characters of Shakespeare, in parts of 90, 5 and 5 %."""
    return _cut(_read(find("tinyshakespeare.txt", data_dir, "text", embedded="python")))


def python_documentation() -> dict[str, str]:
    """Chapters of Python's manual that come with it, in parts of 90, 5 and 5 %.

    The text differs between versions of Python (3.11.7: 373,104 characters). What chapters repeat
    of others is left out, so that no paragraph of the test text is in the training text.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise DataError(
            "The data `python` needs the module pydoc_data of Python's standard library, which "
            "this Python lacks"
        ) from None
    chapters, paragraphs = sorted(topics), {}
    for i in np.random.default_rng(0).permutation(len(chapters)):  # else the alphabet's end is last
        for paragraph in re.split(r"\n\s*\n", topics[chapters[i]]):
            text = re.sub(r"[^\n -~]", "?", paragraph.rstrip())
            if text:
                paragraphs.setdefault(" ".join(text.split()), text)
    return _cut("\n\n".join(paragraphs.values()))


def _read(path):
    try:
        content = path.read_bytes()
        text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise DataError(f"{path} is not a readable text: {error}") from error
    if not text.strip():
        raise DataError(f"{path} is empty")
    return text


def _cut(text):
    first, second = len(text) * 90 // 100, len(text) * 95 // 100
    return {"train": text[:first], "valid": text[first:second], "test": text[second:]}


class Characters:
    """Batches of texts as numbers: x a sequence, y the character after each of its characters.

    Args:
        splits: {"train" | "valid" | "test": text}.
        batch: Integer, sequences a training batch, from random places of the text.
        steps: Integer, batches an epoch.
        length: Integer, characters a sequence.
        streams: Integer, parts of a text that are evaluated side by side.
        warm_up: Integer, characters that a part reads before those it is judged by.
    """

    def __init__(self, splits, batch, steps, length, streams, warm_up):
        self.batch, self.steps, self.length = batch, steps, length
        self.streams, self.warm_up = streams, warm_up
        whole = "".join(splits.values())
        codes = np.frombuffer(whole.encode("utf-32-le"), np.uint32)
        known = np.flatnonzero(np.bincount(codes))
        numbers = np.zeros(known[-1] + 1, "int32")
        numbers[known] = np.arange(len(known))
        self.vocabulary = "".join(map(chr, known))
        ends = np.cumsum([len(text) for text in splits.values()])[:-1]
        self.splits = dict(zip(splits, np.split(numbers[codes], ends), strict=True))
        if len(self.splits["train"]) <= length:
            raise DataError(
                f"Expected a training text longer than a sequence of {length} characters, got "
                f"{len(self.splits['train'])}"
            )

    def train(self, seed: int, epoch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        rng, text = np.random.default_rng([4, seed, epoch]), self.splits["train"]
        for _ in range(self.steps):
            starts = rng.integers(0, len(text) - self.length, self.batch)
            batch = text[starts[:, None] + np.arange(self.length + 1)]
            yield batch[:, :-1], batch[:, 1:]

    @cached_property
    def valid(self) -> tuple[np.ndarray, np.ndarray]:
        return streams(self.splits["valid"], self.streams, self.warm_up)

    @cached_property
    def test(self) -> tuple[np.ndarray, np.ndarray]:
        return streams(self.splits["test"], self.streams, self.warm_up)


def streams(text: np.ndarray, count: int, warm_up: int) -> tuple[np.ndarray, np.ndarray]:
    """A text in overlapping parts: (x [count, t], y [count, t]), each character in y once.

    The parts but the first begin with `warm_up` characters that y leaves to the part before: there,
    and where the text has ended, y is -1. So every character but the text's first is predicted
    once, from at least `warm_up` characters if there are so many before it.
    """
    part = -(-max(len(text) - 1 - warm_up, count) // count)
    places = part * np.arange(count)[:, None] + np.arange(warm_up + part)
    x = text.take(places, mode="clip")
    y = text.take(places + 1, mode="clip")
    y[places + 1 >= len(text)] = -1
    y[1:, :warm_up] = -1
    return x, y
