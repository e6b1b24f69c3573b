"""The HyperLSTM."""

import keras
from keras import ops, tree

from hyperkeras.layers.rnn.fused_rnn import FastRecurrent, lstm_weights
from hyperkeras.layers.rnn.hyper_lstm_cell import HyperLSTMCell


@keras.saving.register_keras_serializable(package="hyperkeras")
class HyperLSTM(FastRecurrent):
    """An LSTM whose weights a small LSTM changes at each step: `HyperLSTMCell` over a sequence.

    See the cell for its equations and weights; it is kept as `cell`.

    Args:
        units: Integer n, the units of the large network.
        hyper_units: Integer m, the units of the small network.
        embedding_dim: Integer e, the numbers from which each scale and shift is made.
        layer_norm: Boolean, for both networks.
        dropout: Float in [0, 1): fraction of the input's features left out in training, the same
            ones at each step.
        recurrent_dropout: Float in [0, 1): fraction of the large network's tanh(g) left out in
            training, drawn anew at each step, without loss of memory.
        hyper_recurrent_dropout: Float in [0, 1), likewise of the small network.
        forget_bias: Float, added to the forget gates of both after layer norm.
        activation: Activation of g and of the memory, in both.
        recurrent_activation: Activation of the gates i, f and o, in both.
        use_bias: Boolean, whether both have b.
        kernel_initializer: Initializer of both kernels.
        recurrent_initializer: Initializer of both recurrent kernels, gate by gate.
        bias_initializer: Initializer of both biases.
        kernel_regularizer: Regularizer of both kernels.
        recurrent_regularizer: Regularizer of both recurrent kernels.
        bias_regularizer: Regularizer of both biases.
        kernel_constraint: Constraint of both kernels.
        recurrent_constraint: Constraint of both recurrent kernels.
        bias_constraint: Constraint of both biases.
        seed: Integer for all kinds of dropout, or None for a random one.
        return_sequences: Boolean, whether to return all outputs instead of the last.
        return_state: Boolean, whether to return the last states besides.
        go_backwards: Boolean, whether to take the sequence from its end.
        stateful: Boolean, whether a batch starts from the states that the last one left.
        unroll: Boolean, whether to unroll the loop over the steps.
        zero_output_for_mask: Boolean, whether masked steps give zeros instead of the last output.
        use_xla: Boolean, whether the fast path may be taken, see below.
        return_weight_changes: Boolean, whether to return, behind all else, how far each step has
            moved the matrices from h to the gates i, f, c, o, in the Frobenius norm. Needs
            `return_sequences`. No gradient passes through it.

    Call arguments:
        sequences: Tensor of shape `[b, t, x]`.
        initial_state: List `[h, c, hyper_h, hyper_c]` of tensors of shape `[b, n]` and `[b, m]`;
            None for zeros.
        mask: Boolean tensor of shape `[b, t]`: a step where it is False leaves the states.
        training: Boolean, whether dropout is active.

    Input shape:
        `[b, t, x]`, x known.

    Output shape:
        `[b, n]`, with `return_sequences` `[b, t, n]`; and with `return_state` the states;
        and with `return_weight_changes` `[b, t, 4]`.

    Parameters: the large network's 4n (x + n + 1), the small one's 4m (x + n + m + 1), with layer
    norm 10n + 10m, and for generation 12me + 8e + 12en.

    On TensorFlow the recurrence is compiled by XLA by itself, with a gradient written by hand: the
    same values and gradients as the cell in `keras.layers.RNN`, several times faster. It is
    compiled once for each batch size and length, which takes seconds: where lengths vary much,
    pad them to a few, or give `use_xla=False`. The cell is taken step by step, as it is on other
    backends, in half precision, with `unroll`, and with other activations than tanh and sigmoid.

    Example:

    ```python
    layer = hyperkeras.layers.HyperLSTM(64, hyper_units=16, embedding_dim=4, return_sequences=True)
    layer(keras.random.normal((32, 10, 8))).shape  # (32, 10, 64)
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
        dropout=0.0,
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
        return_sequences=False,
        return_state=False,
        go_backwards=False,
        stateful=False,
        unroll=False,
        zero_output_for_mask=False,
        use_xla=True,
        return_weight_changes=False,
        **kwargs,
    ):
        cell = HyperLSTMCell(
            units,
            hyper_units=hyper_units,
            embedding_dim=embedding_dim,
            layer_norm=layer_norm,
            recurrent_dropout=recurrent_dropout,
            hyper_recurrent_dropout=hyper_recurrent_dropout,
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
            return_weight_changes=return_weight_changes,
            name="cell",
            dtype=kwargs.get("dtype"),
            trainable=kwargs.get("trainable", True),
        )
        if return_weight_changes and not return_sequences:
            raise ValueError(
                "Expected `return_sequences` with `return_weight_changes`, given for each "
                f"step. Received: return_weight_changes={return_weight_changes}, "
                f"return_sequences={return_sequences}"
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

    def call(self, sequences, initial_state=None, mask=None, training=False):
        outputs = super().call(sequences, initial_state, mask, training)
        if not self.cell.return_weight_changes:
            return outputs
        outputs, *states = outputs if self.return_state else (outputs,)
        n = self.cell.units
        changes = outputs[..., n:]  # [b, t, 4]
        if mask is not None:
            mask = tree.flatten(mask)[0]
            mask = ops.flip(mask, axis=1) if self.go_backwards else mask
            changes = changes * ops.cast(mask, changes.dtype)[..., None]
        return (outputs[..., :n], *states, changes)

    def fast_loop(self, x, initial_state, sequences, training):
        from hyperkeras.ops.rnn import hyper_lstm_tensorflow

        cell = self.cell
        weights = {"large": lstm_weights(cell), "small": lstm_weights(cell.hyper_cell)}
        h, hyper_h, c, hyper_c = hyper_lstm_tensorflow.hyper_lstm(
            x,
            initial_state,
            {**weights, **cell.generation()},
            cell.forget_bias,
            sequences,
            remember=training,
        )
        outputs = h
        if cell.return_weight_changes:
            before = ops.concatenate([initial_state[2][None], hyper_h[:-1]], axis=0)
            outputs = ops.concatenate([h, cell.weight_changes(before, hyper_h)], axis=-1)
        return outputs, [h[-1], c, hyper_h[-1], hyper_c]

    def compute_output_shape(self, sequences_shape, initial_state_shape=None):
        shapes = super().compute_output_shape(sequences_shape, initial_state_shape)
        if not self.cell.return_weight_changes:
            return shapes
        shape, *states = shapes if self.return_state else (shapes,)
        return ((*shape[:-1], self.cell.units), *states, (*shape[:-1], 4))

    def compute_mask(self, inputs, mask):
        masks = super().compute_mask(inputs, mask)
        if not self.cell.return_weight_changes:
            return masks
        return [*(masks if self.return_state else [masks]), None]
