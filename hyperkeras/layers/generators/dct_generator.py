"""Kernels from their lowest frequencies."""

import math

import keras

from hyperkeras.layers.generators.base_generator import Generator
from hyperkeras.ops.generated.kernels import dct_kernel


@keras.saving.register_keras_serializable(package="hyperkeras")
class DCTGenerator(Generator):
    r"""Takes an embedding for the lowest cosine coefficients (DCT) of a kernel.

    .. math:: K = \sqrt{N_{\mathrm{out}} / N_z}\, \sum_m z_m \varphi_m

    with φ the orthonormal cosine basis over all four dims of the kernel, lowest frequencies
    first; the factor gives a tile the variance ‖z‖² / (N_z f² N_in), as `KernelGenerator` does.
    With N_z = f² N_in N_out any kernel can be had; with fewer, kernels that are smooth over the
    channels, too, whose order means nothing.

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

    def __init__(self, kernel_shape, embedding_dim, **kwargs):
        super().__init__(kernel_shape, embedding_dim, **kwargs)
        if self.embedding_dim > math.prod(self.kernel_shape):
            raise ValueError(
                "Received an invalid value for `embedding_dim`, expected at most the "
                f"{math.prod(self.kernel_shape)} weights of a kernel of shape "
                f"{self.kernel_shape}. Received: embedding_dim={embedding_dim}"
            )

    def call(self, inputs):
        gain = (self.kernel_shape[-1] / self.embedding_dim) ** 0.5
        return gain * dct_kernel(inputs, self.kernel_shape)
