"""The plain head: one dense layer to all weights."""

from typing import Any

import keras
import numpy as np
from keras import ops

from hyperkeras import initializers
from hyperkeras.layers.heads.base_head import Head
from hyperkeras.layers.heads.head_initialization import by_pieces, values


@keras.saving.register_keras_serializable(package="hyperkeras")
class DenseHead(Head):
    r"""A head that makes all weights by one dense layer.

    .. math:: w = H z + b

    for features z of F numbers and N weights w. Biases and gains start around the target's own
    values, kernels around zero, with the variance that keeps the target's activations.

    Args:
        initializer: Initializer of H: `"hyperfan_in"`, `"hyperfan_out"`, `"bias_hyper"` (H = 0, b
            the target's own weights), or any initializer of a kernel `[F, N]`. None (default) for
            Hyperfan-in, or for zeros beside base weights.
        normalize: Boolean, whether each row of features is divided by its root mean square first
            (default `False`).
        zero: String or sequence of strings, names of weights that start at zero for all
            conditions; by default none does.
        **kwargs: Arguments of `keras.layers.Layer`.

    Input shape:
        `[c, F]`.

    Output shape:
        `[c, N]`.

    Parameters: (F + 1) N.

    Example:

    ```python
    network = keras.Sequential([keras.Input((8,)), keras.layers.Dense(16)])
    head = hyperkeras.layers.DenseHead()
    head.bind(network.trainable_weights)
    kernel, bias = head.generate(keras.random.normal((3, 5)))
    kernel.shape  # (3, 8, 16)
    ```

    References:
        - [Ha et al., 2016](https://arxiv.org/abs/1609.09106)
        - [Chang et al., 2020](https://arxiv.org/abs/2312.08399)
    """

    def add_head(self, num_features: int) -> None:
        pieces, initializer = self.bound_pieces, self.start_initializer
        if isinstance(initializer, initializers.Hyperfan):
            initializer = by_pieces(initializer, pieces)
        zero = np.repeat([self.starts_at_zero(p) for p in pieces], [p.size for p in pieces])

        def start(shape, dtype=None):
            kernel = initializer(shape, dtype)
            return ops.where(zero, ops.zeros_like(kernel), kernel) if zero.any() else kernel

        self.kernel = self.add_weight(
            name="kernel", shape=(num_features, self.num_generated), initializer=start
        )
        self.bias = self.add_weight(
            name="bias", shape=(self.num_generated,), initializer=values(self.start_values())
        )

    def rows(self, features: Any) -> Any:
        return ops.matmul(self.scaled(features), self.kernel) + self.bias

    def factors(self, features: Any) -> tuple[Any, list, list]:
        """What the weights are made of.

        Returns:
            z of shape `[c, F]`, and for each piece H `[F, *shape]` and b `[*shape]`.
        """
        pieces = self.bound_pieces
        ends = np.cumsum([piece.size for piece in pieces])[:-1].tolist()
        kernels, biases = ops.convert_to_tensor(self.kernel), ops.convert_to_tensor(self.bias)
        parts = ops.split(kernels, ends, axis=-1) if ends else [kernels]
        starts = ops.split(biases, ends) if ends else [biases]
        return (
            self.scaled(features),
            [ops.reshape(x, (-1, *p.shape)) for x, p in zip(parts, pieces, strict=True)],
            [ops.reshape(x, p.shape) for x, p in zip(starts, pieces, strict=True)],
        )
