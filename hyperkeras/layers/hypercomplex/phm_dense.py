"""The parameterized hypercomplex dense layer."""

from typing import Unpack

import keras
from keras import ops

from hyperkeras.annotations import (
    Activation,
    Config,
    Initializer,
    LayerArguments,
    Regularizer,
    Shape,
    Tensor,
)
from hyperkeras.layers.hypercomplex.base_phm_layer import PHMLayer
from hyperkeras.ops.argument_validation import check_int


@keras.saving.register_keras_serializable(package="hyperkeras")
class PHMDense(PHMLayer):
    r"""A dense layer whose kernel is a sum of n Kronecker products.

    .. math:: y = \phi(x H + b), \qquad H = \sum_{i=1}^{n} A_i \otimes S_i

    with A `[n, n, n]` the `rules` and S `[n, inputs / n, units / n]` the `blocks`. With n = 4 and
    the rules of quaternions as A, it is a quaternion layer; here the rules are learned. Masks pass
    through, as through `keras.layers.Dense`.

    Args:
        units: Integer, the number of outputs. `n` divides it and the number of inputs.
        n: Integer, the number of products: the kernel has about 1 / n of a dense kernel's numbers.
        activation: Activation function φ, or its name (default: None, the identity).
        use_bias: Boolean, whether the layer adds a bias vector (default `True`).
        kernel_initializer: Initializer of a dense kernel of the same shape (default
            `"glorot_uniform"`).
        bias_initializer: Initializer of the bias (default `"zeros"`).
        kernel_regularizer: Regularizer of A and of S, not of their product (default: none).
        bias_regularizer: Regularizer of the bias (default: none).

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
        units: int,
        n: int,
        activation: Activation = None,
        use_bias: bool = True,
        kernel_initializer: Initializer = "glorot_uniform",
        bias_initializer: Initializer = "zeros",
        kernel_regularizer: Regularizer = None,
        bias_regularizer: Regularizer = None,
        **kwargs: Unpack[LayerArguments],
    ) -> None:
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
        self.supports_masking = True
        self.units = units

    def build(self, input_shape: Shape) -> None:
        self.build_kernel((), input_shape[-1])
        self.input_spec = keras.layers.InputSpec(min_ndim=2, axes={-1: input_shape[-1]})

    def call(self, inputs: Tensor) -> Tensor:
        y = ops.matmul(inputs, self.kernel)
        if self.bias is not None:
            y = y + ops.convert_to_tensor(self.bias)
        return self.activation(y)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return *input_shape[:-1], self.units

    def get_config(self) -> Config:
        return {**super().get_config(), "units": self.units}
