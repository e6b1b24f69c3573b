"""The head that makes weights chunk by chunk."""

from typing import Any

import keras

from hyperkeras.layers.heads.base_embedding_head import EmbeddingHead
from hyperkeras.layers.heads.chunk_matrix import add_chunk_matrix, check_no_zero, chunk_rows
from hyperkeras.ops.argument_validation import check_choice, check_int


@keras.saving.register_keras_serializable(package="hyperkeras")
class ChunkedHead(EmbeddingHead):
    r"""A head that makes weights chunk by chunk, from an embedding of each chunk.

    .. math:: w_i = s_i \odot (H f_i + b), \qquad f_i = z \odot e_i
        \quad\text{or}\quad f_i = \mathrm{network}([z; e_i])

    for features z, the learned embedding e_i of chunk i and w_i, the m weights of the chunk. All
    chunks share H and b. The factors s are constants: the standard deviation that Hyperfan wants of
    each weight. The product z ⊙ e makes chunks start as independent of each other as a plain
    head's weights; behind a `network`, embeddings of about twice as many numbers as z has do.

    Weights are laid out unit by unit before they are cut, so that a chunk holds whole units with
    all their inputs, which chunks can share. `order="stored"` cuts them as Keras stores them: a
    strip of inputs for all units.

    Args:
        chunk_size: Integer m, weights in a chunk.
        embedding_dim: Integer E, numbers of a chunk's embedding, with a `network`; None for F.
        network: Keras layer or model that maps features and embedding in a row, `[n, F + E]`, to
            the features of H; None (default) for their product.
        embedding_initializer: Initializer of the embeddings; None (default) for normal numbers of
            variance 1.
        initializer: Initializer of H: `"hyperfan_in"`, `"hyperfan_out"`, `"bias_hyper"` (all
            weights start as the target's own), or any initializer of a kernel `[F', m]`. None
            (default) for Hyperfan-in, or for zeros beside base weights.
        order: `"units"` (default) or `"stored"`: how weights are laid out before they are cut.
        **kwargs: `normalize`, as for `DenseHead`, and arguments of `keras.layers.Layer`.

    Input shape:
        `[c, F]`.

    Output shape:
        `[c, N]`.

    Parameters: for n = ⌈N / m⌉ chunks n F + (F + 1) m; with a network n E, the network's, and
    (F' + 1) m for F' features that it gives. N more that are not trained, where biases or gains
    of the target don't start at zero.

    Example:

    ```python
    network = keras.Sequential([keras.Input((8,)), keras.layers.Dense(16)])
    head = hyperkeras.layers.ChunkedHead(chunk_size=32)
    head.bind(network.trainable_weights)
    head(keras.random.normal((3, 5))).shape  # (3, 144)
    ```

    References:
        - [von Oswald et al., 2020](https://arxiv.org/abs/1906.00695)
    """

    def __init__(
        self,
        chunk_size: int,
        embedding_dim: int | None = None,
        network: keras.layers.Layer | None = None,
        embedding_initializer: Any = None,
        initializer: Any = None,
        order: str = "units",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            embedding_dim, network, embedding_initializer, initializer=initializer, **kwargs
        )
        check_no_zero(self)
        self.chunk_size = check_int("chunk_size", chunk_size, 1)
        self.order = check_choice("order", order, ("units", "stored"))

    def add_head(self, num_features: int) -> None:
        num_features = self.add_embeddings(-(-self.num_generated // self.chunk_size), num_features)
        self._deviations = add_chunk_matrix(self, num_features, self.chunk_size)

    def rows(self, features: Any) -> Any:
        features = self.part_features(features)
        return chunk_rows(self, features, self._deviations, self.order == "units")

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "chunk_size": self.chunk_size,
            "order": self.order,
        }
