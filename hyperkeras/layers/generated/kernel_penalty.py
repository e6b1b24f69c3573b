"""The penalty of a generated kernel."""

from typing import Any

import keras
from keras import ops

from hyperkeras.annotations import Tensor


class _KernelPenalty(keras.regularizers.Regularizer):
    """A regularizer of a layer's embeddings that is one of the kernel made of them.

    Keras asks the regularizers of variables once for each value of the loss, however often the
    layer was called, and wherever: a loss added in `call` is counted once a call, and lost or out
    of reach in the loop of a recurrent layer.
    """

    def __init__(self, layer: Any) -> None:
        self.layer = layer

    def __call__(self, embeddings: Tensor) -> Tensor:
        kernel = self.layer.kernel_of(ops.convert_to_tensor(embeddings))
        # As for a kernel that is a weight, half precision must not round the penalty.
        return self.layer.kernel_regularizer(ops.cast(kernel, self.layer.variable_dtype))


def kernel_penalty(layer: Any) -> keras.regularizers.Regularizer | None:
    """The regularizer of the embeddings of `layer`, or None where its kernel has none."""
    return None if layer.kernel_regularizer is None else _KernelPenalty(layer)
