"""Language models of pieces: each number of each note is a token, in the order of the graph.

A tick's token is how long after the last note's it is, as event-based models of music have it;
the others are the graph's objects. So a sequence of tokens is a piece, and probabilities compare
with those of index tuples.
"""

import keras
import numpy as np
from keras import layers, ops

from hyperkeras.layers import HyperLSTM, LayerNormLSTM
from reproductions.data.tunes import OBJECTS, PREDICATES
from reproductions.tasks.music.base import PieceNetwork, triples_of
from reproductions.tasks.music.ngram import NGram

END, UNSEEN = 0, 1
HYPER_UNITS, EMBEDDING = 24, 8
ORDERS = 3, 5, 7, 9, 13


class Vocabulary:
    """The tokens that training pieces have, 0 for an end and 1 for any other token.

    Each of those is as likely as another, which `unseen_nats` adds.
    """

    def __init__(self, x):
        known = np.unique(tokens(x))
        known = known[known >= 0]
        self.codes = np.full(len(PREDICATES) * OBJECTS, UNSEEN, "int32")
        self.codes[known] = np.arange(2, 2 + len(known))
        self.tokens = np.concatenate([[-1, -1], known])
        self.size = 2 + len(known)
        self.unseen_nats = float(np.log(max(1, len(self.codes) - len(known))))

    def encode(self, x):
        """Numbers of tokens `[b, m + 1]`, an end after the last and −1 after that."""
        piece_tokens = tokens(x)
        numbers = np.where(piece_tokens >= 0, self.codes[np.maximum(piece_tokens, 0)], -1)
        numbers = np.pad(numbers, [[0, 0], [0, 1]], constant_values=-1)
        length = (piece_tokens >= 0).sum(axis=1)
        numbers[np.arange(len(x)), length] = END
        # A piece that has all the notes that there can be has no end to tell.
        numbers[length == piece_tokens.shape[1], -1] = -1
        return numbers

    def decode(self, numbers, rng):
        """Index tuples `[m, 3]` of numbers of tokens; a tick begins a note."""
        subject, tick, tuples = -1, 0, []
        for number in numbers:
            token = int(self.tokens[number])
            if number == UNSEEN:
                token = int(rng.choice(np.flatnonzero(self.codes == UNSEEN)))
            predicate, value = divmod(token, OBJECTS)
            if predicate == 0:
                subject, tick = subject + 1, min(tick + value, OBJECTS - 1)
                value = tick
            tuples.append((max(subject, 0), predicate, value))
        return np.array(tuples, "int32").reshape(-1, 3)


def tokens(x):
    """Index tuples `[b, m, 3]` as numbers below 4 · 128, −1 where there is none."""
    ticks = np.where((x[..., 1] == 0) & (x[..., 0] >= 0), x[..., 2], 0)
    before = np.maximum.accumulate(ticks, axis=1)
    before = np.pad(before[:, :-1], [[0, 0], [1, 0]])
    value = np.where(x[..., 1] == 0, x[..., 2] - before, x[..., 2])
    return np.where(x[..., 0] >= 0, x[..., 1] * OBJECTS + value, -1)


class LanguageModel(PieceNetwork):
    """A recurrent layer over tokens, and scores of the next one.

    Args:
        model: "lstm" or "hyper_lstm".
        vocabulary: A `Vocabulary`.
        most: Integer, notes of a piece at most.
        units: Integer.
        embedding: Integer, width of a token's embedding.
        dropout: Float, left out of the recurrent layer's output, and recurrent dropout.
    """

    def __init__(self, model, vocabulary, most, units, embedding=24, dropout=0.0, **kwargs):
        super().__init__(most, name=model, **kwargs)
        self.vocabulary = vocabulary
        shared = dict(layer_norm=False, recurrent_dropout=dropout)
        shared |= dict(return_sequences=True, return_state=True)
        self.embedding = layers.Embedding(vocabulary.size, embedding)
        if model == "hyper_lstm":
            hyper = dict(hyper_units=HYPER_UNITS, embedding_dim=EMBEDDING)
            self.recurrent = HyperLSTM(units, **hyper, **shared)
        else:
            self.recurrent = LayerNormLSTM(units, **shared)
        self.drop = layers.Dropout(dropout)
        self.scores = layers.Dense(vocabulary.size)
        self.codes = ops.convert_to_tensor(vocabulary.codes)
        self(np.stack([triples_of(most)] * 2))

    @staticmethod
    def parameters(model, size, n, e=24):
        """How many there are with n units and `size` tokens."""
        count = size * e + 4 * n * (e + n + 1) + (n + 1) * size
        if model == "hyper_lstm":
            h, z = HYPER_UNITS, EMBEDDING
            count += 4 * h * (e + n + h + 1) + (h + 1) * 8 * z + h * 4 * z + 12 * z * n
        return count

    def call(self, x, training=False):
        x = ops.convert_to_tensor(x)
        there = x[..., 0] >= 0  # [b, m]
        x = ops.maximum(x, 0)
        is_tick = x[..., 1] == 0
        # Ticks never fall, so the last one is that of four tuples ago.
        before = ops.pad(x[:, :-4, 2], [[0, 0], [4, 0]])
        value = ops.where(is_tick, x[..., 2] - before, x[..., 2])
        numbers = ops.take(self.codes, x[..., 1] * OBJECTS + value, axis=0)
        numbers = ops.where(there, numbers, END)
        given = ops.pad(numbers[:, :-1], [[0, 0], [1, 0]], constant_values=END)
        y, *_ = self.recurrent(self.embedding(given), training=training)
        logs = ops.log_softmax(self.scores(self.drop(y, training=training)))
        nats = -ops.take_along_axis(logs, numbers[..., None], axis=-1)[..., 0]
        nats = nats + self.vocabulary.unseen_nats * ops.cast(numbers == UNSEEN, nats.dtype)
        # Every tuple, and the end after the last.
        counted = ops.concatenate([ops.ones_like(there[:, :1]), there[:, :-1]], axis=1)
        nats = ops.sum(nats * ops.cast(counted, nats.dtype), axis=-1)
        return ops.stack([nats, nats], axis=-1)

    def sample(self, count, seed=0):
        seeds, rng = keras.random.SeedGenerator(seed), np.random.default_rng(seed)
        cell = self.recurrent.cell
        states = cell.get_initial_state(count)
        numbers, drawn = np.full(count, END), []
        open_ones = np.ones(count, bool)
        for _ in range(self.steps):
            y, states = cell(self.embedding(numbers), states)
            numbers = np.asarray(keras.random.categorical(self.scores(y), 1, seed=seeds))[:, 0]
            open_ones &= numbers != END
            if not open_ones.any():
                break
            drawn.append(np.where(open_ones, numbers, -1))
        drawn = np.array(drawn).reshape(-1, count).T
        return [self.vocabulary.decode(row[row >= 0], rng) for row in drawn]


class Counted(PieceNetwork):
    """A model that learns nothing by gradients: called, it gives zeros."""

    def __init__(self, most, **kwargs):
        super().__init__(most, **kwargs)
        self.nothing = self.add_weight(name="nothing", shape=(), initializer="zeros")
        self(np.stack([triples_of(most)] * 2))

    def call(self, x, training=False):
        zeros = ops.zeros_like(ops.cast(x[:, 0, :2], "float32"))
        return zeros * self.nothing


class NGramModel(Counted):
    """An n-gram model of tokens; its order is the best of `orders` on validation pieces."""

    def __init__(self, vocabulary, most, train, valid, orders=ORDERS, **kwargs):
        super().__init__(most, **kwargs)
        self.vocabulary = vocabulary
        sequences = self.sequences(train)
        by_nats = {}
        for order in orders:
            ngram = NGram(order, vocabulary.size).fit(sequences)
            by_nats[sum(map(ngram.nats, self.sequences(valid)))] = ngram
        self.ngram = by_nats[min(by_nats)]

    def sequences(self, x):
        numbers = self.vocabulary.encode(x)
        return [row[row >= 0].tolist() for row in numbers]

    def nats(self, x):
        sequences = self.sequences(x)
        unseen = [sequence.count(UNSEEN) * self.vocabulary.unseen_nats for sequence in sequences]
        return np.array([self.ngram.nats(sequence) for sequence in sequences]) + unseen

    def sample(self, count, seed=0):
        rng, pieces = np.random.default_rng(seed), []
        for _ in range(count):
            numbers = []
            while len(numbers) < self.steps:
                p = self.ngram.probabilities(numbers)
                number = int(rng.choice(len(p), p=p / p.sum()))
                if number == END:
                    break
                numbers.append(number)
            pieces.append(self.vocabulary.decode(numbers, rng))
        return pieces


class Real(Counted):
    """Training pieces in place of samples: how a model that knew music as well as they would do."""

    def __init__(self, pieces, most, **kwargs):
        super().__init__(most, **kwargs)
        self.pieces = pieces

    def nats(self, x):
        return np.zeros(len(x))

    def sample(self, count, seed=0):
        from reproductions.data.tunes import triples

        chosen = np.random.default_rng(seed).permutation(len(self.pieces))[:count]
        return [triples(self.pieces[i]) for i in chosen]
