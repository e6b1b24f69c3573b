"""A dense layer whose matrix is generated."""

import math
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
from hyperkeras.ops.argument_validation import check_int
from hyperkeras.ops.generated.kernels import join_tiles


@keras.saving.register_keras_serializable(package="hyperkeras")
class HyperDense(GeneratedLayer):
    r"""A dense layer whose matrix a shared generator makes from the layer's embeddings.

    .. math:: y = \phi(x K + b), \qquad K = \begin{pmatrix}
        K^{11} & \cdots & K^{1q} \\ \vdots & & \vdots \\ K^{p1} & \cdots & K^{pq}
        \end{pmatrix}, \qquad K^{ij} = \mathrm{generator}(z^{ij})

    A tile of shape (f, f, N_in, N_out) becomes a matrix of f² N_in rows and N_out columns, so a
    generator of convolutions can serve a dense layer, too. A generator for dense layers alone has
    f = 1. The layer owns the `embeddings [p, q, N_z]` and the bias. The matrix is made anew in
    each call; see `HyperConv2D`. Masks pass through, as through `keras.layers.Dense`.

    Args:
        units: Integer, the number of outputs. It is a multiple of the generator's N_out.
        generator: The `KernelGenerator`, or another `Generator`, that makes the kernel. It may
            serve any number of layers.
        activation: Activation function φ, or its name (default: None, the identity).
        use_bias: Boolean, whether the layer adds a bias vector (default `True`).
        embedding_initializer: Initializer of the embeddings. None (the default) is `TileEmbedding`,
            which keeps the variance of activations through ReLUs.
        bias_initializer: Initializer of the bias (default `"zeros"`).
        kernel_regularizer: Regularizer of the generated matrix (default: none). It is counted once,
            however often the layer is called.
        bias_regularizer: Regularizer of the bias (default: none).
        kernel_constraint: Function applied to the generated matrix each time it is made (default:
            none).
        bias_constraint: Constraint of the bias (default: none).
        **kwargs: The arguments of every Keras layer: `name`, `dtype`, `trainable`,
            `activity_regularizer`.

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
        units: int,
        generator: Generator,
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
        self.supports_masking = True
        self.units = check_int("units", units, 1)

    def build(self, input_shape: Shape) -> None:
        features = input_shape[-1] if len(input_shape) > 1 else None
        if features is None:
            raise ValueError(
                f"Expected `inputs` of layer '{self.name}' to have a batch and known features. "
                f"Received: input_shape={tuple(input_shape)}"
            )
        *rows, columns = self.generator.kernel_shape
        self.add_weights((features, self.units), (math.prod(rows), columns))
        self.input_spec = keras.layers.InputSpec(min_ndim=2, axes={-1: features})

    def assemble(self, tiles: Tensor) -> Tensor:
        p, q, *_, n_out = tiles.shape
        matrices = ops.reshape(tiles, (p, q, 1, 1, -1, n_out))  # [p, q, 1, 1, f f N_in, N_out]
        return join_tiles(matrices)[0, 0]

    def call(self, inputs: Tensor) -> Tensor:
        outputs = ops.matmul(inputs, self.compute_kernel())
        if self.bias is not None:
            outputs = outputs + self.bias
        return outputs if self.activation is None else self.activation(outputs)

    def plain(self, **overrides: Any) -> keras.layers.Dense:
        arguments: Config = dict(
            units=self.units,
            activation=self.activation,
            use_bias=self.use_bias,
            name=self.name,
            dtype=self.dtype_policy,
            trainable=self.trainable,
        )
        return keras.layers.Dense(**arguments | overrides)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-1], self.units)

    def get_config(self) -> Config:
        return {**super().get_config(), "units": self.units}
