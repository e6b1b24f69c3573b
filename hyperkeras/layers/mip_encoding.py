"""Layer of the magnitude-invariant encoding."""

from typing import Unpack

import keras
from keras import ops

from hyperkeras.annotations import LayerArguments, Shape, Tensor
from hyperkeras.ops.encodings import mip_encoding


@keras.saving.register_keras_serializable(package="hyperkeras")
class MIPEncoding(keras.layers.Layer):
    r"""Encoding of numbers in [0, 1] as points of the unit circle, for conditions.

    .. math:: E(\gamma) = \left[\cos\tfrac{\pi\gamma}{2},\ \sin\tfrac{\pi\gamma}{2}\right]

    It is one half of magnitude-invariant parametrizations. The other half is `residual=True` of
    `hyperkeras.models.Hypernetwork`. Each can be used without the other.

    Integers are cast to the layer's compute dtype. Masks pass through.

    Input shape:
        `[..., n]`, numbers in [0, 1].

    Output shape:
        `[..., 2n]`: n cosines, then n sines.

    Parameters: none.

    Example:

    ```python
    body = keras.Sequential(
        [keras.Input((1,)), hyperkeras.layers.MIPEncoding(), keras.layers.Dense(32, "relu")]
    )
    ```

    References:
        - [Ortiz et al., 2023](https://arxiv.org/abs/2304.07645)
    """

    def __init__(self, **kwargs: Unpack[LayerArguments]) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True

    def build(self, input_shape: Shape) -> None:
        if len(input_shape) < 2 or input_shape[-1] is None:
            raise ValueError(
                f"Expected `inputs` of layer '{self.name}' to have a last axis of known size. "
                f"Received: input_shape={tuple(input_shape)}"
            )
        self.built = True

    def call(self, inputs: Tensor) -> Tensor:
        dense = ops.convert_to_tensor(inputs, sparse=False)
        return mip_encoding(ops.cast(dense, self.compute_dtype))

    def compute_output_shape(self, input_shape: Shape) -> tuple[int | None, ...]:
        features = input_shape[-1]
        return (*input_shape[:-1], None if features is None else 2 * features)
