"""A step of the layer-norm LSTM as a Keras cell."""

from typing import Any, Unpack

import keras
from keras import ops

from hyperkeras.annotations import (
    Activation,
    Config,
    Constraint,
    Initializer,
    LayerArguments,
    Regularizer,
    Seed,
    Shape,
    Tensor,
)
from hyperkeras.initializers import block_by_block
from hyperkeras.layers.rnn.base_rnn_cell import RecurrentCell
from hyperkeras.ops.argument_validation import check_finite, check_rate
from hyperkeras.ops.rnn.layer_norm_lstm import layer_norm_lstm_step


@keras.saving.register_keras_serializable(package="hyperkeras")
class LayerNormLSTMCell(RecurrentCell):
    r"""An LSTM cell with layer norm, for `keras.layers.RNN`.

    .. math::
        y &= \mathrm{LN}(x W^x_y + h W^h_y + b_y), \quad y \in \{i, f, g, o\} \\
        c' &= \sigma(f + 1) \odot c + \sigma(i) \odot \tanh(g) \\
        h' &= \sigma(o) \odot \tanh(\mathrm{LN}(c'))

    Each gate has a layer norm of its own, the carried c has none. The gates' blocks stand in the
    weights in Keras's order, i, f, c (here g), o: W^x is `kernel [x, 4n]`, W^h
    `recurrent_kernel [n, 4n]`, b `bias [4n]`; layer norm has `gamma` and `beta [4n]`,
    `cell_gamma` and `cell_beta [n]`.

    Args:
        units: Integer n, the number of units, which is the size of the output.
        layer_norm: Boolean, whether the gates and the memory are normalized (default `True`).
        recurrent_dropout: Float in [0, 1), the fraction of tanh(g) that training leaves out, drawn
            anew at each step (default 0). It does not touch what the cell remembers (Semeniuta et
            al. 2016).
        forget_bias: Float, added to the forget gate after its layer norm (default 1).
        activation: Activation function of g and of the memory (default tanh).
        recurrent_activation: Activation function of the gates i, f and o (default sigmoid).
        use_bias: Boolean, whether the cell uses a bias vector (default `True`).
        kernel_initializer: Initializer of `kernel` (default Glorot uniform).
        recurrent_initializer: Initializer of `recurrent_kernel` (default orthogonal, gate by gate).
        bias_initializer: Initializer of `bias` (default zeros).
        kernel_regularizer: Regularizer of `kernel` (default none).
        recurrent_regularizer: Regularizer of `recurrent_kernel` (default none).
        bias_regularizer: Regularizer of `bias` (default none).
        kernel_constraint: Constraint of `kernel` (default none).
        recurrent_constraint: Constraint of `recurrent_kernel` (default none).
        bias_constraint: Constraint of `bias` (default none).
        seed: Integer seed of recurrent dropout, or None for a random one (default).
        **kwargs: Arguments of `keras.layers.Layer`, such as `name` and `dtype`.

    Call arguments:
        inputs: Tensor of shape `[b, x]`. Integers are cast to the compute dtype.
        states: List `[h, c]` of tensors of shape `[b, n]`.
        training: Boolean, whether recurrent dropout is active.

    Input shape:
        `[b, x]`, x known.

    Output shape:
        `[b, n]`, and the list of new states.

    Parameters: 4n (x + n + 1), and 10n with layer norm.

    Example:

    ```python
    layer = keras.layers.RNN(hyperkeras.layers.LayerNormLSTMCell(64))
    layer(keras.random.normal((32, 10, 8))).shape  # (32, 64)
    ```

    References:
        - [Ba et al., 2016](https://arxiv.org/abs/1607.06450)
        - [Ha et al., 2016](https://arxiv.org/abs/1609.09106)
        - [Semeniuta et al., 2016](https://arxiv.org/abs/1603.05118)
    """

    def __init__(
        self,
        units: int,
        layer_norm: bool = True,
        recurrent_dropout: float = 0.0,
        forget_bias: float = 1.0,
        activation: Activation = "tanh",
        recurrent_activation: Activation = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Initializer = "glorot_uniform",
        recurrent_initializer: Initializer = "orthogonal",
        bias_initializer: Initializer = "zeros",
        kernel_regularizer: Regularizer = None,
        recurrent_regularizer: Regularizer = None,
        bias_regularizer: Regularizer = None,
        kernel_constraint: Constraint = None,
        recurrent_constraint: Constraint = None,
        bias_constraint: Constraint = None,
        seed: Seed = None,
        **kwargs: Unpack[LayerArguments],
    ) -> None:
        super().__init__(
            units,
            activation=activation,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            recurrent_initializer=recurrent_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            recurrent_regularizer=recurrent_regularizer,
            bias_regularizer=bias_regularizer,
            kernel_constraint=kernel_constraint,
            recurrent_constraint=recurrent_constraint,
            bias_constraint=bias_constraint,
            **kwargs,
        )
        self.layer_norm = bool(layer_norm)
        self.recurrent_dropout = check_rate("recurrent_dropout", recurrent_dropout)
        self.forget_bias = check_finite("forget_bias", forget_bias)
        self.recurrent_activation = keras.activations.get(recurrent_activation)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.state_names = ("h", "c")
        self.state_size = [self.units, self.units]

    def build(self, input_shape: Shape) -> None:
        x, n = self.input_dim(input_shape), self.units
        by_gate = block_by_block(self.recurrent_initializer, 4)
        self.kernel = self.add_part("kernel", (x, 4 * n), "kernel")
        self.recurrent_kernel = self.add_part(
            "recurrent_kernel", (n, 4 * n), "recurrent", initializer=by_gate
        )
        self.bias = self.add_part("bias", (4 * n,), "bias") if self.use_bias else None
        self.norm = None
        if self.layer_norm:
            self.gamma = self.add_weight(name="gamma", shape=(4 * n,), initializer="ones")
            self.beta = self.add_weight(name="beta", shape=(4 * n,), initializer="zeros")
            self.cell_gamma = self.add_weight(name="cell_gamma", shape=(n,), initializer="ones")
            self.cell_beta = self.add_weight(name="cell_beta", shape=(n,), initializer="zeros")
            self.norm = (self.gamma, self.beta, self.cell_gamma, self.cell_beta)

    def call(
        self, inputs: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        inputs, states = self.checked(inputs, states)
        noise = None
        if training and self.has_noise:
            noise = self.noise_of_one_step(ops.shape(inputs)[0])
        return self.step_with_noise(inputs, states, noise)

    def step_with_noise(
        self, inputs: Tensor, states: list[Tensor], noise: Tensor = None
    ) -> tuple[Tensor, list[Tensor]]:
        """The output and the new states, with the factors of tanh(g) that `draw_noise` gives."""
        states = self.step(inputs, states, noise)
        return states[0], states

    def step(self, inputs: Tensor, states: list[Tensor], noise: Tensor = None) -> list[Tensor]:
        """`[h, c]` after this step."""
        h, c = states
        return list(layer_norm_lstm_step(inputs, h, c, noise=noise, **self.arguments()))

    def arguments(self) -> dict[str, Any]:
        """The arguments that are the same in each step."""
        return {
            "kernel": self.kernel,
            "recurrent_kernel": self.recurrent_kernel,
            "bias": self.bias,
            "norm": self.norm,
            "forget_bias": self.forget_bias,
            "activation": self.activation,
            "recurrent_activation": self.recurrent_activation,
        }

    @property
    def rates(self) -> tuple[tuple[float, int], ...]:
        """Recurrent dropout as pairs (rate, units), one for each network."""
        return ((self.recurrent_dropout, self.units),)

    @property
    def has_noise(self) -> bool:
        """Whether training draws recurrent dropout."""
        return any(rate for rate, _ in self.rates)

    def draw_noise(self, *shape: Any) -> Tensor:
        """Factors of tanh(g) of shape `[*shape, all units]`: 0, or 1 / (1 - rate)."""
        return ops.concatenate(
            [
                keras.random.dropout(
                    ops.ones((*shape, n), self.compute_dtype), rate, seed=self.seed_generator
                )
                for rate, n in self.rates
            ],
            axis=-1,
        )

    def noise_of_one_step(self, batch: Any) -> Tensor:
        """`draw_noise` for a cell that stands alone. The layers draw for a whole sequence."""
        if keras.backend.backend() == "jax":
            raise ValueError(
                f"Cell '{self.name}' can't draw its recurrent dropout step by step on JAX, whose "
                "loops keep no state. Use the layer (LayerNormLSTM for LayerNormLSTMCell, "
                "HyperLSTM for HyperLSTMCell), which draws it for the whole sequence. "
                f"Received: recurrent dropout of {[rate for rate, _ in self.rates]}"
            )
        return self.draw_noise(batch)

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "layer_norm": self.layer_norm,
            "recurrent_dropout": self.recurrent_dropout,
            "forget_bias": self.forget_bias,
            "recurrent_activation": keras.activations.serialize(self.recurrent_activation),
            "seed": self.seed,
        }
