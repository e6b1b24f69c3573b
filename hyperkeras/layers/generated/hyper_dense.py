"""A dense layer whose matrix is generated."""

import math

import keras
from keras import ops

from hyperkeras.layers.generated.base_generated_layer import GeneratedLayer
from hyperkeras.ops.argument_validation import check_int
from hyperkeras.ops.generated.kernels import join_tiles


@keras.saving.register_keras_serializable(package="hyperkeras")
class HyperDense(GeneratedLayer):
    r"""A dense layer whose matrix a shared generator makes from the layer's embeddings.

    .. math:: y = \phi(x K + b), \qquad K = \begin{pmatrix}
        K^{11} & \cdots & K^{1q} \\ \vdots & & \vdots \\ K^{p1} & \cdots & K^{pq}
        \end{pmatrix}, \qquad K^{ij} = \mathrm{generator}(z^{ij})

    A tile of shape (f, f, N_in, N_out) is read as a matrix of f² N_in rows and N_out columns, so
    that the generator of convolutions can serve a dense layer, too; one for dense layers alone
    has f = 1. The layer owns the `embeddings [p, q, N_z]` and the bias. The matrix is made anew
    in each call; see `HyperConv2D`.

    Args:
        units: Integer, a multiple of the generator's N_out.
        generator: `KernelGenerator`, or another `Generator`.
        activation: Activation function, or None.
        use_bias: Boolean.
        embedding_initializer: Initializer of the embeddings; None for `TileEmbedding`, which
            keeps the variance of activations through ReLUs.
        bias_initializer: Initializer of the bias.
        kernel_regularizer: Regularizer of the generated matrix.
        bias_regularizer: Regularizer of the bias.
        kernel_constraint: Function that the generated matrix goes through each time it is made.
        bias_constraint: Constraint of the bias.
        **kwargs: Those of every Keras layer, such as `activity_regularizer`.

    Input shape:
        `[..., p f² N_in]`.

    Output shape:
        `[..., units]`.

    Parameters: p q N_z, and `units` with `use_bias`; besides, once, the generator's.

    Example:

    ```python
    generator = hyperkeras.layers.KernelGenerator((1, 1, 32, 32), embedding_dim=8)
    layer = hyperkeras.layers.HyperDense(64, generator, activation="relu")
    layer(keras.random.normal((8, 96))).shape  # (8, 64), of six tiles
    ```

    References:
        - [Ha, Dai & Le, 2016](https://arxiv.org/abs/1609.09106), section 3.1
    """

    def __init__(
        self,
        units,
        generator,
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
        self.units = check_int("units", units, 1)

    def build(self, input_shape):
        features = input_shape[-1] if len(input_shape) > 1 else None
        if features is None:
            raise ValueError(
                f"Expected `inputs` of layer '{self.name}' to have a batch and known features. "
                f"Received: input_shape={tuple(input_shape)}"
            )
        *rows, columns = self.generator.kernel_shape
        self.add_weights((features, self.units), (math.prod(rows), columns))
        self.input_spec = keras.layers.InputSpec(min_ndim=2, axes={-1: features})

    def assemble(self, tiles):
        p, q, *_, n_out = tiles.shape
        matrices = ops.reshape(tiles, (p, q, 1, 1, -1, n_out))  # [p, q, 1, 1, f f N_in, N_out]
        return join_tiles(matrices)[0, 0]

    def call(self, inputs):
        outputs = ops.matmul(inputs, self.regularized_kernel())
        if self.bias is not None:
            outputs = outputs + self.bias
        return outputs if self.activation is None else self.activation(outputs)

    def plain(self, **overrides):
        arguments = dict(
            units=self.units,
            activation=self.activation,
            use_bias=self.use_bias,
            name=self.name,
            dtype=self.dtype_policy,
        )
        return keras.layers.Dense(**arguments | overrides)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)

    def get_config(self):
        return {**super().get_config(), "units": self.units}
