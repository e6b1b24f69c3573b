"""Integer tuples near continuous ones (Bloem 2018, section 3)."""

import itertools
import math
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from hyperkeras.annotations import Seed, Tensor
from hyperkeras.ops.argument_validation import check_columns, check_int, check_size

PACK = 2**16  # far below the 2**32 values of a draw, so that all columns' values stay as likely


def sample_tuples(
    means: Tensor,
    size: Sequence[int],
    global_samples: int = 0,
    local_samples: int = 0,
    region: int | Sequence[int] | None = None,
    seed: Seed = None,
) -> Tensor:
    r"""Integer index tuples on which the Gaussians are evaluated (Bloem 2018, section 3).

    For each mean μ: its neighbors, one for each choice of ⌊·⌋ or ⌈·⌉ a column; g tuples drawn
    uniformly over the tensor; l tuples drawn uniformly over a window around the rounded mean.
    No gradient passes through.

    Args:
        means: Float tensor of shape `[..., k, c]` in index space.
        size: Sequence of c positive integers, the dims of the learned columns.
        global_samples: Integer g ≥ 0, how many tuples are drawn over the whole tensor for each
            mean (default 0).
        local_samples: Integer l ≥ 0, how many tuples are drawn in a window around each mean
            (default 0).
        region: Integer, or a sequence of c integers: the window's dims. The window is moved,
            not cut, where it would leave the tensor. One wider than the tensor covers the whole
            dim, as None (default) does.
        seed: Integer or `keras.random.SeedGenerator`. None (default) for Keras's global one.

    Returns:
        int32 tensor of shape `[..., k * (2**c + g + l), c]`, grouped by mean: neighbors first,
        then global, then local samples. Every tuple lies inside the tensor, also where a mean
        does not. Integers are drawn as integers, so that large dims lose nothing to rounding.

    Example:

    ```python
    means = keras.ops.array([[1.2, 2.0], [0.4, 3.1]])
    tuples = hyperkeras.ops.sample_tuples(means, (4, 5), local_samples=3, region=2)
    tuples.shape  # (14, 2)
    ```
    """
    means, size = ops.convert_to_tensor(means), check_size(size)
    check_columns("means", means.shape, size)
    check_int("global_samples", global_samples, 0)
    check_int("local_samples", local_samples, 0)
    columns = sample_columns(means, size, global_samples, local_samples, region, seed)
    tuples = ops.moveaxis(ops.stack(columns, axis=-1), 0, -2)  # [..., k, 2**c + g + l, c]
    shape = ops.shape(tuples)
    return ops.reshape(tuples, (*shape[:-3], shape[-3] * shape[-2], shape[-1]))


def sample_columns(
    means: Tensor,
    size: Sequence[int],
    global_samples: int,
    local_samples: int,
    region: int | Sequence[int] | None,
    seed: Seed,
) -> list[Tensor]:
    """The tuples of `sample_tuples` column by column, samples first: c times `[i, ..., k]`."""
    window = window_dims(region, size)
    numbers = draw_numbers(means, size, global_samples, local_samples, window, seed)
    return place_columns(means, numbers, size, global_samples, local_samples, window)


def draw_numbers(
    means: Tensor,
    size: Sequence[int],
    global_samples: int,
    local_samples: int,
    window: Sequence[int],
    seed: Seed,
) -> list[Tensor]:
    """All that is drawn for `sample_columns`: integers, each for neighboring columns `[i, ..., k]`.

    Drawing costs more than dividing, so columns come from one number while it is small.
    """
    seeds = _seeds(seed)
    return [
        keras.random.randint(
            (count, *ops.shape(means)[:-1]), 0, math.prod(pack), dtype="int32", seed=next(seeds)
        )
        for count, dims in ((global_samples, size), (local_samples, window))
        for pack in _packs(count, dims)
    ]


def place_columns(
    means: Tensor,
    numbers: Sequence[Tensor],
    size: Sequence[int],
    global_samples: int,
    local_samples: int,
    window: Sequence[int],
) -> list[Tensor]:
    """`sample_columns` from the numbers drawn: neighbors, and where the numbers say."""
    means, cut = ops.stop_gradient(means), len(_packs(global_samples, size))
    everywhere = _columns_of(numbers[:cut], _packs(global_samples, size))
    around = _columns_of(numbers[cut:], _packs(local_samples, window))
    columns = []
    for j, (s, w) in enumerate(zip(size, window, strict=True)):
        mu = means[..., j]  # [..., k]
        ends = [ops.expand_dims(inside(end, s - 1), 0) for end in (ops.floor(mu), ops.ceil(mu))]
        parts = [ends[corner[j]] for corner in itertools.product((0, 1), repeat=len(size))]
        if global_samples:
            parts.append(everywhere[j])
        if local_samples:
            start = ops.clip(inside(ops.round(mu), s - 1) - w // 2, 0, s - w)
            parts.append(start + around[j])
        columns.append(ops.concatenate(parts, axis=0))
    return columns


def window_dims(region: int | Sequence[int] | None, size: Sequence[int]) -> Sequence[int]:
    """Dims of the local window: `region`, once or a column, at most the tensor's own dims."""
    if region is None:
        return size
    if isinstance(region, (tuple, list)):
        if len(region) != len(size):
            raise ValueError(
                f"Expected `region` to be an integer or a sequence of {len(size)} integers, one "
                f"for each learned column. Received: region={region}"
            )
        window = tuple(check_int("region", w, 1) for w in region)
    else:
        window = (check_int("region", region, 1),) * len(size)
    return tuple(min(w, s) for w, s in zip(window, size, strict=True))


def inside(index: Tensor, last: int | np.ndarray) -> Tensor:
    """Whole float numbers `index` as int32 from 0 to `last`, which may be an array.

    Cut off as floats first, as a number beyond 32 bits could become any integer; and after it, as
    NaN can.
    """
    index = ops.cast(index, keras.backend.result_type(index.dtype, "float32"))
    last, edge = np.asarray(last), np.asarray(last, keras.backend.standardize_dtype(index.dtype))
    edge = np.where(edge > last, np.nextafter(edge, 0), edge)
    index = ops.cast(ops.minimum(ops.maximum(index, 0), edge), "int32")
    return ops.minimum(ops.maximum(index, 0), last.astype("int32"))


def _packs(count, dims):
    """Columns of `dims` that share a number, if any is drawn."""
    packs = []
    for s in dims if count else ():
        if packs and math.prod(packs[-1]) * s <= PACK:
            packs[-1].append(s)
        else:
            packs.append([s])
    return packs


def _columns_of(numbers, packs):
    """The columns that share `numbers`: a tensor for each of the dims in `packs`."""
    columns = []
    for rest, pack in zip(numbers, packs, strict=True):
        for j in range(1, len(pack)):
            inner = math.prod(pack[j:])
            # Exact below 2**22: half an integer is farther from the next than any rounding.
            column = ops.cast((ops.cast(rest, "float32") + 0.5) / inner, "int32")
            columns.append(column)
            rest = rest - column * inner
        columns.append(rest)
    return columns


def _seeds(seed):
    """A seed a draw: an integer seed used twice would give two columns the same numbers."""
    for draw in itertools.count():
        if seed is None or isinstance(seed, keras.random.SeedGenerator):
            yield seed
        else:
            entropy = check_int("seed", seed, 0), draw
            yield int(np.random.SeedSequence(entropy).generate_state(1)[0] >> 1)
