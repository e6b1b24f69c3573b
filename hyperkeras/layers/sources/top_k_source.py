"""Index tuples chosen among dense scores: the form of the 2017 draft."""

import math

import keras
from keras import ops

from hyperkeras.layers.sources.network_source import NetworkSource
from hyperkeras.ops.argument_validation import check_int


@keras.saving.register_keras_serializable(package="hyperkeras")
class TopKSource(NetworkSource):
    r"""The k highest of the weights that a dense hypernetwork computes.

    .. math:: S = \mathrm{flatten}(f(x))\, W + S_0, \qquad
        W_t = \begin{cases} S_t & t \in \mathrm{top}_k |S| \\ 0 & \text{else} \end{cases}

    The form of the 2017 draft: every cell of the weight tensor gets a score, all but the k of
    the highest magnitude are clipped. Gradients reach the values of the chosen tuples, not their
    indices; a regularizer on all the scores steers towards sparse tensors. The scores are dense:
    use it where the tensor is small, and as the reference for the sources that are not.

    Its tuples are integers, their variances zero; a hyperlayer needs no samples beside them, and
    `chunk_size=1` saves comparing them with each other.

    Args:
        num_tuples: Integer k, at most the number of the tensor's cells.
        network: Keras layer or model f that maps the input to features of any shape; None to
            read the input itself.
        scores_regularizer: Keras regularizer of the scores `[b, cells]`, whose mean over the
            batch is added to the loss; `"l1"` for sparsity.

    Input shape:
        `[b, ...]`, whatever the network takes.

    Output shape:
        Means `[b, k, c]`, variances `[b, k, c]`, values `[b, k]`.

    Parameters: the network's, and (F + 1) × the number of cells, for F features.

    Example:

    ```python
    source = hyperkeras.layers.TopKSource(8, scores_regularizer="l1")
    layer = hyperkeras.layers.SparseHyperlayer((4,), source, chunk_size=1)
    layer(keras.random.normal((16, 6))).shape  # (16, 4)
    ```

    References:
        - Sparse, Adaptive Hypernetworks (draft, 2017), section 1
    """

    def __init__(self, num_tuples, network=None, scores_regularizer=None, **kwargs):
        super().__init__(network, sigma_scale=0.0, **kwargs)
        self.num_tuples = check_int("num_tuples", num_tuples, 1)
        self.scores_regularizer = keras.regularizers.get(scores_regularizer)

    def build(self, input_shape):
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

    def call(self, inputs):
        scores = self.raw(inputs) + self.scores  # [b, cells]
        if self.scores_regularizer is not None:
            batch = ops.cast(ops.shape(scores)[0], scores.dtype)
            self.add_loss(self.scores_regularizer(scores) / batch)
        _, index = ops.top_k(ops.abs(scores), self.num_tuples)  # [b, k]
        values = ops.take_along_axis(scores, index, axis=1)
        columns = []
        for s in reversed(self.size):  # ops.unravel_index needs a known batch on TensorFlow
            columns.insert(0, index % s)
            index = index // s
        means = ops.cast(ops.stack(columns, axis=-1), scores.dtype)  # [b, k, c]
        return means, ops.zeros_like(means), values

    def get_config(self):
        config = super().get_config()
        del config["sigma_scale"], config["min_sigma"]  # there is no variance to scale
        return {
            **config,
            "num_tuples": self.num_tuples,
            "scores_regularizer": keras.regularizers.serialize(self.scores_regularizer),
        }
