"""Index tuples as free parameters."""

from typing import Unpack

import keras
from keras import ops

from hyperkeras.annotations import Config, Initializer, LayerArguments, Shape, Tensor
from hyperkeras.initializers import LogitUniform
from hyperkeras.layers.sources.base_source import Source
from hyperkeras.ops.argument_validation import check_int


@keras.saving.register_keras_serializable(package="hyperkeras")
class FreeSource(Source):
    """Source whose index tuples are free parameters: one wiring for all inputs.

    The raw parameters are `means [k, c]`, which start evenly spread over the tensor, `sigmas [k]`
    (zeros) and `values [k]` (ones). `scale_means` and `scale_sigmas` bring the first two into
    index space. Under mixed precision they stay in the variable dtype: half precision can't tell
    indices beyond 2048 apart.

    Args:
        num_tuples: Integer k, the number of continuous tuples.
        sigma_scale: Float ≥ 0, factor on all variances (default 0.2).
        min_sigma: Float ≥ 0, added to the variance, as a fraction of the tensor's size
            (default 0).
        fixed_values: Boolean, whether all values are 1 and not learned (default `False`).
        shared: Boolean, whether a batch draws its integer tuples once for all its samples, and
            not once for each (default `False`). It is far cheaper, with a noisier gradient.
        means_initializer: Initializer of the raw means. None (default) for `LogitUniform`.
        values_initializer: Initializer of the values (default `"ones"`).

    Input shape:
        Any. Only the batch dimension is read.

    Output shape:
        Means `[b, k, c]`, variances `[b, k, c]`, values `[b, k]`. With `shared`, b is 1.

    Parameters: k (c + 2), or k (c + 1) with `fixed_values`.

    Example:

    ```python
    source = hyperkeras.layers.FreeSource(num_tuples=32)
    layer = hyperkeras.layers.SparseHyperlayer((16,), source, local_samples=4, region=4)
    ```

    References:
        - [Bloem, 2018](https://arxiv.org/abs/1810.09184)
    """

    def __init__(
        self,
        num_tuples: int,
        sigma_scale: float = 0.2,
        min_sigma: float = 0.0,
        fixed_values: bool = False,
        shared: bool = False,
        means_initializer: Initializer = None,
        values_initializer: Initializer = "ones",
        **kwargs: Unpack[LayerArguments],
    ) -> None:
        super().__init__(sigma_scale=sigma_scale, min_sigma=min_sigma, **kwargs)
        self.num_tuples = check_int("num_tuples", num_tuples, 1)
        self.fixed_values = bool(fixed_values)
        self.shared = bool(shared)
        self.means_initializer = keras.initializers.get(means_initializer or LogitUniform())
        self.values_initializer = keras.initializers.get(values_initializer)

    def build(self, input_shape: Shape) -> None:
        k, c = self.num_tuples, len(self.bound_size())
        self.means = self._add_raw("means", (k, c), self.means_initializer)
        self.sigmas = self._add_raw("sigmas", (k,), "zeros")
        self.values = None
        if not self.fixed_values:
            self.values = self._add_raw("values", (k,), self.values_initializer)

    def _add_raw(self, name: str, shape: tuple[int, ...], initializer: Initializer) -> Tensor:
        return self.add_weight(name=name, shape=shape, initializer=initializer, autocast=False)

    def call(self, inputs: Tensor) -> tuple[Tensor, ...]:
        means, sigmas = self.scale(*(ops.convert_to_tensor(x) for x in (self.means, self.sigmas)))
        values = ops.ones_like(sigmas[:, 0])
        if self.values is not None:
            values = ops.cast(ops.convert_to_tensor(self.values), self.index_dtype)
        b = 1 if self.shared else ops.shape(inputs)[0]
        return tuple(ops.broadcast_to(x, (b, *x.shape)) for x in (means, sigmas, values))

    def compute_output_shape(self, input_shape: Shape) -> tuple[tuple[int | None, ...], ...]:
        return super().compute_output_shape((1,) if self.shared else input_shape)

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "num_tuples": self.num_tuples,
            "fixed_values": self.fixed_values,
            "shared": self.shared,
            "means_initializer": keras.initializers.serialize(self.means_initializer),
            "values_initializer": keras.initializers.serialize(self.values_initializer),
        }
