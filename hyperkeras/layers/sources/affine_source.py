"""Evenly spaced tuples in a parallelogram, placed by an affine map."""

import keras
import numpy as np
from keras import ops

from hyperkeras.layers.sources.grid_source import GridSource
from hyperkeras.ops.sparse.index_space import scale_means


@keras.saving.register_keras_serializable(package="hyperkeras")
class AffineSource(GridSource):
    r"""A grid under an affine map for each glimpse: 2 × 3 numbers place all its tuples.

    .. math:: \mu = \mathrm{clip}\left(\frac{A\,(u, v, 1)^\top + 1}{2} \odot (H - 1, W - 1)\right)

    for grid points (u, v) evenly spaced over [−1, 1]², rows first, and A = Â + ½ (I | 0) with Â
    linear in the localization network's features: the first glimpses hold the middle half of
    each axis. Points that would lie outside are moved onto the image's border, where their
    gradient is zero.

    Args:
        grid_shape: Integer, or pair of integers (height, width).
        network: Keras layer or model, the localization network; None to read the image itself.
        num_glimpses: Integer g.
        sigma_scale: Float ≥ 0. Factor on all variances.
        min_sigma: Float ≥ 0. Added to the variance, as a fraction of the image's size.

    Input shape:
        Whatever the localization network takes.

    Output shape:
        Means and variances `[b, g height width, 2]`, in pixels (row, column); values
        `[b, g height width]`.

    Parameters: the network's, 6 g F for F features, and g variances.

    Example:

    ```python
    source = hyperkeras.layers.AffineSource((8, 8), keras.layers.Dense(16, "relu"), num_glimpses=2)
    source.bind((28, 28))  # as the SparseHyperlayer around it does
    means, variances, values = source(keras.random.uniform((4, 28, 28, 1)))
    means.shape  # (4, 128, 2)
    ```

    References:
        - [Jaderberg et al., 2015](https://arxiv.org/abs/1506.02025), equation 1
        - [Bloem, 2018](https://arxiv.org/abs/1810.09184)
    """

    numbers = 6
    start = (0.5, 0.0, 0.0, 0.0, 0.5, 0.0)

    def place(self, raw):
        height, width = self.grid_shape
        u, v = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
        points = np.stack([u, v, np.ones_like(u)]).reshape(3, -1)  # [3, height * width]
        matrix = ops.reshape(raw, (-1, self.num_glimpses, 2, 3))
        mapped = ops.matmul(matrix, ops.cast(points, raw.dtype))  # [b, g, 2, height * width]
        last = np.array(self.size) - 1
        index = (ops.swapaxes(mapped, -1, -2) + 1) / 2 * ops.cast(last, raw.dtype)
        means = scale_means(index, self.size, method="clamp")
        return ops.reshape(means, (-1, self.num_glimpses, height, width, 2))
