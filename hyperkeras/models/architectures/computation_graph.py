"""The computational graph of a Keras model, as plain data."""

import collections
import dataclasses

import keras
import numpy as np

from hyperkeras.layers.heads.piece import Piece
from hyperkeras.models.architectures.graph_reader import GraphReader
from hyperkeras.models.hypernetworks import weight_selection
from hyperkeras.models.hypernetworks.weight_selection import Selector


@dataclasses.dataclass(frozen=True)
class ComputationGraph:
    """The computational graph of a model: what `computation_graph` returns.

    Nodes are in topological order. There is one for each selected weight, named by its layer's
    class and its own name, such as `"Dense/kernel"`; one for each activation, such as `"relu"`; one
    for each operation without weights, such as `"Add"`; and one, `"Repeated"`, for each further
    call of a layer with weights.

    Args:
        kinds: Tuple of n strings, what each node is.
        layers: Tuple of n strings, the layer that each node belongs to.
        edges: Tuple of pairs (u, v) of nodes: v reads what u gives.
        weights: Tuple of n variables, or None where a node is no weight.
        pieces: Tuple of n descriptions of the weights (`hyperkeras.layers.heads.piece.Piece`), or
            None.
    """

    kinds: tuple[str, ...]
    layers: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]
    weights: tuple[keras.Variable | None, ...]
    pieces: tuple[Piece | None, ...]
    _distances: dict[int, np.ndarray] = dataclasses.field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def sizes(self) -> np.ndarray:
        """Integers `[n, 4]`: height and width of the window, inputs, units; 0 without a weight."""
        return np.array([_sizes(piece) for piece in self.pieces], "int32").reshape(-1, 4)

    def distances(self, limit: int = 50) -> np.ndarray:
        """Integers `[n, n]`, the number of edges on the shortest path from u to v.

        Args:
            limit: Integer, the longest path that counts (default 50).

        Returns:
            Array with 0 where there is no path of at most `limit` edges.
        """
        if limit in self._distances:
            return self._distances[limit]
        following = collections.defaultdict(list)
        for u, v in self.edges:
            following[u].append(v)
        lengths = np.zeros((len(self.kinds), len(self.kinds)), "int32")
        for start in range(len(self.kinds)):
            reached, length = {start}, 0
            frontier = [start]
            while frontier and length < limit:
                length += 1
                frontier = sorted({v for u in frontier for v in following[u]} - reached)
                reached.update(frontier)
                lengths[start, frontier] = length
        self._distances[limit] = lengths
        return lengths


def computation_graph(model: keras.Model, select: Selector = None) -> ComputationGraph:
    """Reads the computational graph of a model.

    Functional and Sequential models are read, with models of these kinds inside them. The weights
    of a layer are a chain in the order of `layer.weights`; so are those of a layer with layers
    inside it, such as MultiHeadAttention. A layer that is called again is a node without weights,
    joined to its first call.

    Args:
        model: Built Functional or Sequential model.
        select: Which weights are nodes, as for `Hypernetwork`: None (default) for all trainable
            ones.

    Returns:
        A `ComputationGraph`.

    Raises:
        ValueError: for a subclassed model, whose calls Keras does not record, by its name.

    Example:

    ```python
    network = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4, "relu")])
    graph = hyperkeras.models.computation_graph(network)
    graph.kinds  # ('Input', 'Dense/kernel', 'Dense/bias', 'relu')
    len(graph.edges)  # 3: each node reads the one before
    ```
    """
    if not isinstance(model, keras.Model) or not model.built:
        raise ValueError(
            "Received an invalid value for `model`, expected a built Functional or Sequential "
            f"model. Received: model={model!r}"
        )
    selection = weight_selection.choose(model, select)
    reader = GraphReader({id(g.variable): g.piece for g in selection.pieces})
    reader.read_model(model)
    return ComputationGraph(
        tuple(reader.kinds),
        tuple(reader.layers),
        tuple(reader.edges),
        tuple(reader.weights),
        tuple(reader.pieces),
    )


def _sizes(piece):
    if piece is None:
        return 0, 0, 0, 0
    if len(piece.shape) < 2:
        return 1, 1, 1, piece.size
    window = (1, 1, *piece.shape[:-2])[-2:]
    return *window, *piece.shape[-2:]
