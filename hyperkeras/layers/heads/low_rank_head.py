"""The head that makes matrices as products of two thin ones."""

from typing import Any

import keras
from keras import ops

from hyperkeras.layers.heads.base_head import Head
from hyperkeras.layers.heads.head_initialization import (
    check_variance_initializer,
    weight_deviation,
)
from hyperkeras.ops.argument_validation import check_int


@keras.saving.register_keras_serializable(package="hyperkeras")
class LowRankHead(Head):
    r"""A head that makes each matrix as a product of two thin ones.

    .. math:: W = A B, \qquad \mathrm{vec}(A) = H_A z, \quad \mathrm{vec}(B) = H_B z

    for features z and a matrix W of p × q numbers: A is p × r, B is r × q. A kernel of more than
    two dims counts as a matrix whose last dim is q. Vectors, and matrices that factors would not
    make smaller, are made whole, by H z.

    Args:
        rank: Integer r.
        initializer: `"hyperfan_in"`, `"hyperfan_out"` or `"bias_hyper"` (all weights start as the
            target's own): which variance the product starts with. None (default) for Hyperfan-in,
            or for a product of zero beside base weights.
        normalize: Boolean, whether each row of features is divided by its root mean square first
            (default `True`: a product of two maps of z grows with the square of z).
        **kwargs: `zero`, as for `DenseHead` (B starts at zero), and arguments of
            `keras.layers.Layer`.

    Input shape:
        `[c, F]`.

    Output shape:
        `[c, N]`.

    Parameters: F Σ min(r (p + q), p q) over the matrices, and F for each number of a vector. N
    more that are not trained, where biases or gains of the target don't start at zero.

    Example:

    ```python
    network = keras.Sequential([keras.Input((8,)), keras.layers.Dense(16)])
    head = hyperkeras.layers.LowRankHead(rank=2)
    head.bind(network.trainable_weights)
    head(keras.random.normal((3, 5))).shape  # (3, 144)
    head.count_params()  # 320 numbers
    ```
    """

    def __init__(
        self,
        rank: int,
        initializer: Any = None,
        normalize: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(initializer, normalize, **kwargs)
        self.rank = check_int("rank", rank, 1)
        check_variance_initializer(self.initializer)

    def _factors(self, piece):
        """(p, q) of a piece that is made as a product, else None."""
        if len(piece.shape) < 2:
            return None
        p, q = piece.size // piece.shape[-1], piece.shape[-1]
        return (p, q) if self.rank * (p + q) < p * q else None

    def add_head(self, num_features: int) -> None:
        parts: list[int] = []  # numbers of A and B, or of the whole piece, one after the other
        deviations: list[float] = []
        for piece in self.bound_pieces:
            wanted, factors = weight_deviation(self.start_initializer, piece), self._factors(piece)
            zero = self.starts_at_zero(piece)
            if factors is None:
                parts.append(piece.size)
                deviations.append(0.0 if zero else wanted)
                continue
            parts += [factors[0] * self.rank, self.rank * factors[1]]
            # Both of the same size; where the product starts at zero, A alone has to be there.
            each = (wanted**2 / self.rank) ** 0.25
            deviations += [each or self.rank**-0.5, 0.0 if zero else each]
        self._parts = parts

        def start(shape, dtype=None):
            seeds = keras.random.SeedGenerator(getattr(self.start_initializer, "seed", None))
            energy = shape[0] * getattr(self.start_initializer, "feature_variance", 1.0)
            return ops.concatenate(
                [
                    keras.random.normal((shape[0], size), 0.0, 1.0, dtype, seeds)
                    * (deviation * energy**-0.5)
                    for size, deviation in zip(parts, deviations, strict=True)
                ],
                axis=1,
            )

        self.kernel = self.add_weight(
            name="kernel", shape=(num_features, sum(parts)), initializer=start
        )
        self.add_offset()

    def rows(self, features: Any) -> Any:
        made = ops.matmul(self.scaled(features), self.kernel)
        ends = [sum(self._parts[:i]) for i in range(1, len(self._parts))]
        made = iter(ops.split(made, ends, axis=-1) if ends else [made])
        weights = []
        for piece in self.bound_pieces:
            factors = self._factors(piece)
            weight = next(made)
            if factors is not None:
                a = ops.reshape(weight, (-1, factors[0], self.rank))
                b = ops.reshape(next(made), (-1, self.rank, factors[1]))
                weight = ops.reshape(ops.matmul(a, b), (-1, piece.size))
            weights.append(weight)
        return ops.concatenate(weights, axis=-1)

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "rank": self.rank,
        }
