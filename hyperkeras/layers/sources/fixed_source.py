"""Index tuples that are given and stay as they are."""

from collections.abc import Sequence
from typing import Unpack

import keras
import numpy as np
from keras import ops

from hyperkeras.annotations import Config, Initializer, LayerArguments, Shape, Tensor
from hyperkeras.layers.sources.base_source import Source
from hyperkeras.ops.argument_validation import invalid_value

LARGEST = 2**24  # float32 holds the integers up to here, and means are float32


@keras.saving.register_keras_serializable(package="hyperkeras")
class FixedSource(Source):
    r"""Source of fixed index tuples with learned values: a sparse matrix of a given pattern.

    .. math:: \mu_k = t_k, \qquad \sigma_k = 0, \qquad v \text{ learned}

    The wiring may come from a graph, from a pruned layer, or from a random draw. Nothing is
    sampled: training and inference compute the same. A tuple that occurs more than once counts
    with the sum of its values.

    Args:
        tuples: Integers of shape `[k, c]`, one index tuple a row. Its columns are the output's
            dims, then the input's, or the learned columns of a template.
        values_initializer: Initializer of the values `[k]` (default `"ones"`).

    Input shape:
        Any. Its numbers are ignored.

    Output shape:
        Means `[1, k, c]`, variances `[1, k, c]`, all zero, and values `[1, k]`: the whole batch
        shares one wiring.

    Parameters: k.

    Raises:
        ValueError: If a tuple lies outside the tensor, when the layer is built.

    Example:

    ```python
    source = hyperkeras.layers.FixedSource([[0, 1], [1, 0], [1, 2]], "glorot_uniform")
    layer = hyperkeras.layers.SparseHyperlayer((2,), source)
    layer(keras.ops.ones((5, 3))).shape  # (5, 2)
    ```
    """

    gives_integers = True

    def __init__(
        self,
        tuples: Sequence[Sequence[int]] | np.ndarray,
        values_initializer: Initializer = "ones",
        **kwargs: Unpack[LayerArguments],
    ) -> None:
        super().__init__(sigma_scale=0.0, **kwargs)
        self.tuples = np.asarray(tuples)
        if self.tuples.ndim != 2 or not np.issubdtype(self.tuples.dtype, np.integer):
            raise invalid_value("tuples", "integers of shape [k, c]", tuples)
        self.num_tuples = len(self.tuples)
        if not self.num_tuples:
            raise invalid_value("tuples", "at least one index tuple", tuples)
        self.values_initializer = keras.initializers.get(values_initializer)

    def build(self, input_shape: Shape) -> None:
        size = self.bound_size()
        if self.tuples.shape[1] != len(size):
            raise ValueError(
                f"Expected `tuples` of source '{self.name}' to have {len(size)} columns, for "
                f"size={size}. Received: tuples of shape {self.tuples.shape}"
            )
        outside = ((self.tuples < 0) | (self.tuples >= np.array(size))).any(axis=1)
        if outside.any():
            raise ValueError(
                f"Expected `tuples` of source '{self.name}' to lie inside the tensor of "
                f"size={size}. Received: {self.tuples[outside][0]}"
            )
        if self.tuples.max() > LARGEST:
            raise ValueError(
                f"Expected the indices of source '{self.name}' to be at most {LARGEST}, which "
                f"float32 holds exactly. Received: {self.tuples.max()}"
            )
        self.values = self.add_weight(
            name="values",
            shape=(self.num_tuples,),
            initializer=self.values_initializer,
            autocast=False,
        )

    def call(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        means = ops.cast(self.tuples[None], self.index_dtype)
        values = ops.cast(ops.convert_to_tensor(self.values), self.index_dtype)
        return means, ops.zeros_like(means), values[None]

    def compute_output_shape(self, input_shape: Shape) -> tuple[tuple[int | None, ...], ...]:
        return super().compute_output_shape((1,))

    def get_config(self) -> Config:
        config = super().get_config()
        del config["sigma_scale"], config["min_sigma"]  # there is no variance to scale
        return {
            **config,
            "tuples": self.tuples.tolist(),
            "values_initializer": keras.initializers.serialize(self.values_initializer),
        }
