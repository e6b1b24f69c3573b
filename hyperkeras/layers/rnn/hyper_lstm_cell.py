"""A step of the HyperLSTM as a Keras cell."""

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
from hyperkeras.layers.rnn.layer_norm_lstm_cell import LayerNormLSTMCell
from hyperkeras.ops.argument_validation import check_finite, check_int, check_rate
from hyperkeras.ops.rnn.hyper_lstm import hyper_lstm_step
from hyperkeras.ops.rnn.row_scaling import generate_rows, weight_changes


@keras.saving.register_keras_serializable(package="hyperkeras")
class HyperLSTMCell(LayerNormLSTMCell):
    r"""An LSTM cell whose weights are changed at each step by a small LSTM, its hypernetwork.

    .. math::
        (\hat h, \hat c) &= \mathrm{LSTM}([x, h], (\hat h, \hat c)) \\
        d_y &= (\hat h\, W^z_y + b^z_y)\, W^d_y, \qquad \beta_y = \hat h\, W^{zb}_y\, W^\beta_y \\
        y &= \mathrm{LN}(d^x_y \odot x W^x_y + d^h_y \odot h W^h_y + b_y + \beta_y),
            \quad y \in \{i, f, g, o\} \\
        c' &= \sigma(f + 1) \odot c + \sigma(i) \odot \tanh(g) \\
        h' &= \sigma(o) \odot \tanh(\mathrm{LN}(c'))

    From outside it is an LSTM cell with two more states. Its weights are those of
    `LayerNormLSTMCell`, and `hyper_cell`, the small network, a `LayerNormLSTMCell` too;
    W^z `scale_embedding_kernel [m, 8e]`, b^z `scale_embedding_bias [8e]`, W^zb
    `shift_embedding_kernel [m, 4e]`, W^d `scale_kernel [8, e, n]`, W^β `shift_kernel [4, e, n]`.
    Blocks of 8 are d^x for the gates i, f, c, o, then d^h. At the start every d is 0.1 and every
    β is 0, whatever the input.

    The paper's equation makes z from ĥ of the step before; its text and its published code take ĥ
    of the same step, as is done here.

    Args:
        units: Integer n, the number of units of the large network, which is the size of the output.
        hyper_units: Integer m, the number of units of the small network (default 128).
        embedding_dim: Integer e, the size of the embedding that makes each scale and each shift
            (default 16).
        layer_norm: Boolean, whether both networks normalize their gates and their memory (default
            `True`).
        recurrent_dropout: Float in [0, 1), the fraction of the large network's tanh(g) that
            training leaves out, drawn anew at each step (default 0). It does not touch what the
            cell remembers.
        hyper_recurrent_dropout: Float in [0, 1), the same fraction for the small network (default
            0).
        forget_bias: Float, added to the large network's forget gate after its layer norm (default
            1).
        hyper_forget_bias: Float, added to the small network's forget gate after its layer norm
            (default 1).
        activation: Activation function of g and of the memory, in both networks (default tanh).
        recurrent_activation: Activation function of the gates i, f and o, in both networks (default
            sigmoid).
        use_bias: Boolean, whether both networks use a bias vector (default `True`).
        kernel_initializer: Initializer of `kernel`, in both networks (default Glorot uniform).
        recurrent_initializer: Initializer of `recurrent_kernel`, in both networks (default
            orthogonal, gate by gate).
        bias_initializer: Initializer of `bias`, in both networks (default zeros).
        kernel_regularizer: Regularizer of `kernel`, in both networks (default none).
        recurrent_regularizer: Regularizer of `recurrent_kernel`, in both networks (default none).
        bias_regularizer: Regularizer of `bias`, in both networks (default none).
        kernel_constraint: Constraint of `kernel`, in both networks (default none).
        recurrent_constraint: Constraint of `recurrent_kernel`, in both networks (default none).
        bias_constraint: Constraint of `bias`, in both networks (default none).
        seed: Integer seed of recurrent dropout, or None for a random one (default).
        return_weight_changes: Boolean, whether to return four more numbers behind the output's n
            (default `False`): how far the step has moved the matrices from h to the gates i, f, c
            and o, in the Frobenius norm. No gradient passes through them.
        **kwargs: Arguments of `keras.layers.Layer`, such as `name` and `dtype`.

    Call arguments:
        inputs: Tensor of shape `[b, x]`. Integers are cast to the compute dtype.
        states: List `[h, c, hyper_h, hyper_c]` of tensors of shape `[b, n]` and `[b, m]`.
        training: Boolean, whether recurrent dropout is active.

    Input shape:
        `[b, x]`, x known.

    Output shape:
        `[b, n]`, or `[b, n + 4]` with `return_weight_changes`, and the list of new states.

    Parameters: the large network's 4n (x + n + 1), the small one's 4m (x + n + m + 1), with layer
    norm 10n + 10m, and for generation 12me + 8e + 12en.

    Example:

    ```python
    layer = keras.layers.RNN(hyperkeras.layers.HyperLSTMCell(64, hyper_units=16, embedding_dim=4))
    layer(keras.random.normal((32, 10, 8))).shape  # (32, 64)
    ```

    References:
        - [Ha et al., 2016](https://arxiv.org/abs/1609.09106)
    """

    def __init__(
        self,
        units: int,
        hyper_units: int = 128,
        embedding_dim: int = 16,
        layer_norm: bool = True,
        recurrent_dropout: float = 0.0,
        hyper_recurrent_dropout: float = 0.0,
        forget_bias: float = 1.0,
        hyper_forget_bias: float = 1.0,
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
        return_weight_changes: bool = False,
        **kwargs: Unpack[LayerArguments],
    ) -> None:
        shared: dict[str, Any] = dict(
            layer_norm=layer_norm,
            activation=activation,
            recurrent_activation=recurrent_activation,
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
        )
        super().__init__(
            units,
            recurrent_dropout=recurrent_dropout,
            forget_bias=forget_bias,
            seed=seed,
            **shared,
            **kwargs,
        )
        self.hyper_units = check_int("hyper_units", hyper_units, 1)
        self.embedding_dim = check_int("embedding_dim", embedding_dim, 1)
        self.hyper_recurrent_dropout = check_rate(
            "hyper_recurrent_dropout", hyper_recurrent_dropout
        )
        self.hyper_forget_bias = check_finite("hyper_forget_bias", hyper_forget_bias)
        self.return_weight_changes = bool(return_weight_changes)
        self.hyper_cell = LayerNormLSTMCell(
            self.hyper_units,
            forget_bias=self.hyper_forget_bias,
            name="hyper_cell",
            dtype=self.dtype_policy,
            trainable=self.trainable,
            **shared,
        )
        self.state_names = ("h", "c", "hyper_h", "hyper_c")
        self.state_size = [self.units, self.units, self.hyper_units, self.hyper_units]
        self.output_size = self.units + 4 * self.return_weight_changes

    def build(self, input_shape: Shape) -> None:
        super().build(input_shape)
        n, m, e = self.units, self.hyper_units, self.embedding_dim
        self.hyper_cell.build((input_shape[0], input_shape[-1] + n))
        self.scale_embedding_kernel = self.add_weight(
            name="scale_embedding_kernel", shape=(m, 8 * e), initializer="zeros"
        )
        self.scale_embedding_bias = self.add_weight(
            name="scale_embedding_bias", shape=(8 * e,), initializer="ones"
        )
        self.shift_embedding_kernel = self.add_weight(
            name="shift_embedding_kernel",
            shape=(m, 4 * e),
            initializer=keras.initializers.RandomNormal(stddev=0.01),
        )
        self.scale_kernel = self.add_weight(
            name="scale_kernel",
            shape=(8, e, n),
            initializer=keras.initializers.Constant(0.1 / e),
        )
        self.shift_kernel = self.add_weight(
            name="shift_kernel", shape=(4, e, n), initializer="zeros"
        )

    def step_with_noise(
        self, inputs: Tensor, states: list[Tensor], noise: Tensor = None
    ) -> tuple[Tensor, list[Tensor]]:
        hyper_noise = None
        if noise is not None:
            noise, hyper_noise = ops.split(noise, [self.units], axis=-1)
        h, c, *hyper_states = states
        before = hyper_states[0]
        hyper_states = self.hyper_cell.step(
            ops.concatenate([inputs, h], axis=-1), hyper_states, hyper_noise
        )
        h, c = hyper_lstm_step(
            inputs,
            h,
            c,
            hyper_states[0],
            noise=noise,
            **self.arguments(),
            **self.generation(),
        )
        output = h
        if self.return_weight_changes:
            output = ops.concatenate([h, self.weight_changes(before, hyper_states[0])], axis=-1)
        return output, [h, c, *hyper_states]

    def generation(self) -> dict[str, Tensor]:
        """The weights that make scales and shifts."""
        return {
            "scale_embedding_kernel": self.scale_embedding_kernel,
            "scale_embedding_bias": self.scale_embedding_bias,
            "shift_embedding_kernel": self.shift_embedding_kernel,
            "scale_kernel": self.scale_kernel,
            "shift_kernel": self.shift_kernel,
        }

    def weight_changes(self, before: Tensor, after: Tensor) -> Tensor:
        """How far the matrices from h to the gates move from one ĥ `[..., m]` to another."""
        e = self.embedding_dim
        before, after = (
            generate_rows(
                hyper_h,
                self.scale_embedding_kernel[:, 4 * e :],
                self.scale_kernel[4:],
                self.scale_embedding_bias[4 * e :],
            )
            for hyper_h in (before, after)
        )
        return weight_changes(before, after, self.recurrent_kernel)

    @property
    def rates(self) -> tuple[tuple[float, int], ...]:
        return (
            (self.recurrent_dropout, self.units),
            (self.hyper_recurrent_dropout, self.hyper_units),
        )

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "hyper_units": self.hyper_units,
            "embedding_dim": self.embedding_dim,
            "hyper_recurrent_dropout": self.hyper_recurrent_dropout,
            "hyper_forget_bias": self.hyper_forget_bias,
            "return_weight_changes": self.return_weight_changes,
        }
