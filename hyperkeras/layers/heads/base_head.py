"""Base class of the heads of hypernetworks."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from hyperkeras import initializers
from hyperkeras.annotations import Initializer
from hyperkeras.layers.heads.head_initialization import head_initializer, values
from hyperkeras.layers.heads.piece import Piece, as_piece

EPSILON = 1e-6


class Head(keras.layers.Layer):
    r"""Base class of the heads of hypernetworks.

    A head turns features `[c, F]` into c sets of the N weights of another network. Before it is
    built it has to know what it makes: `bind(weights)` tells it, which `Hypernetwork` calls. Heads
    compute in the precision of their variables, under any dtype policy.

    Subclasses implement `add_head(num_features)`, which creates their variables, and
    `rows(features)`, which gives the weights as rows `[c, N]`, from features that it passes through
    `scaled`.

    Args:
        initializer: Initializer of the head's matrix: `"hyperfan_in"`, `"hyperfan_out"`,
            `"bias_hyper"` (all conditions start with the target's own weights), or any other where
            the head says so. None (default) for Hyperfan-in, or for zeros beside base weights.
        normalize: Boolean, whether each row of features is divided by its root mean square first
            (default `False`). Then all conditions make weights of one size.
        zero: String or sequence of strings, names of weights that start at zero for all
            conditions, such as `"lora_kernel_b"`; by default none does.

    Input shape:
        `[c, F]`.

    Output shape:
        `[c, N]`, the pieces one after the other, each flat.
    """

    def __init__(
        self,
        initializer: Initializer = None,
        normalize: bool = False,
        zero: str | Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        # Half precision is too coarse for sums of small changes.
        policy = keras.dtype_policies.get(kwargs.pop("dtype", None) or keras.config.dtype_policy())
        super().__init__(dtype=policy.variable_dtype, **kwargs)
        self.initializer = None if initializer is None else head_initializer(initializer)
        self.normalize = bool(normalize)
        self.zero = (zero,) if isinstance(zero, str) else tuple(zero)
        self.pieces: tuple[Piece, ...] | None = None
        self._start: np.ndarray | None = None
        self._still = False
        self.held_by_owner = False  # in the file that is being loaded

    def bind(self, weights: Sequence[Any], start: Any = None, still: bool = False) -> None:
        """Tells the head what it makes, once.

        Args:
            weights: Sequence of the weights to make: Keras variables, such as a model's
                `trainable_weights`, or descriptions of them
                (`hyperkeras.layers.heads.piece.Piece`).
            start: None, or array `[N]`: values around which biases and gains start, and with
                `BiasHyperInit` all weights.
            still: Boolean, whether a head without an `initializer` starts at zero, as it does
                beside base weights of a residual hypernetwork (default `False`).
        """
        pieces = tuple(as_piece(weight) for weight in weights)
        if not pieces:
            raise ValueError("Expected `weights` to hold at least one weight. Received: none")
        if self.pieces not in (None, pieces):
            raise ValueError(
                f"Expected head '{self.name}' to make the weights of one network; it is bound to "
                f"{len(self.pieces or ())} weights already. Make a head for each hypernetwork. "
                f"Received: {len(pieces)} others"
            )
        self.pieces = pieces
        self._start = None if start is None else np.asarray(start, "float64").reshape(-1)
        self._still = bool(still)

    @property
    def bound_pieces(self) -> tuple[Piece, ...]:
        """The weights that the head makes; an error before `bind`."""
        if self.pieces is None:
            raise ValueError(
                f"Head '{self.name}' does not know what to make yet. Pass it to a Hypernetwork, "
                "or call its `bind(weights)` first."
            )
        return self.pieces

    @property
    def num_generated(self) -> int:
        """N, how many numbers the head makes for a condition."""
        return sum(piece.size for piece in self.bound_pieces)

    @property
    def start_initializer(self) -> Any:
        """The initializer in use: the one given, or the default."""
        if self.initializer is not None:
            return self.initializer
        return initializers.BiasHyperInit() if self._still else initializers.HyperfanIn()

    def start_values(self) -> np.ndarray:
        """What is added to the generated rows at the start `[N]`: zeros for kernels."""
        pieces = self.bound_pieces
        if self._start is None:
            return np.zeros(self.num_generated)
        if isinstance(self.start_initializer, initializers.BiasHyperInit):
            return self._start
        kept = [piece.is_bias or piece.is_gain for piece in pieces]
        return self._start * np.repeat(kept, [piece.size for piece in pieces])

    def starts_at_zero(self, piece: Piece) -> bool:
        """Whether nothing is generated for the piece at the start."""
        return piece.name in self.zero

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        features = input_shape[-1]
        if len(input_shape) != 2 or features is None:
            raise ValueError(
                f"Expected `features` of head '{self.name}' to be of shape [c, F] with a known F. "
                f"Received: input_shape={tuple(input_shape)}"
            )
        self.offset = None
        self.add_head(features)
        self.input_spec = keras.layers.InputSpec(ndim=2, axes={-1: features})

    def add_offset(self) -> None:
        """Adds the start of biases and gains, which is kept and not trained."""
        start = self.start_values()
        if start.any():
            self.offset = self.add_weight(
                name="offset", shape=start.shape, initializer=values(start), trainable=False
            )

    def add_head(self, num_features: int) -> None:
        """Creates the variables of a head that reads `num_features`."""
        raise NotImplementedError

    def rows(self, features: Any) -> Any:
        """The generated numbers `[c, N]` from features `[c, F]`."""
        raise NotImplementedError

    def scaled(self, features: Any) -> Any:
        """Features over their root mean square, where the head normalizes them."""
        if not self.normalize:
            return features
        square = ops.mean(ops.square(features), axis=-1, keepdims=True)
        return features * ops.rsqrt(square + EPSILON)

    def call(self, features: Any) -> Any:
        rows = self.rows(features)
        return rows if self.offset is None else rows + self.offset

    def split(self, rows: Any) -> list:
        """Rows `[c, N]` as a list of weights `[c, *shape]`, one for each piece."""
        pieces = self.bound_pieces
        ends = np.cumsum([piece.size for piece in pieces])[:-1].tolist()
        parts = ops.split(rows, ends, axis=-1) if ends else [rows]
        return [ops.reshape(x, (-1, *p.shape)) for x, p in zip(parts, pieces, strict=True)]

    def generate(self, features: Any) -> list:
        """Features `[c, F]` to a list of weights `[c, *shape]`, one for each piece."""
        return self.split(self(features))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (input_shape[0], self.num_generated)

    def compute_output_spec(self, features: Any, **kwargs: Any) -> keras.KerasTensor:
        return keras.KerasTensor(
            self.compute_output_shape(features.shape), dtype=self.variable_dtype
        )

    def load_own_variables(self, store: Any) -> None:
        if self.held_by_owner and not store.keys():
            return  # its hypernetwork, which an older file gives these weights, loads them
        super().load_own_variables(store)

    def get_build_config(self) -> None:
        """None: a loaded head is bound before it is built, by its hypernetwork."""
        return None

    def get_config(self) -> dict:
        initializer = self.initializer and keras.initializers.serialize(self.initializer)
        return {
            **super().get_config(),
            "initializer": initializer,
            "normalize": self.normalize,
            "zero": list(self.zero),
        }
