"""Compiled calls on TensorFlow."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf


def compiled(function: Callable) -> Callable:
    """`function` as one graph for each shape of its tensors and value of what is no tensor."""
    return tf.function(function)


@contextlib.contextmanager
def compiled_updates(optimizer: Any, variables: Sequence[keras.Variable]) -> Iterator[None]:
    """A context in which an optimizer's step is one graph: eagerly it takes an operation each.

    Args:
        optimizer: Optimizer of Keras.
        variables: Sequence of all variables that it updates.
    """
    if not optimizer.built:
        optimizer.build(variables)
    apply, variables = optimizer.apply, list(variables)
    step = tf.function(lambda gradients: apply(gradients, variables))

    def compiled_apply(gradients: Any, trainable_variables: Any = None) -> Any:
        # Gradients of embeddings hold the rows that were read, so that their shapes vary, and Adam
        # would square rows that were read twice before it adds them.
        return step([g if g is None else tf.convert_to_tensor(g) for g in gradients])

    optimizer.apply = compiled_apply
    try:
        yield
    finally:
        del optimizer.apply
