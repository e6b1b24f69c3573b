"""Index tuples computed from the input: the adaptive source."""

from typing import Unpack

import keras
from keras import ops

from hyperkeras.annotations import Config, LayerArguments, Shape, Tensor
from hyperkeras.initializers import LogitUniform
from hyperkeras.layers.sources.network_source import NetworkSource
from hyperkeras.ops.argument_validation import check_int


@keras.saving.register_keras_serializable(package="hyperkeras")
class DenseSource(NetworkSource):
    r"""Source whose index tuples depend on the input: each sample has its own wiring.

    .. math:: (\hat\mu, \hat\sigma, v) = (\hat\mu_0, \hat\sigma_0, v_0)
        + \mathrm{flatten}(f(x))\, W

    with f the network, W the head's kernel and (μ̂₀, σ̂₀, v₀) free parameters that start as those
    of `FreeSource`. The input moves the free wiring.

    Args:
        num_tuples: Integer k, the number of continuous tuples.
        network: Keras layer or model f that maps the input to features of any shape. None
            (default) to read the input itself. Several sources may share a network.
        sigma_scale: Float ≥ 0, factor on all variances (default 0.2).
        min_sigma: Float ≥ 0, added to the variance, as a fraction of the tensor's size
            (default 0).
        fixed_values: Boolean, whether all values are 1, neither learned nor computed
            (default `False`).

    Input shape:
        `[b, ...]`, whatever the network takes.

    Output shape:
        Means `[b, k, c]`, variances `[b, k, c]`, values `[b, k]`.

    Parameters: the network's, and k n (F + 1) for F features and n = c + 2 numbers a tuple,
    c + 1 with `fixed_values`.

    Example:

    ```python
    network = keras.layers.Dense(64, activation="relu")
    source = hyperkeras.layers.DenseSource(num_tuples=32, network=network)
    layer = hyperkeras.layers.SparseHyperlayer((16,), source, local_samples=4, region=4)
    ```

    References:
        - [Bloem, 2018](https://arxiv.org/abs/1810.09184)
    """

    def __init__(
        self,
        num_tuples: int,
        network: keras.layers.Layer | None = None,
        sigma_scale: float = 0.2,
        min_sigma: float = 0.0,
        fixed_values: bool = False,
        **kwargs: Unpack[LayerArguments],
    ) -> None:
        super().__init__(network, sigma_scale=sigma_scale, min_sigma=min_sigma, **kwargs)
        self.num_tuples = check_int("num_tuples", num_tuples, 1)
        self.fixed_values = bool(fixed_values)

    def build(self, input_shape: Shape) -> None:
        k, c = self.num_tuples, len(self.bound_size())
        numbers = c + 1 if self.fixed_values else c + 2
        self.build_head(input_shape, k * numbers, scale=0.1)
        self.means = self.add_weight(
            name="means", shape=(k, c), initializer=LogitUniform(), autocast=False
        )
        self.sigmas = self.add_weight(
            name="sigmas", shape=(k,), initializer="zeros", autocast=False
        )
        self.values = None
        if not self.fixed_values:
            self.values = self.add_weight(
                name="values", shape=(k,), initializer="ones", autocast=False
            )

    def call(self, inputs: Tensor) -> tuple[Tensor, ...]:
        c = len(self.bound_size())
        raw = self.raw(inputs)
        k = self.num_tuples
        raw = ops.reshape(raw, (-1, k, raw.shape[-1] // k))  # [b, k, n]
        start, spread = (ops.cast(x, raw.dtype) for x in (self.means, self.sigmas))
        means, sigmas = self.scale(raw[..., :c] + start, raw[..., c] + spread)
        values = ops.ones_like(raw[..., c])
        if self.values is not None:
            values = raw[..., c + 1] + ops.cast(self.values, raw.dtype)
        return means, sigmas, values

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "num_tuples": self.num_tuples,
            "fixed_values": self.fixed_values,
        }
