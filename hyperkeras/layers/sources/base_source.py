"""What every source of index tuples shares."""

import keras

from hyperkeras.ops.argument_validation import check_number, check_size
from hyperkeras.ops.sparse.index_space import scale_means, scale_sigmas


class Source(keras.layers.Layer):
    """Base of the layers that give a `SparseHyperlayer` its index tuples.

    A source maps the layer's input to `(means, sigmas, values)` in index space. Any Keras layer
    that does so can be one; this base adds what most need: the size of the index space, which
    the hyperlayer hands over by `bind` before it builds the source, and the scaling of raw
    numbers into that space.

    Subclasses implement `build` and `call`, and set `num_tuples` before or in `build`.

    Args:
        sigma_scale: Float ≥ 0. Factor on all variances.
        min_sigma: Float ≥ 0. Added to the variance, as a fraction of the tensor's size.

    Output shape:
        Means `[b, k, c]`, variances `[b, k, c]`, values `[b, k]`, for k tuples with c learned
        columns. A leading 1 in place of b stands for the same tuples, and the same samples of
        them, in the whole batch.
    """

    def __init__(self, sigma_scale=0.2, min_sigma=0.0, **kwargs):
        super().__init__(**kwargs)
        self.sigma_scale = check_number("sigma_scale", sigma_scale, 0)
        self.min_sigma = check_number("min_sigma", min_sigma, 0)
        self.num_tuples = None
        self.size = None

    def bind(self, size):
        """Sets the dims of the learned columns, once."""
        size = check_size(size)
        if self.size not in (None, size):
            raise ValueError(
                f"Expected source '{self.name}' to serve one index space, but it is bound to "
                f"size={self.size} already. Make a source for each layer. Received: size={size}"
            )
        self.size = size

    def scale(self, raw_means, raw_sigmas):
        """Raw means `[..., k, c]` and sigmas `[..., k]`, brought into index space."""
        return scale_means(raw_means, self.bound_size()), self.variances(raw_sigmas)

    def variances(self, raw_sigmas):
        """Raw sigmas `[..., k]` as variances `[..., k, c]` in index space."""
        return scale_sigmas(raw_sigmas, self.bound_size(), self.min_sigma) * self.sigma_scale

    def bound_size(self):
        """The dims of the learned columns; an error before `bind`."""
        if self.size is None:
            raise ValueError(
                f"Source '{self.name}' knows no index space yet. Pass it to a SparseHyperlayer, "
                "or call its `bind(size)` first."
            )
        return self.size

    def compute_output_shape(self, input_shape):
        k, c = self.num_tuples, len(self.bound_size())
        return (input_shape[0], k, c), (input_shape[0], k, c), (input_shape[0], k)

    def compute_output_spec(self, inputs, **kwargs):
        shapes = self.compute_output_shape(inputs.shape)
        return tuple(keras.KerasTensor(shape, dtype=self.variable_dtype) for shape in shapes)

    def get_build_config(self):
        return {**(super().get_build_config() or {}), "size": self.size}

    def build_from_config(self, config):
        config = dict(config)
        size = config.pop("size", None)
        if size is not None:
            self.bind(size)
            super().build_from_config(config)

    def get_config(self):
        return {
            **super().get_config(),
            "sigma_scale": self.sigma_scale,
            "min_sigma": self.min_sigma,
        }
