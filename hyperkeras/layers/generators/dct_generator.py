"""The generator that takes embeddings for cosine coefficients."""

import math
from collections.abc import Sequence
from typing import Unpack

import keras

from hyperkeras.annotations import LayerArguments, Tensor
from hyperkeras.layers.generators.base_generator import Generator
from hyperkeras.ops.argument_validation import invalid_value
from hyperkeras.ops.generated.kernels import dct_kernel


@keras.saving.register_keras_serializable(package="hyperkeras")
class DCTGenerator(Generator):
    r"""Generator that reads an embedding as the lowest cosine coefficients (DCT) of a kernel.

    .. math:: K = \sqrt{N_{\mathrm{out}} / N_z}\, \sum_m z_m \varphi_m

    where φ is the orthonormal cosine basis over all four dims of the kernel, lowest frequencies
    first. The factor gives a tile the variance ‖z‖² / (N_z f² N_in), as `KernelGenerator` does.
    With N_z = f² N_in N_out every kernel is possible. With fewer coefficients, kernels are smooth,
    also over the channels, although the order of channels means nothing.

    Args:
        kernel_shape: Four positive integers (f, f, N_in, N_out), the shape of a tile.
        embedding_dim: Integer N_z, at most f² N_in N_out: how many coefficients.

    Input shape:
        `[..., N_z]`.

    Output shape:
        `[..., f, f, N_in, N_out]`.

    Parameters: none; the embeddings are all there is.

    Example:

    ```python
    generator = hyperkeras.layers.DCTGenerator((3, 3, 16, 16), embedding_dim=256)
    hyperkeras.layers.HyperConv2D(16, 3, generator)
    ```

    References:
        - [Koutník, Gomez & Schmidhuber, 2010](https://doi.org/10.1145/1830483.1830596)
        - [Ha, Dai & Le, 2016](https://arxiv.org/abs/1609.09106), appendix
    """

    def __init__(
        self, kernel_shape: Sequence[int], embedding_dim: int, **kwargs: Unpack[LayerArguments]
    ) -> None:
        super().__init__(kernel_shape, embedding_dim, **kwargs)
        if self.embedding_dim > math.prod(self.kernel_shape):
            weights = math.prod(self.kernel_shape)
            expected = f"at most the {weights} weights of a kernel of shape {self.kernel_shape}"
            raise invalid_value("embedding_dim", expected, embedding_dim)

    def call(self, inputs: Tensor) -> Tensor:
        gain = (self.kernel_shape[-1] / self.embedding_dim) ** 0.5
        return gain * dct_kernel(inputs, self.kernel_shape)
