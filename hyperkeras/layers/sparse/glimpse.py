"""Glimpses: crops of images by learned wiring."""

from collections.abc import Sequence
from typing import Unpack

import keras
import numpy as np
from keras import ops

from hyperkeras import shared_serialization
from hyperkeras.annotations import Config, LayerArguments, Shape, Tensor
from hyperkeras.layers.sources.affine_source import AffineSource
from hyperkeras.layers.sources.box_source import BoxSource
from hyperkeras.layers.sources.grid_source import GridSource
from hyperkeras.layers.sparse.sparse_hyperlayer import SparseHyperlayer
from hyperkeras.ops.argument_validation import check_choice

SOURCES: dict[str, type[GridSource]] = {"box": BoxSource, "affine": AffineSource}


@keras.saving.register_keras_serializable(package="hyperkeras")
class Glimpse(SparseHyperlayer):
    r"""Crops of an image, placed by a localization network.

    A `SparseHyperlayer` of rank 5, (glimpse, row, column) × (image row, image column). The
    template fixes where the value of each tuple goes. The source learns where it comes from, a
    grid of tuples for each glimpse. Values are 1, chunks hold one tuple, and all channels have the
    same grid.

    .. math:: y[g, i, j] = \sum_{(u, v)} q((u, v) \mid \mu_{gij})\, x[u, v]

    Signals and volumes have one or three axes instead of two, as `glimpse_size` has.

    The layer is built for one size of images. Its weights are not, where the network's features
    have as many numbers whatever the size (global pooling, a spatial softmax): a layer built for
    another size takes them by `set_weights` or `load_weights`. What carries over is relative. A
    grid covers the same fractions of the axes, so that on an image twice as large its points lie
    twice as far apart, and the variances grow with them. `region` and the numbers of samples stay
    as they are.

    Args:
        glimpse_size: Integer for a square glimpse, or sequence of one to three integers: (length,),
            (height, width) or (depth, height, width), in points.
        network: Keras layer or model that maps images to features of any shape, the localization
            network. None (default) to read the image itself. Several layers may share a network.
        num_glimpses: Integer g, the number of glimpses (default 1).
        source: `"box"` (default) for an upright box for each glimpse (`BoxSource`), `"affine"` for
            a parallelogram (`AffineSource`).
        sigma_scale: Float ≥ 0, factor on all variances (default 0.1).
        min_sigma: Float ≥ 0, added to the variance, as a fraction of the image's size (default 0).
        global_samples: Integer ≥ 0, how many pixels are drawn over the whole image for each point
            (default 0).
        local_samples: Integer ≥ 0, how many pixels are drawn in a window around each point
            (default 0).
        region: Integer, or sequence of one integer for each axis: the window's dims, in pixels.
            None (default) for the whole image.
        data_format: `"channels_last"` or `"channels_first"`. None (default) for
            `keras.config.image_data_format()`.
        seed: Integer, the seed of the draws. None (default) for a random one.

    Call arguments:
        inputs: Tensor of images. Integers are cast to the layer's compute dtype.
        source_inputs: Tensor that places the glimpses instead of the images, such as the state of
            a recurrent network: the localization network, if there is one, reads it. None
            (default) for `inputs`.
        training: Boolean, whether a point is divided among the pixels near it (default `False`).
            At inference it is the nearest pixel.

    Input shape:
        `[b, height, width, channels]`, or `[b, channels, height, width]` for channels first. As
        many axes as `glimpse_size` has integers stand for height and width.

    Output shape:
        `[b, g, *glimpse_size, channels]`, or `[b, g, channels, *glimpse_size]`.

    Parameters: the network's, and g (n F + 1) for F features. A box has n = 2 d numbers in images
    of d axes, an affine map n = d (d + 1).

    Example:

    ```python
    localization = keras.Sequential(
        [keras.layers.MaxPooling2D(4), keras.layers.Dense(32, activation="relu")]
    )
    glimpse = hyperkeras.layers.Glimpse(12, localization, num_glimpses=8)
    glimpse(keras.random.uniform((16, 100, 100, 1))).shape  # (16, 8, 12, 12, 1)

    # Placed by a vector, such as the state of a recurrent network:
    images, state = keras.random.uniform((16, 28, 28, 1)), keras.random.normal((16, 32))
    hyperkeras.layers.Glimpse(8)(images, state).shape  # (16, 1, 8, 8, 1)
    ```

    References:
        - [Bloem, 2018](https://arxiv.org/abs/1810.09184), attention experiment
    """

    def __init__(
        self,
        glimpse_size: int | Sequence[int],
        network: keras.layers.Layer | None = None,
        num_glimpses: int = 1,
        source: str = "box",
        sigma_scale: float = 0.1,
        min_sigma: float = 0.0,
        global_samples: int = 0,
        local_samples: int = 0,
        region: int | Sequence[int] | None = None,
        data_format: str | None = None,
        seed: int | None = None,
        **kwargs: Unpack[LayerArguments],
    ) -> None:
        make = SOURCES[check_choice("source", source, sorted(SOURCES))]
        grid = make(
            glimpse_size,
            network,
            num_glimpses,
            sigma_scale,
            min_sigma,
            trainable=kwargs.get("trainable", True),
            dtype=kwargs.get("dtype"),
        )
        target_shape = (grid.num_glimpses, *grid.grid_shape)
        d = len(grid.grid_shape)
        cells = np.indices(target_shape).reshape(1 + d, -1).T  # [k, 1 + d]
        super().__init__(
            target_shape,
            grid,
            chunk_size=1,
            global_samples=global_samples,
            local_samples=local_samples,
            region=region,
            template=np.pad(cells, [(0, 0), (0, d)]),
            learned_columns=tuple(range(1 + d, 1 + 2 * d)),
            carried_axes=1,
            seed=seed,
            **kwargs,
        )
        self.source_name = source
        self.data_format = check_choice(
            "data_format",
            data_format or keras.config.image_data_format(),
            ("channels_last", "channels_first"),
        )

    def build(self, inputs_shape: Shape, source_inputs_shape: Shape | None = None) -> None:
        rank = len(self.source.grid_shape)
        if len(inputs_shape) != rank + 2 or None in inputs_shape[1:]:
            names = ("length", "height, width", "depth, height, width")[rank - 1]
            raise ValueError(
                f"Expected `inputs` of layer '{self.name}' to be images [b, {names}, channels], or "
                "with the channels in front for channels first, of known size. "
                f"Received: input_shape={tuple(inputs_shape)}"
            )
        last = self._channels_last(tuple(inputs_shape))
        self.source.bind(last[1:-1])
        if not self.source.built:
            self.source.build(inputs_shape if source_inputs_shape is None else source_inputs_shape)
        super().build(last, source_inputs_shape)
        axes = dict(enumerate(inputs_shape[1:], start=1))
        self.input_spec = keras.layers.InputSpec(ndim=rank + 2, axes=axes)

    def _rounded_output(
        self, given: Sequence[Tensor], first: int, end: int, inputs: Tensor
    ) -> Tensor:
        outputs = super()._rounded_output(given, first, end, self._pixels(inputs))
        return self._in_own_format(outputs)

    def _sampled_output(
        self, given: Sequence[Tensor], first: int, end: int, inputs: Tensor
    ) -> Tensor:
        outputs = super()._sampled_output(given, first, end, self._pixels(inputs))
        return self._in_own_format(outputs)

    def _pixels(self, inputs: Tensor) -> Tensor:
        """Images with their channels last."""
        if self.data_format == "channels_last":
            return inputs
        return ops.transpose(inputs, (0, *range(2, len(inputs.shape)), 1))

    def _in_own_format(self, outputs: Tensor) -> Tensor:
        """Glimpses `[b, g, *glimpse_size, channels]` in the layer's own data format."""
        if self.data_format == "channels_last":
            return outputs
        last = len(outputs.shape) - 1
        return ops.transpose(outputs, (0, 1, last, *range(2, last)))

    def _channels_last(self, shape: Shape) -> tuple[int | None, ...]:
        if self.data_format == "channels_first":
            return (shape[0], *shape[2:], shape[1])
        return tuple(shape)

    def compute_output_shape(
        self, inputs_shape: Shape, source_inputs_shape: Shape | None = None
    ) -> tuple[int | None, ...]:
        shape = super().compute_output_shape(self._channels_last(tuple(inputs_shape)))
        if self.data_format == "channels_first":
            return (*shape[:2], shape[-1], *shape[2:-1])
        return shape

    def get_config(self) -> Config:
        grid = self.source.get_config()
        return {
            **keras.layers.Layer.get_config(self),
            "glimpse_size": grid["grid_shape"],
            "network": grid["network"],
            "num_glimpses": grid["num_glimpses"],
            "source": self.source_name,
            "sigma_scale": grid["sigma_scale"],
            "min_sigma": grid["min_sigma"],
            "global_samples": self.global_samples,
            "local_samples": self.local_samples,
            "region": self.region,
            "data_format": self.data_format,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config: Config) -> "Glimpse":
        network = shared_serialization.deserialize(config.get("network"), config.get("name"))
        return cls(**{**config, "network": network})
