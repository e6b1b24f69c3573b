"""The parameterized hypercomplex convolution."""

from collections.abc import Sequence
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
from hyperkeras.ops.argument_validation import (
    check_choice,
    check_int,
    check_size,
    invalid_value,
)


@keras.saving.register_keras_serializable(package="hyperkeras")
class PHMConv2D(PHMLayer):
    r"""A 2D convolution whose kernel is a sum of n Kronecker products over its channels.

    .. math:: y = \phi(x * H + b), \qquad H[u, v] = \sum_{i=1}^{n} A_i \otimes S_i[u, v]

    with A `[n, n, n]` the `rules` and S `[n, *kernel_size, channels / n, filters / n]` the
    `blocks`.

    Args:
        filters: Integer, the number of output channels. `n` divides it and the number of the
            input's channels.
        kernel_size: Integer or pair of integers, the kernel's height and width in pixels.
        n: Integer, the number of products: the kernel has about 1 / n of a dense kernel's numbers.
        strides: Integer or pair of integers, the step of the window in pixels (default 1).
        padding: `"valid"` (the default) or `"same"`.
        data_format: `"channels_last"`, `"channels_first"`, or None for
            `keras.config.image_data_format()` (the default).
        dilation_rate: Integer or pair of integers, the distance in pixels between the kernel's
            points (default 1).
        activation: Activation function φ, or its name (default: None, the identity).
        use_bias: Boolean, whether the layer adds a bias vector (default `True`).
        kernel_initializer: Initializer of a convolution's kernel of the same shape (default
            `"glorot_uniform"`).
        bias_initializer: Initializer of the bias (default `"zeros"`).
        kernel_regularizer: Regularizer of A and of S, not of their product (default: none).
        bias_regularizer: Regularizer of the bias (default: none).

    Input shape:
        `[b, height, width, channels]`, or `[b, channels, height, width]` for channels first.

    Output shape:
        As of `keras.layers.Conv2D`.

    Parameters: n³ + height · width · channels · filters / n of the window, + filters.

    Example:

    ```python
    layer = hyperkeras.layers.PHMConv2D(16, 3, n=4, padding="same")
    layer(keras.random.normal((8, 14, 14, 16))).shape  # (8, 14, 14, 16)
    ```

    References:
        - [Grassucci et al., 2022](https://arxiv.org/abs/2110.04176)
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int],
        n: int,
        strides: int | Sequence[int] = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: int | Sequence[int] = 1,
        activation: Activation = None,
        use_bias: bool = True,
        kernel_initializer: Initializer = "glorot_uniform",
        bias_initializer: Initializer = "zeros",
        kernel_regularizer: Regularizer = None,
        bias_regularizer: Regularizer = None,
        **kwargs: Unpack[LayerArguments],
    ) -> None:
        super().__init__(
            check_int("filters", filters, 1),
            n,
            activation,
            use_bias,
            kernel_initializer,
            bias_initializer,
            kernel_regularizer,
            bias_regularizer,
            **kwargs,
        )
        self.filters = filters
        self.kernel_size = _pair("kernel_size", kernel_size)
        self.strides = _pair("strides", strides)
        self.dilation_rate = _pair("dilation_rate", dilation_rate)
        self.padding = check_choice("padding", padding, ("valid", "same"))
        if data_format is None:
            data_format = keras.config.image_data_format()
        formats = ("channels_last", "channels_first")
        self.data_format = check_choice("data_format", data_format, formats)

    def build(self, input_shape: Shape) -> None:
        if len(input_shape) != 4:
            raise ValueError(
                f"Expected `inputs` of layer '{self.name}' to be images of rank 4. "
                f"Received: input_shape={tuple(input_shape)}"
            )
        axis = 3 if self.data_format == "channels_last" else 1
        self.build_kernel(self.kernel_size, input_shape[axis])
        self.input_spec = keras.layers.InputSpec(ndim=4, axes={axis: input_shape[axis]})

    def call(self, inputs: Tensor) -> Tensor:
        x = ops.cast(inputs, self.compute_dtype)  # integers, which Keras leaves as they are
        if self.data_format == "channels_first":  # which no CPU convolves
            x = ops.transpose(x, (0, 2, 3, 1))
        y = ops.conv(
            x, self.kernel, self.strides, self.padding, "channels_last", self.dilation_rate
        )
        if self.bias is not None:
            y = y + ops.convert_to_tensor(self.bias)
        y = self.activation(y)
        return ops.transpose(y, (0, 3, 1, 2)) if self.data_format == "channels_first" else y

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        last = self.data_format == "channels_last"
        dims = input_shape[1:3] if last else input_shape[2:4]
        spatial = []
        for size, k, s, d in zip(
            dims, self.kernel_size, self.strides, self.dilation_rate, strict=True
        ):
            reach = (k - 1) * d if self.padding == "valid" else 0
            spatial.append(None if size is None else -(-(size - reach) // s))
        if last:
            return input_shape[0], *spatial, self.filters
        return input_shape[0], self.filters, *spatial

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
            "data_format": self.data_format,
            "dilation_rate": self.dilation_rate,
        }


def _pair(name: str, value: int | Sequence[int]) -> tuple[int, ...]:
    pair = check_size((value, value) if isinstance(value, int) else value, name)
    if len(pair) != 2:
        raise invalid_value(name, "an integer or a pair of integers", value)
    return pair
