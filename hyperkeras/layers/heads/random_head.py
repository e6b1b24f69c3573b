"""The head whose matrix is fixed, random and never stored."""

from typing import Any

import keras
import numpy as np
from keras import ops

from hyperkeras import initializers
from hyperkeras.layers.heads.base_head import Head
from hyperkeras.layers.heads.head_initialization import (
    check_variance_initializer,
    values,
    weight_deviations,
)
from hyperkeras.ops.argument_validation import check_int, invalid_value


@keras.saving.register_keras_serializable(package="hyperkeras")
class RandomHead(Head):
    r"""A head that makes weights as fixed random projections of the features.

    .. math:: w = s \odot (P z) / \sqrt F, \qquad P_{ij} \in \{-1, 1\}

    for features z of F numbers. P is drawn from the seed when the head is built, by NumPy's Philox
    generator, which gives the same signs on every machine and backend. P is not trained and no file
    holds it. The factors s are constants: the standard deviation that Hyperfan wants of each
    weight. What is learned are the features, such as one latent code for a whole network.

    Args:
        seed: Integer of at least 0.
        initializer: `"hyperfan_in"` (default) or `"hyperfan_out"`: which variances s holds.
        **kwargs: `normalize`, as for `DenseHead`, and arguments of `keras.layers.Layer`.

    Input shape:
        `[c, F]`.

    Output shape:
        `[c, N]`.

    Parameters: none that are trained. F N signs in memory, and N numbers where biases or gains of
    the target don't start at zero.

    Example:

    ```python
    network = keras.Sequential([keras.Input((8,)), keras.layers.Dense(16)])
    head = hyperkeras.layers.RandomHead(seed=7)
    head.bind(network.trainable_weights)
    head(keras.random.normal((3, 5))).shape  # (3, 144)
    ```

    References:
        - [Gordon et al., 2024](https://arxiv.org/abs/2403.19163)
        - [Li et al., 2018](https://arxiv.org/abs/1804.08838)
    """

    def __init__(self, seed: int, initializer: Any = None, **kwargs: Any) -> None:
        super().__init__(initializer, **kwargs)
        if self.zero:
            raise ValueError(
                "Expected `zero` to be empty: nothing of this head is trained, so that what starts "
                f"at zero would stay there. Received: zero={self.zero}"
            )
        self.seed = check_int("seed", seed, 0)
        check_variance_initializer(self.initializer)
        if isinstance(self.initializer, initializers.BiasHyperInit):
            raise invalid_value("initializer", "'hyperfan_in' or 'hyperfan_out'", initializer)

    @property
    def start_initializer(self) -> Any:
        """Hyperfan-in by default, also beside base weights: the features are what is trained."""
        return self.initializer or initializers.HyperfanIn()

    def add_head(self, num_features: int) -> None:
        shape = (num_features, self.num_generated)
        self.projection = self.add_weight(
            name="projection",
            shape=shape,
            dtype="int8",
            initializer=values(random_signs(self.seed, shape)),
            trainable=False,
        )
        energy = num_features * self.start_initializer.feature_variance
        self._factors = weight_deviations(self.start_initializer, self.bound_pieces) * energy**-0.5
        self.add_offset()

    def rows(self, features: Any) -> Any:
        features = self.scaled(features)
        made = ops.matmul(features, ops.cast(self.projection, features.dtype))
        return made * ops.convert_to_tensor(self._factors, made.dtype)

    def save_own_variables(self, store: Any) -> None:
        """Saves the offset alone: the projection is made again from the seed."""
        if self.offset is not None:
            store["offset"] = ops.convert_to_numpy(self.offset)

    def load_own_variables(self, store: Any) -> None:
        """Loads the offset."""
        if self.offset is not None:
            self.offset.assign(np.asarray(store["offset"]))

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "seed": self.seed,
        }


def random_signs(seed: int, shape: tuple[int, int]) -> np.ndarray:
    """Signs ±1 of any shape as int8, the same for a seed on every machine."""
    count = int(np.prod(shape))
    words = np.random.Philox(key=seed).random_raw(-(-count // 64))
    bits = np.unpackbits(words.astype("<u8").view("uint8"), count=count, bitorder="little")
    return (2 * bits.astype("int8") - 1).reshape(shape)
