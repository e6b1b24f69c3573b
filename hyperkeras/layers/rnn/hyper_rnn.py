"""The HyperRNN."""

import keras

from hyperkeras.layers.rnn.base_rnn import Recurrent
from hyperkeras.layers.rnn.hyper_rnn_cell import HyperRNNCell


@keras.saving.register_keras_serializable(package="hyperkeras")
class HyperRNN(Recurrent):
    """A plain recurrent network whose weights a smaller one makes: `HyperRNNCell` over a sequence.

    See the cell for its equations and weights; it is kept as `cell`.

    Args:
        units: Integer n, the units of the large network.
        hyper_units: Integer m, the units of the small network.
        embedding_dim: Integer e, the numbers of each embedding.
        form: `"scaled"`, where rows of weights are scaled, or `"full"`, where they are generated.
        dropout: Float in [0, 1): fraction of the input's features left out in training, the same
            ones at each step.
        activation: Activation of both networks.
        use_bias: Boolean, whether both have a bias that is not generated.
        kernel_initializer: Initializer of both kernels.
        recurrent_initializer: Initializer of both recurrent kernels.
        bias_initializer: Initializer of both biases.
        kernel_regularizer: Regularizer of both kernels.
        recurrent_regularizer: Regularizer of both recurrent kernels.
        bias_regularizer: Regularizer of both biases.
        kernel_constraint: Constraint of both kernels.
        recurrent_constraint: Constraint of both recurrent kernels.
        bias_constraint: Constraint of both biases.
        seed: Integer for dropout, or None for a random one.
        return_sequences: Boolean, whether to return all outputs instead of the last.
        return_state: Boolean, whether to return the last states h and hyper_h besides.
        go_backwards: Boolean, whether to take the sequence from its end.
        stateful: Boolean, whether a batch starts from the states that the last one left.
        unroll: Boolean, whether to unroll the loop over the steps.
        zero_output_for_mask: Boolean, whether masked steps give zeros instead of the last output.

    Call arguments:
        sequences: Tensor of shape `[b, t, x]`.
        initial_state: List `[h, hyper_h]` of tensors of shape `[b, n]` and `[b, m]`; None for
            zeros.
        mask: Boolean tensor of shape `[b, t]`: a step where it is False leaves the states.
        training: Boolean, whether dropout is active.

    Input shape:
        `[b, t, x]`, x known.

    Output shape:
        `[b, n]`, with `return_sequences` `[b, t, n]`; and with `return_state` the states.

    Parameters: the cell's.

    Example:

    ```python
    layer = hyperkeras.layers.HyperRNN(64, hyper_units=16, embedding_dim=4, return_sequences=True)
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
        form="scaled",
        dropout=0.0,
        activation="tanh",
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
        **kwargs,
    ):
        cell = HyperRNNCell(
            units,
            hyper_units=hyper_units,
            embedding_dim=embedding_dim,
            form=form,
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
            **kwargs,
        )
