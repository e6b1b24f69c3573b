"""Base class of the sources of index tuples."""

from collections.abc import Sequence
from typing import Any, Unpack

import keras

from hyperkeras.annotations import Config, LayerArguments, Shape, Tensor
from hyperkeras.ops.argument_validation import check_number, check_size
from hyperkeras.ops.sparse.index_space import scale_means, scale_sigmas


class Source(keras.layers.Layer):
    """Base class of the layers that give a `SparseHyperlayer` its index tuples.

    A source maps the layer's input to `(means, sigmas, values)` in index space, where the sigmas
    are variances. Any Keras layer that does so can be a source. This base class adds what most
    sources need: the size of the index space, which the hyperlayer sets by `bind` before it builds
    the source, and the scaling of raw numbers into that space.

    Subclasses implement `build` and `call`, and set `num_tuples` before or in `build`. A subclass
    whose means are integers sets `gives_integers`, and the hyperlayer then samples nothing.

    Args:
        sigma_scale: Float ≥ 0, factor on all variances (default 0.2).
        min_sigma: Float ≥ 0, added to the variance, as a fraction of the tensor's size
            (default 0).

    Output shape:
        Means `[b, k, c]`, variances `[b, k, c]`, values `[b, k]`, for k tuples with c learned
        columns. A leading 1 in place of b means that the whole batch has the same tuples, and the
        same samples of them.

    Example:

    ```python
    class Diagonal(hyperkeras.layers.Source):
        "Tuples on the diagonal, all with the value 1."

        def build(self, input_shape):
            self.num_tuples = min(self.bound_size())

        def call(self, inputs):
            diagonal = keras.ops.arange(self.num_tuples, dtype="float32")
            means = keras.ops.stack([diagonal, diagonal], axis=-1)[None]
            return means, keras.ops.ones_like(means), keras.ops.ones_like(means[..., 0])

    layer = hyperkeras.layers.SparseHyperlayer((3,), Diagonal())
    layer(keras.ops.ones((2, 4))).shape  # (2, 3)
    ```
    """

    gives_integers = False

    def __init__(
        self,
        sigma_scale: float = 0.2,
        min_sigma: float = 0.0,
        **kwargs: Unpack[LayerArguments],
    ) -> None:
        super().__init__(**kwargs)
        self.sigma_scale = check_number("sigma_scale", sigma_scale, 0)
        self.min_sigma = check_number("min_sigma", min_sigma, 0)
        self.num_tuples: Any = None  # an integer once it is known
        self.size: tuple[int, ...] | None = None

    @property
    def index_dtype(self) -> str:
        """The dtype of means and variances: half precision can't tell indices apart."""
        return keras.backend.result_type(self.variable_dtype, "float32")

    def bind(self, size: Sequence[int]) -> None:
        """Sets the dims of the learned columns, once."""
        dims = check_size(size)
        if self.size not in (None, dims):
            raise ValueError(
                f"Expected source '{self.name}' to serve one index space, but it is bound to "
                f"size={self.size} already. Make a source for each layer. Received: size={dims}"
            )
        self.size = dims

    def scale(self, raw_means: Tensor, raw_sigmas: Tensor) -> tuple[Tensor, Tensor]:
        """Means and variances in index space of raw means `[..., k, c]` and sigmas `[..., k]`."""
        means = scale_means(keras.ops.cast(raw_means, self.index_dtype), self.bound_size())
        return means, self.variances(raw_sigmas)

    def variances(self, raw_sigmas: Tensor) -> Tensor:
        """Variances `[..., k, c]` in index space of raw sigmas `[..., k]`."""
        raw = keras.ops.cast(raw_sigmas, self.index_dtype)
        return scale_sigmas(raw, self.bound_size(), self.min_sigma) * self.sigma_scale

    def bound_size(self) -> tuple[int, ...]:
        """The dims of the learned columns. An error before `bind`."""
        if self.size is None:
            raise ValueError(
                f"Source '{self.name}' knows no index space yet. Pass it to a SparseHyperlayer, "
                "or call its `bind(size)` first."
            )
        return self.size

    def compute_output_shape(self, input_shape: Shape) -> tuple[tuple[int | None, ...], ...]:
        b, k, c = input_shape[0], self.num_tuples, len(self.bound_size())
        return (b, k, c), (b, k, c), (b, k)

    def compute_output_spec(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        means, sigmas, values = self.compute_output_shape(inputs.shape)
        return tuple(
            keras.KerasTensor(shape, dtype=self.index_dtype) for shape in (means, sigmas, values)
        )

    def get_build_config(self) -> Config | None:
        config = super().get_build_config()
        if config is None:  # with any other answer Keras takes the copy to be built
            return None
        return {**config, "size": self.size}

    def build_from_config(self, config: Config) -> None:
        config = dict(config)
        self.bind(config.pop("size"))
        super().build_from_config(config)

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "sigma_scale": self.sigma_scale,
            "min_sigma": self.min_sigma,
        }
