"""Networks that predict the next character, their bits a character, and text drawn from them."""

from functools import cached_property

import keras
import numpy as np
from keras import ops

from hyperkeras import layers


def recurrent_layer(model, units, hyper_units=None, embedding_dim=None, dropout=0.0):
    """The recurrent layer of a model's name; recurrent dropout is without memory loss.

    `lstm` is Keras's LSTM but for recurrent dropout, which all but the HyperRNN have alike.
    """
    shared = dict(return_sequences=True, return_state=True, name="recurrent")
    hyper = dict(hyper_units=hyper_units, embedding_dim=embedding_dim)
    if model == "hyper_rnn":
        return layers.HyperRNN(units, **hyper, **shared)
    shared |= dict(layer_norm=model.startswith("layer_norm"), recurrent_dropout=dropout)
    if model.endswith("hyper_lstm"):
        return layers.HyperLSTM(units, **hyper, hyper_recurrent_dropout=dropout, **shared)
    return layers.LayerNormLSTM(units, **shared)


class CharacterNetwork(keras.Model):
    """Characters, one-hot, into a recurrent layer, whose outputs give scores of the next one.

    Args:
        recurrent: A recurrent layer that returns sequences and states.
        size: Integer, the characters there are.
        dropout: Float, fraction left out of the input and of the recurrent layer's output.

    Called on numbers of characters `[b, t]` it gives scores `[b, t, size]`.
    """

    def __init__(self, recurrent, size, dropout=0.0, **kwargs):
        super().__init__(**kwargs)
        self.size = size
        self.recurrent = recurrent
        self.input_dropout = keras.layers.Dropout(dropout)
        self.output_dropout = keras.layers.Dropout(dropout)
        self.scores = keras.layers.Dense(size, name="scores")
        self(keras.Input((None,), dtype="int32"))  # builds all weights

    def call(self, characters, training=False):
        return self.scores_and_states(characters, training=training)[0]

    def scores_and_states(self, characters, states=None, training=False):
        x = self.input_dropout(ops.one_hot(characters, self.size), training=training)
        x, *states = self.recurrent(x, initial_state=states, training=training)
        return self.scores(self.output_dropout(x, training=training)), *states

    @cached_property
    def stepper(self):
        """[characters, *states] → (scores, *states), compiled once for all calls of a shape."""
        characters = keras.Input((None,), dtype="int32")
        states = [keras.Input((n,)) for n in self.recurrent.cell.state_size]
        return keras.Model([characters, *states], self.scores_and_states(characters, states))

    def start(self, batch):
        """States before the first character."""
        return [np.zeros((batch, n), "float32") for n in self.recurrent.cell.state_size]

    def step(self, characters, states):
        """Scores `[b, t, size]` and the states after these characters, as arrays."""
        scores, *states = self.stepper.predict_on_batch([characters, *states])
        return scores, states


def bits_per_character(network, x, y, chunk=100):
    """Mean of -log2 of the probabilities of y, where it is not -1; x is read from its beginning.

    States are carried on from chunk to chunk.
    """
    spare = -x.shape[1] % chunk  # so that all chunks are alike
    x, y = np.pad(x, ((0, 0), (0, spare))), np.pad(y, ((0, 0), (0, spare)), constant_values=-1)
    states, bits = network.start(len(x)), 0.0
    for at in range(0, x.shape[1], chunk):
        scores, states = network.step(x[:, at : at + chunk], states)
        wanted = y[:, at : at + chunk, None]
        highest = scores.max(-1)
        sums = np.exp(scores - highest[..., None]).sum(-1)
        chosen = np.take_along_axis(scores, wanted.clip(0), -1)[..., 0]
        nats = np.log(sums) + highest - chosen
        bits += nats[wanted[..., 0] >= 0].sum(dtype="float64") / np.log(2)
    return float(bits / (y >= 0).sum())


def generate(
    network,
    vocabulary,
    prompt,
    length,
    temperature=1.0,
    seed=0,
    return_weight_changes=False,
):
    """Text that goes on from a prompt, drawn character by character.

    Args:
        network: A `CharacterNetwork`.
        vocabulary: Text of the network's characters, in the order of their numbers.
        prompt: Text that the network reads first; not empty.
        length: Integer, characters to draw.
        temperature: Positive float by which scores are divided; near 0 the likeliest is taken.
        seed: Integer.
        return_weight_changes: Boolean, whether to return besides, for a HyperLSTM, how far the
            step that made each character's scores has moved the matrices from h to the gates i,
            f, c, o, `[length, 4]`.
    """
    numbers = {character: number for number, character in enumerate(vocabulary)}
    if len(numbers) != network.size:
        raise ValueError(
            f"Expected `vocabulary` to have the network's {network.size} characters. Received: "
            f"{len(numbers)} characters"
        )
    if not prompt or set(prompt) - set(numbers):
        unknown = "".join(sorted(set(prompt) - set(numbers)))
        raise ValueError(
            "Expected `prompt` to have one character or more, all of the vocabulary. Received: "
            f"prompt={prompt!r}, unknown are {unknown!r}"
        )
    if length < 1:
        raise ValueError(f"Expected `length` to be a positive integer. Received: length={length}")
    if not 0 < temperature < np.inf:
        raise ValueError(
            f"Expected `temperature` to be a positive number. Received: temperature={temperature}"
        )
    if return_weight_changes and not isinstance(network.recurrent, layers.HyperLSTM):
        raise ValueError(
            "Expected a network with a HyperLSTM for `return_weight_changes`. Received: "
            f"{type(network.recurrent).__name__}"
        )
    states, rng = network.start(1), np.random.default_rng(seed)
    before, text, passed = list(prompt), [], []
    while len(text) < length:
        character = before.pop(0) if before else text[-1]
        passed.append(states)
        scores, states = network.step(np.array([[numbers[character]]], "int32"), states)
        if not before:
            scores = scores[0, 0].astype("float64")
            # The largest of log-probabilities plus Gumbel noise is a draw from them.
            noise = rng.gumbel(size=scores.shape)
            text.append(vocabulary[np.argmax((scores - scores.max()) / temperature + noise)])
    text = "".join(text)
    if not return_weight_changes:
        return text
    small = np.concatenate([state[2] for state in [*passed, states]][-length - 1 :])
    return text, np.asarray(network.recurrent.cell.weight_changes(small[:-1], small[1:]))
