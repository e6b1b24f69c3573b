"""The encoder that reads all nodes as one vector."""

from typing import Any

import keras
from keras import layers, ops

from hyperkeras.annotations import Config, Shape, Tensor
from hyperkeras.layers.full_precision import full_precision
from hyperkeras.ops.argument_validation import check_int


@keras.saving.register_keras_serializable(package="hyperkeras")
class FlatEncoder(layers.Layer):
    r"""An encoder that reads an architecture as one flat code, and gives each position its part.

    .. math:: c = \mathrm{ReLU}(A\,[h_1; \dots; h_N] + a), \qquad h'_v = B_v\,c + b_v

    It knows nodes by their positions alone and no edges, as SMASH knows memory banks. There the
    code is a binary image that a convolutional network reads; here it is what the nodes say of
    themselves, with zeros up to `max_nodes`.

    Args:
        units: Integer d, features of a node, in and out.
        max_nodes: Integer N, the most nodes that a graph may have.
        hidden: Integer, size of c (default 128).
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        nodes: Tensor `[g, n, d]`.
        distances: Integer tensor `[g, n, n]`, not used.

    Input shape:
        `[g, n, d]` and `[g, n, n]`, n at most N.

    Output shape:
        `[g, n, d]`.

    Parameters: (N d + 1) hidden + (hidden + 1) N d.

    Example:

    ```python
    encoder = hyperkeras.layers.FlatEncoder(8, max_nodes=5)
    encoder(keras.random.normal((2, 3, 8)), np.zeros((2, 3, 3))).shape  # (2, 3, 8)
    ```

    References:
        - [Brock et al., 2017](https://arxiv.org/abs/1708.05344)
    """

    def __init__(self, units: int, max_nodes: int, hidden: int = 128, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = check_int("units", units, 1)
        self.max_nodes = check_int("max_nodes", max_nodes, 1)
        self.hidden = check_int("hidden", hidden, 1)
        size = self.max_nodes * self.units
        inner: Any = {"dtype": self.dtype_policy, "trainable": self.trainable}
        self.code = full_precision(layers.Dense(self.hidden, "relu", name="code", **inner))
        self.positions = full_precision(layers.Dense(size, name="positions", **inner))

    def build(self, nodes_shape: Shape, distances_shape: Shape | None = None) -> None:
        count = nodes_shape[1]
        if count is None or count > self.max_nodes or nodes_shape[-1] != self.units:
            raise ValueError(
                f"Expected `nodes` of '{self.name}' to have shape [g, n, {self.units}] with at "
                f"most {self.max_nodes} nodes n. Received: shape {tuple(nodes_shape)}"
            )
        self.code.build((None, self.max_nodes * self.units))
        self.positions.build((None, self.hidden))
        super().build(nodes_shape)

    def call(self, nodes: Tensor, distances: Tensor) -> Tensor:
        count = nodes.shape[1]
        if count > self.max_nodes:
            raise ValueError(
                f"Expected `nodes` of '{self.name}' to be at most {self.max_nodes}, "
                f"its `max_nodes`. Received: {count}"
            )
        padded = ops.pad(nodes, ((0, 0), (0, self.max_nodes - count), (0, 0)))
        code = self.code(ops.reshape(padded, (-1, self.max_nodes * self.units)))
        positions = ops.reshape(self.positions(code), (-1, self.max_nodes, self.units))
        return positions[:, :count]

    def compute_output_shape(
        self, nodes_shape: Shape, distances_shape: Shape | None = None
    ) -> Shape:
        return tuple(nodes_shape)

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "units": self.units,
            "max_nodes": self.max_nodes,
            "hidden": self.hidden,
        }
