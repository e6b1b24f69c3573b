"""Base class of the recurrent layers: `keras.layers.RNN` around a cell, with input dropout."""

from types import SimpleNamespace
from typing import Any, Self

import keras
from keras import ops, tree

from hyperkeras.annotations import Config, Seed, Shape, Tensor
from hyperkeras.layers.rnn.base_rnn_cell import RecurrentCell, check_states, in_float
from hyperkeras.ops.argument_validation import check_rate


def of_cell(name: str) -> Any:
    """A property of a layer that its cell has under the same name."""
    return property(lambda layer: getattr(layer.cell, name), doc=f"The cell's `{name}`.")


class Recurrent(keras.layers.RNN):
    """Base class of the recurrent layers: a cell over a sequence.

    A layer takes the cell's arguments beside its own, and has them as properties.

    Args:
        cell: A `RecurrentCell`.
        dropout: Float in [0, 1): the fraction of the input's features that training leaves out,
            the same ones at each step (default 0).
        seed: Integer seed of dropout, or None for a random one (default).
        **kwargs: Arguments of `keras.layers.RNN`.
    """

    cell: Any
    units = of_cell("units")
    activation = of_cell("activation")
    use_bias = of_cell("use_bias")
    kernel_initializer = of_cell("kernel_initializer")
    recurrent_initializer = of_cell("recurrent_initializer")
    bias_initializer = of_cell("bias_initializer")
    kernel_regularizer = of_cell("kernel_regularizer")
    recurrent_regularizer = of_cell("recurrent_regularizer")
    bias_regularizer = of_cell("bias_regularizer")
    kernel_constraint = of_cell("kernel_constraint")
    recurrent_constraint = of_cell("recurrent_constraint")
    bias_constraint = of_cell("bias_constraint")

    def __init__(
        self, cell: RecurrentCell, dropout: float = 0.0, seed: Seed = None, **kwargs: Any
    ) -> None:
        super().__init__(cell, **kwargs)
        self.dropout = check_rate("dropout", dropout)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.input_spec = keras.layers.InputSpec(ndim=3)

    def build(self, sequences_shape: Shape, initial_state_shape: Any = None) -> None:
        super().build(sequences_shape, initial_state_shape)
        self.input_spec = keras.layers.InputSpec(ndim=3, axes={-1: sequences_shape[-1]})

    def call(
        self,
        sequences: Tensor,
        initial_state: Any = None,
        mask: Tensor = None,
        training: bool = False,
    ) -> Any:
        if initial_state is not None:
            check_states("initial_state", initial_state, self.cell)
        sequences = in_float(sequences, self.compute_dtype)
        return super().call(sequences, initial_state, mask, training)

    def inner_loop(
        self, sequences: Tensor, initial_state: Any, mask: Any, training: bool = False
    ) -> tuple[Any, ...]:
        """Overrides the loop of `keras.layers.RNN`: `(last output, outputs, states)`."""
        mask = tree.flatten(mask)[0] if tree.is_nested(mask) else mask
        batch, steps, features = ops.shape(sequences)
        if training and self.dropout:
            ones = ops.ones((batch, 1, features), sequences.dtype)  # the same at every step
            sequences = sequences * keras.random.dropout(
                ones, self.dropout, seed=self.seed_generator
            )
        noise = None
        if training and self.cell.has_noise:
            noise = self.cell.draw_noise(batch, steps)
        return self.loop(sequences, initial_state, mask, noise, training)

    def loop(
        self,
        sequences: Tensor,
        initial_state: Any,
        mask: Tensor | None,
        noise: Tensor | None,
        training: bool,
    ) -> tuple[Any, ...]:
        """The cell step by step, on any backend; subclasses bring faster ones."""
        if noise is None:
            return super().inner_loop(sequences, initial_state, mask, training)
        features = sequences.shape[-1]

        def step(inputs, states):
            return self.cell.step_with_noise(inputs[..., :features], states, inputs[..., features:])

        # Keras's loop takes one tensor: the noise goes behind the features, and `step`, in the
        # place of the cell, takes it off again.
        loop_of = SimpleNamespace(
            cell=step,
            stateful=self.stateful,
            go_backwards=self.go_backwards,
            unroll=self.unroll,
            zero_output_for_mask=self.zero_output_for_mask,
            return_sequences=self.return_sequences,
        )
        together = ops.concatenate([sequences, noise], axis=-1)
        return keras.layers.RNN.inner_loop(loop_of, together, initial_state, mask, training)

    def get_config(self) -> Config:
        config = super().get_config()
        del config["cell"]
        cell = self.cell.get_config()
        for own in ("name", "trainable", "dtype"):
            del cell[own]
        return {**config, **cell, "dropout": self.dropout, "seed": self.seed}

    @classmethod
    def from_config(cls, config: Config) -> Self:
        return cls(**config)
