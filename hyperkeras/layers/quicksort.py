"""Sorting by keys that are learned."""

import warnings
from typing import Any, Unpack

import keras
import numpy as np
from keras import ops

from hyperkeras.annotations import Config, LayerArguments, Shape, Tensor
from hyperkeras.keras_internals import is_exporting, mask_of
from hyperkeras.ops.argument_validation import (
    check_choice,
    check_int_or_none,
    check_positive,
    concrete_or_none,
)
from hyperkeras.ops.sorting.expected_permutation import mean_half_permutation
from hyperkeras.ops.sorting.quicksort import (
    balanced_choices,
    bucket_bounds,
    bucket_pivots,
    bucket_ranks,
    choice_logits,
    choice_proportions,
    half_permutation,
    num_splits,
)


@keras.saving.register_keras_serializable(package="hyperkeras")
class Quicksort(keras.layers.Layer):
    r"""Sorts elements by keys, ascending, with a gradient for the keys.

    It is quicksort with medians for pivots, made soft. At depth d each of the 2^d buckets is
    split: element i goes to the upper half with probability

    .. math:: o_i = \mathrm{sigmoid}\left(\text{certainty} \cdot (k_i - p)\right)

    where p is the median of its bucket. With `sigmoid="cauchy"` it is ½ + arctan(…) / π instead. A
    choice vector sends every element to a half, in which the old order is kept: this is a
    half-permutation. Beside the rounded choice, `num_samples` more are drawn. Each counts in
    proportion to its probability, duplicates count zero, and the proportions of a bucket sum to 1:

    .. math:: x_{d+1} = P_d\, x_d, \quad k_{d+1} = P_d\, k_d, \qquad
        P_d = \sum_c q_c P_c, \quad q_c \propto \prod_i o_i^{c_i} (1 - o_i)^{1 - c_i}

    After ⌈log₂ n⌉ depths every element is alone. At inference the sort is exact and stable: equal
    keys keep their order. In training, equal keys are split evenly, the first ones below.

    With `num_samples=None` every balanced choice counts, in proportion to its probability: P_d is
    the mean that samples estimate, computed by dynamic programming in n steps.

    **With `num_samples=0` the keys get no gradient from the sorted elements**: the rounded choice
    has weight 1 whatever its probability. Training then warns. Sorted keys always pass a gradient,
    and so does `hyperkeras.ops.sort_log_likelihood`, which needs no samples.

    With `targets`, which is what `x` should become, the splits are also run in reverse. This gives
    what the elements should be at each depth, and with it a signal for each split:

    .. math:: t_{D} = \text{targets}, \qquad t_d = P_d^\top t_{d+1}

    Sets of different length have a `mask`: elements where it is False come last, in their old
    order, whatever their keys. The others are sorted as if alone.

    Keys that are not finite raise an error in eager mode. In compiled functions NaN spreads over
    the set, and infinities make NaN in training.

    Args:
        num_samples: Integer ≥ 0, how many choice vectors are drawn beside the rounded one
            (default 0). None for all there are: `proposals`, `joint` and `seed` are ignored then.
        certainty: Float > 0, how steeply the probability rises around the pivot (default 10).
        proposals: How choice vectors are drawn. `"uniform"` (default): all balanced ones are as
            likely, as published. `"logistic"`: by logistic noise on their log-odds, which finds
            the likely ones, also where there are too many to meet them by chance.
        joint: Boolean, whether a choice vector counts by its probability over all n elements at
            once, as published, instead of bucket by bucket (default `False`).
        seed: Integer, the seed of the draws. None (default) for a random one.
        sigmoid: `"logistic"` (default), or `"cauchy"`, which has heavy tails: see
            `hyperkeras.ops.choice_logits`.

    Call arguments:
        x: Tensor `[b, n, z]`, the elements, n ≥ 1 known. Integers are cast to the compute dtype.
        keys: Tensor `[b, n]`. Integers are cast to the variable dtype.
        targets: Tensor `[b, n, z]`, or None (default).
        mask: Boolean tensor `[b, n]`. None (default) for the one that comes with `x`, if any.
        training: Boolean, whether the sort is soft (default `False`).

    Output shape:
        Sorted x `[b, n, z]` and sorted keys `[b, n]`. With `targets` also the elements x_d
        `[b, D + 1, n, z]` at the D = ⌈log₂ n⌉ depths and the end, and what they should be, t_d, of
        the same shape. To get the permutation itself, sort the identity, n × n, as `x`.

    Parameters: none.

    Example:

    ```python
    quicksort = hyperkeras.layers.Quicksort(num_samples=2)
    x, keys = keras.random.normal((8, 5, 3)), keras.random.normal((8, 5))
    y, sorted_keys = quicksort(x, keys, training=True)
    y, sorted_keys, elements, goals = quicksort(x, keys, targets=keras.ops.zeros((8, 5, 3)))
    loss = keras.ops.mean((elements - goals) ** 2)
    ```

    References:
        - [Bloem, 2018](https://arxiv.org/abs/1810.09184)
    """

    def __init__(
        self,
        num_samples: int | None = 0,
        certainty: float = 10.0,
        proposals: str = "uniform",
        joint: bool = False,
        seed: int | None = None,
        sigmoid: str = "logistic",
        **kwargs: Unpack[LayerArguments],
    ) -> None:
        # Keys are not cast to half precision, in which too many of them are equal.
        kwargs.setdefault("autocast", False)
        super().__init__(**kwargs)
        self.supports_masking = True
        self.num_samples = check_int_or_none("num_samples", num_samples, 0)
        self.certainty = check_positive("certainty", certainty)
        self.proposals = check_choice("proposals", proposals, ("uniform", "logistic"))
        self.joint = bool(joint)
        self.seed = seed
        self.sigmoid = check_choice("sigmoid", sigmoid, ("logistic", "cauchy"))
        self.seed_generator = keras.random.SeedGenerator(seed)
        self._warned = False

    def call(
        self,
        x: Tensor,
        keys: Tensor,
        targets: Tensor | None = None,
        mask: Tensor | None = None,
        training: bool = False,
    ) -> tuple[Tensor, ...]:
        if mask is None:
            mask = mask_of(x)
        x, keys = (ops.convert_to_tensor(a, sparse=False) for a in (x, keys))
        x = ops.cast(x, self.compute_dtype)
        keys = ops.cast(keys, self.variable_dtype)
        self._check_shapes(x, keys, targets, mask)
        _check_finite(keys, mask)
        if not training and targets is None:
            return self._sort(x, keys, mask)
        lengths = None
        if mask is not None:
            x, keys, lengths = _masked_last(x, keys, mask)
        if training and self.num_samples == 0:
            self._warn()
        splits, keys = self._splits(keys, lengths, training)
        return self._apply(splits, x, keys, targets)

    def _sort(self, x, keys, mask):
        if is_exporting():
            return _sort_by_ranks(x, keys, mask)
        order = ops.argsort(keys if mask is None else ops.where(mask, keys, 0))
        if mask is not None:  # masked ones behind, even behind infinite keys
            order = ops.take_along_axis(
                order, _stable(ops.take_along_axis(_behind(mask), order, axis=1)), axis=1
            )
        return _reorder(x, keys, order)

    def _splits(self, keys, lengths, training):
        """The half-permutations P_d `[b, n, n]`, and the keys that they lead to."""
        splits, n = [], keys.shape[1]
        filled = None if lengths is None else _filled(lengths, n)
        for depth in range(num_splits(n)):
            bounds = bucket_bounds(n, depth, lengths)
            finite = keys if filled is None else ops.where(filled, keys, 0)
            above = self.certainty * (finite - bucket_pivots(finite, bounds))
            logits = choice_logits(above, self.sigmoid)
            if training and self.num_samples is None:
                splits.append(mean_half_permutation(logits, bounds, depth))
            else:
                splits.append(self._drawn_split(finite, logits, bounds, training))
            moved = ops.matmul(splits[-1], finite[..., None])[..., 0]
            keys = moved if filled is None else ops.where(filled, moved, keys)
        return splits, keys

    def _drawn_split(self, keys, logits, bounds, training):
        choices = balanced_choices(keys, bounds)[:, None]
        if training and self.num_samples:
            drawn = balanced_choices(self._scores(logits), bounds)
            choices = ops.concatenate([choices, drawn], axis=1)
        return half_permutation(
            choices, choice_proportions(choices, logits, bounds, self.joint), bounds
        )

    def _scores(self, logits):
        """Numbers whose order in a bucket is a drawn choice: `[b, num_samples, n]`."""
        b, n = ops.shape(logits)
        shape = (b, self.num_samples, n)
        u = keras.random.uniform(shape, 1e-7, 1, dtype=logits.dtype, seed=self.seed_generator)
        if self.proposals == "uniform":
            return u
        return ops.stop_gradient(logits)[:, None] + ops.log(u) - ops.log1p(-u + 1e-7)

    def _apply(self, splits, x, keys, targets):
        splits = [ops.cast(split, x.dtype) for split in splits]
        if targets is None:
            whole = None
            for split in splits:  # n × n products are cheap beside those with long elements
                whole = split if whole is None else ops.matmul(split, whole)
            return (x if whole is None else ops.matmul(whole, x)), keys
        elements, goals = [x], [ops.cast(targets, x.dtype)]
        for split in splits:
            elements.append(ops.matmul(split, elements[-1]))
        for split in reversed(splits):
            goals.insert(0, ops.matmul(ops.swapaxes(split, 1, 2), goals[0]))
        return elements[-1], keys, ops.stack(elements, axis=1), ops.stack(goals, axis=1)

    def _warn(self):
        if not self._warned:
            warnings.warn(
                f"Layer '{self.name}' is trained with num_samples=0: the keys get no gradient "
                "from the sorted elements. Give it samples, or a loss of the keys.",
                stacklevel=3,
            )
        self._warned = True

    def _check_shapes(self, x, keys, targets, mask):
        shapes = [tuple(x.shape), tuple(keys.shape)]
        n = shapes[0][1] if len(shapes[0]) == 3 else None
        same = [tensor for tensor in (keys, mask) if tensor is not None]
        fits = n and all(len(tensor.shape) == 2 and tensor.shape[1] == n for tensor in same)
        if targets is not None:
            shapes.append(tuple(targets.shape))
            fits = fits and len(targets.shape) == 3 and targets.shape[1:] == x.shape[1:]
        if mask is not None:
            shapes.append(tuple(mask.shape))
        if not fits:
            raise ValueError(
                f"Expected the arguments of layer '{self.name}' to be `x` [b, n, z], `keys` "
                "[b, n], and if given `targets` [b, n, z] and `mask` [b, n], with n >= 1 known. "
                f"Received: shapes {', '.join(map(str, shapes))}"
            )

    def compute_mask(self, inputs: Tensor, previous_mask: Any) -> Any:
        if previous_mask is None:
            return None
        return 2 * (_filled(ops.sum(ops.cast(previous_mask, "int32"), axis=1), inputs.shape[1]),)

    def compute_output_shape(
        self, x_shape: Shape, keys_shape: Shape, targets_shape: Shape | None = None
    ) -> tuple[tuple[int | None, ...], ...]:
        shapes = tuple(x_shape), tuple(keys_shape)
        if targets_shape is None:
            return shapes
        b, n, z = x_shape
        return *shapes, *2 * ((b, num_splits(n) + 1, n, z),)

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "num_samples": self.num_samples,
            "certainty": self.certainty,
            "proposals": self.proposals,
            "joint": self.joint,
            "seed": self.seed,
            "sigmoid": self.sigmoid,
        }


def _filled(lengths, n):
    """The mask of sets whose elements stand in front: bool `[b, n]`."""
    return ops.arange(n, dtype="int32") < lengths[:, None]


def _behind(mask):
    return 1 - ops.cast(mask, "int32")


def _stable(scores):
    """The order of integers `[b, n]`, equal ones in place."""
    return ops.argsort(scores)  # stable on every backend


def _reorder(x, keys, order):
    order = ops.cast(order, "int32")
    moved = ops.take_along_axis(x, order[..., None], axis=1)
    return moved, ops.take_along_axis(keys, order, axis=1)


def _sort_by_ranks(x, keys, mask):
    """The exact, stable sort without `argsort`, which ONNX does not have from PyTorch."""
    whole = bucket_bounds(keys.shape[1], 0)
    rank = bucket_ranks(keys if mask is None else ops.where(mask, keys, 0), whole)  # [b, n]
    if mask is not None:
        rank = bucket_ranks(rank + keys.shape[1] * _behind(mask), whole)
    place = ops.arange(keys.shape[1], dtype="int32")[:, None]
    moved = ops.equal(rank[:, None], place)  # [b, place, element]
    ranked = ops.sum(ops.where(moved, keys[:, None], 0), axis=-1)
    return ops.matmul(ops.cast(moved, x.dtype), x), ranked


def _masked_last(x, keys, mask):
    """Masked elements put behind the others, and how many the others are."""
    lengths = ops.sum(ops.cast(mask, "int32"), axis=1)
    return *_reorder(x, keys, _stable(_behind(mask))), lengths


def _check_finite(keys, mask):
    if is_exporting():
        return
    values, counted = concrete_or_none(keys), True if mask is None else concrete_or_none(mask)
    if values is None or counted is None:
        return
    counted = np.asarray(counted, "bool")
    wrong = np.argwhere(~np.isfinite(values) & counted)
    if len(wrong):
        first = tuple(wrong[0].tolist())
        raise ValueError(
            "Expected the `keys` to be finite numbers. Received: "
            f"keys[{', '.join(map(str, first))}]={values[first]}, and {len(wrong)} in all that "
            "are not"
        )
