"""The gated graph network over the nodes of a computational graph."""

from typing import Any

import keras
from keras import layers, ops

from hyperkeras.annotations import Config, Shape, Tensor
from hyperkeras.layers.full_precision import full_precision
from hyperkeras.ops.architectures.propagation import gated_sweep, path_weights
from hyperkeras.ops.argument_validation import check_int, check_int_or_none, invalid_value
from hyperkeras.ops.rnn.layer_norm_lstm import layer_normalization


@keras.saving.register_keras_serializable(package="hyperkeras")
class GatedGraphEncoder(layers.Layer):
    r"""A gated graph network that follows a computation forward and backward.

    .. math:: m_v = \sum_{u \to v} \mathrm{MLP}(h_u) + \sum_u \mathrm{MLP}_{sp}(h_u) / s_{uv},
       \qquad h_v \leftarrow \mathrm{GRU}(m_v, h_v)

    In a round the nodes are visited in the order of the computation and then in reverse, along
    reversed edges, by the same MLPs and GRU. s is the length of the shortest path from u to v. The
    second sum is over virtual edges, those of paths of at most `virtual_edges` edges.

    Args:
        units: Integer d, features of a node, in and out.
        rounds: Integer, how often the graph is swept forward and backward (default 1).
        virtual_edges: Integer, the longest path that counts as a virtual edge (default 50); None
            for no virtual edges, as in the first graph hypernetwork.
        normalize: Boolean, whether the nodes are normalized over their features at the end (default
            `True`).
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        nodes: Tensor `[g, n, d]` of nodes in topological order, padding last.
        distances: Integer tensor `[g, n, n]`, the length of the shortest path from u to v; 0 where
            there is none.

    Input shape:
        `[g, n, d]` and `[g, n, n]`.

    Output shape:
        `[g, n, d]`.

    Parameters: for MLPs of one hidden layer of d / 2 (of d without virtual edges) d (d + 1) + d / 2
    each (2 d (d + 1)); 6 d (d + 1) of the GRU; 2 d with `normalize`.

    Example:

    ```python
    encoder = hyperkeras.layers.GatedGraphEncoder(8)
    chain = np.array([[[0, 1, 2], [0, 0, 1], [0, 0, 0]]])  # 0 → 1 → 2
    encoder(keras.random.normal((1, 3, 8)), chain).shape  # (1, 3, 8)
    ```

    References:
        - [Zhang et al., 2019](https://arxiv.org/abs/1810.05749)
        - [Knyazev et al., 2021](https://arxiv.org/abs/2110.13100)
    """

    def __init__(
        self,
        units: int,
        rounds: int = 1,
        virtual_edges: int | None = 50,
        normalize: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.units = check_int("units", units, 2)
        if self.units % 2:
            raise invalid_value("units", "an even integer", units)
        self.rounds = check_int("rounds", rounds, 1)
        self.virtual_edges = check_int_or_none("virtual_edges", virtual_edges, 1)
        self.normalize = bool(normalize)
        hidden = self.units if self.virtual_edges is None else self.units // 2

        inner: Any = {"dtype": self.dtype_policy, "trainable": self.trainable}

        def message(name):
            return [
                full_precision(layers.Dense(size, "relu", name=f"{name}_{i}", **inner))
                for i, size in enumerate((hidden, self.units))
            ]

        self.message = message("message")
        self.virtual_message = None if self.virtual_edges is None else message("virtual_message")
        self.update = layers.GRUCell(
            self.units,
            # TensorFlow has no orthogonal bfloat16 matrices.
            recurrent_initializer="glorot_uniform",
            name="update",
            **inner,
        )

    def build(self, nodes_shape: Shape, distances_shape: Shape | None = None) -> None:
        if nodes_shape[-1] != self.units:
            raise ValueError(
                f"Expected `nodes` of '{self.name}' to have {self.units} features, as many as "
                f"`units`. Received: shape {tuple(nodes_shape)}"
            )
        for network in (self.message, self.virtual_message or ()):
            shape: Shape = (None, self.units)
            for layer in network:
                layer.build(shape)
                shape = layer.compute_output_shape(shape)
        self.update.build((None, self.units))
        if self.normalize:
            # Keras's LayerNormalization has a wrong second derivative on TensorFlow.
            self.gamma = self.add_weight(name="gamma", shape=(self.units,), initializer="ones")
            self.beta = self.add_weight(name="beta", shape=(self.units,), initializer="zeros")
        super().build(nodes_shape)

    def call(self, nodes: Tensor, distances: Tensor) -> Tensor:
        edges = [(ops.equal(distances, 1), _in_turn(self.message))]
        if self.virtual_edges is not None:
            weights = path_weights(distances, self.virtual_edges, self.compute_dtype)
            edges.append((weights, _in_turn(self.virtual_message)))

        def update(message, node):
            return self.update(message, [node])[0]

        for _ in range(self.rounds):
            nodes = gated_sweep(nodes, edges, update)
            nodes = gated_sweep(nodes, edges, update, reverse=True)
        return layer_normalization(nodes, self.gamma, self.beta) if self.normalize else nodes

    def compute_output_shape(
        self, nodes_shape: Shape, distances_shape: Shape | None = None
    ) -> Shape:
        return tuple(nodes_shape)

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "units": self.units,
            "rounds": self.rounds,
            "virtual_edges": self.virtual_edges,
            "normalize": self.normalize,
        }


def _in_turn(network):
    """The function that applies one layer after the other."""

    def apply(x):
        for layer in network:
            x = layer(x)
        return x

    return apply
