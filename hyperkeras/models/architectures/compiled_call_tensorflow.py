"""Compiled calls on TensorFlow."""

from collections.abc import Callable

import tensorflow as tf


def compiled(function: Callable) -> Callable:
    """`function` as one graph for each shape of its tensors and value of what is no tensor."""
    return tf.function(function)
