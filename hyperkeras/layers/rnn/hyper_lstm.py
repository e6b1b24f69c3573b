"""The HyperLSTM layer."""

from typing import Any, Unpack

import keras
from keras import ops, tree

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
from hyperkeras.layers.rnn.base_rnn import of_cell
from hyperkeras.layers.rnn.fused_lstm import FastLSTM, lstm_weights
from hyperkeras.layers.rnn.hyper_lstm_cell import HyperLSTMCell


@keras.saving.register_keras_serializable(package="hyperkeras")
class HyperLSTM(FastLSTM):
    """HyperLSTM layer: an LSTM whose weights a small LSTM changes at each step (Ha et al. 2016).

    The layer runs a `HyperLSTMCell` over a sequence. See the cell for the equations and weights; it
    is the layer's attribute `cell`.

    Args:
        units: Integer n, the number of units of the large network, which is the size of the output.
        hyper_units: Integer m, the number of units of the small network (default 128).
        embedding_dim: Integer e, the size of the embedding that makes each scale and each shift
            (default 16).
        layer_norm: Boolean, whether both networks normalize their gates and their memory (default
            `True`).
        dropout: Float in [0, 1), the fraction of the input's features that training leaves out, the
            same ones at each step (default 0).
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
        return_weight_changes: Boolean, whether to return, behind all else, how far each step has
            moved the matrices from h to the gates i, f, c and o, in the Frobenius norm (default
            `False`). It needs `return_sequences`, and no gradient passes through it. The changes
            come in the order in which the steps are taken, also with `go_backwards`.
        **kwargs: Arguments of `keras.layers.Layer`, such as `name` and `dtype`.

    Call arguments:
        sequences: Tensor of shape `[b, t, x]`. Integers are cast to the compute dtype.
        initial_state: List `[h, c, hyper_h, hyper_c]` of tensors of shape `[b, n]` and `[b, m]`;
            None for zeros.
        mask: Boolean tensor of shape `[b, t]`. Where it is False, the step is skipped and the
            states stay (default None, no step is skipped).
        training: Boolean, whether dropout is active (default `False`).

    Input shape:
        `[b, t, x]`, x known.

    Output shape:
        `[b, n]`, or `[b, t, n]` with `return_sequences`. With `return_state` the four states
        follow, with `return_weight_changes` a tensor of shape `[b, t, 4]` follows last.

    Parameters: the large network's 4n (x + n + 1), the small one's 4m (x + n + m + 1), with layer
    norm 10n + 10m, and for generation 12me + 8e + 12en.

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
    layer = hyperkeras.layers.HyperLSTM(64, hyper_units=16, embedding_dim=4, return_sequences=True)
    layer(keras.random.normal((32, 10, 8))).shape  # (32, 10, 64)
    ```

    References:
        - [Ha et al., 2016](https://arxiv.org/abs/1609.09106)
    """

    hyper_units = of_cell("hyper_units")
    embedding_dim = of_cell("embedding_dim")
    hyper_recurrent_dropout = of_cell("hyper_recurrent_dropout")
    hyper_forget_bias = of_cell("hyper_forget_bias")
    return_weight_changes = of_cell("return_weight_changes")

    def __init__(
        self,
        units: int,
        hyper_units: int = 128,
        embedding_dim: int = 16,
        layer_norm: bool = True,
        dropout: float = 0.0,
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
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        zero_output_for_mask: bool = False,
        use_xla: bool = True,
        return_weight_changes: bool = False,
        **kwargs: Unpack[LayerArguments],
    ) -> None:
        cell = HyperLSTMCell(
            units,
            hyper_units=hyper_units,
            embedding_dim=embedding_dim,
            layer_norm=layer_norm,
            recurrent_dropout=recurrent_dropout,
            hyper_recurrent_dropout=hyper_recurrent_dropout,
            forget_bias=forget_bias,
            hyper_forget_bias=hyper_forget_bias,
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

    @property
    def return_state(self) -> bool:
        """Whether more follows the outputs, as it always does with `return_weight_changes`."""
        return self.returns_states or self.cell.return_weight_changes

    @return_state.setter
    def return_state(self, value: bool) -> None:
        self.returns_states = value

    def call(
        self,
        sequences: Tensor,
        initial_state: Any = None,
        mask: Tensor = None,
        training: bool = False,
    ) -> Any:
        outputs = super().call(sequences, initial_state, mask, training)
        if not self.cell.return_weight_changes:
            return outputs
        outputs, *states = outputs
        n = self.cell.units
        changes = outputs[..., n:]  # [b, t, 4]
        if mask is not None:
            mask = tree.flatten(mask)[0]
            mask = ops.flip(mask, axis=1) if self.go_backwards else mask
            changes = changes * ops.cast(mask, changes.dtype)[..., None]
        return (outputs[..., :n], *(states if self.returns_states else ()), changes)

    def fast_loop(
        self, x: Tensor, initial_state: Any, sequences: dict[str, Tensor], training: bool
    ) -> tuple[Any, ...]:
        cell = self.cell
        weights = {
            "large": lstm_weights(cell),
            "small": lstm_weights(cell.hyper_cell),
            **{name: ops.convert_to_tensor(w) for name, w in cell.generation().items()},
        }
        biases = (cell.forget_bias, cell.hyper_forget_bias)
        arguments = (x, tuple(initial_state), weights, *biases, sequences)
        if keras.backend.backend() == "jax":
            from hyperkeras.ops.rnn import hyper_lstm_jax

            h, hyper_h, c, hyper_c = hyper_lstm_jax.hyper_lstm(*arguments)
        elif keras.backend.backend() == "torch":
            from hyperkeras.ops.rnn.on_torch import hyper_lstm_torch

            h, hyper_h, c, hyper_c = hyper_lstm_torch.hyper_lstm(*arguments)
        else:
            from hyperkeras.ops.rnn.on_tensorflow import hyper_lstm_tensorflow

            h, hyper_h, c, hyper_c = hyper_lstm_tensorflow.hyper_lstm(*arguments, remember=training)
        outputs = h
        if cell.return_weight_changes:
            before = ops.concatenate([initial_state[2][None], hyper_h[:-1]], axis=0)
            outputs = ops.concatenate([h, cell.weight_changes(before, hyper_h)], axis=-1)
        return outputs, [h[-1], c, hyper_h[-1], hyper_c]

    def compute_output_shape(self, sequences_shape: Shape, initial_state_shape: Any = None) -> Any:
        shapes = super().compute_output_shape(sequences_shape, initial_state_shape)
        if not self.cell.return_weight_changes:
            return shapes
        shape, *states = shapes
        states = states if self.returns_states else ()
        return ((*shape[:-1], self.cell.units), *states, (*shape[:-1], 4))

    def compute_mask(self, inputs: Tensor, mask: Tensor) -> Any:
        masks = super().compute_mask(inputs, mask)
        if not self.cell.return_weight_changes:
            return masks
        return [*(masks if self.returns_states else masks[:1]), None]

    def get_config(self) -> Config:
        return {**super().get_config(), "return_state": self.returns_states}
