"""The head with an embedding a layer and one matrix for each kind of weight."""

from typing import Any

import keras
from keras import ops

from hyperkeras.layers.heads.base_embedding_head import EmbeddingHead
from hyperkeras.layers.heads.head_initialization import (
    check_variance_initializer,
    weight_deviation,
)


@keras.saving.register_keras_serializable(package="hyperkeras")
class LayerwiseHead(EmbeddingHead):
    r"""A head with an embedding for each layer and one matrix for each kind of weight.

    .. math:: w_{lg} = H_g f_l, \qquad f_l = z \odot e_l
        \quad\text{or}\quad f_l = \mathrm{network}([z; e_l])

    for features z, the learned embedding e_l of layer l, and a weight of group g in it. Weights
    of one group, such as all query kernels of a transformer's equal blocks, share H_g: so a
    network of many equal layers needs one matrix for each weight of a block. Adapter hypernetworks
    have this form.

    Args:
        embedding_dim: Integer E, numbers of a layer's embedding, with a `network`; None (default)
            for F.
        network: Keras layer or model that maps features and embedding in a row, `[n, F + E]`, to
            the features of all H_g; None (default) for their product.
        embedding_initializer: Initializer of the embeddings; None (default) for normal numbers of
            variance 1.
        initializer: `"hyperfan_in"`, `"hyperfan_out"` or `"bias_hyper"` (all weights start as the
            target's own). None (default) for Hyperfan-in, or for zeros beside base weights.
        normalize: Boolean, whether the features of each layer are divided by their root mean
            square before H_g (default `True`).
        **kwargs: `zero`, as for `DenseHead`, and arguments of `keras.layers.Layer`.

    Input shape:
        `[c, F]`.

    Output shape:
        `[c, N]`.

    Parameters: for L layers L F, or with a network L E and the network's; and F' for each number
    of one weight of each group. N more that are not trained, where biases or gains of the target
    don't start at zero.

    Example:

    ```python
    network = keras.Sequential([keras.Input((8,)), keras.layers.Dense(8), keras.layers.Dense(8)])
    head = hyperkeras.layers.LayerwiseHead()
    head.bind(network.trainable_weights)
    head(keras.random.normal((3, 5))).shape  # (3, 144)
    head.count_params()  # 370 numbers
    ```

    References:
        - [Mahabadi et al., 2021](https://arxiv.org/abs/2106.04489)
    """

    def __init__(
        self,
        embedding_dim: int | None = None,
        network: keras.layers.Layer | None = None,
        embedding_initializer: Any = None,
        initializer: Any = None,
        normalize: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            embedding_dim,
            network,
            embedding_initializer,
            initializer=initializer,
            normalize=normalize,
            **kwargs,
        )
        check_variance_initializer(self.initializer)

    def add_head(self, num_features: int) -> None:
        pieces = self.bound_pieces
        layers = list(dict.fromkeys(piece.layer_key for piece in pieces))
        self._layer_of = [layers.index(piece.layer_key) for piece in pieces]
        groups: dict[Any, list[int]] = {}
        for i, piece in enumerate(pieces):
            groups.setdefault(piece.group_key, []).append(i)
        self._members = list(groups.values())
        num_features = self.add_embeddings(len(layers), num_features)
        energy = num_features * getattr(self.start_initializer, "feature_variance", 1.0)
        seed = getattr(self.start_initializer, "seed", None)
        self.kernels = []
        for g, members in enumerate(self._members):
            piece = pieces[members[0]]
            deviation = weight_deviation(self.start_initializer, piece) * energy**-0.5
            self.kernels.append(
                self.add_weight(
                    name=f"kernel_{g}",
                    shape=(num_features, piece.size),
                    initializer=keras.initializers.RandomNormal(
                        stddev=0.0 if self.starts_at_zero(piece) else deviation,
                        seed=seed + g if isinstance(seed, int) else seed,
                    ),
                )
            )
        self.add_offset()

    def rows(self, features: Any) -> Any:
        features = self.part_features(features)  # [c, layers, F']
        weights = [None] * len(self._layer_of)
        for members, kernel in zip(self._members, self.kernels, strict=True):
            layers = [self._layer_of[i] for i in members]
            made = ops.matmul(ops.take(features, layers, axis=1), kernel)  # [c, members, size]
            for place, i in enumerate(members):
                weights[i] = made[:, place]
        return ops.concatenate(weights, axis=-1)
