"""A step of the HyperLSTM as a Keras cell."""

import keras
from keras import ops

from hyperkeras.layers.rnn.layer_norm_lstm_cell import LayerNormLSTMCell
from hyperkeras.ops.argument_validation import check_int, check_rate
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
        units: Integer n, the units of the large network.
        hyper_units: Integer m, the units of the small network.
        embedding_dim: Integer e, the numbers from which each d and β is made.
        layer_norm: Boolean, for both networks.
        recurrent_dropout: Float in [0, 1): fraction of the large network's tanh(g) left out in
            training, drawn anew at each step. What the cell remembers is not touched.
        hyper_recurrent_dropout: Float in [0, 1), likewise of the small network.
        forget_bias: Float, added to the forget gates of both after layer norm.
        activation: Activation of g and of the memory, in both.
        recurrent_activation: Activation of the gates i, f and o, in both.
        use_bias: Boolean, whether both have b.
        kernel_initializer: Initializer of `kernel`, in both.
        recurrent_initializer: Initializer of `recurrent_kernel`, in both, gate by gate.
        bias_initializer: Initializer of `bias`, in both.
        kernel_regularizer: Regularizer of `kernel`, in both.
        recurrent_regularizer: Regularizer of `recurrent_kernel`, in both.
        bias_regularizer: Regularizer of `bias`, in both.
        kernel_constraint: Constraint of `kernel`, in both.
        recurrent_constraint: Constraint of `recurrent_kernel`, in both.
        bias_constraint: Constraint of `bias`, in both.
        seed: Integer for recurrent dropout, or None for a random one.
        return_weight_changes: Boolean, whether the output goes on, behind its n numbers, with four
            more: how far, in the Frobenius norm, the step has moved the matrices from h to the
            gates i, f, c, o. No gradient passes through them.

    Call arguments:
        inputs: Tensor of shape `[b, x]`.
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
        units,
        hyper_units=128,
        embedding_dim=16,
        layer_norm=True,
        recurrent_dropout=0.0,
        hyper_recurrent_dropout=0.0,
        forget_bias=1.0,
        activation="tanh",
        recurrent_activation="sigmoid",
        use_bias=True,
        kernel_initializer="glorot_uniform",
        recurrent_initializer="orthogonal",
        bias_initializer="zeros",
        kernel_regularizer=None,
        recurrent_regularizer=None,
        bias_regularizer=None,
        kernel_constraint=None,
        recurrent_constraint=None,
        bias_constraint=None,
        seed=None,
        return_weight_changes=False,
        **kwargs,
    ):
        shared = dict(
            layer_norm=layer_norm,
            forget_bias=forget_bias,
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
        super().__init__(units, recurrent_dropout=recurrent_dropout, seed=seed, **shared, **kwargs)
        self.hyper_units = check_int("hyper_units", hyper_units, 1)
        self.embedding_dim = check_int("embedding_dim", embedding_dim, 1)
        self.hyper_recurrent_dropout = check_rate(
            "hyper_recurrent_dropout", hyper_recurrent_dropout
        )
        self.return_weight_changes = bool(return_weight_changes)
        self.hyper_cell = LayerNormLSTMCell(
            self.hyper_units, name="hyper_cell", dtype=self.dtype_policy, **shared
        )
        self.state_size = [self.units, self.units, self.hyper_units, self.hyper_units]
        self.output_size = self.units + 4 * self.return_weight_changes

    def build(self, input_shape):
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

    def call(self, inputs, states, training=False):
        inputs, (noise, hyper_noise) = self.split_noise(inputs, training)
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

    def generation(self):
        """The weights that make scales and shifts."""
        return {
            "scale_embedding_kernel": self.scale_embedding_kernel,
            "scale_embedding_bias": self.scale_embedding_bias,
            "shift_embedding_kernel": self.shift_embedding_kernel,
            "scale_kernel": self.scale_kernel,
            "shift_kernel": self.shift_kernel,
        }

    def weight_changes(self, before, after):
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
    def rates(self):
        return (
            (self.recurrent_dropout, self.units),
            (self.hyper_recurrent_dropout, self.hyper_units),
        )

    def get_config(self):
        return {
            **super().get_config(),
            "hyper_units": self.hyper_units,
            "embedding_dim": self.embedding_dim,
            "hyper_recurrent_dropout": self.hyper_recurrent_dropout,
            "return_weight_changes": self.return_weight_changes,
        }
