"""The mean over all balanced choices at once, by dynamic programming: nothing is drawn."""

import keras
import numpy as np
from keras import ops

from hyperkeras.annotations import Tensor
from hyperkeras.ops.argument_validation import check_int

IMPOSSIBLE = -1e37  # a log-weight below all others: −∞ has no gradient


def mean_half_permutation(logits: Tensor, bounds: Tensor, depth: int) -> Tensor:
    r"""Expected half-permutation over all balanced choices.

    The sampled splits of Bloem (2018) estimate this matrix. A bucket of s elements, u of which go
    to its upper half, has so many balanced choices that they can't be listed; but the sum of
    their weights obeys

    .. math:: F_{i+1, j} = F_{ij} + e^{\lambda_i} F_{i, j-1}, \qquad F_{00} = 1,

    j of the first i elements going up, where λ are the logits. With G, the same from the end,

    .. math:: P(c_i = 1, j \text{ before it up}) =
        \frac{F_{ij}\, e^{\lambda_i}\, G_{i+1, u-j-1}}{F_{su}}

    and likewise for c_i = 0; since the order in each half is kept, j tells where element i goes.

    Args:
        logits: Float tensor `[b, n]`: log-odds of going to the upper half.
        bounds: See `bucket_bounds`.
        depth: Integer, how many halvings made these buckets.

    Returns:
        `[b, n, n]`, doubly stochastic: `half_permutation` of all choices by `choice_proportions`.

    Example:

    ```python
    bounds = hyperkeras.ops.bucket_bounds(4, depth=0)
    logits = keras.ops.array([[2.0, -1.0, 0.5, -3.0]])
    hyperkeras.ops.mean_half_permutation(logits, bounds, depth=0).shape  # (1, 4, 4)
    ```
    """
    check_int("depth", depth, 0)
    given = ops.convert_to_tensor(logits)
    # Half precision has no room for the sums of many weights.
    logits = ops.cast(given, keras.backend.result_type(given.dtype, "float32"))
    n = logits.shape[-1]
    start, size = bounds[:, 0], bounds[:, 1]
    position = ops.arange(n, dtype="int32")
    place = position - start  # in its bucket, from 0
    lower, upper = size // 2, size - size // 2
    before = _ups_before(logits, place, size, depth)  # [b, n, J]: log F_i
    mirrored, places, sizes = (ops.flip(a, axis=1) for a in (logits, size - 1 - place, size))
    after = ops.flip(_ups_before(mirrored, places, sizes, depth), axis=1)
    # For element i and place p of its bucket: whether that is up, and the ups before i then.
    source, goal = place[:, :, None], place[:, None, :]  # [b, i, p]
    up = goal >= lower[:, :, None]
    ups = ops.where(up, goal - lower[:, :, None], source - goal)
    rest = upper[:, :, None] - ups - ops.cast(up, "int32")
    last = before.shape[-1] - 1
    log_p = ops.take_along_axis(before, ops.clip(ups, 0, last), axis=-1)
    log_p = log_p + ops.take_along_axis(after, ops.clip(rest, 0, last), axis=-1)
    log_p = log_p + ops.where(up, logits[:, :, None], 0)
    possible = ops.logical_and(
        ops.equal(start[:, :, None], start[:, None, :]), ops.logical_and(ups >= 0, rest >= 0)
    )
    p = ops.softmax(ops.where(possible, log_p, IMPOSSIBLE), axis=-1)
    return ops.cast(ops.swapaxes(p, 1, 2), given.dtype)


def _ups_before(logits, place, size, depth):
    """The logarithm of F `[b, n, J]`: of the elements before each in its bucket, j go up."""
    n = logits.shape[-1]
    count, longest = min(2**depth, n), -(-n // 2**depth)
    width = longest // 2 + 2
    # Buckets side by side, [b, Q, S], so that all take a step at once; but for buckets of one.
    first = ops.logical_and(ops.equal(place, 0), size > 1)
    bucket = ops.cumsum(ops.cast(first, "int32"), axis=1) - 1
    slot = ops.where(size > 1, bucket * longest + place, -1)
    slots = ops.cast(
        ops.equal(slot[:, :, None], ops.arange(count * longest, dtype="int32")), logits.dtype
    )
    apart = ops.matmul(logits[:, None], slots)
    apart = ops.reshape(apart, (-1, count, longest, 1))
    start = np.full((width,), IMPOSSIBLE, "float32")
    start[0] = 0.0
    rows = [ops.zeros_like(apart[:, :, 0]) + ops.cast(start, logits.dtype)]
    for step in range(longest - 1):
        here = rows[-1]
        more = ops.pad(here[..., :-1], [[0, 0], [0, 0], [1, 0]], constant_values=IMPOSSIBLE)
        rows.append(ops.logaddexp(here, more + apart[:, :, step]))
    whole = ops.reshape(ops.stack(rows, axis=2), (-1, count * longest, width))
    return ops.matmul(slots, whole)
