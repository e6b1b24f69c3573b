"""Base class of the convolutions whose dilation is learned."""

import math
from collections.abc import Sequence
from typing import Any, Unpack

import keras
import numpy as np
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
from hyperkeras.layers.sources.dilation_source import DilationSource
from hyperkeras.layers.sparse.sparse_hyperlayer import SparseHyperlayer
from hyperkeras.layers.sparse.validation import check_region
from hyperkeras.ops.argument_validation import check_choice, check_int, check_size, invalid_value


class DilatedConv(keras.layers.Layer):
    """Base class of `DilatedConv1D` and `DilatedConv2D`.

    A `SparseHyperlayer` reads the points of the kernel around each output, at the places that a
    `DilationSource` gives. An ordinary kernel is multiplied with what it reads. Subclasses set
    `plain_layer`, the Keras convolution that does the same with a fixed dilation.
    """

    plain_layer: Any = None
    rank = 0
    paddings: tuple[str, ...] = ("same", "causal")

    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int],
        max_dilation: int,
        initial_dilation: float = 1.0,
        padding: str = "same",
        data_format: str | None = None,
        activation: Activation = None,
        use_bias: bool = True,
        kernel_initializer: Initializer = "glorot_uniform",
        bias_initializer: Initializer = "zeros",
        kernel_regularizer: Regularizer = None,
        bias_regularizer: Regularizer = None,
        sigma_scale: float = 0.01,
        min_sigma: float = 0.0,
        global_samples: int = 0,
        local_samples: int = 0,
        region: int | Sequence[int] | None = None,
        seed: int | None = None,
        **kwargs: Unpack[LayerArguments],
    ) -> None:
        super().__init__(**kwargs)
        self.filters = check_int("filters", filters, 1)
        dims = (kernel_size,) * self.rank if isinstance(kernel_size, int) else kernel_size
        self.kernel_size = check_size(dims, "kernel_size")
        if len(self.kernel_size) != self.rank:
            expected = f"an integer, or {self.rank} of them in a sequence"
            raise invalid_value("kernel_size", expected, kernel_size)
        self.source = DilationSource(
            self.kernel_size,
            max_dilation,
            initial_dilation,
            check_choice("padding", padding, self.paddings),
            sigma_scale,
            min_sigma,
            dtype=self.dtype_policy,
            trainable=self.trainable,
        )
        self.data_format = check_choice(
            "data_format",
            data_format or keras.config.image_data_format(),
            ("channels_last", "channels_first"),
        )
        self.activation = keras.activations.get(activation)
        self.use_bias = bool(use_bias)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.bias_regularizer = keras.regularizers.get(bias_regularizer)
        self.sampling: Config = dict(
            global_samples=check_int("global_samples", global_samples, 0),
            local_samples=check_int("local_samples", local_samples, 0),
            region=check_region(region),
        )
        self.seed = seed

    @property
    def dilation(self) -> Tensor:
        """The dilation as it is in training, a scalar; it is rounded at inference."""
        return self.source.dilation

    def build(self, input_shape: Shape) -> None:
        shape = self._channels_last(tuple(input_shape))
        if len(shape) != self.rank + 2 or None in shape[1:]:
            raise ValueError(
                f"Expected `inputs` of layer '{self.name}' to have {self.rank} axes and channels "
                f"of known size besides the batch. Received: input_shape={tuple(input_shape)}"
            )
        *sides, channels = shape[1:]
        padded = [s + sum(pad) for s, pad in zip(sides, self.source.pads, strict=True)]
        target = (*sides, math.prod(self.kernel_size))
        cells = np.indices(target).reshape(len(target), -1).T
        learned = range(len(target), len(target) + self.rank)
        self.reader = SparseHyperlayer(
            target,
            self.source,
            chunk_size=1,
            template=np.pad(cells, [(0, 0), (0, self.rank)]),
            learned_columns=tuple(learned),
            carried_axes=1,
            seed=self.seed,
            dtype=self.dtype_policy,
            **self.sampling,
        )
        self.reader.build((None, *padded, channels))
        self.kernel = self.add_weight(
            name="kernel",
            shape=(*self.kernel_size, channels, self.filters),
            initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer,
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias",
                shape=(self.filters,),
                initializer=self.bias_initializer,
                regularizer=self.bias_regularizer,
            )
        axes = dict(enumerate(input_shape[1:], start=1))
        self.input_spec = keras.layers.InputSpec(ndim=self.rank + 2, axes=axes)

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        x = ops.cast(inputs, self.compute_dtype)  # integers, which Keras leaves as they are
        first = self.data_format == "channels_first"
        if first:
            x = ops.moveaxis(x, 1, -1)
        x = ops.pad(x, [(0, 0), *self.source.pads, (0, 0)])
        read = self.reader(x, training=training)  # [b, *sides, points, channels]
        kernel = ops.reshape(self.kernel, (-1, self.filters))
        y = ops.matmul(ops.reshape(read, (-1, *read.shape[1:-2], kernel.shape[0])), kernel)
        if self.bias is not None:
            y = y + ops.convert_to_tensor(self.bias)
        y = self.activation(y)
        return ops.moveaxis(y, -1, 1) if first else y

    def plain(self, **overrides: Any) -> keras.layers.Layer:
        """An unbuilt Keras convolution with the dilation that this layer has now."""
        arguments: Config = dict(
            filters=self.filters,
            kernel_size=self.kernel_size,
            padding=self.source.padding,
            data_format=self.data_format,
            dilation_rate=round(float(ops.convert_to_numpy(self.dilation))),
            activation=self.activation,
            use_bias=self.use_bias,
            name=self.name,
            dtype=self.dtype_policy,
            trainable=self.trainable,
        )
        return self.plain_layer(**arguments | overrides)

    def plain_weights(self) -> list[np.ndarray]:
        """The weights with which the layer of `plain` gives the same outputs, as arrays."""
        weights = [self.kernel] if self.bias is None else [self.kernel, self.bias]
        return [ops.convert_to_numpy(weight) for weight in weights]

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        sides = self._channels_last(tuple(input_shape))[1:-1]
        if self.data_format == "channels_first":
            return input_shape[0], self.filters, *sides
        return input_shape[0], *sides, self.filters

    def _channels_last(self, shape: Shape) -> Shape:
        return (shape[0], *shape[2:], shape[1]) if self.data_format == "channels_first" else shape

    def get_config(self) -> Config:
        source = self.source.get_config()
        given = ("max_dilation", "initial_dilation", "padding", "sigma_scale", "min_sigma")
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            **{name: source[name] for name in given},
            "data_format": self.data_format,
            "activation": keras.activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
            "bias_regularizer": keras.regularizers.serialize(self.bias_regularizer),
            **self.sampling,
            "seed": self.seed,
        }
