"""What the fast recurrent paths share: an LSTM's step and its gradient, layer norm and masks.

What belongs to a step is traced into functions that XLA compiles. Gates come first: `[4, b, n]`.
"""

from typing import Any

import tensorflow as tf

from hyperkeras.annotations import Tensor

EPSILON = 1e-3


def lstm_forward(
    gates: Tensor, c: Tensor, noise: Tensor | None, norm: Any, forget_bias: float
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """h', c' and what the gradient needs, from the gates `[4, b, n]` before their layer norm.

    Those are factors of what is on its way back. What is not used costs nothing: XLA drops it.
    """
    memory = {}
    if norm is not None:
        gates, memory["unit"], memory["deviation"] = normalize(
            gates, by_gate(norm[0]), by_gate(norm[1])
        )
    # The logistic function by tanh, so that all gates are one operation.
    scale = tf.constant([0.5, 0.5, 1.0, 0.5], gates.dtype)[:, None, None]
    bias = forget_bias * tf.constant([0.0, 1.0, 0.0, 0.0], gates.dtype)[:, None, None]
    gates = scale * tf.tanh(scale * (gates + bias)) + (1 - scale)
    i, f, g, o = tf.unstack(gates)
    into, added = (i, g) if noise is None else (i * noise, g * noise)
    slopes = (added * i * (1 - i), c * f * (1 - f), into * (1 - g * g))
    c = f * c + i * added
    seen = c
    if norm is not None:
        seen, memory["cell_unit"], memory["cell_deviation"] = normalize(c, norm[2], norm[3])
    seen = tf.tanh(seen)
    memory["to_gates"] = tf.stack([*slopes, seen * o * (1 - o)])
    memory["to_seen"], memory["to_c"] = o * (1 - seen * seen), f
    return o * seen, c, memory


def lstm_backward(dh: Tensor, dc: Tensor, factors: dict[str, Tensor], norm: Any) -> tuple[Any, ...]:
    """From the gradients of h' and c': of the gates before layer norm, of c, and of the vectors.

    The last are a dict of `bias` and with layer norm `norm`, each sample's apart: `[4, b, n]` for
    the gates, `[b, n]` for the cell.
    """
    dseen = dh * factors["to_seen"]
    dnorm: tuple[Any, ...] = ()
    if norm is not None:
        dnorm = (dseen * factors["cell_unit"], dseen)
        dseen = normalize_backward(dseen * norm[2], factors["cell_unit"], factors["cell_deviation"])
    dc = dc + dseen
    # The gradient that reaches each gate: of c' for i, f and g, of h' for o.
    reached = tf.where(tf.constant([False, False, False, True])[:, None, None], dh, dc)
    dpre = factors["to_gates"] * reached
    if norm is None:
        return dpre, dc * factors["to_c"], {"bias": dpre}
    dnorm = (dpre * factors["unit"], dpre, *dnorm)
    dpre = normalize_backward(dpre * by_gate(norm[0]), factors["unit"], factors["deviation"])
    return dpre, dc * factors["to_c"], {"bias": dpre, "norm": dnorm}


def lstm_zeros(h: Tensor, norm: Any) -> Any:
    """Where to sum the vectors' gradients of `lstm_backward`."""
    zeros, gates = tf.zeros_like(h), tf.zeros_like(tf.stack([h] * 4))
    return {"bias": gates} | ({} if norm is None else {"norm": (gates, gates, zeros, zeros)})


def over_samples(sums: Any) -> Any:
    """Vectors, the gates' joined, from sums `[4, b, n]` or `[b, n]`."""
    return tf.nest.map_structure(lambda d: tf.reshape(tf.reduce_sum(d, axis=-2), (-1,)), sums)


def unmasked(new: Any, old: Any, now: dict[str, Tensor]) -> Any:
    """The new states where the step counts, else the old ones."""
    if "mask" not in now:
        return tuple(new)
    return tuple(tf.where(now["mask"], a, b) for a, b in zip(new, old, strict=True))


def pass_masked(through: Any, whole: Any, now: dict[str, Tensor]) -> Any:
    """Gradients of the states: what came through the step, and past it where it did not count."""
    if "mask" not in now:
        return tuple(through)
    past = unmasked([tf.zeros_like(d) for d in whole], whole, now)
    return tuple(a + b for a, b in zip(through, past, strict=True))


def normalize(x: Tensor, gamma: Tensor, beta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Layer norm over the last axis; also the normalized x, and its deviation.

    XLA computes a sum or a product again in each operation that takes it, a quotient once.
    """
    x = x - tf.reduce_mean(x, axis=-1, keepdims=True)
    deviation = tf.sqrt(tf.reduce_mean(x * x, axis=-1, keepdims=True) + EPSILON)
    unit = x / deviation
    return gamma * unit + beta, unit, deviation


def normalize_backward(dunit: Tensor, unit: Tensor, deviation: Tensor) -> Tensor:
    """Gradient of a normalization for its input, from that for its result `unit`."""
    mean = tf.reduce_mean(dunit, axis=-1, keepdims=True)
    along = tf.reduce_mean(dunit * unit, axis=-1, keepdims=True)
    return (dunit - mean - unit * along) / deviation


def before(first: Tensor, stack: Tensor) -> Tensor:
    """States before each step, from the first one and those after each."""
    return tf.concat([first[None], stack[:-1]], axis=0)


def by_gate(vector: Tensor) -> Tensor:
    """`[4n]` as `[4, 1, n]`."""
    return tf.reshape(vector, (4, 1, -1))


def gates_first(x: Tensor) -> Tensor:
    """`[..., b, 4n]` as `[..., 4, b, n]`."""
    x = tf.reshape(x, tf.concat([tf.shape(x)[:-1], [4, x.shape[-1] // 4]], axis=0))
    rank = len(x.shape)
    return tf.transpose(x, [*range(rank - 3), rank - 2, rank - 3, rank - 1])


def gates_last(x: Tensor) -> Tensor:
    """`[t, 4, b, n]` as `[t, b, 4n]`."""
    t, _, b, _ = tf.unstack(tf.shape(x))
    return tf.reshape(tf.transpose(x, (0, 2, 1, 3)), (t, b, 4 * x.shape[-1]))


def transposed_by_gate(kernel: Tensor) -> Tensor:
    """`[p, 4n]` as `[4, n, p]`: what gates' gradients are multiplied by."""
    return tf.transpose(tf.reshape(kernel, (kernel.shape[0], 4, -1)), (1, 2, 0))


def product(a: Tensor, b: Tensor) -> Tensor:
    """Of matrices whose rows are all steps and samples: `[t, b, p]` and `[t, b, q]` to `[p, q]`."""
    return tf.matmul(
        tf.reshape(a, (-1, a.shape[-1])), tf.reshape(b, (-1, b.shape[-1])), transpose_a=True
    )
