"""A step of the HyperRNN as a Keras cell."""

from collections.abc import Callable
from typing import Any, Literal, Unpack

import keras
from keras import ops

from hyperkeras.annotations import (
    Activation,
    Config,
    Constraint,
    Initializer,
    LayerArguments,
    Regularizer,
    Shape,
    Tensor,
)
from hyperkeras.initializers import sum_of_slices
from hyperkeras.layers.rnn.base_rnn_cell import RecurrentCell
from hyperkeras.ops.argument_validation import check_choice, check_int
from hyperkeras.ops.rnn.hyper_rnn import full_hyper_rnn_step, hyper_rnn_step


@keras.saving.register_keras_serializable(package="hyperkeras")
class HyperRNNCell(RecurrentCell):
    r"""A plain recurrent cell whose weights are made at each step by a smaller one.

    The small network, a plain recurrent network too, reads [x, h] and gives ĥ and from it three
    embeddings z. In the form `"full"` these make every weight anew, for each sample:

    .. math:: h' = \tanh(x W^x(z^x) + h W^h(z^h) + b(z^b)), \qquad
        W(z) = \langle W^z, z \rangle

    which takes e times the weights of a plain cell, and b n (x + n) numbers a step. In the form
    `"scaled"` they scale rows of weights that stay, which takes vectors instead of matrices:

    .. math:: h' = \tanh(d(z^x) \odot x W^x + d(z^h) \odot h W^h + b(z^b)), \qquad d(z) = z W^d

    Both start as a plain recurrent cell, whatever the input. The weights are `kernel [x, n]`
    (`[x, n, e]` in the full form), `recurrent_kernel [n, n]` (`[n, n, e]`), `bias [n]`;
    `scale_embedding_kernel [m, 2e]` and `scale_embedding_bias [2e]`, for z^x, then z^h,
    `shift_embedding_kernel [m, e]` for z^b; `scale_kernel [2, e, n]` for d in the scaled form and
    `shift_kernel [1, e, n]` for b; and those of `hyper_cell`, a `keras.layers.SimpleRNNCell`.

    Args:
        units: Integer n, the number of units of the large network, which is the size of the output.
        hyper_units: Integer m, the number of units of the small network (default 128).
        embedding_dim: Integer e, the size of each embedding z (default 16).
        form: `"scaled"` to scale the rows of fixed weights (default), or `"full"` to generate every
            weight.
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
        **kwargs: Arguments of `keras.layers.Layer`, such as `name` and `dtype`.

    Call arguments:
        inputs: Tensor of shape `[b, x]`. Integers are cast to the compute dtype.
        states: List `[h, hyper_h]` of tensors of shape `[b, n]` and `[b, m]`.

    Input shape:
        `[b, x]`, x known.

    Output shape:
        `[b, n]`, and the list of new states.

    Parameters: the large network's n (x + n + 1), in the full form n (ex + en + 1), the small
    one's m (x + n + m + 1), and for generation 3me + 2e + en, in the scaled form 2en more.

    Example:

    ```python
    layer = keras.layers.RNN(hyperkeras.layers.HyperRNNCell(64, hyper_units=16, embedding_dim=4))
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
        form: Literal["scaled", "full"] = "scaled",
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
        **kwargs: Unpack[LayerArguments],
    ) -> None:
        shared: dict[str, Any] = dict(
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
        )
        super().__init__(units, **shared, **kwargs)
        self.hyper_units = check_int("hyper_units", hyper_units, 1)
        self.embedding_dim = check_int("embedding_dim", embedding_dim, 1)
        self.form = check_choice("form", form, ("scaled", "full"))
        self.hyper_cell = keras.layers.SimpleRNNCell(
            self.hyper_units,
            name="hyper_cell",
            dtype=self.dtype_policy,
            trainable=self.trainable,
            **shared,
        )
        self.state_names = ("h", "hyper_h")
        self.state_size = [self.units, self.hyper_units]

    def build(self, input_shape: Shape) -> None:
        x, n, m, e = self.input_dim(input_shape), self.units, self.hyper_units, self.embedding_dim
        self.hyper_cell.build((input_shape[0], x + n))
        dims: tuple[int, ...] = ()
        of_kernel = of_recurrent = None
        if self.form == "full":
            dims = (e,)
            of_kernel = sum_of_slices(self.kernel_initializer)
            of_recurrent = sum_of_slices(self.recurrent_initializer)
        self.kernel = self.add_part("kernel", (x, n, *dims), "kernel", of_kernel)
        self.recurrent_kernel = self.add_part(
            "recurrent_kernel", (n, n, *dims), "recurrent", of_recurrent
        )
        self.bias = self.add_part("bias", (n,), "bias") if self.use_bias else None
        self.scale_embedding_kernel = self.add_weight(
            name="scale_embedding_kernel", shape=(m, 2 * e), initializer="zeros"
        )
        self.scale_embedding_bias = self.add_weight(
            name="scale_embedding_bias", shape=(2 * e,), initializer="ones"
        )
        self.shift_embedding_kernel = self.add_weight(
            name="shift_embedding_kernel",
            shape=(m, e),
            initializer=keras.initializers.RandomNormal(stddev=0.01),
        )
        if self.form == "scaled":
            # Without layer norm the paper's 0.1 / e would leave a tenth of the signal a step.
            self.scale_kernel = self.add_weight(
                name="scale_kernel",
                shape=(2, e, n),
                initializer=keras.initializers.Constant(1 / e),
            )
        self.shift_kernel = self.add_weight(
            name="shift_kernel", shape=(1, e, n), initializer="zeros"
        )

    def call(self, inputs: Tensor, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        inputs, (h, hyper_h) = self.checked(inputs, states)
        hyper_h, _ = self.hyper_cell(ops.concatenate([inputs, h], axis=-1), [hyper_h])
        weights = [
            self.kernel,
            self.recurrent_kernel,
            self.bias,
            self.scale_embedding_kernel,
            self.scale_embedding_bias,
            self.shift_embedding_kernel,
        ]
        step: Callable[..., Tensor] = full_hyper_rnn_step
        if self.form == "scaled":
            step = hyper_rnn_step
            weights.append(self.scale_kernel)
        h = step(inputs, h, hyper_h, *weights, self.shift_kernel, activation=self.activation)
        return h, [h, hyper_h]

    def by_name(self) -> dict[str, Tensor]:
        """All weights by the names of `hyper_rnn_step`, those of the small network by `hyper_`."""
        small = self.hyper_cell
        weights = {
            "kernel": self.kernel,
            "recurrent_kernel": self.recurrent_kernel,
            "bias": self.bias,
            "scale_embedding_kernel": self.scale_embedding_kernel,
            "scale_embedding_bias": self.scale_embedding_bias,
            "shift_embedding_kernel": self.shift_embedding_kernel,
            "scale_kernel": self.scale_kernel,
            "shift_kernel": self.shift_kernel,
            "hyper_kernel": small.kernel,
            "hyper_recurrent_kernel": small.recurrent_kernel,
            "hyper_bias": small.bias,
        }
        if not self.use_bias:
            weights["bias"] = ops.zeros((self.units,), self.compute_dtype)
            weights["hyper_bias"] = ops.zeros((self.hyper_units,), self.compute_dtype)
        return weights

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "hyper_units": self.hyper_units,
            "embedding_dim": self.embedding_dim,
            "form": self.form,
        }
