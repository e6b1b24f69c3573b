"""A convolution whose kernel is generated."""

import keras
from keras import ops

from hyperkeras.layers.generated.base_generated_layer import GeneratedLayer
from hyperkeras.ops.argument_validation import check_int


@keras.saving.register_keras_serializable(package="hyperkeras")
class HyperConv2D(GeneratedLayer):
    r"""A 2D convolution whose kernel a shared generator makes from the layer's embeddings.

    .. math:: y = \phi(x * K + b), \qquad K = \begin{pmatrix}
        K^{11} & \cdots & K^{1q} \\ \vdots & & \vdots \\ K^{p1} & \cdots & K^{pq}
        \end{pmatrix}, \qquad K^{ij} = \mathrm{generator}(z^{ij})

    The kernel is put together from p × q tiles, one embedding z each: with a generator of
    (3, 3, 16, 16), 32 channels to 32 channels take four. The layer owns the `embeddings
    [p, q, N_z]` and the bias; the generator may serve any number of layers, and stays one through
    saving, loading and cloning.

    The kernel is made anew in each call, so that it is never stale. Where the weights don't change
    any more, `hyperkeras.models.freeze` makes it once for all calls.

    Args:
        filters: Integer, the output channels: a multiple of the generator's.
        kernel_size: Integer or pair of integers: the generator's (f, f).
        generator: `KernelGenerator`, or another `Generator`.
        strides: Integer or pair of integers.
        padding: `"same"` or `"valid"`.
        data_format: `"channels_last"`, `"channels_first"`, or None for
            `keras.config.image_data_format()`.
        dilation_rate: Integer or pair of integers.
        groups: 1. Grouped convolutions are not generated.
        activation: Activation function, or None.
        use_bias: Boolean.
        embedding_initializer: Initializer of the embeddings; None for `TileEmbedding`, which
            keeps the variance of activations through ReLUs.
        bias_initializer: Initializer of the bias.
        kernel_regularizer: Regularizer of the generated kernel.
        bias_regularizer: Regularizer of the bias.
        kernel_constraint: Function that the generated kernel goes through each time it is made.
        bias_constraint: Constraint of the bias.
        **kwargs: Those of every Keras layer, such as `activity_regularizer`.

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
        filters,
        kernel_size,
        generator,
        strides=1,
        padding="same",
        data_format=None,
        dilation_rate=1,
        groups=1,
        activation=None,
        use_bias=True,
        embedding_initializer=None,
        bias_initializer="zeros",
        kernel_regularizer=None,
        bias_regularizer=None,
        kernel_constraint=None,
        bias_constraint=None,
        **kwargs,
    ):
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
            raise ValueError(
                "Received an invalid value for `groups`, expected 1: grouped convolutions are not "
                f"generated. Received: groups={groups!r}"
            )
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
            raise ValueError(
                "Received an invalid value for `kernel_size`, expected the generator's, "
                f"{generator.kernel_shape[:2]}. Received: kernel_size={kernel_size}"
            )

    def build(self, input_shape):
        axis = -1 if self.data_format == "channels_last" else 1
        channels = input_shape[axis] if len(input_shape) == 4 else None
        if channels is None:
            raise ValueError(
                f"Expected `inputs` of layer '{self.name}' to be images of rank 4 with known "
                f"channels, {self.data_format}. Received: input_shape={tuple(input_shape)}"
            )
        self.add_weights((channels, self.filters), self.generator.kernel_shape[2:])
        self.input_spec = keras.layers.InputSpec(ndim=4, axes={axis: channels})

    def call(self, inputs):
        outputs = ops.conv(
            inputs,
            self.regularized_kernel(),
            strides=self.strides,
            padding=self.padding,
            dilation_rate=self.dilation_rate,
            data_format=self.data_format,
        )
        if self.bias is not None:
            last = self.data_format == "channels_last"
            outputs = outputs + ops.reshape(self.bias, (-1,) if last else (-1, 1, 1))
        return outputs if self.activation is None else self.activation(outputs)

    def plain(self, **overrides):
        arguments = dict(
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
        )
        return keras.layers.Conv2D(**arguments | overrides)

    def compute_output_shape(self, input_shape):
        return self.plain().compute_output_shape(input_shape)

    def get_config(self):
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
