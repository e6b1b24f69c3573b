"""A dense layer with about 1/n of the parameters."""

import keras
from keras import ops

from hyperkeras.layers.hypercomplex.base_phm_layer import PHMLayer
from hyperkeras.ops.argument_validation import check_int


@keras.saving.register_keras_serializable(package="hyperkeras")
class PHMDense(PHMLayer):
    r"""A dense layer whose kernel is a sum of n Kronecker products.

    .. math:: y = \phi(x H + b), \qquad H = \sum_{i=1}^{n} A_i \otimes S_i

    with A `[n, n, n]` the `rules` and S `[n, inputs / n, units / n]` the `blocks`. With n = 4 and
    A the rules of quaternions it is a quaternion layer; here the rules are learned.

    Args:
        units: Integer, the outputs; `n` divides it, and the inputs.
        n: Integer, the number of products.
        activation: Activation φ, or None.
        use_bias: Boolean.
        kernel_initializer: Initializer, as of a dense layer's kernel.
        bias_initializer: Initializer of the bias.
        kernel_regularizer: Regularizer of A and S.
        bias_regularizer: Regularizer of the bias.

    Input shape:
        `[b, ..., inputs]`.

    Output shape:
        `[b, ..., units]`.

    Parameters: n³ + inputs · units / n + units.

    Example:

    ```python
    layer = hyperkeras.layers.PHMDense(64, n=4, activation="relu")
    layer(keras.random.normal((8, 32))).shape  # (8, 64), with 640 parameters, not 2112
    ```

    References:
        - [Zhang et al., 2021](https://arxiv.org/abs/2102.08597)
    """

    def __init__(
        self,
        units,
        n,
        activation=None,
        use_bias=True,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        kernel_regularizer=None,
        bias_regularizer=None,
        **kwargs,
    ):
        super().__init__(
            check_int("units", units, 1),
            n,
            activation,
            use_bias,
            kernel_initializer,
            bias_initializer,
            kernel_regularizer,
            bias_regularizer,
            **kwargs,
        )
        self.units = units

    def build(self, input_shape):
        self.build_kernel((), input_shape[-1])
        self.input_spec = keras.layers.InputSpec(min_ndim=2, axes={-1: input_shape[-1]})

    def call(self, inputs):
        y = ops.matmul(inputs, self.kernel)
        if self.bias is not None:
            y = y + ops.convert_to_tensor(self.bias)
        return self.activation(y)

    def compute_output_shape(self, input_shape):
        return *input_shape[:-1], self.units

    def get_config(self):
        return {**super().get_config(), "units": self.units}
