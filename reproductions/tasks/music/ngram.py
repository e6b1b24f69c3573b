"""An n-gram model of sequences of integers, with Witten-Bell smoothing."""

from collections import Counter, defaultdict

import numpy as np


class NGram:
    r"""Probabilities of the next integer, given the `order` − 1 before it.

    .. math:: p_n(w \mid c) = \frac{N(c, w) + T(c)\, p_{n-1}(w \mid c')}{N(c) + T(c)}

    with T(c) the number of different integers seen after the context c, c′ the context without its
    first, and p₀ uniform (Bell, Cleary & Witten 1990).

    Args:
        order: Integer, 1 or more.
        size: Integer, how many integers there are.
    """

    def __init__(self, order, size):
        self.order, self.size = order, size
        self.counts = defaultdict(Counter)

    def fit(self, sequences):
        for sequence in sequences:
            sequence = tuple(sequence)
            for at, token in enumerate(sequence):
                for n in range(min(at, self.order - 1) + 1):
                    self.counts[sequence[at - n : at]][token] += 1
        return self

    def probabilities(self, before):
        """Of each integer after these, `[size]`."""
        p, before = np.full(self.size, 1 / self.size), tuple(before)
        for n in range(min(len(before), self.order - 1) + 1):
            followers = self.counts.get(before[len(before) - n :])
            if not followers:
                break
            counts = np.zeros(self.size)
            counts[list(followers)] = list(followers.values())
            p = (counts + len(followers) * p) / (counts.sum() + len(followers))
        return p

    def nats(self, sequence):
        """−log of the sequence's probability."""
        sequence, nats = tuple(sequence), 0.0
        for at, token in enumerate(sequence):
            p, first = 1 / self.size, max(0, at - self.order + 1)
            for start in range(at, first - 1, -1):
                followers = self.counts.get(sequence[start:at])
                if not followers:
                    break
                total, kinds = followers.total(), len(followers)
                p = (followers[token] + kinds * p) / (total + kinds)
            nats -= np.log(p)
        return float(nats)
