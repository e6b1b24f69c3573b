"""Evenly spaced tuples inside a box, placed by four numbers."""

import keras
from keras import ops

from hyperkeras.layers.sources.grid_source import GridSource
from hyperkeras.ops.sparse.index_space import scale_means


@keras.saving.register_keras_serializable(package="hyperkeras")
class BoxSource(GridSource):
    r"""A grid inside an upright box for each glimpse: four numbers place all its tuples.

    .. math::
        (v_0, v_1, h_0, h_1) &= \mathrm{sigmoid}(\hat b + (-1, 1, -1, 1))
            \odot (H - 1, H - 1, W - 1, W - 1), \\
        \mu_{ij} &= \left(v_0 + \tfrac{i}{n_v}(v_1 - v_0),\;
            h_0 + \tfrac{j}{n_h}(h_1 - h_0)\right)

    for an image of H × W and a grid of n_v × n_h points; b̂ is linear in the localization
    network's features. The first boxes hold the middle half of each axis.

    Args:
        grid_shape: Integer, or pair of integers (n_v, n_h).
        network: Keras layer or model, the localization network; None to read the image itself.
        num_glimpses: Integer g.
        sigma_scale: Float ≥ 0. Factor on all variances.
        min_sigma: Float ≥ 0. Added to the variance, as a fraction of the image's size.

    Input shape:
        Whatever the localization network takes.

    Output shape:
        Means and variances `[b, g n_v n_h, 2]`, in pixels (row, column); values `[b, g n_v n_h]`.

    Parameters: the network's, 4 g F for F features, and g variances.

    Example:

    ```python
    source = hyperkeras.layers.BoxSource((8, 8), keras.layers.Dense(16, "relu"), num_glimpses=2)
    source.bind((28, 28))  # as the SparseHyperlayer around it does
    source.build((None, 28, 28, 1))
    source.boxes(keras.random.uniform((4, 28, 28, 1))).shape  # (4, 2, 4)
    ```

    References:
        - [Bloem, 2018](https://arxiv.org/abs/1810.09184), attention experiment
    """

    numbers = 4
    start = (-1.0, 1.0, -1.0, 1.0)

    def boxes(self, inputs):
        """Boxes `[b, g, 4]` in pixels: first row, last row, first column, last column."""
        return self._scale_boxes(self.raw_grids(inputs))

    def _scale_boxes(self, raw):
        height, width = self.size
        return scale_means(raw, (height, height, width, width))

    def place(self, raw):
        boxes = self._scale_boxes(raw)
        axes = []
        for a, n in enumerate(self.grid_shape):
            low, high = boxes[..., 2 * a, None], boxes[..., 2 * a + 1, None]  # [b, g, 1]
            axes.append(low + ops.arange(n, dtype=boxes.dtype) / n * (high - low))
        rows, cols = axes[0][..., :, None], axes[1][..., None, :]
        return ops.stack([rows + 0 * cols, cols + 0 * rows], axis=-1)  # [b, g, n_v, n_h, 2]
