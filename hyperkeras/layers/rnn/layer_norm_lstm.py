"""The layer-norm LSTM."""

import keras

from hyperkeras.layers.rnn.fused_rnn import FastRecurrent, lstm_weights
from hyperkeras.layers.rnn.layer_norm_lstm_cell import LayerNormLSTMCell


@keras.saving.register_keras_serializable(package="hyperkeras")
class LayerNormLSTM(FastRecurrent):
    """An LSTM with layer norm: `LayerNormLSTMCell` over a sequence.

    See the cell for its equations and weights; it is kept as `cell`.

    Args:
        units: Integer n.
        layer_norm: Boolean.
        dropout: Float in [0, 1): fraction of the input's features left out in training, the same
            ones at each step.
        recurrent_dropout: Float in [0, 1): fraction of tanh(g) left out in training, drawn anew at
            each step, without loss of memory.
        forget_bias: Float, added to the forget gate after its layer norm.
        activation: Activation of g and of the memory.
        recurrent_activation: Activation of the gates i, f and o.
        use_bias: Boolean.
        kernel_initializer: Initializer of `kernel`.
        recurrent_initializer: Initializer of `recurrent_kernel`, gate by gate.
        bias_initializer: Initializer of `bias`.
        kernel_regularizer: Regularizer of `kernel`.
        recurrent_regularizer: Regularizer of `recurrent_kernel`.
        bias_regularizer: Regularizer of `bias`.
        kernel_constraint: Constraint of `kernel`.
        recurrent_constraint: Constraint of `recurrent_kernel`.
        bias_constraint: Constraint of `bias`.
        seed: Integer for both kinds of dropout, or None for a random one.
        return_sequences: Boolean, whether to return all outputs instead of the last.
        return_state: Boolean, whether to return the last states h and c besides.
        go_backwards: Boolean, whether to take the sequence from its end.
        stateful: Boolean, whether a batch starts from the states that the last one left.
        unroll: Boolean, whether to unroll the loop over the steps.
        zero_output_for_mask: Boolean, whether masked steps give zeros instead of the last output.
        use_xla: Boolean, whether the fast path may be taken, see below.

    Call arguments:
        sequences: Tensor of shape `[b, t, x]`.
        initial_state: List `[h, c]` of tensors of shape `[b, n]`; None for zeros.
        mask: Boolean tensor of shape `[b, t]`: a step where it is False leaves the states.
        training: Boolean, whether dropout is active.

    Input shape:
        `[b, t, x]`, x known.

    Output shape:
        `[b, n]`, with `return_sequences` `[b, t, n]`; and with `return_state` the states.

    Parameters: 4n (x + n + 1), and 10n with layer norm.

    On TensorFlow the recurrence is compiled by XLA by itself, with a gradient written by hand: the
    same values and gradients as the cell in `keras.layers.RNN`, several times faster. It is
    compiled once for each batch size and length, which takes seconds: where lengths vary much,
    pad them to a few, or give `use_xla=False`. The cell is taken step by step, as it is on other
    backends, in half precision, with `unroll`, and with other activations than tanh and sigmoid.

    Example:

    ```python
    layer = hyperkeras.layers.LayerNormLSTM(64, return_sequences=True)
    layer(keras.random.normal((32, 10, 8))).shape  # (32, 10, 64)
    ```

    References:
        - [Ba et al., 2016](https://arxiv.org/abs/1607.06450)
        - [Ha et al., 2016](https://arxiv.org/abs/1609.09106)
    """

    def __init__(
        self,
        units,
        layer_norm=True,
        dropout=0.0,
        recurrent_dropout=0.0,
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
        return_sequences=False,
        return_state=False,
        go_backwards=False,
        stateful=False,
        unroll=False,
        zero_output_for_mask=False,
        use_xla=True,
        **kwargs,
    ):
        cell = LayerNormLSTMCell(
            units,
            layer_norm=layer_norm,
            recurrent_dropout=recurrent_dropout,
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
            seed=seed,
            name="cell",
            dtype=kwargs.get("dtype"),
            trainable=kwargs.get("trainable", True),
        )
        super().__init__(
            cell,
            dropout=dropout,
            seed=seed,
            return_sequences=return_sequences,
            return_state=return_state,
            go_backwards=go_backwards,
            stateful=stateful,
            unroll=unroll,
            zero_output_for_mask=zero_output_for_mask,
            use_xla=use_xla,
            **kwargs,
        )

    def fast_loop(self, x, initial_state, sequences, training):
        from hyperkeras.ops.rnn import layer_norm_lstm_tensorflow

        h, c = layer_norm_lstm_tensorflow.layer_norm_lstm(
            x,
            initial_state,
            lstm_weights(self.cell),
            self.cell.forget_bias,
            sequences,
            remember=training,
        )
        return h, [h[-1], c]
