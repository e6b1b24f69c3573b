"""Quicksort by learned keys, as soft half-permutations (Bloem 2018).

A bucket is a run of positions; `bounds` tells of each position its bucket's first position and
size. All that is summed over buckets is a product with a matrix `[n, n]` of zeros and ones.
"""

import numpy as np
from keras import ops

from hyperkeras.annotations import Tensor
from hyperkeras.ops.argument_validation import check_choice, check_int


def bucket_bounds(n: int, depth: int, lengths: Tensor | None = None) -> Tensor:
    r"""Bounds of the buckets after `depth` halvings of n positions, for any n.

    .. math:: s_0 = n, \qquad s_{d+1} = \lfloor s_d / 2 \rfloor \text{ below, }
        \lceil s_d / 2 \rceil \text{ above}

    Args:
        n: Integer n ≥ 1.
        depth: Integer ≥ 0.
        lengths: Integer tensor `[b]`, how many of the n positions each set fills. None (default)
            for all. Those beyond are buckets of one, as is every bucket that can't be halved.

    Returns:
        int32 tensor of shape `[b, 2, n]`, b = 1 without `lengths`: each position's bucket's
        first position, and its size.

    Example:

    ```python
    hyperkeras.ops.bucket_bounds(5, depth=1).shape  # (1, 2, 5)
    ```
    """
    check_int("n", n, 1)
    check_int("depth", depth, 0)
    position = ops.convert_to_tensor(np.arange(n, dtype="int32")[None])  # [1, n]
    if lengths is None:
        start, size = ops.zeros_like(position), ops.full_like(position, n)
    else:
        length = ops.cast(lengths, "int32")[:, None]
        start = ops.where(position < length, 0, position)
        size = ops.where(position < length, length, 1)
    for _ in range(depth):
        lower = size // 2
        up = position >= start + lower
        start = ops.where(up, start + lower, start)
        size = ops.where(up, size - lower, lower)
    return ops.stack([start, size], axis=1)


def bucket_ranks(scores: Tensor, bounds: Tensor) -> Tensor:
    """The rank of each score in its bucket, from 0; of equal scores the first ranks lower.

    Args:
        scores: Tensor `[b, ..., n]`.
        bounds: See `bucket_bounds`.

    Returns:
        int32 tensor of the shape of `scores`.
    """
    scores = ops.convert_to_tensor(scores)
    mine, other = scores[..., :, None], scores[..., None, :]
    earlier = np.tri(scores.shape[-1], k=-1, dtype=bool)  # [n, n]: position j is before i
    below = ops.logical_or(other < mine, ops.logical_and(ops.equal(other, mine), earlier))
    below = ops.logical_and(below, _fit(same_bucket(bounds), below))
    return ops.sum(ops.cast(below, "int32"), axis=-1)


def same_bucket(bounds: Tensor) -> Tensor:
    """Whether positions share a bucket: bool `[b, n, n]`."""
    start = bounds[:, 0]
    return ops.equal(start[:, :, None], start[:, None, :])


def bucket_pivots(keys: Tensor, bounds: Tensor) -> Tensor:
    r"""Pivot of each bucket: its median, the mean of the two keys in its middle.

    .. math:: p = \tfrac12 \left(k_{(l)} + k_{(l + 1)}\right), \qquad l = \lfloor s / 2 \rfloor

    for the keys of a bucket of s in ascending order: where s is odd, the larger half is above.

    Args:
        keys: Float tensor `[b, n]`.
        bounds: See `bucket_bounds`.

    Returns:
        `[b, n]`: for each position its bucket's pivot; 0 in a bucket of one, which has none.

    Example:

    ```python
    keys = keras.ops.array([[3.0, 1.0, 2.0, 4.0]])
    bounds = hyperkeras.ops.bucket_bounds(4, depth=0)
    hyperkeras.ops.bucket_pivots(keys, bounds).shape  # (1, 4)
    # each is 2.5, between the second and the third key
    ```
    """
    keys, lower = ops.convert_to_tensor(keys), bounds[:, 1] // 2
    rank = bucket_ranks(keys, bounds)
    middle = ops.logical_or(ops.equal(rank, lower - 1), ops.equal(rank, lower))
    halves = ops.where(ops.logical_and(middle, lower > 0), keys / 2, 0)
    return bucket_sums(halves, bounds)


def bucket_sums(x: Tensor, bounds: Tensor) -> Tensor:
    """For each position the sum of `x` `[b, ..., n]` over its bucket."""
    x = ops.convert_to_tensor(x)
    same = ops.cast(same_bucket(bounds), x.dtype)
    if len(x.shape) == 2:
        return ops.matmul(x[:, None], same)[:, 0]
    return ops.matmul(x, _fit(same, x))


def balanced_choices(scores: Tensor, bounds: Tensor) -> Tensor:
    """Balanced choices: the elements with larger scores go to the upper half of their bucket.

    Of keys, the rounded choice of Bloem (2018), also where keys are equal; of uniform numbers,
    one of all balanced choices, each as likely.

    Args:
        scores: Tensor `[b, ..., n]`.
        bounds: See `bucket_bounds`.

    Returns:
        Boolean tensor of the shape of `scores`.

    Example:

    ```python
    keys = keras.ops.array([[3.0, 1.0, 2.0, 4.0]])
    bounds = hyperkeras.ops.bucket_bounds(4, depth=0)
    hyperkeras.ops.balanced_choices(keys, bounds).shape  # (1, 4)
    # True, False, False, True
    ```
    """
    lower = bounds[:, 1] // 2
    rank = bucket_ranks(scores, bounds)
    return rank >= _fit(lower, rank)


def choice_logits(distances: Tensor, sigmoid: str = "logistic") -> Tensor:
    r"""Log-odds that an element goes to the upper half, from its distance to the pivot.

    .. math:: \log \frac{o}{1 - o}, \qquad o = \frac{1}{1 + e^{-z}} \quad\text{or}\quad
        o = \tfrac12 + \tfrac1\pi \arctan z

    of distances z, by certainty; the second is the Cauchy sigmoid of Petersen et al. (2022), whose
    heavy tails let keys learn from elements far on either side.

    Args:
        distances: Float tensor z.
        sigmoid: `"logistic"` (default), for which the log-odds are z, or `"cauchy"`.

    Returns:
        Tensor of the shape of `distances`.

    Example:

    ```python
    hyperkeras.ops.choice_logits(keras.ops.array([-1.0, 0.0, 2.0]), "cauchy").shape  # (3,)
    ```

    References:
        - [Petersen et al., 2022](https://arxiv.org/abs/2203.09630)
    """
    distances = ops.convert_to_tensor(distances)
    if check_choice("sigmoid", sigmoid, ("logistic", "cauchy")) == "logistic":
        return distances
    ones = ops.ones_like(distances)
    # Both are exact far out, where a half minus an arctangent would be 0.
    return ops.log(ops.arctan2(ones, -distances)) - ops.log(ops.arctan2(ones, distances))


def choice_proportions(
    choices: Tensor, logits: Tensor, bounds: Tensor, joint: bool = False
) -> Tensor:
    r"""The weights of choice vectors: their probabilities, duplicates 0, normalized.

    .. math:: q_c = \frac{d_c\, P(c)}{\sum_{c'} d_{c'}\, P(c')}, \qquad
        P(c) = \prod_i o_i^{c_i} (1 - o_i)^{1 - c_i}, \qquad o = \mathrm{sigmoid}(\text{logits})

    Computed as a softmax of log-probabilities, as the product would underflow. It runs over
    the elements of a bucket, since the choices in one say nothing of another; `joint`, as in the
    published code, over all elements, so that one weight stands for the whole vector.

    Args:
        choices: Boolean tensor `[b, m, n]`: whether an element goes to the upper half.
        logits: Float tensor `[b, n]`.
        bounds: See `bucket_bounds`.
        joint: Boolean, whether a choice vector has one weight for all buckets (default `False`).

    Returns:
        `[b, m, n]`: for each position its bucket's weights, which sum to one over the m.

    Example:

    ```python
    keys = keras.ops.array([[3.0, 1.0, 2.0, 4.0]])
    bounds = hyperkeras.ops.bucket_bounds(4, depth=0)
    logits = hyperkeras.ops.choice_logits(keys - hyperkeras.ops.bucket_pivots(keys, bounds))
    choices = hyperkeras.ops.balanced_choices(keras.random.uniform((1, 3, 4)), bounds)
    proportions = hyperkeras.ops.choice_proportions(choices, logits, bounds)
    proportions.shape  # (1, 3, 4)
    ```
    """
    logits = ops.convert_to_tensor(logits)
    apart = bucket_bounds(logits.shape[-1], 0) if joint else bounds
    sign = 2 * ops.cast(choices, logits.dtype) - 1  # [b, m, n]
    m = sign.shape[1]
    if m == 1:
        return ops.ones_like(sign)
    terms = ops.log_sigmoid(sign * logits[:, None])
    terms = ops.where(bounds[:, None, 1] > 1, terms, 0)  # alone in a bucket, nothing is chosen
    unlike = ops.abs(sign[:, :, None] - sign[:, None, :])  # [b, m, m, n]
    equal = bucket_sums(ops.where(bounds[:, None, None, 1] > 1, unlike, 0), apart) < 1
    earlier = np.tri(m, k=-1, dtype=bool)[:, :, None]
    copies = ops.any(ops.logical_and(equal, earlier), axis=2)
    log_p = bucket_sums(terms, apart)
    # Not −∞, which checks for finite numbers refuse.
    return ops.softmax(ops.where(copies, -1e30, log_p), axis=1)


def half_permutation(choices: Tensor, proportions: Tensor, bounds: Tensor) -> Tensor:
    r"""A weighted mean of half-permutations, as a matrix (Bloem 2018).

    A choice vector c moves each element to the upper or the lower half of its bucket and keeps
    the order within the halves: element i of a bucket that starts at a, its lower half of l,

    .. math:: \pi_c(i) = a + \begin{cases}
        \sum_{j < i} (1 - c_j) & c_i = 0 \\ l + \sum_{j < i} c_j & c_i = 1 \end{cases},
        \qquad P_{pi} = \sum_c q_c\, [\pi_c(i) = p]

    with sums over the bucket's elements.

    Args:
        choices: Boolean tensor `[b, m, n]`, balanced: see `balanced_choices`.
        proportions: Float tensor `[b, m, n]`: see `choice_proportions`.
        bounds: See `bucket_bounds`.

    Returns:
        `[b, n, n]`, doubly stochastic: P x are the elements moved, Pᵀ x sends them back.

    Example:

    ```python
    keys = keras.ops.array([[3.0, 1.0, 2.0, 4.0]])
    bounds = hyperkeras.ops.bucket_bounds(4, depth=0)
    logits = hyperkeras.ops.choice_logits(keys - hyperkeras.ops.bucket_pivots(keys, bounds))
    choices = hyperkeras.ops.balanced_choices(keras.random.uniform((1, 3, 4)), bounds)
    proportions = hyperkeras.ops.choice_proportions(choices, logits, bounds)
    hyperkeras.ops.half_permutation(choices, proportions, bounds).shape  # (1, 4, 4)
    ```
    """
    proportions = ops.convert_to_tensor(proportions)
    position = ops.arange(proportions.shape[-1], dtype="int32")[:, None]
    moved = ops.equal(moved_places(choices, bounds)[:, :, None], position)  # [b, m, p, i]
    return ops.sum(ops.where(moved, proportions[:, :, None], 0), axis=1)


def moved_places(choices: Tensor, bounds: Tensor) -> Tensor:
    """π_c(i) of `half_permutation`, where each element goes: int32 `[b, m, n]`."""
    n = choices.shape[-1]
    start, lower = bounds[:, None, 0], bounds[:, None, 1] // 2
    ahead = ops.logical_and(same_bucket(bounds), np.triu(np.ones((n, n), bool), k=1))
    ups = ops.matmul(ops.cast(choices, "float32"), ops.cast(ahead, "float32"))
    ups = ops.cast(ups, "int32")  # of the elements before i in its bucket, how many go up
    downs = ops.arange(n, dtype="int32") - start - ups
    return start + ops.where(choices, lower + ups, downs)


def sort_log_likelihood(
    keys: Tensor,
    certainty: float = 10.0,
    lengths: Tensor | None = None,
    pivots: str = "median",
    sigmoid: str = "logistic",
) -> Tensor:
    r"""The log-probability that quicksort makes the right choices alone.

    .. math:: \log P = \sum_d \sum_i \log \mathrm{sigmoid}\left(
        \pm\, \text{certainty} \cdot (k_i - p_{di})\right)

    of keys that stand in their elements' true order, + where element i belongs in the upper half
    of its bucket at depth d. A loss that needs no samples: its gradient is exact.

    With `pivots="random"` each pivot is any element of its bucket, and the value is the mean over
    all of quicksort's runs, where elements i < j meet if one of them is the first pivot among
    i, …, j:

    .. math:: \mathrm{E} \log P = \sum_{i < j} \frac{2}{j - i + 1} \log \mathrm{sigmoid}\left(
        \text{certainty} \cdot (k_j - k_i)\right)

    Args:
        keys: Float tensor `[b, n]`, the keys of elements in ascending order of what they stand for.
        certainty: Float, how steeply the probability rises around a pivot (default 10).
        lengths: Integer tensor `[b]`, how many of the n elements each set has. None (default) for
            all.
        pivots: `"median"` (default), as `Quicksort` has them, or `"random"`.
        sigmoid: `"logistic"` (default) or `"cauchy"`: see `choice_logits`.

    Returns:
        `[b]`.

    Example:

    ```python
    keys = keras.ops.array([[0.1, 0.4, 0.3], [0.1, 0.2, 0.5]])  # the first set is not in order
    hyperkeras.ops.sort_log_likelihood(keys).shape  # (2,)
    ```
    """
    keys = ops.convert_to_tensor(keys)
    check_choice("pivots", pivots, ("median", "random"))

    def log_p(distances):
        return ops.log_sigmoid(choice_logits(certainty * distances, sigmoid))

    if pivots == "random":
        return _mean_over_pivots(keys, log_p, lengths)
    n, total = keys.shape[-1], ops.zeros_like(keys[:, 0])
    position = ops.arange(n, dtype="int32")
    for depth in range(num_splits(n)):
        bounds = bucket_bounds(n, depth, lengths)
        start, size = bounds[:, 0], bounds[:, 1]
        above = keys - bucket_pivots(keys, bounds)
        terms = log_p(ops.where(position >= start + size // 2, above, -above))
        total = total + ops.sum(ops.where(size > 1, terms, 0), axis=-1)
    return total


def _mean_over_pivots(keys, log_p, lengths):
    i = np.arange(keys.shape[-1])
    meet = np.triu(2 / (np.abs(i[:, None] - i) + 1), k=1)  # how often i and j are compared
    meet = ops.cast(meet, keys.dtype)
    if lengths is not None:
        there = i < ops.convert_to_tensor(lengths)[:, None]
        keys = ops.where(there, keys, 0)
        meet = meet * ops.cast(there, keys.dtype)[:, None, :]  # j is the later of the two
    return ops.sum(meet * log_p(keys[:, None, :] - keys[:, :, None]), axis=(1, 2))


def num_splits(n: int) -> int:
    """⌈log₂ n⌉: how often n elements are halved until each is alone."""
    return (n - 1).bit_length()


def _fit(x, like):
    """`x` [b, ...] with axes of one after the first, as many as broadcast it to `like`."""
    for _ in range(len(like.shape) - len(x.shape)):
        x = x[:, None]
    return x
