"""The sine activation of coordinate networks."""

from typing import Unpack

import keras
from keras import ops

from hyperkeras.annotations import Config, LayerArguments, Shape, Tensor
from hyperkeras.ops.argument_validation import check_number


@keras.saving.register_keras_serializable(package="hyperkeras")
class Sine(keras.layers.Layer):
    r"""The activation of coordinate networks (SIREN): a sine of a given frequency.

    .. math:: y = \sin(\omega x)

    A network of Dense layers with this activation represents an image, a sound or another field: it
    maps coordinates in [−1, 1] to the value there. Its layers start by
    `hyperkeras.initializers.SirenUniform` with the same ω, so that each sine covers about one
    period. The last layer has no activation.

    Integers are cast to the layer's compute dtype. Masks pass through.

    Args:
        omega: Float ω > 0, the frequency (default 30).

    Input shape:
        Any.

    Output shape:
        That of the input.

    Parameters: none.

    Example:

    ```python
    def sines(units, first=False):
        start = hyperkeras.initializers.SirenUniform(first=first)
        return [keras.layers.Dense(units, kernel_initializer=start), hyperkeras.layers.Sine()]

    layers = [*sines(32, first=True), *sines(32), keras.layers.Dense(3)]
    image = keras.Sequential([keras.Input((2,)), *layers])
    image(keras.random.uniform((100, 2), -1, 1)).shape  # (100, 3)
    ```

    References:
        - [Sitzmann et al., 2020](https://arxiv.org/abs/2006.09661)
    """

    def __init__(self, omega: float = 30.0, **kwargs: Unpack[LayerArguments]) -> None:
        super().__init__(**kwargs)
        self.omega = check_number("omega", omega, 0)
        self.supports_masking = True
        self.built = True

    def call(self, inputs: Tensor) -> Tensor:
        dense = ops.convert_to_tensor(inputs, sparse=False)
        return ops.sin(self.omega * ops.cast(dense, self.compute_dtype))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return tuple(input_shape)

    def get_config(self) -> Config:
        return {**super().get_config(), "omega": self.omega}
