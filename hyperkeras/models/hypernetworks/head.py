"""The head of a hypernetwork: features in, all generated weights in a row out."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from hyperkeras import initializers
from hyperkeras.annotations import Tensor
from hyperkeras.models.hypernetworks import head_initialization
from hyperkeras.models.hypernetworks.weight_selection import Generated
from hyperkeras.ops.argument_validation import check_int, check_int_or_none, check_layer


class Head:
    """Turns features `[c, F]` into weights `[c, N]`, whole or in chunks.

    Its weights are the hypernetwork's own, which adds them.

    Args:
        chunk_size: Integer, or None for one head over all weights.
        chunk_embedding_dim: Integer, or None.
        chunk_network: Keras layer or model, or None.
        chunk_initializer: Initializer of the chunk embeddings.
        initializer: Initializer of the kernel.
    """

    def __init__(
        self,
        chunk_size: int | None,
        chunk_embedding_dim: int | None,
        chunk_network: layers.Layer | None,
        chunk_initializer: Callable,
        initializer: Any,
    ):
        self.chunk_size = check_int_or_none("chunk_size", chunk_size, 1)
        if chunk_network is not None:
            check_layer("chunk_network", chunk_network)
        if chunk_embedding_dim is not None:
            check_int("chunk_embedding_dim", chunk_embedding_dim, 1)
        if (chunk_embedding_dim is None) != (chunk_network is None) or (
            chunk_embedding_dim and chunk_size is None
        ):
            raise ValueError(
                "Expected `chunk_size`, `chunk_embedding_dim` and `chunk_network` together, or of "
                f"these `chunk_size` alone. Received: chunk_size={chunk_size}, "
                f"chunk_embedding_dim={chunk_embedding_dim}, chunk_network={chunk_network!r}"
            )
        self.chunk_embedding_dim, self.chunk_network = chunk_embedding_dim, chunk_network
        self.chunk_initializer, self.initializer = chunk_initializer, initializer
        self.kernel: Any = None
        self.bias: Any = None
        self.chunk_embeddings: Any = None
        self.offset: Any = None
        self.spread: np.ndarray | None = None  # factors on weights of a head that chunks share

    def build(
        self,
        add_weight: Callable,
        num_features: int,
        pieces: Sequence[Generated],
        start: np.ndarray,
    ) -> None:
        """Adds the weights.

        Args:
            add_weight: The owner's method.
            num_features: Integer F.
            pieces: The weights to generate.
            start: Array `[N]` around which the generated weights start.
        """
        self.total = len(start)
        hyperfan = isinstance(self.initializer, initializers.Hyperfan)
        kernel = self.initializer
        if self.chunk_size is None:
            if hyperfan:
                kernel = head_initialization.by_pieces(self.initializer, pieces)
            bias = head_initialization.values(start)
            self._add_kernel(add_weight, num_features, self.total, kernel, bias)
            return
        count = -(-self.total // self.chunk_size)
        dim = self.chunk_embedding_dim or num_features
        self.chunk_embeddings = add_weight(
            name="chunk_embeddings",
            shape=(count, dim),
            initializer=self.chunk_initializer,
            autocast=False,
        )
        if self.chunk_network is not None:
            if not self.chunk_network.built:
                self.chunk_network.build((None, num_features + dim))
            shape = self.chunk_network.compute_output_shape((None, num_features + dim))
            num_features = int(np.prod(shape[1:]))
        if hyperfan:
            energy = num_features * self.initializer.feature_variance
            spread = head_initialization.spread(self.initializer, pieces, num_features)
            self.spread = spread * energy**0.5
            kernel = keras.initializers.RandomNormal(
                stddev=energy**-0.5, seed=self.initializer.seed
            )
        self._add_kernel(add_weight, num_features, self.chunk_size, kernel, "zeros")
        if start.any():
            self.offset = add_weight(
                name="offset",
                shape=(self.total,),
                initializer=head_initialization.values(start),
                trainable=False,
                autocast=False,
            )

    def _add_kernel(self, add_weight, num_features, units, kernel, bias):
        # Half precision is too coarse for sums of small changes: weights and features stay in
        # the variables' precision, as they do when `generate` is called by itself.
        self.kernel = add_weight(
            name="head_kernel", shape=(num_features, units), initializer=kernel, autocast=False
        )
        self.bias = add_weight(name="head_bias", shape=(units,), initializer=bias, autocast=False)

    def __call__(self, features: Tensor) -> Tensor:
        """The generated weights in a row.

        Args:
            features: Tensor `[c, F]` in the precision of the weights.

        Returns:
            Tensor `[c, N]`.
        """
        kernel, bias = (ops.cast(w.value, features.dtype) for w in (self.kernel, self.bias))
        if self.chunk_size is None:
            return ops.matmul(features, kernel) + bias
        rows = ops.matmul(self._chunk_features(features), kernel) + bias  # [c, n, m]
        rows = ops.reshape(rows, (-1, rows.shape[-2] * self.chunk_size))[:, : self.total]
        if self.spread is not None:
            rows = rows * ops.convert_to_tensor(self.spread, rows.dtype)
        return rows if self.offset is None else rows + ops.cast(self.offset, rows.dtype)

    def _chunk_features(self, features):
        """Features `[c, n, F]` of each of n chunks."""
        embeddings = ops.cast(self.chunk_embeddings, features.dtype)  # [n, E]
        if self.chunk_network is None:
            return features[:, None] * embeddings
        c, n, f = ops.shape(features)[0], embeddings.shape[0], features.shape[-1]
        both = ops.concatenate(
            [
                ops.broadcast_to(features[:, None], (c, n, f)),
                ops.broadcast_to(embeddings, (c, *embeddings.shape)),
            ],
            axis=-1,
        )
        made = self.chunk_network(ops.reshape(both, (-1, both.shape[-1])))
        made = ops.cast(made, features.dtype)
        return ops.reshape(made, (-1, n, int(np.prod(made.shape[1:]))))
