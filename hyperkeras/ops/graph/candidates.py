"""Candidate nodes of continuous tuples, and the proportions of the value that each gets."""

import functools
from collections.abc import Sequence

import keras
from keras import ops

from hyperkeras.annotations import Seed, Tensor
from hyperkeras.ops.graph.edge_sums import take
from hyperkeras.ops.graph.message_passing import EPSILON, IMPOSSIBLE, TIE


def node_order(positions: Tensor, node_graph: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Nodes by graph, then by position: `[n, k]`; each graph's place in it follows from its id.

    Args:
        positions: Float tensor of shape `[n, k]`.
        node_graph: Integer tensor of shape `[n]`: each node's graph, from 0, all below n.

    Returns:
        The order `[n, k]`, the place `[n]` of each graph's first node and its number of nodes.
    """
    n, k = ops.shape(positions)
    by_position = ops.cast(ops.argsort(ops.stop_gradient(positions), axis=0), "int32")
    graphs = ops.reshape(ops.take(node_graph, ops.reshape(by_position, (-1,)), axis=0), (n, k))
    by_graph = ops.argsort(graphs, axis=0)  # stable on every backend
    order = ops.take_along_axis(by_position, by_graph, axis=0)
    count = ops.segment_sum(ops.ones_like(node_graph), node_graph, num_segments=n)
    return order, ops.cumsum(count) - count, count


def nearest_places(
    positions: Tensor, order: Tensor, means: Tensor, first: Tensor, count: Tensor
) -> Tensor:
    """The last place in each graph's order at or below each mean, or the first: binary search.

    Args:
        positions: Float tensor of shape `[n, k]`.
        order: Integer tensor of shape `[n, k]`.
        means: Float tensor of shape `[t, k]`.
        first: Integer tensor of shape `[t, 1]`: where the tuple's graph begins.
        count: Integer tensor of shape `[t, 1]`: how many nodes it has.

    Returns:
        Integer tensor of shape `[t, k]`.
    """
    positions, means = ops.stop_gradient(positions), ops.stop_gradient(means)
    ascending = at_nodes(positions, order)
    low = ops.broadcast_to(first, ops.shape(means))
    high = low + count
    n = positions.shape[0]
    steps = n.bit_length() if isinstance(n, int) else 31  # not known, or traced by PyTorch

    def halve(_, bounds):
        low, high = bounds
        middle = (low + high) // 2
        right = ops.logical_and(low < high, at_nodes(ascending, middle) <= means)
        low, high = ops.where(right, middle + 1, low), ops.where(right, high, middle)
        return low, ops.maximum(low, high)

    low, _ = ops.fori_loop(0, steps, halve, (low, high))
    return ops.maximum(low - 1, first)


def places_in_one_graph(positions: Tensor, order: Tensor, means: Tensor) -> Tensor:
    """`nearest_places` if all nodes are of one graph."""
    positions, means = ops.stop_gradient(positions), ops.stop_gradient(means)
    ascending = at_nodes(positions, order)
    places = [
        ops.cast(ops.searchsorted(ascending[:, k], means[:, k], side="right"), "int32")
        for k in range(positions.shape[1])
    ]
    return ops.maximum(ops.stack(places, axis=1) - 1, 0)


def at_nodes(table: Tensor, nodes: Tensor) -> Tensor:
    """`table` [n, k] at `nodes` [..., k], column by column."""
    n, k = ops.shape(table)
    # A search's middle may be one beyond the last place; what is found there is not used.
    flat = ops.clip(nodes, 0, n - 1) * k + ops.arange(k, dtype="int32")
    return take(ops.reshape(table, (-1,)), flat)


def candidate_nodes(
    positions: Tensor,
    means: Tensor,
    node_graph: Tensor | None,
    mean_graph: Tensor | None,
    global_samples: int = 0,
    local_samples: int = 0,
    region: int | None = None,
    seed: Seed = None,
) -> Tensor:
    r"""Nodes near each mean and randomly drawn nodes: `sample_tuples` for nodes with positions.

    Sorted by position, the nodes of a graph have an order, in which each mean has a node below
    and one above. Besides, g nodes are drawn uniformly from its graph, and l from a window of
    `region` places around it. Sorting takes O(n log n), the search O(t log n): never n × n.

    Args:
        positions: Float tensor of shape `[n, k]`.
        means: Float tensor of shape `[t, k]`.
        node_graph: Integer tensor of shape `[n]`: each node's graph, from 0, all below n. None for
            one graph.
        mean_graph: Integer tensor of shape `[t]`, graphs that have nodes; or None likewise.
        global_samples: Integer g ≥ 0, how many nodes are drawn from the whole graph (default 0).
        local_samples: Integer l ≥ 0, how many nodes are drawn from the window (default 0).
        region: Integer, the window's width in places. None (default) for the whole graph.
        seed: Integer or `keras.random.SeedGenerator`. None (default) for Keras's global one.

    Returns:
        Integer tensor of shape `[2 + g + l, t, k]`: below, above, then drawn ones.

    Example:

    ```python
    positions, means = keras.random.uniform((6, 1)), keras.random.uniform((4, 1))
    one_graph = keras.ops.zeros((6,), "int32")
    nodes = hyperkeras.ops.candidate_nodes(
        positions, means, one_graph, one_graph[:4], global_samples=3
    )
    nodes.shape  # (5, 4, 1)
    ```
    """
    if node_graph is None:
        order = ops.cast(ops.argsort(ops.stop_gradient(positions), axis=0), "int32")
        first = ops.zeros((1, 1), "int32")
        count = first + ops.cast(ops.shape(positions)[0], "int32")
        below = places_in_one_graph(positions, order, means)
    else:
        order, starts, counts = node_order(positions, node_graph)
        first, count = (ops.take(a, mean_graph, axis=0)[:, None] for a in (starts, counts))
        below = nearest_places(positions, order, means, first, count)
    last = first + count - 1
    places = [below[None], ops.minimum(below + 1, last)[None]]
    t, k = ops.shape(means)
    width = count if region is None else ops.minimum(count, region)
    window = ops.clip(below - width // 2 + 1, first, last + 1 - width)
    for samples, start, dims in ((global_samples, first, count), (local_samples, window, width)):
        if samples:
            u = keras.random.uniform((samples, t, k), dtype="float32", seed=seed)
            step = ops.cast(u * ops.cast(dims, "float32"), "int32")
            places.append(ops.minimum(start + step, start + dims - 1))
    return at_nodes(order, ops.concatenate(places, axis=0))


def candidate_proportions(
    columns: Sequence[Tensor], positions: Tensor, means: Sequence[Tensor], sigmas: Tensor
) -> Tensor:
    r"""How a continuous tuple's value is divided among tuples of nodes (Bloem 2018, section 3).

    .. math:: q_c = \frac{d_c\, e_c}{\sum_{c'} d_{c'}\, e_{c'}}, \qquad
        e_c = \exp\Big(-\frac{1}{2 (\varepsilon + \sigma)} \sum_r (p_{c_r} - \mu_r)^2\Big)

    with ε = 1e-6 and d = 0 for each copy of a candidate but the first.

    Args:
        columns: Sequence of r integer tensors of shape `[c, t, k]`: the candidates' nodes.
        positions: Float tensor p of shape `[n, k]`.
        means: Sequence of r float tensors of shape `[t, k]`.
        sigmas: Float tensor of shape `[t, k]`: variances, not standard deviations.

    Returns:
        Tensor of shape `[c, t, k]` whose sum over c is 1.

    Example:

    ```python
    positions, means = keras.random.uniform((6, 1)), keras.random.uniform((4, 1))
    one_graph = keras.ops.zeros((6,), "int32")
    nodes = hyperkeras.ops.candidate_nodes(
        positions, means, one_graph, one_graph[:4], global_samples=3
    )
    variances = 0.02 * keras.ops.ones((4, 1))
    hyperkeras.ops.candidate_proportions([nodes], positions, [means], variances).shape  # (5, 4, 1)
    ```
    """
    columns = [ops.cast(nodes, "int32") for nodes in columns]
    distance: Tensor = 0.0
    for nodes, mean in zip(columns, means, strict=True):
        distance = distance + ops.square(at_nodes(positions, nodes) - mean)
    candidates = list(zip(*(ops.unstack(nodes) for nodes in columns), strict=True))
    return ops.stack(proportions_at(candidates, ops.unstack(distance), sigmas))


def proportions_at(
    candidates: Sequence[Sequence[Tensor]], distances: Sequence[Tensor], sigmas: Tensor
) -> list[Tensor]:
    """`candidate_proportions` of tuples of nodes `[t, k]` at squared distances `[t, k]`."""
    factor = 1 / (-2 * (EPSILON + sigmas))
    logits: list[Tensor] = []
    for c, nodes in enumerate(candidates):
        copy = None
        for earlier in candidates[:c]:
            same = None
            for a, b in zip(nodes, earlier, strict=True):
                same = a == b if same is None else ops.logical_and(same, a == b)
            copy = same if copy is None else ops.logical_or(copy, same)
        logit = distances[c] * factor
        logits.append(logit if copy is None else ops.where(copy, IMPOSSIBLE, logit))
    best = ops.stop_gradient(functools.reduce(ops.maximum, logits))
    shares = [ops.exp(logit - best) for logit in logits]
    whole = sum(shares[1:], start=shares[0])
    return [share / whole for share in shares]


def nearest_candidates(nodes: Tensor, positions: Tensor, means: Tensor) -> Tensor:
    """Of candidates `[c, t, k]` the one nearest to the mean, the first of equals: `[t, k]`.

    What is nearer by less than `TIE` is equal: rounding errors must not tell like nodes apart.
    """
    distance = ops.abs(at_nodes(positions, nodes) - means)
    count = nodes.shape[0]
    nearest = distance[0]
    for c in range(1, count):  # a reduction would refuse to be over no tuples
        nearest = ops.minimum(nearest, distance[c])
    chosen = nodes[count - 1]
    for c in range(count - 2, -1, -1):
        chosen = ops.where(distance[c] <= nearest + TIE, nodes[c], chosen)
    return chosen
