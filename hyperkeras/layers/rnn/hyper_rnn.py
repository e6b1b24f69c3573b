"""The HyperRNN layer."""

from typing import Any, Literal, Unpack

import keras
from keras import ops

from hyperkeras.annotations import (
    Activation,
    Constraint,
    Initializer,
    LayerArguments,
    Regularizer,
    Seed,
    Tensor,
)
from hyperkeras.layers.rnn.base_rnn import of_cell
from hyperkeras.layers.rnn.fused_rnn import FastRecurrent
from hyperkeras.layers.rnn.hyper_rnn_cell import HyperRNNCell


@keras.saving.register_keras_serializable(package="hyperkeras")
class HyperRNN(FastRecurrent):
    """HyperRNN layer: a plain recurrent network whose weights a smaller one makes (Ha et al. 2016).

    The layer runs a `HyperRNNCell` over a sequence. See the cell for the equations and weights; it
    is the layer's attribute `cell`.

    Args:
        units: Integer n, the number of units of the large network, which is the size of the output.
        hyper_units: Integer m, the number of units of the small network (default 128).
        embedding_dim: Integer e, the size of each embedding z (default 16).
        form: `"scaled"` to scale the rows of fixed weights (default), or `"full"` to generate every
            weight.
        dropout: Float in [0, 1), the fraction of the input's features that training leaves out, the
            same ones at each step (default 0).
        activation: Activation function of both networks (default tanh).
        use_bias: Boolean, whether both networks use a bias vector that is not generated (default
            `True`).
        kernel_initializer: Initializer of `kernel`, in both networks (default Glorot uniform).
        recurrent_initializer: Initializer of `recurrent_kernel`, in both networks (default
            orthogonal).
        bias_initializer: Initializer of `bias`, in both networks (default zeros).
        kernel_regularizer: Regularizer of `kernel`, in both networks (default none).
        recurrent_regularizer: Regularizer of `recurrent_kernel`, in both networks (default none).
        bias_regularizer: Regularizer of `bias`, in both networks (default none).
        kernel_constraint: Constraint of `kernel`, in both networks (default none).
        recurrent_constraint: Constraint of `recurrent_kernel`, in both networks (default none).
        bias_constraint: Constraint of `bias`, in both networks (default none).
        seed: Integer seed of dropout, or None for a random one (default).
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
        initial_state: List `[h, hyper_h]` of tensors of shape `[b, n]` and `[b, m]`; None for
            zeros.
        mask: Boolean tensor of shape `[b, t]`. Where it is False, the step is skipped and the
            states stay (default None, no step is skipped).
        training: Boolean, whether dropout is active (default `False`).

    Input shape:
        `[b, t, x]`, x known.

    Output shape:
        `[b, n]`, or `[b, t, n]` with `return_sequences`. With `return_state` the two states follow.

    Parameters: those of the cell.

    In the form `"scaled"` the layer takes a fast path, as `HyperLSTM` does and in the same cases:
    the whole recurrence as one operation, with a derivative written by hand. It gives the same
    values and derivatives as the cell in `keras.layers.RNN`.

    Example:

    ```python
    layer = hyperkeras.layers.HyperRNN(64, hyper_units=16, embedding_dim=4, return_sequences=True)
    layer(keras.random.normal((32, 10, 8))).shape  # (32, 10, 64)
    ```

    References:
        - [Ha et al., 2016](https://arxiv.org/abs/1609.09106)
    """

    hyper_units = of_cell("hyper_units")
    embedding_dim = of_cell("embedding_dim")
    form = of_cell("form")

    def __init__(
        self,
        units: int,
        hyper_units: int = 128,
        embedding_dim: int = 16,
        form: Literal["scaled", "full"] = "scaled",
        dropout: float = 0.0,
        activation: Activation = "tanh",
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
            use_xla=use_xla,
            **kwargs,
        )

    def has_known_gates(self) -> bool:
        return self.form == "scaled"

    def fast_loop(
        self, x: Tensor, initial_state: Any, sequences: dict[str, Tensor], training: bool
    ) -> tuple[Any, ...]:
        weights = {name: ops.convert_to_tensor(w) for name, w in self.cell.by_name().items()}
        arguments = (x, tuple(initial_state), weights, sequences)
        if keras.backend.backend() == "jax":
            from hyperkeras.ops.rnn import hyper_rnn_jax

            h, hyper_h = hyper_rnn_jax.hyper_rnn(*arguments)
        elif keras.backend.backend() == "torch":
            from hyperkeras.ops.rnn.on_torch import hyper_rnn_torch

            h, hyper_h = hyper_rnn_torch.hyper_rnn(*arguments)
        else:
            from hyperkeras.ops.rnn.on_tensorflow import hyper_rnn_tensorflow

            h, hyper_h = hyper_rnn_tensorflow.hyper_rnn(*arguments, remember=training)
        return h, [h[-1], hyper_h[-1]]
