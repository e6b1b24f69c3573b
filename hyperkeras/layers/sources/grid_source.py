"""Base class of the sources of glimpses."""

import math
from collections.abc import Sequence
from typing import Unpack

import keras
from keras import ops

from hyperkeras.annotations import Config, LayerArguments, Shape, Tensor
from hyperkeras.layers.sources.network_source import NetworkSource
from hyperkeras.ops.argument_validation import check_int, check_size


class GridSource(NetworkSource):
    """Base class of the sources that lay a grid of tuples over an image for each glimpse.

    The image may have one, two or three axes, as the grid has: a signal, an image or a volume.
    Subclasses say which raw numbers place a grid, by where they start (`start`), and how they
    place it (`place`). Variances are one learned number for each glimpse (`sigmas [g]`, from
    zeros), values are 1.

    Args:
        grid_shape: Integer for a square grid, or sequence of one to three integers, such as
            (height, width): the grid's points along each axis.
        network: Keras layer or model, the localization network. None (default) to read the image
            itself.
        num_glimpses: Integer g, the number of grids (default 1).
        sigma_scale: Float ≥ 0, factor on all variances (default 0.1).
        min_sigma: Float ≥ 0, added to the variance, as a fraction of the image's size (default 0).
    """

    def __init__(
        self,
        grid_shape: int | Sequence[int],
        network: keras.layers.Layer | None = None,
        num_glimpses: int = 1,
        sigma_scale: float = 0.1,
        min_sigma: float = 0.0,
        **kwargs: Unpack[LayerArguments],
    ) -> None:
        super().__init__(network, sigma_scale=sigma_scale, min_sigma=min_sigma, **kwargs)
        pair = (grid_shape, grid_shape) if isinstance(grid_shape, int) else grid_shape
        self.grid_shape = check_size(pair, "grid_shape")
        if len(self.grid_shape) > 3:
            raise ValueError(
                "Received an invalid value for `grid_shape`, expected an integer, or one to three "
                f"integers. Received: grid_shape={grid_shape}"
            )
        self.num_glimpses = check_int("num_glimpses", num_glimpses, 1)
        self.num_tuples = self.num_glimpses * math.prod(self.grid_shape)

    @property
    def start(self) -> tuple[float, ...]:
        """The raw numbers that place a grid where the head gives zeros."""
        raise NotImplementedError

    def build(self, input_shape: Shape) -> None:
        rank = len(self.grid_shape)
        if len(self.bound_size()) != rank:
            axes = {1: "one learned column, the signal's axis"}.get(
                rank, f"{('two', 'three')[rank - 2]} learned columns, the image's axes"
            )
            raise ValueError(
                f"Expected source '{self.name}' with grid_shape={self.grid_shape} to serve {axes}. "
                f"Received: size={self.size}"
            )
        # A small head: the first grids lie where `start` puts them, with slight differences.
        self.build_head(input_shape, self.num_glimpses * len(self.start), scale=0.01)
        self.sigmas = self.add_weight(
            name="sigmas", shape=(self.num_glimpses,), initializer="zeros", autocast=False
        )

    def place(self, raw: Tensor) -> Tensor:
        """Means `[b, g, *grid_shape, d]` of the grids placed by `raw` `[b, g, numbers]`."""
        raise NotImplementedError

    def raw_grids(self, inputs: Tensor) -> Tensor:
        """The numbers that place each grid, before any scaling: `[b, g, numbers]`."""
        raw = ops.reshape(self.raw(inputs), (-1, self.num_glimpses, len(self.start)))
        return raw + ops.cast(self.start, raw.dtype)

    def call(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        grids = self.place(self.raw_grids(inputs))
        means = ops.reshape(grids, (-1, self.num_tuples, len(self.grid_shape)))
        points = math.prod(self.grid_shape)
        sigmas = self.variances(ops.repeat(self.sigmas, points))  # [k, d]
        sigmas = ops.broadcast_to(sigmas, ops.shape(means))
        return means, sigmas, ops.ones_like(means[..., 0])

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "grid_shape": self.grid_shape,
            "num_glimpses": self.num_glimpses,
        }
