"""A step of the HyperRNN as a Keras cell."""

import keras
from keras import ops

from hyperkeras.initializers import sum_of_slices
from hyperkeras.layers.rnn.base_rnn_cell import RecurrentCell
from hyperkeras.ops.argument_validation import check_int
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
        units: Integer n, the units of the large network.
        hyper_units: Integer m, the units of the small network.
        embedding_dim: Integer e, the numbers of each z.
        form: `"scaled"` or `"full"`.
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

    Call arguments:
        inputs: Tensor of shape `[b, x]`.
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
        units,
        hyper_units=128,
        embedding_dim=16,
        form="scaled",
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
        **kwargs,
    ):
        shared = dict(
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
        if form not in ("scaled", "full"):
            raise ValueError(
                "Received an invalid value for `form`, expected 'scaled' or 'full'. "
                f"Received: form={form!r}"
            )
        self.form = form
        self.hyper_cell = keras.layers.SimpleRNNCell(
            self.hyper_units, name="hyper_cell", dtype=self.dtype_policy, **shared
        )
        self.state_size = [self.units, self.hyper_units]

    def build(self, input_shape):
        x, n, m, e = self.input_dim(input_shape), self.units, self.hyper_units, self.embedding_dim
        self.hyper_cell.build((input_shape[0], x + n))
        dims, of_kernel, of_recurrent = (), None, None
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

    def call(self, inputs, states):
        h, hyper_h = states
        hyper_h, _ = self.hyper_cell(ops.concatenate([inputs, h], axis=-1), [hyper_h])
        weights = [
            self.kernel,
            self.recurrent_kernel,
            self.bias,
            self.scale_embedding_kernel,
            self.scale_embedding_bias,
            self.shift_embedding_kernel,
        ]
        step = full_hyper_rnn_step
        if self.form == "scaled":
            step = hyper_rnn_step
            weights.append(self.scale_kernel)
        h = step(inputs, h, hyper_h, *weights, self.shift_kernel, activation=self.activation)
        return h, [h, hyper_h]

    def get_config(self):
        return {
            **super().get_config(),
            "hyper_units": self.hyper_units,
            "embedding_dim": self.embedding_dim,
            "form": self.form,
        }
