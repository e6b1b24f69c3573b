"""The generator that computes each weight from its place."""

from collections.abc import Sequence
from typing import Unpack

import keras
import numpy as np
from keras import ops

from hyperkeras.annotations import Config, LayerArguments, Shape, Tensor
from hyperkeras.layers.generators.base_generator import Generator
from hyperkeras.ops.argument_validation import check_int
from hyperkeras.ops.generated.kernels import coordinate_kernel


@keras.saving.register_keras_serializable(package="hyperkeras")
class CoordinateGenerator(Generator):
    r"""Generator that computes each weight from its coordinates, as in HyperNEAT.

    .. math:: K[c] = \frac{1}{\sqrt{f^2 N_{\mathrm{in}}}} \left(w_3^\top \tanh\left(
        W_2 \tanh\left(W_c\, c + W_z\, z + b_1\right) + b_2\right) + b_3\right)

    where c ∈ [−1, 1]⁴ is the place of a weight: row, column, input channel, output channel. Such
    a kernel is smooth in all four. Neighboring channels are unrelated, however, so that smoothness
    over them is a limit; `KernelGenerator` has a matrix for each channel instead. The kernel's
    variance at the start does not depend on the embedding's norm.

    Args:
        kernel_shape: Four positive integers (f, f, N_in, N_out), the shape of a tile.
        embedding_dim: Integer N_z, the size of an embedding.
        hidden_dim: Integer h, the width of both hidden layers (default 32).

    Input shape:
        `[..., N_z]`.

    Output shape:
        `[..., f, f, N_in, N_out]`.

    Parameters: h (N_z + 5) + h (h + 1) + h + 1.

    Example:

    ```python
    generator = hyperkeras.layers.CoordinateGenerator((3, 3, 16, 16), embedding_dim=4)
    hyperkeras.layers.HyperConv2D(16, 3, generator)
    ```

    References:
        - [Stanley, D'Ambrosio & Gauci, 2009](https://doi.org/10.1162/artl.2009.15.2.15202)
        - [Ha, Dai & Le, 2016](https://arxiv.org/abs/1609.09106), appendix
    """

    def __init__(
        self,
        kernel_shape: Sequence[int],
        embedding_dim: int,
        hidden_dim: int = 32,
        **kwargs: Unpack[LayerArguments],
    ) -> None:
        super().__init__(kernel_shape, embedding_dim, **kwargs)
        self.hidden_dim = check_int("hidden_dim", hidden_dim, 1)
        lines = [np.linspace(-1, 1, s) if s > 1 else np.zeros(1) for s in self.kernel_shape]
        self.coordinates = np.stack(np.meshgrid(*lines, indexing="ij"), axis=-1)

    def build(self, input_shape: Shape) -> None:
        super().build(input_shape)
        h = self.hidden_dim
        # Wide enough for the first layer to bend. The output is small: neighboring weights are
        # alike, so that sums over them grow with their number, not with its root.
        self._add("coordinate_kernel", (4, h), 2.0)
        self._add("embedding_kernel", (self.embedding_dim, h), self.embedding_dim**-0.5)
        self._add("input_bias", (h,), 1.0)
        self._add("hidden_kernel", (h, h), 2.0 * h**-0.5)
        self._add("hidden_bias", (h,), 0.0)
        self._add("output_kernel", (h,), 0.2 * h**-0.5)
        self._add("output_bias", (), 0.0)

    def _add(self, name: str, shape: Shape, stddev: float) -> None:
        initializer = keras.initializers.RandomNormal(stddev=stddev) if stddev else "zeros"
        setattr(self, name, self.add_weight(name=name, shape=shape, initializer=initializer))

    def call(self, inputs: Tensor) -> Tensor:
        weights = (
            *(self.coordinate_kernel, self.embedding_kernel, self.input_bias),
            *(self.hidden_kernel, self.hidden_bias, self.output_kernel, self.output_bias),
        )
        places = ops.cast(self.coordinates, inputs.dtype)
        # The factor stands apart from the weights, whose steps would move all of K at once.
        gain = float(np.prod(self.kernel_shape[:3])) ** -0.5
        return gain * coordinate_kernel(
            inputs, places, *(ops.convert_to_tensor(w) for w in weights)
        )

    def get_config(self) -> Config:
        return {**super().get_config(), "hidden_dim": self.hidden_dim}
