"""What the fast paths need of TensorFlow beyond its public names, each with the reason.

No other file of the library imports from `tensorflow.python`, so that a new release of TensorFlow
is checked here.
"""

from collections.abc import Sequence

import tensorflow as tf
from tensorflow.python.eager import forwardprop_util
from tensorflow.python.framework import op_callbacks


def operations_are_watched() -> bool:
    """Whether each operation gets others added, which XLA can't compile.

    `tf.debugging.enable_check_numerics()` and the debugger do so. TensorFlow has no public name
    that tells whether they are on.
    """
    return bool(op_callbacks.should_invoke_op_callbacks())


def in_forward_mode(values: Sequence[tf.Tensor]) -> bool:
    """Whether a `tf.autodiff.ForwardAccumulator` watches one of `values`.

    Custom gradients give such an accumulator zeros without a word. It answers for tensors, but only
    to whoever holds it.
    """
    return bool(forwardprop_util.pack_tangents(list(values)).tangents)
