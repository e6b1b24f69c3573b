"""The head whose pieces a recurrent network makes one after the other."""

from typing import Any

import keras
import numpy as np
from keras import ops

from hyperkeras import shared_serialization
from hyperkeras.layers.heads.base_head import Head
from hyperkeras.layers.heads.chunk_matrix import add_chunk_matrix, check_no_zero, chunk_rows
from hyperkeras.layers.heads.dense_head import DenseHead
from hyperkeras.layers.heads.head_initialization import check_variance_initializer
from hyperkeras.layers.heads.low_rank_head import LowRankHead
from hyperkeras.ops.argument_validation import (
    check_choice,
    check_int_or_none,
    check_layer,
    invalid_value,
)


@keras.saving.register_keras_serializable(package="hyperkeras")
class RecurrentHead(Head):
    r"""A head that makes weights piece by piece with a recurrent network, each after the last.

    .. math:: h_i = \mathrm{recurrent}([z; e_i],\, h_{i-1}),
        \qquad w_i = s_i \odot (H (g_i \odot h_i) + b)

    for features z, the learned embedding e_i of piece i and w_i, its weights: each piece depends on
    those before it. A piece is a chunk of m weights, in whole units, and all chunks share H and b.
    The learned factors g_i start as random signs: consecutive h are alike, and chunks would be too.
    Without `chunk_size` a piece is a layer with a head of its own,

    .. math:: w_i = H_i h_i + b_i,

    or, with a `rank`, one whose matrices are products A B with vec(A) and vec(B) linear in h_i. The
    factors s are constants: the standard deviation that Hyperfan wants of each weight.

    The idea is that of dependency-preserving hypernetworks. The equations are ours: of that paper
    only the abstract was at hand.

    Args:
        recurrent: Keras layer that maps a sequence `[c, n, F + E]` to a sequence `[c, n, u]`, such
            as `keras.layers.LSTM(10, return_sequences=True)` or `HyperLSTM`; or a recurrent cell.
            `unroll=True` is faster for few pieces.
        chunk_size: Integer m, weights in a chunk; None (default) for a piece a layer.
        rank: Integer r, the rank of a layer's matrices; None (default) for whole ones. Not with
            `chunk_size`.
        order: `"forward"` (default) or `"reversed"`: whether the first or the last piece comes
            first.
        independent: Boolean, whether each piece is made as if it were the first, from the
            recurrent network's initial state (default `False`). This is the control without
            dependency: the same network, with its recurrence cut.
        embedding_dim: Integer E, numbers of a piece's embedding; None (default) for F.
        embedding_initializer: Initializer of the embeddings; None (default) for normal numbers of
            variance 1.
        initializer: Initializer of H: `"hyperfan_in"`, `"hyperfan_out"`, `"bias_hyper"` (all
            weights start as the target's own), or any initializer of a kernel where there is no
            `rank`. None (default) for Hyperfan-in, or for zeros beside base weights.
        normalize: Boolean, whether each h_i is divided by its root mean square (default `True`:
            the outputs of a recurrent network are small at first).
        **kwargs: `zero`, as for `DenseHead`, without `chunk_size`; and arguments of
            `keras.layers.Layer`.

    Input shape:
        `[c, F]`.

    Output shape:
        `[c, N]`.

    Parameters: n E for n pieces, and the recurrent network's; n u + (u + 1) m for chunks; for
    layers (u + 1) N, or with a `rank` u Σ min(r (p + q), p q) over matrices of p × q numbers and u
    for each number of a vector. N more that are not trained, where biases or gains of the target
    don't start at zero.

    Example:

    ```python
    network = keras.Sequential([keras.Input((8,)), keras.layers.Dense(16)])
    head = hyperkeras.layers.RecurrentHead(
        keras.layers.LSTM(10, return_sequences=True), chunk_size=32
    )
    head.bind(network.trainable_weights)
    head(keras.random.normal((3, 5))).shape  # (3, 144)
    ```

    References:
        - [Chandra et al., 2022](https://arxiv.org/abs/2209.07712)
    """

    def __init__(
        self,
        recurrent: keras.layers.Layer,
        chunk_size: int | None = None,
        rank: int | None = None,
        order: str = "forward",
        independent: bool = False,
        embedding_dim: int | None = None,
        embedding_initializer: Any = None,
        initializer: Any = None,
        normalize: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(initializer, normalize, **kwargs)
        self.recurrent = _sequence_layer(recurrent)
        self.chunk_size = check_int_or_none("chunk_size", chunk_size, 1)
        self.rank = check_int_or_none("rank", rank, 1)
        self.order = check_choice("order", order, ("forward", "reversed"))
        self.independent = bool(independent)
        self.embedding_dim = check_int_or_none("embedding_dim", embedding_dim, 1)
        self.embedding_initializer = keras.initializers.get(
            embedding_initializer or keras.initializers.RandomNormal(stddev=1.0)
        )
        if chunk_size is not None:
            check_no_zero(self)
            if rank is not None:
                raise ValueError(
                    "Expected `chunk_size` or `rank`, not both: chunks are no matrices. Received: "
                    f"chunk_size={chunk_size}, rank={rank}"
                )
        if rank is not None:
            check_variance_initializer(self.initializer)

    def add_head(self, num_features: int) -> None:
        pieces = self.bound_pieces
        layers = list(dict.fromkeys(piece.layer_key for piece in pieces))
        size = self.chunk_size
        count = len(layers) if size is None else -(-self.num_generated // size)
        dim = self.embedding_dim or num_features
        self.embeddings = self.add_weight(
            name="embeddings", shape=(count, dim), initializer=self.embedding_initializer
        )
        units = self._build_recurrent(count, num_features + dim)
        if size is not None:
            self.factors = self.add_weight(
                name="factors", shape=(count, units), initializer=_random_signs
            )
            self._deviations = add_chunk_matrix(self, units, size)
            return
        self._members = [
            [i for i, piece in enumerate(pieces) if piece.layer_key == layer] for layer in layers
        ]
        self.layer_heads = [self._layer_head(i, units) for i in range(count)]

    def _build_recurrent(self, count, dim):
        """Builds the recurrent network for `count` pieces; the number of its units."""
        shape = (None, 1 if self.independent else count, dim)
        given = self.recurrent.compute_output_shape(shape)
        if len(given) != 3 or not isinstance(given[-1], int) or given[1] != shape[1]:
            raise ValueError(
                f"Expected `recurrent` of head '{self.name}' to map sequences of shape {shape} to "
                f"sequences of as many steps. Received: a layer that gives shape {given}"
            )
        if not self.recurrent.built:
            self.recurrent.build(shape)
        return given[-1]

    def _layer_head(self, i, units):
        """The head of layer i, bound to its weights."""
        members = self._members[i]
        initializer = _shifted(self.start_initializer, i)
        settings = {"normalize": self.normalize, "zero": self.zero, "dtype": self.dtype_policy}
        if self.rank is None:
            head = DenseHead(initializer, **settings)
        else:
            head = LowRankHead(self.rank, initializer, **settings)
        start = None
        if self._start is not None:
            ends = np.cumsum([piece.size for piece in self.bound_pieces])[:-1]
            parts = np.split(self._start, ends)
            start = np.concatenate([parts[k] for k in members])
        head.bind([self.bound_pieces[k] for k in members], start, self._still)
        head.build((None, units))
        return head

    def piece_features(self, features: Any) -> Any:
        """The recurrent network's output h for each piece: `[c, F]` to `[c, n, u]`."""
        c, (n, e), f = ops.shape(features)[0], self.embeddings.shape, features.shape[-1]
        steps = ops.concatenate(
            [
                ops.broadcast_to(features[:, None], (c, n, f)),
                ops.broadcast_to(ops.convert_to_tensor(self.embeddings), (c, n, e)),
            ],
            axis=-1,
        )
        if self.independent:
            made = self.recurrent(ops.reshape(steps, (-1, 1, f + e)))
            made = ops.reshape(made, (-1, n, made.shape[-1]))
        elif self.order == "reversed":
            made = ops.flip(self.recurrent(ops.flip(steps, axis=1)), axis=1)
        else:
            made = self.recurrent(steps)
        return ops.cast(made, features.dtype)

    def rows(self, features: Any) -> Any:
        features = self.piece_features(features)
        if self.chunk_size is not None:
            return chunk_rows(self, self.scaled(features) * self.factors, self._deviations)
        weights: list[Any] = [None] * len(self.bound_pieces)
        for i, (head, members) in enumerate(zip(self.layer_heads, self._members, strict=True)):
            rows = head(features[:, i])
            ends = np.cumsum([self.bound_pieces[k].size for k in members])[:-1].tolist()
            parts = ops.split(rows, ends, axis=-1) if ends else [rows]
            for k, part in zip(members, parts, strict=True):
                weights[k] = part
        return ops.concatenate(weights, axis=-1)

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "recurrent": shared_serialization.serialize(self.recurrent),
            "chunk_size": self.chunk_size,
            "rank": self.rank,
            "order": self.order,
            "independent": self.independent,
            "embedding_dim": self.embedding_dim,
            "embedding_initializer": keras.initializers.serialize(self.embedding_initializer),
        }

    @classmethod
    def from_config(cls, config: dict) -> "RecurrentHead":
        recurrent = shared_serialization.deserialize(config["recurrent"], config.get("name"))
        return cls(**{**config, "recurrent": recurrent})


def _sequence_layer(recurrent):
    """`recurrent` as a layer from sequence to sequence; a cell is wrapped."""
    check_layer("recurrent", recurrent, expected="a recurrent Keras layer or cell")
    is_layer = isinstance(recurrent, keras.layers.RNN)
    if hasattr(recurrent, "state_size") and not is_layer:
        return keras.layers.RNN(recurrent, return_sequences=True)
    if is_layer and (
        not recurrent.return_sequences
        or recurrent.return_state
        or recurrent.stateful
        or recurrent.go_backwards
    ):
        raise invalid_value(
            "recurrent",
            "a layer with return_sequences=True, and without return_state, stateful or "
            "go_backwards",
            recurrent,
        )
    return recurrent


def _random_signs(shape, dtype=None):
    return ops.where(keras.random.uniform(shape) < 0.5, -1.0, 1.0)


def _shifted(initializer, i):
    """The initializer of layer i: one with an integer seed repeats itself in equal layers."""
    seed = getattr(initializer, "seed", None)
    if not isinstance(seed, int):
        return initializer
    return type(initializer).from_config({**initializer.get_config(), "seed": seed + i})
