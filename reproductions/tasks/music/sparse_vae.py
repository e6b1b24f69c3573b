"""A variational autoencoder of pieces that never holds their index space.

Its encoder and its decoder place Gaussians in it: the encoder to read the tuples of the piece, the
decoder to read those it has emitted so far, and to emit the next one.
"""

import keras
import numpy as np
from keras import layers, ops

from hyperkeras.ops import proportions, scale_means
from reproductions.data.tunes import OBJECTS, PREDICATES
from reproductions.likelihoods import discretized_gaussian as likelihood
from reproductions.tasks.music.base import SMALL, Autoencoder, triples_of

NEAR = 8  # tuples, two notes, that a read sees before where it reads


class SparseVAE(Autoencoder):
    r"""Tuples read and emitted by Gaussians in the index space (note, predicate, object).

    A tuple's embedding is the contraction of the graph with a weight tensor in factors,
    e = C[p, o] ⊙ (1 + A[s]), gathered at the tuple's indices.

    Encoder: from the mean embedding a source places R Gaussians (μ, σ) in the index space; each
    reads the features of the piece's tuples t by their shares q(t | k), and z's mean and variance
    are a function of what is read.

    Decoder: the tuples come one after the other, each given z, the last `window` tuples, and R
    reads of the notes so far, by Gaussians placed relative to the last tick: shares

    .. math:: q_r(i) \propto \exp\Big(-\frac{(t_i - (\tau + \delta_r))^2}{2 \sigma_r^2}\Big)

    over the ticks t_i of notes i. Then k Gaussians with values v are emitted, and the next tuple's
    probability is their mixture, cut into integers,

    .. math:: \sum_k \mathrm{softmax}(v)_k \prod_c P(x_c \mid \mu_{kc}, \sigma_{kc}),

    times that of there being one at all. The note's and the predicate's columns of μ, relative to
    the last tuple's and given its predicate alone, are shared by the k. The object's column is, for
    `free` of them, anywhere; for as many, relative to the last object of the same place in a note;
    and for two a read, relative to the object that was read there, and to the last one moved as the
    music moved there. A value depends on the object where its tuple is.

    Args:
        most: Integer, notes of a piece at most.
        embedding, hidden, latent: Integers, widths.
        reads: Integer R, Gaussians that read, in the encoder and in the decoder.
        free: Integer.
        window: Integer, tuples seen directly.
        free_nats: Float, of each latent dimension.
        dropout: Float.
    """

    def __init__(
        self,
        most,
        embedding=24,
        hidden=96,
        latent=16,
        reads=7,
        free=15,
        window=16,
        free_nats=0.1,
        dropout=0.0,
        **kwargs,
    ):
        super().__init__(most, latent, free_nats, **kwargs)
        self.size = (most, len(PREDICATES), OBJECTS)
        self.reads, self.free, self.window = reads, free, window
        self.components = 2 * free + 2 * reads
        self.objects = layers.Embedding(len(PREDICATES) * OBJECTS, embedding)
        self.subjects = layers.Embedding(most, embedding)
        self.encoder_source = keras.Sequential(
            [layers.Dense(hidden // 2, "relu"), layers.Dense(6 * reads, kernel_initializer=SMALL)]
        )
        self.encoder_means = self.add_weight(
            name="encoder_means", shape=(reads, 3), initializer=keras.initializers.RandomNormal(1.0)
        )
        self.encoder_features = layers.Dense(embedding, "relu")
        self.encoder_head = keras.Sequential(
            [layers.Dense(hidden, "relu"), layers.Dense(2 * latent, kernel_initializer=SMALL)]
        )
        self.trunk = layers.Dense(hidden, "relu")
        self.queries = layers.Dense(2 * reads, kernel_initializer=SMALL)
        self.features = layers.Dense(embedding, "relu")
        self.mix = layers.Dense(hidden, "relu")
        self.drop = layers.Dropout(dropout, seed=0)
        self.likes = layers.Dense(embedding, kernel_initializer=SMALL)
        self.structure = layers.Dense(4, kernel_initializer=SMALL)
        self.emit = layers.Dense(1 + 3 * self.components, kernel_initializer=SMALL)
        self(np.stack([triples_of(most)] * 2))

    @staticmethod
    def parameters(most, e, h, z=16, r=7, free=15, window=16, objects=OBJECTS):
        """How many there are, e, h and z the widths of embedding, hidden and latent."""
        k = 2 * free + 2 * r
        encoder = (e + 1) * (h // 2) + (h // 2 + 1) * 6 * r + 3 * r
        encoder += (NEAR * e + 1) * e + (e + r * e + 1) * h + (h + 1) * 2 * z
        decoder = (window * e + z + 5) * h + (h + 1) * 2 * r + (NEAR * e + 1) * e
        decoder += (h + (r + 1) * e + 2 * r + z + 5) * h + (h + 1) * e + (h + 5) * (1 + 3 * k) + 20
        return (4 * objects + most) * e + encoder + decoder

    def embed(self, x):
        """Embeddings `[b, m, e]`, zero where there is no tuple, and where there is one `[b, m]`."""
        mask = x[..., 0] >= 0
        x = ops.maximum(x, 0)
        e = self.objects(x[..., 1] * OBJECTS + x[..., 2]) * (1 + self.subjects(x[..., 0]))
        return e * ops.cast(mask, e.dtype)[..., None], mask

    def encode(self, x):
        x = ops.convert_to_tensor(x)
        e, mask = self.embed(x)
        mask = ops.cast(mask, e.dtype)[..., None]
        mean = ops.sum(e, axis=1) / ops.sum(mask, axis=1)
        raw = ops.reshape(self.encoder_source(mean), (-1, self.reads, 6))
        means = scale_means(raw[..., :3] + self.encoder_means, self.size)
        sigmas = ops.softplus(raw[..., 3:] - 1) * np.array(self.size, "float32")
        # Padding is the first tuple again: copies of a tuple count zero.
        tuples = ops.where(x >= 0, x, x[:, :1])
        q = proportions(tuples, means, ops.square(sigmas), self.size)  # [b, m, r]
        seen = self.encoder_features(windows(e, NEAR, np.arange(1, self.steps + 1)))
        read = ops.einsum("bmr,bme->bre", q, seen)
        read = ops.reshape(read, (-1, self.reads * read.shape[-1]))
        out = self.encoder_head(ops.concatenate([mean, read], axis=-1))
        return out[..., : self.latent], out[..., self.latent :]

    def decode(self, x, z):
        x = ops.convert_to_tensor(x)
        means, deviations, log_values, exists = self.emitted(x, z, np.arange(self.steps))
        t = ops.cast(ops.maximum(x, 0), means[0].dtype)
        there = ops.cast(x[..., 0] >= 0, t.dtype)  # [b, m]
        fits = [
            likelihood.log_mass(t[..., c, None], means[c], deviations[c], self.size[c])
            for c in range(3)
        ]
        nats = -ops.logsumexp(log_values + fits[0] + fits[1] + fits[2], axis=-1)
        nats = nats + ops.softplus(-exists)
        ends = ops.concatenate([ops.ones_like(there[:, :1]), there[:, :-1]], axis=1) - there
        return ops.sum(there * nats + ends * ops.softplus(exists), axis=-1)

    def emitted(self, x, z, steps):
        """The tuples emitted at some steps s: means and deviations of each column `[b, s, k or 1]`,
        log-values `[b, s, k]`, and scores of there being a tuple `[b, s]`.

        What stands in x at a step or later is not seen.
        """
        e, _ = self.embed(x)
        x = ops.cast(ops.maximum(x, 0), e.dtype)
        notes = ops.reshape(x[..., 2], (-1, self.most, 4))  # objects of each note
        z = ops.broadcast_to(z[:, None], (ops.shape(z)[0], len(steps), self.latent))
        # The tuple before: note, predicate and object; before the first there is none.
        before = ops.take(x, np.maximum(steps - 1, 0), axis=1)  # [b, s, 3]
        kind = ops.one_hot(ops.cast(before[..., 1], "int32"), 4, dtype=e.dtype)
        kind = kind * ops.cast(steps > 0, e.dtype)[None, :, None]
        h = self.trunk(ops.concatenate([windows(e, self.window, steps), z, kind], axis=-1))
        whole, place = steps // 4, steps % 4  # notes that are there, and the next one's object
        # The tick that is known: the next note's if it has one yet.
        known = np.maximum(whole - (place == 0), 0)
        any_tick = ops.cast(steps > 0, e.dtype)
        tick = (ops.take(notes[..., 0], known, axis=1) * any_tick)[..., None]  # [b, s, 1]
        raw = self.queries(h)
        delta = 16.0 * raw[..., : self.reads] - np.linspace(0, 48, self.reads, dtype="float32")
        precision = 1 / (0.3 + ops.softplus(raw[..., self.reads :] + 1))
        distance = (notes[:, None, None, :, 0] - (tick + delta)[..., None]) * precision[..., None]
        # One more read is of no place: all notes alike.
        distance = ops.pad(distance, [[0, 0], [0, 0], [0, 1], [0, 0]])
        seen = np.arange(self.most) < whole[:, None]  # [s, n]
        q = (
            ops.softmax(ops.where(seen[None, :, None], -0.5 * ops.square(distance), -1e9), axis=-1)
            * ops.cast(whole > 0, e.dtype)[None, :, None, None]
        )  # [b, s, r, n]
        features = self.features(windows(e, NEAR, 4 * np.arange(1, self.most + 1)))
        read = ops.einsum("bsrn,bne->bsre", q, features)
        copied, moved, last = self.objects_read(notes, q[:, :, :-1], whole, place, tick)
        read = ops.reshape(read, (-1, len(steps), (self.reads + 1) * read.shape[-1]))
        relative = (ops.concatenate([copied, moved], axis=-1) - last) / 12
        h = self.drop(self.mix(ops.concatenate([h, read, relative, z, kind], axis=-1)))
        raw, k = self.emit(ops.concatenate([h, kind], axis=-1)), self.components
        structure = self.structure(kind)
        base = ops.concatenate([self.anywhere(h), self.near(last, place), copied, moved], axis=-1)
        # A value depends on the object where its tuple is.
        nearest = ops.cast(ops.clip(ops.round(base), 0, OBJECTS - 1), "int32")
        there = self.objects(nearest + OBJECTS * place[:, None].astype("int32"))  # [b, s, k, e]
        values = raw[..., 1 + 2 * k :] + ops.einsum("bske,bse->bsk", there, self.likes(h))
        scale = np.repeat(np.array([16, 2, 2], "float32"), [self.free, self.free, 2 * self.reads])
        means = [
            before[..., 0:1] + structure[..., 0:1],
            before[..., 1:2] + 4 * structure[..., 1:2],
            base + scale * raw[..., 1 : 1 + k],
        ]
        deviations = [
            0.05 + ops.softplus(4 * structure[..., 2:3] - 2),
            0.05 + ops.softplus(4 * structure[..., 3:4] - 2),
            0.1 + ops.softplus(3 * raw[..., 1 + k : 1 + 2 * k] + 1),
        ]
        return means, deviations, ops.log_softmax(values), raw[..., 0]

    def objects_read(self, notes, q, whole, place, tick):
        """Objects for the next tuple `[b, s, r]`: those read, the last moved as there; the last."""
        chosen = np.eye(4, dtype="float32")[place]  # [s, 4]
        last = ops.take(notes, np.maximum(whole - 1, 0), axis=1)
        chosen_last = chosen * (whole > 0)[:, None].astype("float32")
        last = ops.sum(last * chosen_last, axis=-1, keepdims=True)  # [b, s, 1]
        steps = notes - ops.pad(notes[:, :-1], [[0, 0], [1, 0], [0, 0]])  # since the note before
        # From a note to the next one's tick; the last note's next one isn't known, its length is.
        gaps = ops.pad(steps[:, 1:, 0], [[0, 0], [0, 1]])
        is_last = np.arange(self.most) == (whole - 1)[:, None]  # [s, n]
        ahead = ops.where(is_last[None], notes[:, None, :, 2], gaps[:, None])  # [b, s, n]
        tick = tick + ops.einsum("bsrn,bsn->bsr", q, ahead)

        def at(objects):
            read = ops.einsum("bsrn,bnp->bsrp", q, objects)
            return ops.sum(read * chosen[:, None], axis=-1)

        first = np.asarray(place == 0)[None, :, None]
        return ops.where(first, tick, at(notes)), ops.where(first, tick, last + at(steps)), last

    def anywhere(self, h):
        """Evenly spread over the objects."""
        places = np.linspace(0, OBJECTS - 1, self.free, dtype="float32").round()
        return ops.zeros_like(h[..., :1]) + places

    def near(self, last, place):
        """Whole steps around the last object of the same kind; ticks only go on."""
        steps = np.arange(self.free, dtype="float32")
        back = np.where(place == 0, 0, self.free // 2).astype("float32")
        return last + steps - back[:, None]

    def sample(self, count, seed=0, rounded=False):
        """Index tuples of new pieces: a list of `[m, 3]`.

        With `rounded`, a tuple is the mean of one of the k, chosen by value and rounded, as a
        sparse hyperlayer's tuples are at inference; else drawn from it.
        """
        seeds = keras.random.SeedGenerator(seed)
        z = keras.random.normal((count, self.latent), seed=seeds)
        x = np.full((count, self.steps, 3), -1, "int32")
        open_ones = np.ones(count, bool)
        for step in range(self.steps):
            means, deviations, log_values, exists = self.emitted(
                ops.convert_to_tensor(x), z, np.array([step])
            )
            chosen = keras.random.categorical(log_values[:, 0], 1, seed=seeds)
            coin = keras.random.uniform((count,), seed=seeds) < ops.sigmoid(exists[:, 0])
            open_ones &= np.asarray(coin)
            if not open_ones.any():
                break
            for c in range(3):
                mean, deviation = (
                    ops.take_along_axis(
                        ops.broadcast_to(given[c][:, 0], ops.shape(log_values[:, 0])), chosen, 1
                    )[:, 0]
                    for given in (means, deviations)
                )
                drawn = np.asarray(
                    likelihood.sample(mean, (not rounded) * deviation, self.size[c], seeds)
                )
                x[open_ones, step, c] = drawn[open_ones]
        return [piece[piece[:, 0] >= 0] for piece in x]


def windows(e, width, steps):
    """The `width` rows of `e` `[b, m, e]` before each step, zeros before the first."""
    padded = ops.pad(e, [[0, 0], [width, 0], [0, 0]])
    places = np.asarray(steps)[:, None] + np.arange(width)  # [s, width]
    rows = ops.take(padded, places.reshape(-1), axis=1)
    return ops.reshape(rows, (-1, len(places), width * e.shape[-1]))
