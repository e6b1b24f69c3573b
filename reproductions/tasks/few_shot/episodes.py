"""Episodes: few drawings of few characters to learn from, and others of the same to tell."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Fixed:
    """Episodes for validation or test, the same for all models.

    Args:
        images: Bytes of shape `[c * drawings, side, side]`.
        kinds: For each kind of episode the numbers of its images `[episodes, ways, shots + q]`, the
            supports of each character first. Of "any" the characters are any of the split, of
            "within" all of them are of one alphabet.
    """

    images: np.ndarray
    kinds: dict[str, np.ndarray]


class Episodes:
    """Batches of training episodes, and fixed ones for validation and test.

    A batch is `(supports [e, ways, shots, side, side, 1], queries [e, ways * q, side, side, 1])`
    with what is to be told. By `target` that is "place", the place of each query's character among
    the supports `[e, ways * q]`, or "character", its number among all characters of the training
    `[e, ways * (shots + q)]`, supports first. Characters turned by a quarter are characters of
    their own. In training their order is drawn anew each time.
    """

    def __init__(self, splits, config):
        self.splits, self.config = splits, config
        images = splits["train"].images
        self.characters = 4 * len(images)
        self.side = images.shape[-1]

    def train(self, seed, epoch):
        rng, config = np.random.default_rng([7, seed, epoch]), self.config
        for _ in range(config["steps"]):
            drawn = [self._episode(rng) for _ in range(config["batch"])]
            images, chosen = (np.stack(part) for part in zip(*drawn, strict=True))
            yield self.inputs(images), self._told(chosen)

    def _episode(self, rng):
        """Images [ways, shots + q, side, side] and the numbers of their characters [ways]."""
        source, config = self.splits["train"].images, self.config
        chosen = rng.choice(self.characters, config["ways"], replace=False)
        count = config["shots"] + config["queries"]
        images = []
        for turn, c in zip(*np.divmod(chosen, len(source)), strict=True):
            some = source[c, rng.permutation(source.shape[1])[:count]]
            images.append(np.rot90(some, turn, axes=(1, 2)))
        return np.stack(images), chosen

    def inputs(self, images):
        """Bytes [e, ways, shots + q, side, side] → supports and queries."""
        images = (images / np.float32(255))[..., None]
        supports, queries = np.split(images, [self.config["shots"]], axis=2)
        return supports, queries.reshape(len(queries), -1, *queries.shape[3:])

    def _told(self, chosen):
        ways, shots, queries = (self.config[k] for k in ("ways", "shots", "queries"))
        if self.config["target"] == "place":
            place = np.arange(ways, dtype="int32").repeat(queries)
            return np.broadcast_to(place, (len(chosen), ways * queries))
        both = [chosen.repeat(shots, axis=1), chosen.repeat(queries, axis=1)]
        return np.concatenate(both, axis=1).astype("int32")

    @cached_property
    def valid(self):
        return self._fixed("valid"), None

    @cached_property
    def test(self):
        return self._fixed("test"), None

    def _fixed(self, split):
        characters, config = self.splits[split], self.config
        rng = np.random.default_rng(["valid", "test"].index(split))
        count, drawings = characters.images.shape[:2]
        every = np.arange(count)
        alphabets = [every[characters.alphabets == a] for a in np.unique(characters.alphabets)]
        large = [members for members in alphabets if len(members) >= config["ways"]]
        pools = {"any": [every], "within": large}
        size = config["shots"] + config["told"]
        kinds = {}
        for kind, choices in pools.items():
            index = np.empty((config[f"{split}_episodes"], config["ways"], size), int)
            for episode in index:
                pool = choices[rng.integers(len(choices))]
                for row, c in zip(episode, rng.permutation(pool), strict=False):
                    row[:] = c * drawings + rng.permutation(drawings)[:size]
            kinds[kind] = index
        return Fixed(characters.images.reshape(-1, self.side, self.side), kinds)
