"""Evenly spaced tuples inside a box, placed by its first and last row, column and so on."""

import keras
from keras import ops

from hyperkeras.annotations import Tensor
from hyperkeras.layers.sources.grid_source import GridSource
from hyperkeras.ops.sparse.index_space import scale_means


@keras.saving.register_keras_serializable(package="hyperkeras")
class BoxSource(GridSource):
    r"""Source of glimpses in upright boxes: four numbers place the tuples of a glimpse.

    .. math::
        (v_0, v_1, h_0, h_1) &= \mathrm{sigmoid}(\hat b + (-1, 1, -1, 1))
            \odot (H - 1, H - 1, W - 1, W - 1), \\
        \mu_{ij} &= \left(v_0 + \tfrac{i}{n_v}(v_1 - v_0),\;
            h_0 + \tfrac{j}{n_h}(h_1 - h_0)\right)

    for an image of H × W and a grid of n_v × n_h points, where b̂ is linear in the localization
    network's features. Signals have one such axis, volumes have three. The first boxes hold the
    middle half of each axis.

    Args:
        grid_shape: Integer for a square grid, or sequence of one to three integers, such as
            (n_v, n_h): the grid's points along each axis.
        network: Keras layer or model, the localization network. None (default) to read the image
            itself.
        num_glimpses: Integer g, the number of grids (default 1).
        sigma_scale: Float ≥ 0, factor on all variances (default 0.1).
        min_sigma: Float ≥ 0, added to the variance, as a fraction of the image's size (default 0).

    Input shape:
        Whatever the localization network takes.

    Output shape:
        Means and variances `[b, g n_v n_h, 2]`, in pixels (row, column), and values
        `[b, g n_v n_h]`.

    Parameters: the network's, 2 d g F for F features and grids of d axes, and g variances.

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

    @property
    def start(self) -> tuple[float, ...]:
        return (-1.0, 1.0) * len(self.grid_shape)

    def boxes(self, inputs: Tensor) -> Tensor:
        """Boxes `[b, g, 2 d]` in pixels: the first and last row, then column, of each."""
        return self._scale_boxes(self.raw_grids(inputs))

    def _scale_boxes(self, raw: Tensor) -> Tensor:
        return scale_means(raw, tuple(s for s in self.bound_size() for _ in range(2)))

    def place(self, raw: Tensor) -> Tensor:
        boxes = self._scale_boxes(raw)
        rank, axes = len(self.grid_shape), []
        for a, n in enumerate(self.grid_shape):
            low, high = boxes[..., 2 * a, None], boxes[..., 2 * a + 1, None]  # [b, g, 1]
            points = low + ops.arange(n, dtype=boxes.dtype) / n * (high - low)  # [b, g, n]
            others = [1 if r != a else n for r in range(rank)]
            points = ops.reshape(points, (-1, self.num_glimpses, *others))
            axes.append(points * ops.ones(self.grid_shape, dtype=boxes.dtype))
        return ops.stack(axes, axis=-1)  # [b, g, *grid_shape, d]
