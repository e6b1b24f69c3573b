"""Glimpses: crops of images by learned wiring."""

import keras
import numpy as np
from keras import ops

from hyperkeras.layers.sources.affine_source import AffineSource
from hyperkeras.layers.sources.box_source import BoxSource
from hyperkeras.layers.sparse.sparse_hyperlayer import SparseHyperlayer

SOURCES = {"box": BoxSource, "affine": AffineSource}


@keras.saving.register_keras_serializable(package="hyperkeras")
class Glimpse(SparseHyperlayer):
    r"""Looks at parts of an image that a localization network chooses.

    A `SparseHyperlayer` of rank 5, (glimpse, row, column) × (image row, image column): the
    template fixes where each tuple's value goes, the source learns where it comes from, a grid
    of tuples for each glimpse. Values are 1, chunks hold one tuple, channels share the grid.

    .. math:: y[g, i, j] = \sum_{(u, v)} q((u, v) \mid \mu_{gij})\, x[u, v]

    The layer is built for one size of images, its weights are not, where the network's features
    have as many numbers whatever the size (global pooling, a spatial softmax): a layer built for
    another size takes them by `set_weights` or `load_weights`. What carries over is relative. A
    grid covers the same fractions of the axes, so on an image twice as large its points lie twice
    as far apart, and so do variances grow; `region` and the numbers of samples stay as they are.

    Args:
        glimpse_size: Integer, or pair of integers (height, width).
        network: Keras layer or model that maps images to features of any shape, the localization
            network; None to read the image itself.
        num_glimpses: Integer g.
        source: `"box"` for an upright box a glimpse (`BoxSource`), `"affine"` for a
            parallelogram (`AffineSource`).
        sigma_scale: Float ≥ 0. Factor on all variances.
        min_sigma: Float ≥ 0. Added to the variance, as a fraction of the image's size.
        global_samples: Integer ≥ 0, pixels a point drawn over the whole image.
        local_samples: Integer ≥ 0, pixels a point drawn in a window around it.
        region: Integer or pair of integers, the window's dims; None for the whole image.
        data_format: `"channels_last"`, `"channels_first"`, or None for
            `keras.config.image_data_format()`.
        seed: Integer, or None for a random one.

    Input shape:
        `[b, height, width, channels]`, or `[b, channels, height, width]` for channels first.

    Output shape:
        `[b, g, *glimpse_size, channels]`, or `[b, g, channels, *glimpse_size]`.

    Parameters: the network's, and g (n F + 1) for F features and n = 4 numbers a box, 6 an affine
    map.

    Example:

    ```python
    localization = keras.Sequential(
        [keras.layers.MaxPooling2D(4), keras.layers.Dense(32, activation="relu")]
    )
    glimpse = hyperkeras.layers.Glimpse(12, localization, num_glimpses=8)
    glimpse(keras.random.uniform((16, 100, 100, 1))).shape  # (16, 8, 12, 12, 1)
    ```

    References:
        - [Bloem, 2018](https://arxiv.org/abs/1810.09184), attention experiment
    """

    def __init__(
        self,
        glimpse_size,
        network=None,
        num_glimpses=1,
        source="box",
        sigma_scale=0.1,
        min_sigma=0.0,
        global_samples=0,
        local_samples=0,
        region=None,
        data_format=None,
        seed=None,
        **kwargs,
    ):
        if source not in SOURCES:
            raise ValueError(
                f"Received an invalid value for `source`, expected one of {sorted(SOURCES)}. "
                f"Received: source={source!r}"
            )
        grid = SOURCES[source](glimpse_size, network, num_glimpses, sigma_scale, min_sigma)
        target_shape = (grid.num_glimpses, *grid.grid_shape)
        cells = np.indices(target_shape).reshape(3, -1).T  # [k, 3]
        super().__init__(
            target_shape,
            grid,
            chunk_size=1,
            global_samples=global_samples,
            local_samples=local_samples,
            region=region,
            template=np.pad(cells, [(0, 0), (0, 2)]),
            learned_columns=(3, 4),
            carried_axes=1,
            seed=seed,
            **kwargs,
        )
        self.source_name = source
        self.data_format = data_format or keras.config.image_data_format()
        if self.data_format not in ("channels_last", "channels_first"):
            raise ValueError(
                "Received an invalid value for `data_format`, expected 'channels_last' or "
                f"'channels_first'. Received: data_format={data_format!r}"
            )

    def build(self, input_shape):
        if len(input_shape) != 4 or None in input_shape[1:]:
            raise ValueError(
                f"Expected `inputs` of layer '{self.name}' to be images [b, height, width, "
                f"channels] of known size. Received: input_shape={tuple(input_shape)}"
            )
        last = self._channels_last(tuple(input_shape))
        self.source.bind(last[1:3])
        if not self.source.built:
            self.source.build(input_shape)
        super().build(last)
        axes = dict(enumerate(input_shape[1:], start=1))
        self.input_spec = keras.layers.InputSpec(ndim=4, axes=axes)

    def _rounded(self, given, first, end, inputs):
        return self._last(super()._rounded, given, first, end, inputs)

    def _sampled(self, given, first, end, inputs):
        return self._last(super()._sampled, given, first, end, inputs)

    def _last(self, method, given, first, end, inputs):
        """`method` of the input with its channels last; its result in the layer's own format."""
        if self.data_format == "channels_last":
            return method(given, first, end, inputs)
        outputs = method(given, first, end, ops.transpose(inputs, (0, 2, 3, 1)))
        return ops.transpose(outputs, (0, 1, 4, 2, 3))

    def _channels_last(self, shape):
        if self.data_format == "channels_first":
            return shape[0], *shape[2:], shape[1]
        return shape

    def compute_output_shape(self, input_shape):
        shape = super().compute_output_shape(self._channels_last(tuple(input_shape)))
        if self.data_format == "channels_first":
            return *shape[:2], shape[4], *shape[2:4]
        return shape

    def get_config(self):
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
    def from_config(cls, config):
        config = dict(config)
        if config.get("network") is not None:
            config["network"] = keras.saving.deserialize_keras_object(config["network"])
        return cls(**config)
