"""What the sources of glimpses share."""

import math

from keras import ops

from hyperkeras.layers.sources.network_source import NetworkSource
from hyperkeras.ops.argument_validation import check_int, check_size


class GridSource(NetworkSource):
    """Base of the sources that lay a grid of tuples over an image for each glimpse.

    Subclasses say how many raw numbers place a grid (`numbers`), where they start (`start`), and
    how they place it (`place`). Variances are one learned number a glimpse (`sigmas [g]`, from
    zeros), values 1.

    Args:
        grid_shape: Integer, or pair of integers (height, width): the grid's points.
        network: Keras layer or model, the localization network.
        num_glimpses: Integer g.
        sigma_scale: Float ≥ 0. Factor on all variances.
        min_sigma: Float ≥ 0. Added to the variance, as a fraction of the image's size.
    """

    numbers: int
    start: tuple[float, ...]

    def __init__(
        self, grid_shape, network=None, num_glimpses=1, sigma_scale=0.1, min_sigma=0.0, **kwargs
    ):
        super().__init__(network, sigma_scale=sigma_scale, min_sigma=min_sigma, **kwargs)
        pair = (grid_shape, grid_shape) if isinstance(grid_shape, int) else grid_shape
        self.grid_shape = check_size(pair, "grid_shape")
        if len(self.grid_shape) != 2:
            raise ValueError(
                "Received an invalid value for `grid_shape`, expected an integer or a pair of "
                f"integers. Received: grid_shape={grid_shape}"
            )
        self.num_glimpses = check_int("num_glimpses", num_glimpses, 1)
        self.num_tuples = self.num_glimpses * math.prod(self.grid_shape)

    def build(self, input_shape):
        if len(self.bound_size()) != 2:
            raise ValueError(
                f"Expected source '{self.name}' to serve two learned columns, the image's rows "
                f"and columns. Received: size={self.size}"
            )
        # A small head: the first boxes lie where `start` puts them, with slight differences.
        self.build_head(input_shape, self.num_glimpses * self.numbers, scale=0.01)
        self.sigmas = self.add_weight(
            name="sigmas", shape=(self.num_glimpses,), initializer="zeros", autocast=False
        )

    def place(self, raw):
        """Means `[b, g, height, width, 2]` of the grids placed by `raw` `[b, g, numbers]`."""
        raise NotImplementedError

    def raw_grids(self, inputs):
        """The numbers that place each grid, before any scaling: `[b, g, numbers]`."""
        raw = ops.reshape(self.raw(inputs), (-1, self.num_glimpses, self.numbers))
        return raw + ops.cast(self.start, raw.dtype)

    def call(self, inputs):
        grids = self.place(self.raw_grids(inputs))
        means = ops.reshape(grids, (-1, self.num_tuples, 2))
        points = math.prod(self.grid_shape)
        sigmas = self.variances(ops.repeat(self.sigmas, points))  # [k, 2]
        sigmas = ops.broadcast_to(sigmas, ops.shape(means))
        return means, sigmas, ops.ones_like(means[..., 0])

    def get_config(self):
        return {
            **super().get_config(),
            "grid_shape": self.grid_shape,
            "num_glimpses": self.num_glimpses,
        }
