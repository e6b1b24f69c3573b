"""Base class of the sources that read the input."""

from typing import Unpack

import keras
from keras import ops

from hyperkeras import shared_serialization
from hyperkeras.annotations import Config, LayerArguments, Shape, Tensor
from hyperkeras.layers.full_precision import full_precision
from hyperkeras.layers.sources.base_source import Source
from hyperkeras.ops.argument_validation import check_layer


class NetworkSource(Source):
    """Base class of the sources that compute raw numbers from the input by a network.

    raw = flatten(network(x)) W, by a dense head of the source. The head computes in the variable
    dtype: under mixed precision the network runs in half precision, index space never does.

    Args:
        network: Keras layer or model that maps the input to features of any shape. None (default)
            to read the input itself. Several sources may share a network.
        sigma_scale: Float ≥ 0, factor on all variances (default 0.2).
        min_sigma: Float ≥ 0, added to the variance, as a fraction of the tensor's size
            (default 0).
    """

    def __init__(
        self,
        network: keras.layers.Layer | None = None,
        sigma_scale: float = 0.2,
        min_sigma: float = 0.0,
        **kwargs: Unpack[LayerArguments],
    ) -> None:
        super().__init__(sigma_scale=sigma_scale, min_sigma=min_sigma, **kwargs)
        if network is not None:
            check_layer("network", network, expected="a Keras layer or model, or None")
        self.network = network

    def build_head(self, input_shape: Shape, units: int, scale: float) -> None:
        """Builds the network and a head of `units` raw numbers of variance `scale`."""
        features = tuple(input_shape)
        if self.network is not None:
            if not self.network.built:
                self.network.build(input_shape)
            features = tuple(self.network.compute_output_shape(input_shape))
        if None in features[1:]:
            raise ValueError(
                f"Expected the features that source '{self.name}' reads to have known dims "
                f"besides the batch. Received: features of shape {features}"
            )
        self.flatten = keras.layers.Flatten(dtype=self.variable_dtype)
        head = keras.layers.Dense(
            units,
            use_bias=False,
            kernel_initializer=keras.initializers.VarianceScaling(scale, "fan_in"),
            dtype=self.variable_dtype,
            trainable=self.trainable,
            name="head",
        )
        self.head = full_precision(head)
        self.head.build(self.flatten.compute_output_shape(features))

    def raw(self, inputs: Tensor) -> Tensor:
        """The raw numbers `[b, units]`, in the dtype of index space."""
        features = ops.convert_to_tensor(inputs, sparse=False)
        if not keras.backend.is_float_dtype(features.dtype):
            features = ops.cast(features, self.variable_dtype)
        if self.network is not None:
            features = self.network(features)
        return ops.cast(self.head(self.flatten(features)), self.index_dtype)

    def get_config(self) -> Config:
        return {**super().get_config(), "network": shared_serialization.serialize(self.network)}

    @classmethod
    def from_config(cls, config: Config) -> "NetworkSource":
        network = shared_serialization.deserialize(config.get("network"), config.get("name"))
        return cls(**{**config, "network": network})
