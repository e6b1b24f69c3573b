"""The first half of a graph hypernetwork: from a computational graph to vectors of its nodes."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from hyperkeras.annotations import Tensor
from hyperkeras.models.architectures.computation_graph import ComputationGraph

# Sizes are told apart by half octaves, up to 2 ** 15.
NUM_SIZES = 32
# Graphs are padded to a multiple of these nodes, so that few sizes are compiled.
PADDING = 8


class GraphEncoding(layers.Layer):
    """Embeds the nodes of graphs and sends them through an encoder.

    Args:
        num_kinds: Integer, how many kinds of node there are. Kind 0 is padding.
        units: Integer d, a multiple of 4.
        encoder: Layer called on nodes and distances, or None.
        **kwargs: Arguments of `keras.layers.Layer`.
    """

    def __init__(
        self, num_kinds: int, units: int, encoder: layers.Layer | None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.encoder = encoder

        def embedding(count, size, name):
            # The sum of kind and sizes has a variance of 1.
            start = keras.initializers.RandomNormal(stddev=0.5**0.5)
            return layers.Embedding(count, size, start, dtype=self.dtype_policy, name=name)

        self.kind = embedding(num_kinds + 1, units, "kind")
        self.sizes = [embedding(NUM_SIZES, units // 4, f"size_{i}") for i in range(4)]

    def build(self, input_shape: Any = None) -> None:
        for part in (self.kind, *self.sizes):
            part.build((None,))
        if self.encoder is not None and not self.encoder.built:
            # Encoders that know nodes by their places want to know how many there may be.
            count = getattr(self.encoder, "max_nodes", None)
            self.encoder.build((None, count, self.units), (None, count, count))
        super().build(input_shape)

    def call(self, graphs: Sequence[Tensor]) -> Tensor:
        kinds, sizes, distances = graphs
        octaves = ops.round(2 * ops.log2(ops.cast(ops.maximum(sizes, 1), "float32")))
        index = ops.cast(ops.clip(octaves + 1, 1, NUM_SIZES - 1), "int32")
        index = ops.where(sizes > 0, index, ops.zeros_like(index))
        parts = [embed(index[..., i]) for i, embed in enumerate(self.sizes)]
        nodes = self.kind(kinds) + ops.concatenate(parts, axis=-1)
        return nodes if self.encoder is None else self.encoder(nodes, distances)


def padded_arrays(
    graphs: Sequence[ComputationGraph], index: Mapping[str, int], limit: int | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Graphs as arrays of one size: kinds `[g, n]`, sizes `[g, n, 4]`, distances `[g, n, n]`.

    Args:
        graphs: Sequence of g graphs.
        index: {kind: its number from 1}; 0 is padding.
        limit: Integer, the most nodes that n may be, or None.
    """
    largest = max(len(graph.kinds) for graph in graphs)
    count = -(-largest // PADDING) * PADDING
    count = largest if limit is not None and count > limit else count
    kinds = np.zeros((len(graphs), count), "int32")
    sizes = np.zeros((len(graphs), count, 4), "int32")
    distances = np.zeros((len(graphs), count, count), "int32")
    for i, graph in enumerate(graphs):
        n = len(graph.kinds)
        kinds[i, :n] = [index[kind] for kind in graph.kinds]
        sizes[i, :n] = graph.sizes()
        distances[i, :n, :n] = graph.distances()
    return kinds, sizes, distances


def kind_index(kinds: Sequence[str], graph: ComputationGraph, target: str) -> dict[str, int]:
    """{kind: its number} for a graph's kinds; an error names the layer of a kind not known."""
    known = {kind: i + 1 for i, kind in enumerate(kinds)}
    for kind, layer in zip(graph.kinds, graph.layers, strict=True):
        if kind not in known and "unknown" not in known:
            raise ValueError(
                "Expected an architecture whose nodes are among the hypernetwork's `kinds`. "
                f"Received: target '{target}', whose layer '{layer}' gives a node {kind!r}. Add it "
                "to `kinds`, or add 'unknown' for all such nodes"
            )
    return {kind: known.get(kind, known.get("unknown", 0)) for kind in graph.kinds}
