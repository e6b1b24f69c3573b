"""The decoder that turns nodes into weights of any shape."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import layers, ops

from hyperkeras.annotations import Config, Initializer, Shape, Tensor
from hyperkeras.layers.full_precision import full_precision
from hyperkeras.layers.heads.piece import Piece
from hyperkeras.ops.architectures.weight_shapes import fit_to_shape
from hyperkeras.ops.argument_validation import check_int, check_size, invalid_value


@keras.saving.register_keras_serializable(package="hyperkeras")
class MatrixDecoder(layers.Layer):
    r"""A decoder that makes a kernel of one size from a node, and cuts or repeats it to shape.

    .. math:: a_s = \mathrm{ReLU}(P_s h), \qquad W_s = Q\,\mathrm{ReLU}(R\,a_s), \qquad
       [g; b] = V\,\mathrm{ReLU}(U h)

    for each position s of the window. W is p × q: larger kernels repeat its rows and columns,
    smaller ones take the first. Kernels of smaller windows take the middle positions. g is the
    vector of a gain, b that of a bias.

    Args:
        size: Pair (p, q) of integers, inputs and units of the kernels that are made (default
            `(64, 64)`).
        window: Integer or pair, the largest window of convolutions (default 3).
        hidden: Pair of integers, sizes of a and of the hidden layer behind it; None (default) for
            `(4 d, 8 d)`.
        kernel_initializer: Initializer of Q and V (default `"lecun_normal"`, with which the
            numbers start with a variance of 1 where h has one of 1).
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        features: Tensor h `[m, d]`, a node for each of m weights.

    Input shape:
        `[m, d]`.

    Output shape:
        Kernels `[m, *window, p, q]`, and vectors `[m, 2, q]`: gains and biases. `decode` gives
        weights in their own shapes.

    Parameters, for hidden sizes k and l and a window of s positions: d s k + s k + (k + 1) l +
    (l + 1) p q + (d + 1) 2 d + (2 d + 1) 2 q.

    Example:

    ```python
    decoder = hyperkeras.layers.MatrixDecoder((16, 8))
    kernels, vectors = decoder(keras.random.normal((5, 4)))
    kernels.shape  # (5, 3, 3, 16, 8)
    vectors.shape  # (5, 2, 8)
    network = keras.Sequential([keras.Input((20,)), keras.layers.Dense(10)])
    pieces = [hyperkeras.layers.heads.piece.as_piece(w) for w in network.weights]
    [w.shape for w in decoder.decode(keras.random.normal((2, 4)), pieces)]  # [(20, 10), (10,)]
    ```

    References:
        - [Knyazev et al., 2021](https://arxiv.org/abs/2110.13100)
    """

    def __init__(
        self,
        size: Sequence[int] = (64, 64),
        window: int | Sequence[int] = 3,
        hidden: Sequence[int] | None = None,
        kernel_initializer: Initializer = "lecun_normal",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.size = check_size(size)
        pair = (window, window) if isinstance(window, int) else window
        self.window = check_size(pair, "window")
        for name, value, given in (("size", self.size, size), ("window", self.window, window)):
            if len(value) != 2:
                raise invalid_value(name, "two integers of at least 1", given)
        self.hidden = None if hidden is None else check_size(hidden, "hidden")
        if self.hidden is not None and len(self.hidden) != 2:
            raise invalid_value("hidden", "two integers of at least 1, or None", hidden)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape: Shape) -> None:
        d = check_int("features", input_shape[-1], 1)
        first, second = self.hidden if self.hidden is not None else (4 * d, 8 * d)
        positions = math.prod(self.window)
        inner: Any = {"dtype": self.dtype_policy, "trainable": self.trainable}

        def dense(units, activation, name):
            start = "he_normal" if activation else self.kernel_initializer
            if hasattr(start, "clone"):  # Keras warns of one initializer that draws twice
                start = start.clone()
            return full_precision(
                layers.Dense(units, activation, kernel_initializer=start, name=name, **inner)
            )

        # Positions of the window are one axis, so that smaller windows cost less.
        per_position = layers.EinsumDense(
            "md,dsk->msk",
            (positions, first),
            bias_axes="sk",
            kernel_initializer=_per_position(keras.initializers.HeNormal()),
            name="positions",
            **inner,
        )
        self.positions = full_precision(per_position)
        self.hidden_layer = dense(second, "relu", "hidden")
        self.matrix = dense(math.prod(self.size), None, "matrix")
        self.vector_hidden = dense(2 * d, "relu", "vector_hidden")
        self.vector = dense(2 * self.size[1], None, "vector")
        self.positions.build((None, d))
        self.hidden_layer.build((None, positions, first))
        self.matrix.build((None, positions, second))
        self.vector_hidden.build((None, d))
        self.vector.build((None, 2 * d))
        super().build(input_shape)

    def call(self, features: Tensor) -> tuple[Tensor, Tensor]:
        return self._kernels(features, self.window), self._vectors(features)

    def decode(self, features: Tensor, pieces: Sequence[Piece]) -> list[Tensor]:
        """Weights in the shapes of `pieces`.

        Args:
            features: Tensor `[m, d]`, a node for each weight.
            pieces: Sequence of m `hyperkeras.layers.heads.piece.Piece`.

        Returns:
            List of m tensors.
        """
        tiles = self.tiles(features, pieces)
        return [self.fit(tile, piece) for tile, piece in zip(tiles, pieces, strict=True)]

    def tiles(self, features: Tensor, pieces: Sequence[Piece]) -> list[Tensor]:
        """What `fit` makes weights of: a kernel `[*window, p, q]` or vectors `[2, q]` for each.

        Args:
            features: Tensor `[m, d]`, a node for each weight.
            pieces: Sequence of m `hyperkeras.layers.heads.piece.Piece`.

        Returns:
            List of m tensors.
        """
        groups: dict[tuple[int, ...] | None, list[int]] = {}
        for i, piece in enumerate(pieces):
            groups.setdefault(self._window_of(piece), []).append(i)
        made: list[Tensor] = [None] * len(pieces)
        for window, members in groups.items():
            rows = ops.take(features, members, axis=0)
            tiles = self._vectors(rows) if window is None else self._kernels(rows, window)
            for i, tile in zip(members, ops.unstack(tiles, len(members)), strict=True):
                made[i] = tile
        return made

    @staticmethod
    def fit(tile: Tensor, piece: Piece) -> Tensor:
        """A weight from its tile, cut or repeated to shape.

        Args:
            tile: Tensor that `tiles` made.
            piece: `hyperkeras.layers.heads.piece.Piece`, the weight.

        Returns:
            Tensor of the shape of `piece`.
        """
        if len(piece.shape) < 2:
            return fit_to_shape(tile[int(piece.is_bias)], piece.shape)
        return _as_kernel(tile, piece)

    def _kernels(self, features, window):
        """Kernels of a window `[m, *window, p, q]`: the middle of the largest one."""
        rows, columns = self.window
        top, left = (rows - window[0]) // 2, (columns - window[1]) // 2
        middle = [
            (top + i) * columns + left + j for i in range(window[0]) for j in range(window[1])
        ]
        kernel, bias = self.positions.kernel, self.positions.bias
        if len(middle) < rows * columns:
            kernel = ops.take(kernel, middle, axis=1)
            bias = ops.take(bias, middle, axis=0)
        features = ops.cast(features, self.compute_dtype)
        a = ops.einsum("md,dsk->msk", features, ops.cast(kernel, self.compute_dtype))
        a = ops.relu(a + ops.cast(bias, self.compute_dtype))
        tiles = self.matrix(self.hidden_layer(a))
        return ops.reshape(tiles, (-1, *window, *self.size))

    def _vectors(self, features):
        """Gains and biases `[m, 2, q]`."""
        vectors = self.vector(self.vector_hidden(features))
        return ops.reshape(vectors, (-1, 2, self.size[1]))

    def _window_of(self, piece):
        """The window of a kernel, None for vectors."""
        if len(piece.shape) < 2:
            return None
        window = _matrix_axes(piece)[0]
        window = (1,) * (2 - len(window)) + window
        if len(window) > 2 or any(w > most for w, most in zip(window, self.window, strict=True)):
            raise ValueError(
                f"Expected windows of at most {self.window}, the decoder's `window`. Received: "
                f"weight '{piece.path}' of shape {piece.shape}"
            )
        return window

    def compute_output_shape(self, input_shape: Shape) -> tuple[Shape, Shape]:
        count = input_shape[0]
        return (count, *self.window, *self.size), (count, 2, self.size[1])

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "size": self.size,
            "window": self.window,
            "hidden": self.hidden,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }


def _per_position(initializer: Any) -> Any:
    """An initializer of `[d, s, k]` that starts the s matrices `[d, k]` each as one of its own.

    Fans of the whole would count the positions as inputs.
    """

    def start(shape, dtype=None):
        d, s, k = shape
        return ops.reshape(initializer((d, s * k), dtype=dtype), shape)

    return start


def _matrix_axes(piece):
    """(window, axes of inputs, axes of units) of a kernel.

    Kernels of convolutions are [*window, inputs, units], embeddings [words, features]. Others, of
    EinsumDense, are matrices of the axes that count units and of those that don't.
    """
    rank = len(piece.shape)
    units = sorted(axis % rank for axis in piece.unit_axes)
    if units in ([rank - 1], [rank - 2, rank - 1]):
        return piece.shape[:-2], [rank - 2], [rank - 1]
    return (), [axis for axis in range(rank) if axis not in units], units


def _as_kernel(tile, piece):
    """A tile [1, 1 or more, p, q] in the shape of a kernel."""
    window, inputs, units = _matrix_axes(piece)
    p, q = (math.prod(piece.shape[axis] for axis in axes) for axes in (inputs, units))
    tile = fit_to_shape(tile, (*tile.shape[:2], p, q))
    if window or (inputs, units) == ([0], [1]):
        return ops.reshape(tile, piece.shape)
    order = inputs + units
    tile = ops.reshape(tile, [piece.shape[axis] for axis in order])
    return ops.transpose(tile, [order.index(axis) for axis in range(len(order))])
