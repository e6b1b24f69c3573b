"""Reading nodes and edges out of a Keras model."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from hyperkeras.keras_internals import calls
from hyperkeras.layers.heads.piece import Piece
from hyperkeras.models.hypernetworks.weight_selection import owners

# Operations and layers that are activations, by the names of their classes in small letters.
ACTIVATIONS = {
    "celu",
    "elu",
    "exponential",
    "gelu",
    "hardsigmoid",
    "hardtanh",
    "leakyrelu",
    "logsoftmax",
    "mish",
    "prelu",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "softsign",
    "swish",
    "tanh",
}


class GraphReader:
    """Nodes and edges in the order of a computation.

    `kinds`, `layers`, `weights` and `pieces` have an entry for each node, `edges` holds pairs of
    nodes.
    """

    def __init__(self, pieces: Mapping[int, Piece]) -> None:
        self.selected = pieces  # {id of a variable: its description}
        self.kinds: list[str] = []
        self.layers: list[str] = []
        self.weights: list[keras.Variable | None] = []
        self.pieces: list[Piece | None] = []
        self.edges: list[tuple[int, int]] = []
        self._last: dict[int, int] = {}  # {id of a layer: the last node of its first call}

    def read_model(self, model: keras.Model) -> None:
        """Adds the nodes of a whole model."""
        shape = getattr(model, "input_shape", None)
        several = isinstance(model, keras.Sequential) or not isinstance(shape, list | dict)
        count = 1 if several else len(keras.tree.flatten(model.inputs))
        inputs = [self._add("Input", model.name, []) for _ in range(count)]
        self._read(model, inputs)

    def _add(self, kind, layer, inputs, weight=None) -> int:
        node = len(self.kinds)
        self.kinds.append(kind)
        self.layers.append(layer)
        self.weights.append(weight)
        self.pieces.append(None if weight is None else self.selected[id(weight)])
        self.edges += [(u, node) for u in sorted(set(inputs))]
        return node

    def _read(self, operation: Any, inputs: Sequence[int]) -> list[int]:
        """Adds an operation that reads the nodes `inputs`; the nodes that give its outputs."""
        if isinstance(operation, keras.Sequential):
            for layer in operation.layers:
                inputs = self._read(layer, inputs)
            return list(inputs)
        if isinstance(operation, keras.Model):
            return self._read_functional(operation, inputs)
        return [self._read_layer(operation, list(inputs))]

    def _read_functional(self, model, inputs):
        recorded = calls(model)
        if recorded is None:
            raise ValueError(
                "Expected Functional and Sequential models: Keras does not record what a "
                f"subclassed model computes. Received: '{model.name}' of class "
                f"{type(model).__name__}. Write it as keras.Model(inputs, outputs)"
            )
        given = [id(tensor) for tensor in keras.tree.flatten(model.inputs)]
        produced = dict(zip(given, inputs, strict=True))
        for operation, read, outputs in recorded:
            if all(id(tensor) in produced for tensor in outputs):
                continue  # an input of the model
            nodes = self._read(operation, [produced[id(tensor)] for tensor in read])
            if len(nodes) != len(outputs):
                nodes = nodes[:1] * len(outputs)
            produced.update((id(t), node) for t, node in zip(outputs, nodes, strict=True))
        return [produced[id(tensor)] for tensor in keras.tree.flatten(model.outputs)]

    def _read_layer(self, layer, inputs):
        weights = [w for w in getattr(layer, "weights", ()) if id(w) in self.selected]
        before = self._last.get(id(layer))
        if before is not None and weights:
            node = self._add("Repeated", layer.name, [*inputs, before])
        elif weights:
            owned = owners(layer)
            for weight in weights:
                kind = f"{type(owned[id(weight)]).__name__}/{weight.name}"
                inputs = [self._add(kind, layer.name, inputs, weight)]
            node = inputs[0]
            self._last[id(layer)] = node
        else:
            only = _kind(layer)
            return inputs[0] if only is None else self._add(only, layer.name, inputs)
        name = _activation(layer)
        return node if name is None else self._add(name, layer.name, [node])


def _kind(operation) -> str | None:
    """What an operation without weights is; None for one that does nothing."""
    name = type(operation).__name__
    if name.lower() in ACTIVATIONS:
        return name.lower()
    if name in ("Activation", "Identity"):
        return _activation(operation)
    return name


def _activation(layer) -> str | None:
    """The name of a layer's activation, None for none."""
    function = getattr(layer, "activation", None)
    name = getattr(function, "__name__", None) or (type(function).__name__ if function else None)
    return None if name in (None, "linear") else name.lower()
