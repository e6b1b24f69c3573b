"""Index tuples chosen among dense scores: the form of the 2017 draft."""

import math
from typing import Unpack

import keras
from keras import ops

from hyperkeras.annotations import Config, LayerArguments, Regularizer, Shape, Tensor
from hyperkeras.keras_internals import is_exporting
from hyperkeras.layers.sources.network_source import NetworkSource
from hyperkeras.ops.argument_validation import check_int
from hyperkeras.ops.sparse.compilation import take
from hyperkeras.ops.sparse.contraction import row_numbers


@keras.saving.register_keras_serializable(package="hyperkeras")
class TopKSource(NetworkSource):
    r"""Source of the k largest weights that a dense hypernetwork computes.

    .. math:: S = \mathrm{flatten}(f(x))\, W + S_0, \qquad
        W_t = \begin{cases} S_t & t \in \mathrm{top}_k |S| \\ 0 & \text{else} \end{cases}

    This is the form of the 2017 draft. Every cell of the weight tensor gets a score, and all but
    the k of the highest magnitude are set to zero. Gradients reach the values of the chosen
    tuples, not their indices. A regularizer on all the scores leads to sparse tensors. The scores
    are dense: use this source where the tensor is small, and as a reference for the others.

    Its tuples are integers and their variances are zero, so that the hyperlayer draws no samples.

    Args:
        num_tuples: Integer k, at most the number of the tensor's cells.
        network: Keras layer or model f that maps the input to features of any shape. None
            (default) to read the input itself. Several sources may share a network.
        scores_regularizer: Keras regularizer of the scores `[b, cells]`, such as `"l1"`. Its mean
            over the batch is added to the loss.

    Input shape:
        `[b, ...]`, whatever the network takes.

    Output shape:
        Means `[b, k, c]`, variances `[b, k, c]`, values `[b, k]`.

    Parameters: the network's, and (F + 1) × the number of cells, for F features.

    Example:

    ```python
    source = hyperkeras.layers.TopKSource(8, scores_regularizer="l1")
    layer = hyperkeras.layers.SparseHyperlayer((4,), source)
    layer(keras.random.normal((16, 6))).shape  # (16, 4)
    ```

    References:
        - Sparse, Adaptive Hypernetworks (draft, 2017), section 1
    """

    gives_integers = True

    def __init__(
        self,
        num_tuples: int,
        network: keras.layers.Layer | None = None,
        scores_regularizer: Regularizer = None,
        **kwargs: Unpack[LayerArguments],
    ) -> None:
        super().__init__(network, sigma_scale=0.0, **kwargs)
        self.num_tuples = check_int("num_tuples", num_tuples, 1)
        self.scores_regularizer = keras.regularizers.get(scores_regularizer)

    def build(self, input_shape: Shape) -> None:
        cells = math.prod(self.bound_size())
        if self.num_tuples > cells:
            raise ValueError(
                "Expected `num_tuples` to be at most the number of cells of the tensor, "
                f"{cells} for size={self.size}. Received: num_tuples={self.num_tuples}"
            )
        self.build_head(input_shape, cells, scale=1.0)
        self.scores = self.add_weight(
            name="scores", shape=(cells,), initializer="zeros", autocast=False
        )

    def call(self, inputs: Tensor) -> tuple[Tensor, ...]:
        raw = self.raw(inputs)
        scores = raw + ops.cast(self.scores, raw.dtype)  # [b, cells]
        if self.scores_regularizer is not None and not is_exporting():  # files have no losses
            batch = ops.cast(ops.shape(scores)[0], scores.dtype)
            self.add_loss(self.scores_regularizer(scores) / batch)
        index = self._highest(ops.abs(scores))
        row = row_numbers(
            scores
        )  # taken from one long column: exports know no gather along an axis
        cells = math.prod(self.bound_size())
        values = take(ops.reshape(scores, (-1, 1)), index + row * cells)[..., 0]
        columns: list[Tensor] = []
        for s in reversed(self.bound_size()):  # ops.unravel_index needs a known batch on TensorFlow
            columns.insert(0, index % s)
            index = index // s
        means = ops.cast(ops.stack(columns, axis=-1), scores.dtype)  # [b, k, c]
        return means, ops.zeros_like(means), values

    def _highest(self, scores: Tensor) -> Tensor:
        """The indices of the k highest scores: int32 `[b, k]`."""
        if keras.backend.backend() == "jax" and is_exporting():
            # TensorFlow can't read JAX's `top_k` in a SavedModel. The sort is stable, too.
            index = ops.argsort(-scores)[:, : self.num_tuples]
        else:
            _, index = ops.top_k(scores, self.num_tuples)
        return ops.cast(index, "int32")

    def get_config(self) -> Config:
        config = super().get_config()
        del config["sigma_scale"], config["min_sigma"]  # there is no variance to scale
        return {
            **config,
            "num_tuples": self.num_tuples,
            "scores_regularizer": keras.regularizers.serialize(self.scores_regularizer),
        }
