"""What the sources that read the input share."""

import keras

from hyperkeras.layers.sources.base_source import Source


class NetworkSource(Source):
    """Base of the sources that compute raw numbers from the input by a network.

    raw = flatten(network(x)) W, by a dense head of its own, in the variable dtype: under mixed
    precision the network runs in half precision, index space never does.

    Args:
        network: Keras layer or model that maps the input to features of any shape, or None to
            read the input itself.
        sigma_scale: Float ≥ 0. Factor on all variances.
        min_sigma: Float ≥ 0. Added to the variance, as a fraction of the tensor's size.
    """

    def __init__(self, network=None, sigma_scale=0.2, min_sigma=0.0, **kwargs):
        super().__init__(sigma_scale=sigma_scale, min_sigma=min_sigma, **kwargs)
        if network is not None and not isinstance(network, keras.layers.Layer):
            raise ValueError(
                "Received an invalid value for `network`, expected a Keras layer or model, or "
                f"None. Received: network={network!r}"
            )
        self.network = network

    def build_head(self, input_shape, units, scale):
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
        self.head = keras.layers.Dense(
            units,
            use_bias=False,
            kernel_initializer=keras.initializers.VarianceScaling(scale, "fan_in"),
            dtype=self.variable_dtype,
            name="head",
        )
        self.head.build(self.flatten.compute_output_shape(features))

    def raw(self, inputs):
        """Raw numbers `[b, units]`."""
        features = inputs if self.network is None else self.network(inputs)
        return self.head(self.flatten(features))

    def get_config(self):
        network = self.network
        if network is not None:
            network = keras.saving.serialize_keras_object(network)
        return {**super().get_config(), "network": network}

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        if config.get("network") is not None:
            config["network"] = keras.saving.deserialize_keras_object(config["network"])
        return cls(**config)
