"""Evenly spaced tuples in a parallelogram, placed by an affine map."""

import keras
import numpy as np
from keras import ops

from hyperkeras.annotations import Tensor
from hyperkeras.layers.sources.grid_source import GridSource
from hyperkeras.ops.sparse.compilation import fused


@keras.saving.register_keras_serializable(package="hyperkeras")
class AffineSource(GridSource):
    r"""Source of glimpses on affine grids: 2 × 3 numbers place the tuples of a glimpse.

    .. math:: \mu = \mathrm{clip}\left(\frac{A\,(u, v, 1)^\top + 1}{2} \odot (H - 1, W - 1)\right)

    for grid points (u, v) evenly spaced over [−1, 1]², rows first, and A = Â + ½ (I | 0) with Â
    linear in the localization network's features. Signals have one such axis, volumes have three.
    The first glimpses hold the middle half of each axis. Points that would lie outside are moved
    onto the image's border, where their gradient is zero.

    Args:
        grid_shape: Integer for a square grid, or sequence of one to three integers, such as
            (height, width): the grid's points along each axis.
        network: Keras layer or model, the localization network. None (default) to read the image
            itself.
        num_glimpses: Integer g, the number of grids (default 1).
        sigma_scale: Float ≥ 0, factor on all variances (default 0.1).
        min_sigma: Float ≥ 0, added to the variance, as a fraction of the image's size (default 0).

    Input shape:
        Whatever the localization network takes.

    Output shape:
        Means and variances `[b, g height width, 2]`, in pixels (row, column), and values
        `[b, g height width]`.

    Parameters: the network's, d (d + 1) g F for F features and grids of d axes, and g variances.

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

    @property
    def start(self) -> tuple[float, ...]:
        d = len(self.grid_shape)
        return tuple(0.5 * np.eye(d, d + 1).ravel())

    def place(self, raw: Tensor) -> Tensor:
        d = len(self.grid_shape)
        matrix = ops.reshape(raw, (-1, self.num_glimpses, d, d + 1))
        means = fused(
            _map_grid,
            self.num_tuples,
            matrix,
            grid_shape=self.grid_shape,
            size=self.bound_size(),
        )
        return ops.reshape(means, (-1, self.num_glimpses, *self.grid_shape, d))


def _map_grid(matrix, grid_shape, size):
    """The points `[b, g, n, d]` of grids mapped by `matrix` [b, g, d, d + 1], inside the tensor."""
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in grid_shape), indexing="ij")
    points = np.stack([*axes, np.ones_like(axes[0])]).reshape(len(size) + 1, -1)  # [d + 1, n]
    mapped = ops.matmul(matrix, ops.cast(points, matrix.dtype))  # [b, g, d, n]
    # Axes before points: rows are long, and each has its own size.
    half = ops.cast((np.array(size)[:, None] - 1) / 2, matrix.dtype)
    index = (mapped + 1) * half
    return ops.swapaxes(ops.minimum(ops.maximum(index, 0), 2 * half), -1, -2)
