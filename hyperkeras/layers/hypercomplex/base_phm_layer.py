"""What the parametrized hypercomplex layers share."""

import keras

from hyperkeras.ops.argument_validation import check_int
from hyperkeras.ops.generated.kronecker import kronecker_sum


class PHMLayer(keras.layers.Layer):
    """Base of `PHMDense` and `PHMConv2D`: a kernel that is a sum of Kronecker products.

    Rules A start as normal numbers of variance 1 / n, and blocks S with the variance that
    `kernel_initializer` gives a dense kernel, so that their sum has it too.

    Args:
        units: Integer, the outputs; `n` divides it.
        n: Integer, the number of products.
        activation: Activation, or None.
        use_bias: Boolean.
        kernel_initializer: Initializer, as of a dense layer's kernel.
        bias_initializer: Initializer of the bias.
        kernel_regularizer: Regularizer of A and S.
        bias_regularizer: Regularizer of the bias.
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

    def build_kernel(self, window, inputs):
        """Adds the weights of a kernel `[*window, inputs, outputs]`, and the bias."""
        if inputs is None or inputs % self.n:
            raise ValueError(
                f"Expected n={self.n} to divide the inputs of layer '{self.name}'. "
                f"Received: {inputs} inputs"
            )
        n, rows, columns = self.n, inputs // self.n, self.outputs // self.n

        def blocks(shape, dtype=None):
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
    def kernel(self):
        """The kernel as a tensor `[*window, inputs, outputs]`."""
        return kronecker_sum(self.rules, self.blocks)

    def get_config(self):
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
