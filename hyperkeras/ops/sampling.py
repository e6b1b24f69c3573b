"""Integer tuples near continuous ones (Bloem 2018, section 3)."""

import itertools

import keras
import numpy as np
from keras import ops

from hyperkeras.ops.checks import check_columns, check_int, check_size


def sample_tuples(means, size, global_samples=0, local_samples=0, region=None, seed=None):
    r"""Integer index tuples on which the Gaussians are evaluated (Bloem 2018, section 3).

    For each mean μ: its neighbours, one for each choice of ⌊·⌋ or ⌈·⌉ a column; g tuples drawn
    uniformly over the tensor; l tuples drawn uniformly over a window around the rounded mean.
    No gradient passes through.

    Args:
        means: Float tensor of shape `[..., k, c]` in index space.
        size: Sequence of c positive integers, the dims of the learned columns.
        global_samples: Integer g ≥ 0.
        local_samples: Integer l ≥ 0.
        region: Integer, or a sequence of c integers: the window's dims. The window is moved,
            not cut, where it would leave the tensor; one wider than the tensor covers the whole
            dim, as None does.
        seed: Integer, `keras.random.SeedGenerator`, or None for Keras's global one.

    Returns:
        int32 tensor of shape `[..., k * (2**c + g + l), c]`, grouped by mean: neighbours first,
        then global, then local samples. Every tuple lies inside the tensor, also where a mean
        does not. Integers are drawn as integers, so that large dims lose nothing to rounding.
    """
    means, size = ops.stop_gradient(ops.convert_to_tensor(means)), check_size(size)
    check_columns("means", means.shape, size)
    check_int("global_samples", global_samples, 0)
    check_int("local_samples", local_samples, 0)
    region = window_dims(region, size)
    seeds = _seeds(seed)
    columns = []  # one a learned column, each [..., k, 2**c + g + l]
    for j, s in enumerate(size):
        mu = means[..., j : j + 1]  # [..., k, 1]
        corners = [corner[j] for corner in itertools.product((0, 1), repeat=len(size))]
        ends = ops.concatenate([ops.floor(mu), ops.ceil(mu)], axis=-1)
        parts = [_inside(ops.take(ends, corners, axis=-1), s)]
        if global_samples:
            parts.append(_draw(mu, global_samples, s, next(seeds)))
        if local_samples:
            start = _inside(ops.round(mu), s) - region[j] // 2
            start = ops.clip(start, 0, s - region[j])
            parts.append(start + _draw(mu, local_samples, region[j], next(seeds)))
        columns.append(ops.concatenate(parts, axis=-1))
    tuples = ops.stack(columns, axis=-1)  # [..., k, 2**c + g + l, c]
    shape = ops.shape(tuples)
    return ops.reshape(tuples, (*shape[:-3], shape[-3] * shape[-2], shape[-1]))


def window_dims(region, size):
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


def _inside(index, s):
    return ops.clip(ops.cast(index, "int32"), 0, s - 1)


def _draw(mu, count, high, seed):
    shape = (*ops.shape(mu)[:-1], count)
    return keras.random.randint(shape, 0, high, dtype="int32", seed=seed)


def _seeds(seed):
    """A seed a draw: an integer seed used twice would give two columns the same numbers."""
    for draw in itertools.count():
        if seed is None or isinstance(seed, keras.random.SeedGenerator):
            yield seed
        else:
            entropy = check_int("seed", seed, 0), draw
            yield int(np.random.SeedSequence(entropy).generate_state(1)[0] >> 1)
