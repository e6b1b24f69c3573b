"""An encoder and a decoder with attention, its loss, and translations made with it."""

from functools import cached_property

import keras
import numpy as np
from keras import layers, ops

from hyperkeras.layers import HyperLSTM, LayerNormLSTM
from reproductions.data.sentence_pairs.pair_batches import padded_length
from reproductions.data.sentence_pairs.subwords import END, PADDING, START
from reproductions.tasks.translation.decoding import beam_search


def recurrent_layer(model, units, hyper_units=None, embedding_dim=None, dropout=0.0):
    """The recurrent layer of a model's name; recurrent dropout is without memory loss."""
    shared = dict(return_sequences=True, return_state=True, recurrent_dropout=dropout)
    shared |= dict(layer_norm=model.startswith("layer_norm"), name="recurrent")
    if model.endswith("hyper_lstm"):
        shared |= dict(hyper_recurrent_dropout=dropout)
        return HyperLSTM(units, hyper_units=hyper_units, embedding_dim=embedding_dim, **shared)
    return LayerNormLSTM(units, **shared)


@keras.saving.register_keras_serializable(package="reproductions")
class Translator(keras.Model):
    r"""Scores of a translation's next piece, from a sentence and the translation so far.

    .. math::
        m_s &= [\overrightarrow h_s; \overleftarrow h_s] \\
        \alpha_{ts} &= \mathrm{softmax}_s(h_t \cdot K m_s), \qquad
            a_t = \sum_s \alpha_{ts} m_s \\
        z_t &= E \tanh(C [h_t; a_t] + b_C) + b

    h are the outputs of the recurrent layers (Luong et al. 2015, "general"). The decoder does not
    read the attended memory, so that each recurrence is one call of a layer. Its first states are
    linear in the encoder's last ones, with a tanh where they are outputs. Both languages share the
    pieces and their embeddings E.

    Args:
        encoder: A recurrent layer that returns sequences and states; it is run in both directions.
        decoder: A recurrent layer like it.
        size: Integer, the pieces there are.
        dim: Integer, width of a piece's embedding.
        dropout: Float, fraction left out of embeddings and of what scores are made of.

    Called on `[sentences, translations]`, numbers of pieces `[b, s]` and `[b, t]` with 0 for
    padding, it gives scores `[b, t, size]`.
    """

    def __init__(self, encoder, decoder, size, dim, dropout=0.0, **kwargs):
        super().__init__(**kwargs)
        self.size, self.dim, self.dropout = size, dim, dropout
        start = keras.initializers.RandomNormal(stddev=dim**-0.5)
        self.embedding = layers.ReversibleEmbedding(size, dim, embeddings_initializer=start)
        self.encoder, self.decoder = layers.Bidirectional(encoder, name="encoder"), decoder
        cell = decoder.cell
        self.starts = [
            layers.Dense(n, "tanh" if name.endswith("h") else None, name=f"start_{name}")
            for name, n in zip(cell.state_names, cell.state_size, strict=True)
        ]
        self.keys = layers.Dense(decoder.units, use_bias=False, name="keys")
        self.attention = layers.Attention(name="attention")
        self.combined = layers.Dense(dim, "tanh", name="combined")
        self.bias = self.add_weight(name="bias", shape=(size,), initializer="zeros")
        self.source_dropout, self.target_dropout, self.output_dropout = (
            layers.Dropout(dropout) for _ in range(3)
        )
        self([keras.Input((None,), dtype="int32")] * 2)  # builds all weights

    def call(self, inputs, training=False):
        sentences, translations = inputs
        memory, states = self.encode(sentences, training)
        h = self.decode(translations, states, training)
        return self.scores(h, self.attend(h, memory)[0], training)

    def encode(self, sentences, training=False):
        """The memory (m, K m, and which of it counts), and the decoder's first states."""
        mask = ops.not_equal(sentences, PADDING)
        x = self.source_dropout(self.embedding(sentences), training=training)
        m, *ends = self.encoder(x, mask=mask, training=training)
        both = zip(ends[: len(self.starts)], ends[len(self.starts) :], strict=True)
        states = [
            start(ops.concatenate(pair, axis=-1))
            for start, pair in zip(self.starts, both, strict=True)
        ]
        return (m, self.keys(m), mask), states

    def decode(self, translations, states, training=False):
        # What is behind a translation's end changes nothing before it. With a mask, what is
        # compiled for the encoder serves the decoder, too.
        mask = ops.not_equal(translations, PADDING)
        x = self.target_dropout(self.embedding(translations), training=training)
        return self.decoder(x, initial_state=states, mask=mask, training=training)[0]

    def attend(self, h, memory):
        """a `[b, t, 2n]` and α `[b, t, s]` of outputs h `[b, t, n]`."""
        m, keys, mask = memory
        return self.attention([h, m, keys], mask=[None, mask], return_attention_scores=True)

    def scores(self, h, a, training=False):
        x = self.combined(ops.concatenate([h, a], axis=-1))
        x = self.output_dropout(x, training=training)
        return self.embedding(x, reverse=True) + self.bias

    def get_config(self):
        encoder, decoder = self.encoder.forward_layer, self.decoder
        return {
            "encoder": keras.saving.serialize_keras_object(encoder),
            "decoder": keras.saving.serialize_keras_object(decoder),
            "size": self.size,
            "dim": self.dim,
            "dropout": self.dropout,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config):
        parts = {
            part: keras.saving.deserialize_keras_object(config[part])
            for part in ("encoder", "decoder")
        }
        return cls(**config | parts)

    # Compiled once for all calls of a shape.

    @cached_property
    def reader(self):
        """Sentences → (*memory, *states)."""
        sentences = keras.Input((None,), dtype="int32")
        memory, states = self.encode(sentences)
        return _compiled(keras.Model(sentences, [*memory, *states]))

    @cached_property
    def judge(self):
        """[sentences, translations so far, next pieces] → nats of each translation, and α."""
        given = [keras.Input((None,), dtype="int32") for _ in range(3)]
        memory, states = self.encode(given[0])
        h = self.decode(given[1], states)
        a, weights = self.attend(h, memory)
        logs = ops.log_softmax(self.scores(h, a))
        nats = -ops.take_along_axis(logs, given[2][..., None], axis=-1)[..., 0]
        nats = ops.sum(ops.where(ops.equal(given[2], PADDING), 0.0, nats), axis=-1)
        return _compiled(keras.Model(given, [nats, weights]))

    def stepper(self, beam):
        """[*memory, pieces `[b, beam]`, *states `[b, beam, n]`] → what `beam_search` asks for."""
        if beam not in self.steppers:
            cell, n = self.decoder.cell, self.decoder.units
            memory = [keras.Input((None, width)) for width in (2 * n, n)]
            memory.append(keras.Input((None,), dtype="bool"))
            pieces = keras.Input((beam,), dtype="int32")
            states = [keras.Input((beam, width)) for width in cell.state_size]
            x = ops.reshape(self.embedding(pieces), (-1, self.dim))
            flat = [ops.reshape(state, (-1, state.shape[-1])) for state in states]
            h, after = cell(x, flat)
            after = [ops.reshape(state, (-1, beam, state.shape[-1])) for state in after]
            h = ops.reshape(h, (-1, beam, n))
            logs = ops.log_softmax(self.scores(h, self.attend(h, memory)[0]))
            never = np.zeros(self.size, "float32")
            never[[PADDING, START]] = -np.inf
            logs = logs + never
            best = ops.top_k(logs, min(2 * beam, self.size))
            outputs = [*best, logs[..., END], *after]
            self.steppers[beam] = _compiled(keras.Model([*memory, pieces, *states], outputs))
        return self.steppers[beam]

    @cached_property
    def steppers(self):
        return {}


def _compiled(model):
    model.compile(jit_compile=False if keras.backend.backend() == "tensorflow" else "auto")
    return model


def chunks(lengths_of_rows, count, lengths):
    """Rows of like length: (rows, how many of them count, the length they fit in).

    Each has `count` rows, the last one with some that do not count.
    """
    order = np.argsort(lengths_of_rows, kind="stable")
    for at in range(0, len(order), count):
        rows = order[at : at + count]
        longest = padded_length(int(lengths_of_rows[rows].max()), lengths)
        yield np.resize(rows, count), len(rows), longest


def used(numbers):
    """How many pieces each row has."""
    return (numbers != PADDING).sum(axis=1)


def fit(numbers, length):
    """Rows cut to `length`, or filled up to it."""
    numbers = numbers[:, :length]
    return np.pad(numbers, [(0, 0), (0, length - numbers.shape[1])], constant_values=PADDING)


def nats_a_piece(network, x, y, batch, lengths):
    """Mean of −log of the probabilities of y, padding aside."""
    (sentences, before), total = x, 0.0
    longest = np.maximum(used(sentences), used(y))
    for rows, count, length in chunks(longest, batch, lengths):
        given = [fit(numbers[rows], length) for numbers in (sentences, before, y)]
        total += network.judge.predict_on_batch(given)[0][:count].sum(dtype="float64")
    return float(total / used(y).sum())


def attention_weights(network, sentence, made, batch, lengths):
    """α `[t, s]` of a sentence's pieces `[s]` and those of a translation `[t]`, from its start."""
    length = padded_length(max(len(sentence), len(made)), lengths)
    rows = (fit(np.repeat([numbers], batch, axis=0), length) for numbers in (sentence, made))
    sentences, before = (row.astype("int32") for row in rows)
    weights = network.judge.predict_on_batch([sentences, before, before])[1]
    return weights[0, : len(made), : len(sentence)]


def translate(network, sentences, lengths, beam=1, alpha=0.6, batch=250, longest=None):
    """The pieces of each sentence's best translation, and its score; see `beam_search`.

    With a beam of 1 the likeliest piece is taken at each step. A translation has at most
    1.5 s + 10 pieces, its end among them, where the sentence has s, and at most `longest`.
    """
    found, scores = [[] for _ in sentences], np.zeros(len(sentences))
    sizes = used(sentences)
    stepper = network.stepper(beam)
    for rows, count, length in chunks(sizes, min(batch, len(sentences)), lengths):
        read = network.reader.predict_on_batch(fit(sentences[rows], length))
        memory, states = read[:3], [np.repeat(state[:, None], beam, axis=1) for state in read[3:]]

        def step(pieces, states, memory=memory):
            best, numbers, ends, *after = stepper.predict_on_batch([*memory, pieces, *states])
            return best, numbers, ends, after

        limits = sizes[rows] * 3 // 2 + 10
        if longest is not None:
            limits = np.minimum(limits, longest)
        made, made_scores = beam_search(step, states, limits, beam, START, END, alpha)
        for i, row in enumerate(rows[:count]):
            found[row], scores[row] = made[i], made_scores[i]
    return found, scores
