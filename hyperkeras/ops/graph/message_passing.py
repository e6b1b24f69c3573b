"""Graphs as edge lists: batches as disjoint unions, messages, and proportions among neighbors.

An edge (i, j) is the entry A_ij of the adjacency matrix: node i reads node j.
"""

from collections.abc import Sequence

from keras import ops

from hyperkeras.annotations import Tensor
from hyperkeras.ops.graph.edge_sums import max_at, processor_path, sum_at, take

EPSILON = 1e-6
IMPOSSIBLE = -1e30  # below all logits: differences of −∞ would be NaN
AT_ONCE = 32  # features that `propagate_each` sends along an edge at once
TIE = 1e-6  # of positions in [0, 1]: what is nearer by less is as near


def disjoint_union(
    x: Tensor, edges: Tensor, mask: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    r"""A batch of graphs as one graph, without edges between its parts.

    .. math:: x'_{g n + i} = x_{g i}, \qquad (i, j) \in E_g \iff (g n + i, g n + j) \in E'

    One node more is put last, as a graph of its own: masked nodes belong to that graph, and
    padded edges, those with an end below 0 or at a masked node, are its self-loops. So what is
    padded touches nothing.

    Args:
        x: Float tensor of shape `[b, n, f]`: node features.
        edges: Integer tensor of shape `[b, e, 2]`: nodes of the same graph, or −1.
        mask: Boolean tensor of shape `[b, n]`, False for padded nodes, or None.

    Returns:
        Features `[b n + 1, f]`, edges `[b e, 2]` and each node's graph `[b n + 1]`.

    Example:

    ```python
    x = keras.random.normal((2, 3, 4))  # two graphs of three nodes
    edges = keras.ops.array([[[0, 1], [1, 2]], [[2, 0], [-1, -1]]])  # the last one is padding
    union, edges, node_graph = hyperkeras.ops.disjoint_union(x, edges)
    union.shape  # (7, 4)
    ```
    """
    x, edges = ops.convert_to_tensor(x), ops.cast(edges, "int32")
    b, n, f = ops.shape(x)
    graph = ops.arange(b, dtype="int32")[:, None]  # [b, 1]
    node_graph = ops.reshape(ops.broadcast_to(graph, (b, n)), (-1,))
    shifted = ops.reshape(edges + n * graph[..., None], (-1, 2))
    padded = ops.any(ops.reshape(edges, (-1, 2)) < 0, axis=-1)
    if mask is not None:
        node_graph = ops.where(ops.reshape(mask, (-1,)), node_graph, b)
        ends = ops.take(node_graph, ops.where(padded[:, None], 0, shifted), axis=0)
        padded = ops.logical_or(padded, ops.any(ends == b, axis=-1))
    union = ops.pad(ops.reshape(x, (b * n, f)), [[0, 1], [0, 0]])
    node_graph = ops.concatenate([node_graph, ops.reshape(ops.cast(b, "int32"), (1,))], axis=0)
    return union, ops.where(padded[:, None], b * n, shifted), node_graph


def propagate(edges: Tensor, values: Tensor | None, x: Tensor) -> Tensor:
    r"""Sums messages along weighted edges at each node, without building a matrix.

    .. math:: y_i = \sum_{(i, j)} w_{ij}\, x_j, \qquad
        \frac{\partial L}{\partial w_{ij}} = \frac{\partial L}{\partial y_i} \cdot x_j, \qquad
        \frac{\partial L}{\partial x_j} = \sum_{(i, j)} w_{ij} \frac{\partial L}{\partial y_i}

    Args:
        edges: Integer tensor of shape `[e, 2]`.
        values: Float tensor of shape `[e]`, or None for ones.
        x: Float tensor of shape `[n, f]`.

    Returns:
        Tensor of shape `[n, f]`.

    Example:

    ```python
    edges = keras.ops.array([[0, 1], [1, 2], [2, 0]])
    x = keras.random.normal((3, 4))
    hyperkeras.ops.propagate(edges, keras.ops.array([1.0, 0.5, 2.0]), x).shape  # (3, 4)
    ```
    """
    x = ops.convert_to_tensor(x)
    n, i, j = ops.shape(x)[0], edges[:, 0], edges[:, 1]
    fast = processor_path(x)
    if fast:
        values = ops.ones_like(i, dtype=x.dtype) if values is None else ops.cast(values, x.dtype)
        return fast.propagate(edges, values, x, n)
    if values is None:
        return exportable_propagate(edges, values, x)

    @ops.custom_gradient
    def product(values, x):
        def grad(*args, upstream=None):
            dy = args[0] if upstream is None else upstream
            received = ops.take(dy, i, axis=0)  # [e, f], as what was sent: gathered again, not kept
            dw = ops.sum(received * ops.take(x, j, axis=0), axis=-1)
            return dw, ops.segment_sum(received * values[:, None], j, num_segments=n)

        return exportable_propagate(edges, values, x), grad

    return product(ops.cast(values, x.dtype), x)


def exportable_propagate(edges: Tensor, values: Tensor | None, x: Tensor) -> Tensor:
    """`propagate` without a gradient of its own, which PyTorch does not export."""
    sent = ops.take(x, edges[:, 1], axis=0)
    if values is not None:
        sent = sent * ops.cast(values, x.dtype)[:, None]
    return ops.segment_sum(sent, edges[:, 0], num_segments=ops.shape(x)[0])


def propagate_each(edges: Tensor, values: Tensor, x: Tensor) -> Tensor:
    r"""`propagate` for k weights of each edge, which read the sender's features once.

    .. math:: y_{ik} = \sum_{(i, j)} w_{ijk}\, x_j

    Args:
        edges: Integer tensor of shape `[e, 2]`.
        values: Float tensor w of shape `[e, k]`.
        x: Float tensor of shape `[n, f]`.

    Returns:
        Tensor of shape `[n, k, f]`.
    """
    n, f = ops.shape(x)
    i, j, count = edges[:, 0], edges[:, 1], values.shape[1]
    fast = processor_path(x)
    if fast:
        columns = ops.unstack(ops.cast(values, x.dtype), axis=1)
        return ops.stack([fast.propagate(edges, w, x, n) for w in columns], axis=1)
    # A row costs about as much as its cache line; many of them at once would fill the memory.
    width = max(1, AT_ONCE // f)
    groups = [slice(k, min(k + width, count)) for k in range(0, count, width)]

    @ops.custom_gradient
    def product(values, x):
        def grad(*args, upstream=None):
            dy = args[0] if upstream is None else upstream  # [n, k, f]
            sent = ops.take(x, j, axis=0)[:, None]
            dvalues, dsent = [], 0.0
            for group in groups:
                received = ops.take(dy[:, group], i, axis=0)  # [e, w, f]
                dvalues.append(ops.sum(received * sent, axis=-1))
                dsent = dsent + ops.sum(received * values[:, group, None], axis=1)
            return ops.concatenate(dvalues, axis=1), ops.segment_sum(dsent, j, num_segments=n)

        sent = ops.take(x, j, axis=0)[:, None]
        y = [ops.segment_sum(sent * values[:, group, None], i, num_segments=n) for group in groups]
        return ops.concatenate(y, axis=1), grad

    return product(ops.cast(values, x.dtype), x)


def propagate_pairs(
    sources: Sequence[Tensor],
    targets: Sequence[Tensor],
    values: Sequence[Sequence[Tensor]],
    x: Tensor,
) -> Tensor:
    r"""`propagate` along all pairs of an edge's sources and targets, which are read once each.

    .. math:: y_i = \sum_e \sum_{a: s_{ae} = i} \sum_b w_{abe}\, x_{t_{be}}

    Args:
        sources: Sequence of integer tensors s of shape `[e]`.
        targets: Sequence of integer tensors t of shape `[e]`.
        values: For each source a sequence with a float tensor w of shape `[e]` for each target.
        x: Float tensor of shape `[n, f]`.

    Returns:
        Tensor of shape `[n, f]`.
    """
    n, fast = ops.shape(x)[0], processor_path(x)
    if fast:
        return sum(
            fast.propagate(ops.stack([i, j], axis=1), ops.cast(w, x.dtype), x, n)
            for i, row in zip(sources, values, strict=True)
            for j, w in zip(targets, row, strict=True)
        )

    def weighted(weights, messages):
        return sum(w[:, None] * m for w, m in zip(weights, messages, strict=True))

    @ops.custom_gradient
    def product(values, x):
        rows = [[values[a, b] for b in range(len(targets))] for a in range(len(sources))]

        def grad(*args, upstream=None):
            dy = args[0] if upstream is None else upstream
            received = [ops.take(dy, source, axis=0) for source in sources]  # [e, f]
            dvalues, dx = [], 0.0
            for target, column in zip(targets, zip(*rows, strict=True), strict=True):
                sent = ops.take(x, target, axis=0)
                dvalues.append(ops.stack([ops.sum(d * sent, axis=-1) for d in received]))
                dx = dx + ops.segment_sum(weighted(column, received), target, num_segments=n)
            return ops.stack(dvalues, axis=1), dx

        sent = [ops.take(x, target, axis=0) for target in targets]
        y = [
            ops.segment_sum(weighted(row, sent), source, num_segments=n)
            for row, source in zip(rows, sources, strict=True)
        ]
        return sum(y), grad

    return product(ops.cast(ops.stack([ops.stack(row) for row in values]), x.dtype), x)


def neighbor_proportions(
    edges: Tensor,
    positions: Tensor,
    means: Tensor,
    sigmas: Tensor,
    mass: Tensor | None = None,
    rounded: bool = False,
) -> Tensor:
    r"""How the values of each node's Gaussians are divided among its neighbors.

    .. math::
        q_{ijk} = \frac{m_{ij}\, e_{ijk}}{\sum_{j'} m_{ij'}\, e_{ij'k}}, \qquad
        e_{ijk} = \exp\Big(-\frac{(p_{jk} - \mu_{ik})^2}{2 (\varepsilon + \sigma_{ik})}\Big)

    with ε = 1e-6. These are the sparse hyperlayer's proportions (Bloem 2018, section 3), where
    nodes have positions p instead of indices. Rounded, the nearest neighbor has the proportion 1.
    Neighbors that are as near have equal proportions, whatever the order of nodes.

    Args:
        edges: Integer tensor of shape `[e, 2]`.
        positions: Float tensor of shape `[n, k]`, a position for each of k Gaussians.
        means: Float tensor of shape `[n, k]`.
        sigmas: Float tensor of shape `[n, k]`: variances, not standard deviations.
        mass: Float tensor m of shape `[e]`, at least 0. Edges of mass 0 are left out. Rounded
            proportions use nothing else of it. None (default) for ones.
        rounded: Boolean, whether the nearest neighbor has the whole value (default `False`).

    Returns:
        Tensor of shape `[e, k]`, whose sum over a node's edges is 1.

    Example:

    ```python
    edges = keras.ops.array([[0, 1], [0, 2], [1, 0], [2, 0]])
    positions, means = keras.random.uniform((3, 2)), keras.random.uniform((3, 2))
    variances = 0.02 * keras.ops.ones((3, 2))
    hyperkeras.ops.neighbor_proportions(edges, positions, means, variances).shape  # (4, 2)
    ```
    """
    i, n = edges[:, 0], ops.shape(positions)[0]
    shares = neighbor_shares(edges, positions, means, sigmas, mass, rounded)
    return shares / at_least(take(sum_at(i, shares, n), i))


def neighbor_shares(
    edges: Tensor,
    positions: Tensor,
    means: Tensor,
    sigmas: Tensor,
    mass: Tensor | None = None,
    rounded: bool = False,
) -> Tensor:
    """What `neighbor_proportions` divides by its sum: `[e, k]`, at most the mass of an edge."""
    i, j = edges[:, 0], edges[:, 1]
    n = ops.shape(positions)[0]
    if rounded:
        logits = -ops.abs(take(positions, j) - take(means, i))  # [e, k]
    else:  # both of a row, which is read once
        precisions = 1 / (-2 * (EPSILON + sigmas))
        of_tuples = take(ops.concatenate([means, precisions], axis=1), i)
        mean, precision = ops.split(of_tuples, 2, axis=1)
        logits = ops.square(take(positions, j) - mean) * precision
    present = None
    if mass is not None:
        present = ops.cast(mass, logits.dtype)[:, None]
        present = ops.cast(present > 0, logits.dtype) if rounded else present
        logits = ops.where(present > 0, logits, IMPOSSIBLE)
    best = take(max_at(i, logits, n), i)
    if rounded:
        shares = ops.cast(logits >= best - TIE, logits.dtype)
    else:
        shares = ops.exp(logits - best)
    return shares if present is None else shares * present


def at_least(whole: Tensor) -> Tensor:
    """A sum of shares, which may be zero, as what can be divided by."""
    return ops.where(whole > 0, whole, 1)  # a least number would be zero in half precision
