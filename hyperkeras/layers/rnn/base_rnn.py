"""What the recurrent layers share: `keras.layers.RNN` around a cell, with dropout of the input."""

import keras
from keras import ops, tree

from hyperkeras.ops.argument_validation import check_rate


class Recurrent(keras.layers.RNN):
    """A cell over a sequence, configured by the cell's arguments beside its own."""

    def __init__(self, cell, dropout=0.0, seed=None, **kwargs):
        super().__init__(cell, **kwargs)
        self.dropout = check_rate("dropout", dropout)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.input_spec = keras.layers.InputSpec(ndim=3)

    def inner_loop(self, sequences, initial_state, mask, training=False):
        """Overrides the loop of `keras.layers.RNN`: `(last output, outputs, states)`."""
        mask = tree.flatten(mask)[0] if tree.is_nested(mask) else mask
        batch, steps, features = ops.shape(sequences)
        if training and self.dropout:
            ones = ops.ones((batch, 1, features), sequences.dtype)  # the same at every step
            sequences = sequences * keras.random.dropout(
                ones, self.dropout, seed=self.seed_generator
            )
        noise = None
        if training and any(rate for rate, _ in getattr(self.cell, "rates", ())):
            noise = self.cell.draw_noise(batch, steps)
        return self.loop(sequences, initial_state, mask, noise, training)

    def loop(self, sequences, initial_state, mask, noise, training):
        """The cell step by step, on any backend; subclasses bring faster ones."""
        if noise is not None:
            sequences = ops.concatenate([sequences, noise], axis=-1)
        return super().inner_loop(sequences, initial_state, mask, training)

    def get_config(self):
        config = super().get_config()
        del config["cell"]
        cell = self.cell.get_config()
        for own in ("name", "trainable", "dtype"):
            del cell[own]
        return {**config, **cell, "dropout": self.dropout, "seed": self.seed}

    @classmethod
    def from_config(cls, config):
        return cls(**config)
