"""Base class of the heads that make weights part by part, from an embedding of each part."""

import math
from typing import Any

import keras
from keras import ops

from hyperkeras import shared_serialization
from hyperkeras.layers.heads.base_head import Head
from hyperkeras.ops.argument_validation import check_int_or_none, check_layer


class EmbeddingHead(Head):
    r"""Base class of the heads that make weights part by part, from an embedding of each part.

    .. math:: f_i = z \odot e_i \quad\text{or}\quad f_i = \mathrm{network}([z; e_i])

    Parts start as alike as their features are. The product makes them nearly independent; behind
    a `network`, embeddings of about twice as many numbers as z has do.

    Subclasses call `add_embeddings` in `add_head` and `part_features` in `rows`.

    Args:
        embedding_dim: Integer E, numbers of an embedding, with a `network`; None (default) for F.
        network: Keras layer or model that maps features and embedding in a row, `[n, F + E]`, to
            the features f of a part; None (default) for their product.
        embedding_initializer: Initializer of the embeddings; None (default) for normal numbers of
            variance 1.
        **kwargs: As for `Head`.
    """

    def __init__(
        self,
        embedding_dim: int | None = None,
        network: keras.layers.Layer | None = None,
        embedding_initializer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.embedding_dim = check_int_or_none("embedding_dim", embedding_dim, 1)
        self.network = None if network is None else check_layer("network", network)
        if (network is None) != (embedding_dim is None):
            raise ValueError(
                "Expected `embedding_dim` and `network` together, or neither of them. Received: "
                f"embedding_dim={embedding_dim}, network={network!r}"
            )
        self.embedding_initializer = keras.initializers.get(
            embedding_initializer or keras.initializers.RandomNormal(stddev=1.0)
        )

    def add_embeddings(self, count: int, num_features: int) -> int:
        """Adds an embedding for each of `count` parts; F', the number of a part's features."""
        dim = self.embedding_dim or num_features
        self.embeddings = self.add_weight(
            name="embeddings", shape=(count, dim), initializer=self.embedding_initializer
        )
        if self.network is None:
            return num_features
        if not self.network.built:
            self.network.build((None, num_features + dim))
        shape = self.network.compute_output_shape((None, num_features + dim))
        return math.prod(shape[1:])

    def part_features(self, features: Any) -> Any:
        """Features `[c, F]` as features of each part `[c, n, F']`."""
        if self.network is None:
            return self.scaled(features[:, None] * self.embeddings)
        c, (n, e), f = ops.shape(features)[0], self.embeddings.shape, features.shape[-1]
        pairs = ops.concatenate(
            [
                ops.broadcast_to(features[:, None], (c, n, f)),
                ops.broadcast_to(ops.convert_to_tensor(self.embeddings), (c, n, e)),
            ],
            axis=-1,
        )
        made = ops.cast(self.network(ops.reshape(pairs, (-1, f + e))), features.dtype)
        return self.scaled(ops.reshape(made, (-1, n, math.prod(made.shape[1:]))))

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "embedding_dim": self.embedding_dim,
            "network": shared_serialization.serialize(self.network),
            "embedding_initializer": keras.initializers.serialize(self.embedding_initializer),
        }

    @classmethod
    def from_config(cls, config: dict) -> "EmbeddingHead":
        network = shared_serialization.deserialize(config["network"], config.get("name"))
        return cls(**{**config, "network": network})
