"""Messages along the edges of a computational graph."""

from collections.abc import Callable, Sequence

import keras
from keras import ops

from hyperkeras.annotations import Tensor


def path_weights(distances: Tensor, limit: int = 50, dtype: str | None = None) -> Tensor:
    r"""Weights of virtual edges - Knyazev et al. 2021, equation 4.

    .. math:: w_{uv} = 1 / s_{uv} \text{ if } 1 \le s_{uv} \le \mathrm{limit}, \text{ else } 0

    As in the authors' code, edges of the graph, for which s = 1, count as virtual ones too.

    Args:
        distances: Integer tensor `[..., n, n]`, the number s of edges on the shortest path from u
            to v; 0 where there is none.
        limit: Integer, the longest path that counts (default 50).
        dtype: String, the type of the weights; None (default) for `keras.config.floatx()`.

    Returns:
        Tensor of floats `[..., n, n]`.

    Example:

    ```python
    hyperkeras.ops.path_weights(np.array([[0, 1, 2], [0, 0, 1], [0, 0, 0]]))[0]  # [0, 1, 0.5]
    ```
    """
    distances = ops.convert_to_tensor(distances)
    lengths = ops.cast(ops.maximum(distances, 1), dtype or keras.config.floatx())
    near = ops.logical_and(distances >= 1, distances <= limit)
    return ops.where(near, 1.0 / lengths, ops.zeros_like(lengths))


def gated_sweep(
    nodes: Tensor,
    edges: Sequence[tuple[Tensor, Callable[[Tensor], Tensor]]],
    update: Callable[[Tensor, Tensor], Tensor],
    reverse: bool = False,
) -> Tensor:
    r"""One sweep of messages over nodes in their order - Zhang et al. 2019, equations 3 and 4.

    .. math:: m_v = \sum_j \sum_u w^j_{uv} \, \mathrm{message}_j(h_u), \qquad
       h_v \leftarrow \mathrm{update}(m_v, h_v)

    Nodes are visited one after the other, so that u sends what it has after its own update. A
    node hears only from nodes visited before.

    Args:
        nodes: Tensor h `[g, n, d]` of nodes in topological order.
        edges: Sequence of pairs: weights w `[g, n, n]` of edges from u to v, and a function
            `message` that maps `[g, d]` to `[g, d]`.
        update: Function of a sum of messages and of a node, `[g, d]` each, that returns the node's
            new features `[g, d]`.
        reverse: Boolean, whether the sweep runs from the last node to the first, against the edges
            (default `False`).

    Returns:
        Tensor `[g, n, d]`.

    Example:

    ```python
    chain = np.array([[[0.0, 1, 0], [0, 0, 1], [0, 0, 0]]])  # 0 → 1 → 2
    h = np.array([[[1.0], [0], [0]]])
    swept = hyperkeras.ops.gated_sweep(h, [(chain, lambda h: h)], lambda m, h: m + h)
    swept[0, :, 0]  # [1, 1, 1]
    ```
    """
    nodes = ops.convert_to_tensor(nodes)
    count = nodes.shape[1] if nodes.shape[1] is not None else ops.shape(nodes)[1]
    by_node = ops.transpose(nodes, (1, 0, 2))  # [n, g, d]
    # What reaches v: a row for each v, [n, g, n].
    axes = (1, 0, 2) if reverse else (2, 0, 1)
    incoming = [ops.transpose(ops.cast(w, nodes.dtype), axes) for w, _ in edges]

    def visit(i, state):
        h, *sent = state
        v = count - 1 - i if reverse else i
        total = sum(
            ops.sum(w[v][:, :, None] * messages, axis=1)
            for w, messages in zip(incoming, sent, strict=True)
        )
        old = h[v]
        new = update(total, old)
        here = ops.cast(ops.equal(ops.arange(count), v), nodes.dtype)  # [n]
        h = h + here[:, None, None] * (new - old)
        sent = [
            messages + here[:, None] * message(new)[:, None, :]
            for messages, (_, message) in zip(sent, edges, strict=True)
        ]
        return (h, *sent)

    start = (by_node, *(ops.zeros_like(nodes) for _ in edges))
    return ops.transpose(_repeat(count, visit, start)[0], (1, 0, 2))


def _repeat(count, step, state):
    """`state = step(i, state)` for i from 0 to `count`, with gradients."""
    if keras.backend.backend() == "jax":  # where a `while_loop` has none
        return ops.fori_loop(0, count, step, state)
    # XLA needs to know how much the gradient has to keep.
    return ops.while_loop(
        lambda i, *_: i < count,
        lambda i, *state: (i + 1, *step(i, state)),
        (0, *state),
        maximum_iterations=count,
    )[1:]
