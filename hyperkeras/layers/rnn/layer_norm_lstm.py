"""The layer-norm LSTM layer."""

from typing import Any, Unpack

import keras

from hyperkeras.annotations import (
    Activation,
    Constraint,
    Initializer,
    LayerArguments,
    Regularizer,
    Seed,
    Tensor,
)
from hyperkeras.layers.rnn.fused_lstm import FastLSTM, lstm_weights
from hyperkeras.layers.rnn.layer_norm_lstm_cell import LayerNormLSTMCell


@keras.saving.register_keras_serializable(package="hyperkeras")
class LayerNormLSTM(FastLSTM):
    """LSTM layer with layer normalization (Ba et al. 2016).

    The layer runs a `LayerNormLSTMCell` over a sequence. See the cell for the equations and
    weights; it is the layer's attribute `cell`.

    Args:
        units: Integer n, the number of units, which is the size of the output.
        layer_norm: Boolean, whether the gates and the memory are normalized (default `True`).
        dropout: Float in [0, 1), the fraction of the input's features that training leaves out, the
            same ones at each step (default 0).
        recurrent_dropout: Float in [0, 1), the fraction of tanh(g) that training leaves out, drawn
            anew at each step (default 0). It does not touch what the cell remembers.
        forget_bias: Float, added to the forget gate after its layer norm (default 1).
        activation: Activation function of g and of the memory (default tanh).
        recurrent_activation: Activation function of the gates i, f and o (default sigmoid).
        use_bias: Boolean, whether the layer uses a bias vector (default `True`).
        kernel_initializer: Initializer of `kernel` (default Glorot uniform).
        recurrent_initializer: Initializer of `recurrent_kernel` (default orthogonal, gate by gate).
        bias_initializer: Initializer of `bias` (default zeros).
        kernel_regularizer: Regularizer of `kernel` (default none).
        recurrent_regularizer: Regularizer of `recurrent_kernel` (default none).
        bias_regularizer: Regularizer of `bias` (default none).
        kernel_constraint: Constraint of `kernel` (default none).
        recurrent_constraint: Constraint of `recurrent_kernel` (default none).
        bias_constraint: Constraint of `bias` (default none).
        seed: Integer seed of all dropout, or None for a random one (default).
        return_sequences: Boolean, whether to return the outputs of all steps instead of the last
            one (default `False`).
        return_state: Boolean, whether to return the last states behind the output (default
            `False`).
        go_backwards: Boolean, whether to read the sequence from its end (default `False`).
        stateful: Boolean, whether a batch starts from the states that the batch before it left
            (default `False`).
        unroll: Boolean, whether to unroll the loop over the steps (default `False`).
        zero_output_for_mask: Boolean, whether masked steps give zeros instead of the last output
            (default `False`).
        use_xla: Boolean, whether the layer may take the fast path, see below (default `True`).
        **kwargs: Arguments of `keras.layers.Layer`, such as `name` and `dtype`.

    Call arguments:
        sequences: Tensor of shape `[b, t, x]`. Integers are cast to the compute dtype.
        initial_state: List `[h, c]` of tensors of shape `[b, n]`; None for zeros.
        mask: Boolean tensor of shape `[b, t]`. Where it is False, the step is skipped and the
            states stay (default None, no step is skipped).
        training: Boolean, whether dropout is active (default `False`).

    Input shape:
        `[b, t, x]`, x known.

    Output shape:
        `[b, n]`, or `[b, t, n]` with `return_sequences`. With `return_state` the two states follow.

    Parameters: 4n (x + n + 1), and 10n with layer norm.

    The layer takes a fast path: the whole recurrence as one operation, with a derivative written by
    hand. It gives the same values and derivatives as the cell in `keras.layers.RNN`. On TensorFlow
    XLA compiles its loop, 32 steps at a time, once for each batch size, which takes seconds;
    `supports_jit` is False, or a model's `fit` would compile it anew for each length. On JAX XLA
    compiles it for each batch size and length: pad sequences to a few lengths yourself, or set
    `use_xla=False`.

    The layer runs its cell step by step in half precision, with `unroll`, with activations other
    than tanh and sigmoid, while a model is exported, under `tf.debugging.enable_check_numerics()`,
    and on PyTorch in forward mode, in `torch.func`, `torch.compile` and `torch.autocast`. An export
    to LiteRT needs `unroll=True`, or an interpreter with TensorFlow's own operations. A
    `tf.autodiff.ForwardAccumulator` around a `tf.function` needs `use_xla=False`.

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
        units: int,
        layer_norm: bool = True,
        dropout: float = 0.0,
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
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        zero_output_for_mask: bool = False,
        use_xla: bool = True,
        **kwargs: Unpack[LayerArguments],
    ) -> None:
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

    def fast_loop(
        self, x: Tensor, initial_state: Any, sequences: dict[str, Tensor], training: bool
    ) -> tuple[Any, ...]:
        cell = self.cell
        arguments = (x, tuple(initial_state), lstm_weights(cell), cell.forget_bias, sequences)
        if keras.backend.backend() == "jax":
            from hyperkeras.ops.rnn import layer_norm_lstm_jax

            h, c = layer_norm_lstm_jax.layer_norm_lstm(*arguments)
        elif keras.backend.backend() == "torch":
            from hyperkeras.ops.rnn.on_torch import layer_norm_lstm_torch

            h, c = layer_norm_lstm_torch.layer_norm_lstm(*arguments)
        else:
            from hyperkeras.ops.rnn.on_tensorflow import layer_norm_lstm_tensorflow

            h, c = layer_norm_lstm_tensorflow.layer_norm_lstm(*arguments, remember=training)
        return h, [h[-1], c]
