"""A body whose embeddings get no gradient: those of finished tasks are kept as they are."""

from typing import Any

from keras import layers, ops

from hyperkeras.keras_internals import sublayers
from hyperkeras.models.hypernetworks.variable_substitution import run


def embeddings_of(body: layers.Layer) -> list[layers.Embedding]:
    """The embedding layers of a body; an error where there are none."""
    found = [layer for layer in sublayers(body) if isinstance(layer, layers.Embedding)]
    if not found:
        raise ValueError(
            "Expected the body to have a `keras.layers.Embedding` of the tasks with "
            f"freeze_conditions=True. Received: body '{body.name}' without one"
        )
    return found


def with_still_embeddings(embeddings: list[layers.Embedding], function: Any, *args: Any) -> Any:
    """`function(*args)`, from which no gradient goes to the tables of `embeddings`."""
    if not embeddings:
        return function(*args)
    tables = [table for layer in embeddings for table in layer.trainable_variables]
    pairs = [(table, ops.stop_gradient(table.value)) for table in tables]
    result, _ = run(function, pairs, *args)
    return result
