"""A convolution whose kernel is generated."""

from collections.abc import Sequence
from typing import Any, Unpack

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
from hyperkeras.layers.generated.base_generated_layer import GeneratedLayer
from hyperkeras.layers.generators.base_generator import Generator
from hyperkeras.ops.argument_validation import check_int, invalid_value


@keras.saving.register_keras_serializable(package="hyperkeras")
class HyperConv2D(GeneratedLayer):
    r"""A 2D convolution whose kernel a shared generator makes from the layer's embeddings.

    .. math:: y = \phi(x * K + b), \qquad K = \begin{pmatrix}
        K^{11} & \cdots & K^{1q} \\ \vdots & & \vdots \\ K^{p1} & \cdots & K^{pq}
        \end{pmatrix}, \qquad K^{ij} = \mathrm{generator}(z^{ij})

    The kernel consists of p × q tiles. Each tile is made from one embedding z. With a generator of
    (3, 3, 16, 16), a kernel of 32 channels to 32 channels has four tiles. The layer owns the
    `embeddings [p, q, N_z]` and the bias. Layers that share a generator still share it after
    saving, loading and cloning.

    The kernel is made anew in each call. Where the weights no longer change,
    `hyperkeras.models.freeze` makes it once for all calls.

    Args:
        filters: Integer, the number of output channels. It is a multiple of the generator's N_out.
        kernel_size: Integer or pair of integers, the kernel's height and width in pixels. They are
            the generator's (f, f).
        generator: The `KernelGenerator`, or another `Generator`, that makes the kernel. It may
            serve any number of layers.
        strides: Integer or pair of integers, the step of the window in pixels (default 1).
        padding: `"same"` (the default) or `"valid"`.
        data_format: `"channels_last"`, `"channels_first"`, or None for
            `keras.config.image_data_format()` (the default).
        dilation_rate: Integer or pair of integers, the distance in pixels between the kernel's
            points (default 1).
        groups: Integer, only 1. Grouped convolutions are not generated.
        activation: Activation function φ, or its name (default: None, the identity).
        use_bias: Boolean, whether the layer adds a bias vector (default `True`).
        embedding_initializer: Initializer of the embeddings. None (the default) is `TileEmbedding`,
            which keeps the variance of activations through ReLUs.
        bias_initializer: Initializer of the bias (default `"zeros"`).
        kernel_regularizer: Regularizer of the generated kernel (default: none). It is counted once,
            however often the layer is called.
        bias_regularizer: Regularizer of the bias (default: none).
        kernel_constraint: Function applied to the generated kernel each time it is made (default:
            none).
        bias_constraint: Constraint of the bias (default: none).
        **kwargs: The arguments of every Keras layer: `name`, `dtype`, `trainable`,
            `activity_regularizer`.

    Input shape:
        `[b, height, width, p N_in]`, or `[b, p N_in, height, width]` for channels first.

    Output shape:
        `[b, height', width', filters]`, or `[b, filters, height', width']`, as of
        `keras.layers.Conv2D`.

    Parameters: p q N_z, and `filters` with `use_bias`; besides, once, the generator's.

    Example:

    ```python
    generator = hyperkeras.layers.KernelGenerator((3, 3, 16, 16), embedding_dim=64)
    layer = hyperkeras.layers.HyperConv2D(32, 3, generator)
    layer(keras.random.uniform((8, 24, 24, 16))).shape  # (8, 24, 24, 32), of two tiles
    ```

    References:
        - [Ha, Dai & Le, 2016](https://arxiv.org/abs/1609.09106), section 3.1
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int],
        generator: Generator,
        strides: int | Sequence[int] = 1,
        padding: str = "same",
        data_format: str | None = None,
        dilation_rate: int | Sequence[int] = 1,
        groups: int = 1,
        activation: Activation = None,
        use_bias: bool = True,
        embedding_initializer: Initializer = None,
        bias_initializer: Initializer = "zeros",
        kernel_regularizer: Regularizer = None,
        bias_regularizer: Regularizer = None,
        kernel_constraint: Constraint = None,
        bias_constraint: Constraint = None,
        **kwargs: Unpack[LayerArguments],
    ) -> None:
        super().__init__(
            generator,
            activation=activation,
            use_bias=use_bias,
            embedding_initializer=embedding_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            kernel_constraint=kernel_constraint,
            bias_constraint=bias_constraint,
            **kwargs,
        )
        if groups != 1:
            raise invalid_value("groups", "1: grouped convolutions are not generated", groups)
        self.groups = 1
        self.filters = check_int("filters", filters, 1)
        # Keras's own layer checks the rest, brings it into one form and knows the output's shape.
        conv = keras.layers.Conv2D(
            filters, kernel_size, strides, padding, data_format, dilation_rate, name=self.name
        )
        self.kernel_size = conv.kernel_size
        self.strides = conv.strides
        self.padding = conv.padding
        self.data_format = conv.data_format
        self.dilation_rate = conv.dilation_rate
        if self.kernel_size != generator.kernel_shape[:2]:
            expected = f"the generator's, {generator.kernel_shape[:2]}"
            raise invalid_value("kernel_size", expected, kernel_size)

    def build(self, input_shape: Shape) -> None:
        axis = -1 if self.data_format == "channels_last" else 1
        channels = input_shape[axis] if len(input_shape) == 4 else None
        if channels is None:
            raise ValueError(
                f"Expected `inputs` of layer '{self.name}' to be images of rank 4 with known "
                f"channels, {self.data_format}. Received: input_shape={tuple(input_shape)}"
            )
        self.add_weights((channels, self.filters), self.generator.kernel_shape[2:])
        self.input_spec = keras.layers.InputSpec(ndim=4, axes={axis: channels})

    def call(self, inputs: Tensor) -> Tensor:
        outputs = ops.conv(
            ops.cast(inputs, self.compute_dtype),  # integers, which Keras leaves as they are
            self.compute_kernel(),
            strides=self.strides,
            padding=self.padding,
            dilation_rate=self.dilation_rate,
            data_format=self.data_format,
        )
        if self.bias is not None:
            last = self.data_format == "channels_last"
            outputs = outputs + ops.reshape(self.bias, (-1,) if last else (-1, 1, 1))
        return outputs if self.activation is None else self.activation(outputs)

    def plain(self, **overrides: Any) -> keras.layers.Conv2D:
        arguments: Config = dict(
            filters=self.filters,
            kernel_size=self.kernel_size,
            strides=self.strides,
            padding=self.padding,
            data_format=self.data_format,
            dilation_rate=self.dilation_rate,
            activation=self.activation,
            use_bias=self.use_bias,
            name=self.name,
            dtype=self.dtype_policy,
            trainable=self.trainable,
        )
        return keras.layers.Conv2D(**arguments | overrides)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return self.plain().compute_output_shape(input_shape)

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
            "data_format": self.data_format,
            "dilation_rate": self.dilation_rate,
            "groups": self.groups,
        }
