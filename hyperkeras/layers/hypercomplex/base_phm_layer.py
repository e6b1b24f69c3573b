"""Base class of the parameterized hypercomplex layers."""

from collections.abc import Sequence
from typing import Any, Unpack

import keras

from hyperkeras.annotations import (
    Activation,
    Config,
    Initializer,
    LayerArguments,
    Regularizer,
    Tensor,
)
from hyperkeras.keras_internals import refuse_spectral_normalization
from hyperkeras.ops.argument_validation import check_int
from hyperkeras.ops.generated.kronecker import kronecker_sum


class PHMLayer(keras.layers.Layer):
    """Base class of `PHMDense` and `PHMConv2D`: the kernel is a sum of Kronecker products.

    The rules A start as normal numbers of variance 1 / n, and the blocks S with the variance that
    `kernel_initializer` gives a dense kernel. So the sum has that variance, too.

    Args:
        units: Integer, the number of outputs. It is a multiple of `n`.
        n: Integer, the number of products: the kernel has about 1 / n of a dense kernel's numbers.
        activation: Activation function, or its name (default: None, the identity).
        use_bias: Boolean, whether the layer adds a bias vector (default `True`).
        kernel_initializer: Initializer of a dense kernel of the same shape (default
            `"glorot_uniform"`).
        bias_initializer: Initializer of the bias (default `"zeros"`).
        kernel_regularizer: Regularizer of A and of S, not of their product (default: none).
        bias_regularizer: Regularizer of the bias (default: none).
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
        super().__init__(**kwargs)
        self.n = check_int("n", n, 1)
        if units % n:
            raise ValueError(
                f"Expected n to divide the outputs of layer '{self.name}'. "
                f"Received: n={n}, {units} outputs"
            )
        self.outputs = units
        self.activation = keras.activations.get(activation)
        self.use_bias = bool(use_bias)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.bias_regularizer = keras.regularizers.get(bias_regularizer)

    def build_kernel(self, window: Sequence[int], inputs: int | None) -> None:
        """Adds the weights of a kernel `[*window, inputs, outputs]` and the bias."""
        if inputs is None or inputs % self.n:
            raise ValueError(
                f"Expected n={self.n} to divide the inputs of layer '{self.name}'. "
                f"Received: {inputs} inputs"
            )
        n, rows, columns = self.n, inputs // self.n, self.outputs // self.n

        def blocks(shape: Sequence[int], dtype: Any = None) -> Tensor:
            kernel = self.kernel_initializer((*window, inputs, self.outputs), dtype)[..., :columns]
            kernel = keras.ops.reshape(kernel, (*window, n, rows, columns))
            return keras.ops.moveaxis(kernel, len(window), 0)

        self.rules = self.add_weight(
            name="rules",
            shape=(n, n, n),
            initializer=keras.initializers.RandomNormal(stddev=n**-0.5),
            regularizer=self.kernel_regularizer,
        )
        self.blocks = self.add_weight(
            name="blocks",
            shape=(n, *window, rows, columns),
            initializer=blocks,
            regularizer=self.kernel_regularizer,
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias",
                shape=(self.outputs,),
                initializer=self.bias_initializer,
                regularizer=self.bias_regularizer,
            )

    @property
    def kernel(self) -> Tensor:
        """The kernel as a tensor `[*window, inputs, outputs]`."""
        refuse_spectral_normalization(self)
        return kronecker_sum(self.rules, self.blocks)

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "n": self.n,
            "activation": keras.activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
            "bias_regularizer": keras.regularizers.serialize(self.bias_regularizer),
        }
