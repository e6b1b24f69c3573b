"""Conditions of constant norm, as a layer."""

import keras

from hyperkeras.ops.encodings import mip_encoding


@keras.saving.register_keras_serializable(package="hyperkeras")
class MIPEncoding(keras.layers.Layer):
    r"""Puts numbers in [0, 1] on the unit circle, before the body of a hypernetwork.

    .. math:: E(\gamma) = \left[\cos\tfrac{\pi\gamma}{2},\ \sin\tfrac{\pi\gamma}{2}\right]

    One half of magnitude-invariant parametrizations; the other is `residual=True` of
    `hyperkeras.models.Hypernetwork`. Each can be used without the other.

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

    def build(self, input_shape):
        if len(input_shape) < 2 or input_shape[-1] is None:
            raise ValueError(
                f"Expected `inputs` of layer '{self.name}' to have a last axis of known size. "
                f"Received: input_shape={tuple(input_shape)}"
            )
        self.built = True

    def call(self, inputs):
        return mip_encoding(inputs)

    def compute_output_shape(self, input_shape):
        return *input_shape[:-1], 2 * input_shape[-1]
