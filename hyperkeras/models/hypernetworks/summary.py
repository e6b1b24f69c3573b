"""What `summary` of a hypernetwork prints: its parts, without weights that are generated."""

import math
from collections.abc import Collection
from typing import Any

import keras
from keras import layers


class _Row(layers.Layer):
    """A line of the table: a name and a number of parameters."""

    def __init__(self, name: str, parameters: int, shape: Any = None, parts: Any = ()) -> None:
        super().__init__(name=name)
        self.parameters, self.shape, self.layers = parameters, shape, list(parts)
        self.built = True
        if shape is not None:
            self.build(shape)

    def compute_output_shape(self, input_shape):
        return tuple(self.shape)

    def count_params(self):
        return self.parameters


def _row(kind, *args, **kwargs):
    """A row that is shown as a layer of the class `kind`."""
    return type(kind, (_Row,), {})(*args, **kwargs)


def row_of(layer: layers.Layer, left_out: Collection[int]) -> layers.Layer:
    """The row of a layer, whose parameters are counted but for variables of the ids `left_out`."""
    count = sum(math.prod(w.shape) for w in layer.weights if id(w) not in left_out)
    parts = [row_of(part, left_out) for part in getattr(layer, "layers", ())]
    output: Any = getattr(layer, "output", None)  # a tensor, where a model calls the layer once
    shape = tuple(output.shape) if hasattr(output, "shape") else None
    return _row(type(layer).__name__, layer.name, count, shape, parts)


class Table(keras.Model):
    """A stand-in for `model` whose `summary` prints `rows`, and the counts of `model`."""

    def __init__(self, model: keras.Model, rows: list[layers.Layer]) -> None:
        super().__init__(name=model.name)
        self.rows, self.built = rows, True
        self.shown = lambda: model  # not the model itself, which would be listed as a layer
        if model.compiled:
            self.compiled, self.optimizer = True, model.optimizer

    @property
    def layers(self) -> Any:
        return self.rows

    @property
    def trainable_weights(self) -> Any:
        return self.shown().trainable_weights

    @property
    def non_trainable_weights(self) -> Any:
        return self.shown().non_trainable_weights


def print_summary(hypernetwork: Any, *args: Any, **kwargs: Any) -> None:
    """Prints the summary of a `Hypernetwork`, by the arguments of `keras.Model.summary`."""
    generated = {id(variable) for variable in hypernetwork.generated_weights}
    networks = hypernetwork.body, hypernetwork.head, hypernetwork.target
    rows = [row_of(network, generated) for network in networks]
    inside = {id(weight) for layer in hypernetwork.layers for weight in layer.weights}
    own = [weight for weight in hypernetwork.weights if id(weight) not in inside]
    if own:
        count = sum(math.prod(weight.shape) for weight in own)
        rows.append(_row("Weights", "own weights", count, (None, hypernetwork.num_generated)))
    Table(hypernetwork, rows).summary(*args, **kwargs)
