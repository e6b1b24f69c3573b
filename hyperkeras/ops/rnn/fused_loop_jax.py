"""What the fast recurrent paths on JAX share: an LSTM's step, its derivative, masks.

A recurrence is a `jax.custom_jvp`: its derivative is a second scan, linear in the tangents, which
JAX transposes into the gradient. So gradients, `jvp` and derivatives of derivatives are all exact.
The products of tangents with weights stand before that scan, those of the weights' gradients
after its transpose. Gates come first: `[4, b, n]`. Little is kept of a step, since on a CPU fresh
memory costs more than tanh: `jax.checkpoint` has the derivative's step work out the rest again.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from hyperkeras.ops.rnn.layer_norm_lstm import EPSILON

Weights = dict[str, Any]


class Normalized(NamedTuple):
    """A layer norm's result before gain and offset, and the deviation it was divided by."""

    unit: jax.Array
    deviation: jax.Array | None


class Kept(NamedTuple):
    """What the derivative needs of a step: its gates after layer norm, the c it began with."""

    gates: Normalized  # [4, b, n], without layer norm as they are
    c: jax.Array  # [b, n]


class Factors(NamedTuple):
    """What a step's derivative multiplies tangents by; the last only with layer norm."""

    to_gates: jax.Array  # [4, b, n]
    to_seen: jax.Array  # [b, n]
    forget: jax.Array
    cell_normalized: Normalized | None


def normalize(x: jax.Array) -> Normalized:
    """Layer norm over the last axis, without gain and offset."""
    x = x - jnp.mean(x, axis=-1, keepdims=True)
    deviation = jnp.sqrt(jnp.mean(x * x, axis=-1, keepdims=True) + EPSILON)
    return Normalized(x / deviation, deviation)


def normalize_tangent(dx: jax.Array, at: Normalized) -> jax.Array:
    """The tangent of `Normalized.unit`. This linear map is its own transpose."""
    along = jnp.mean(dx * at.unit, axis=-1, keepdims=True)
    return (dx - jnp.mean(dx, axis=-1, keepdims=True) - at.unit * along) / at.deviation


def by_gate(vector: jax.Array) -> jax.Array:
    """`[4n]` as `[4, 1, n]`."""
    return vector.reshape(4, 1, -1)


def gates_first(x: jax.Array) -> jax.Array:
    """`[..., b, 4n]` as `[..., 4, b, n]`."""
    return blocks_first(x, 4)


def blocks_first(x: jax.Array, count: int) -> jax.Array:
    """`[..., b, count n]` as `[..., count, b, n]`."""
    return x.reshape(*x.shape[:-1], count, x.shape[-1] // count).swapaxes(-3, -2)


def times(x: jax.Array, w: jax.Array) -> jax.Array:
    """`x @ w` as a product of matrices: XLA then takes its gradient without copies."""
    return (x.reshape(-1, x.shape[-1]) @ w).reshape(*x.shape[:-1], w.shape[-1])


def times_transposed(x: jax.Array, transposed: jax.Array) -> jax.Array:
    """`x` times the transpose of the second: the gradient's product is then a plain one."""
    return jax.lax.dot_general(x, transposed, (((1,), (1,)), ((), ())))


def lstm_step(
    gates: jax.Array, c: jax.Array, noise: jax.Array | None, norm: Any, forget_bias: float
) -> tuple[jax.Array, jax.Array, Kept]:
    """h', c' and what the derivative needs, from the gates `[4, b, n]` before their layer norm."""
    kept = Kept(Normalized(gates, None) if norm is None else normalize(gates), c)
    h, c, _ = _from_kept(kept, noise, norm, forget_bias)
    return h, c, kept


def _from_kept(kept, noise, norm, forget_bias):
    """h', c' and the factors of the derivative. What is not used costs nothing: XLA drops it."""
    (gates, _), c = kept
    if norm is not None:
        gates = by_gate(norm[0]) * gates + by_gate(norm[1])
    # The logistic function by tanh, so that all gates are one operation.
    scale = jnp.array([0.5, 0.5, 1.0, 0.5], gates.dtype)[:, None, None]
    bias = jnp.array([0.0, forget_bias, 0.0, 0.0], gates.dtype)[:, None, None]
    gates = scale * jnp.tanh(scale * (gates + bias)) + (1 - scale)
    i, f, g, o = gates
    into, added = (i, g) if noise is None else (i * noise, g * noise)
    slopes = (added * i * (1 - i), c * f * (1 - f), into * (1 - g * g))
    c = f * c + i * added
    seen, cell_normalized = c, None
    if norm is not None:
        cell_normalized = normalize(c)
        seen = norm[2] * cell_normalized.unit + norm[3]
    seen = jnp.tanh(seen)
    to_gates, to_seen = jnp.stack([*slopes, seen * o * (1 - o)]), o * (1 - seen * seen)
    return o * seen, c, Factors(to_gates, to_seen, f, cell_normalized)


def lstm_tangent(
    dgates: jax.Array,
    dc: jax.Array,
    kept: Kept,
    noise: jax.Array | None,
    norm: Any,
    dnorm: Any,
    forget_bias: float,
) -> tuple[jax.Array, jax.Array]:
    """The tangents of h' and c', from those of the gates before layer norm, of c and of norm."""
    now = _from_kept(kept, noise, norm, forget_bias)[2]
    if norm is not None:
        dunit = normalize_tangent(dgates, kept.gates)
        dgates = by_gate(norm[0]) * dunit + by_gate(dnorm[0]) * kept.gates.unit
        dgates = dgates + by_gate(dnorm[1])
    dgates = now.to_gates * dgates
    # Sums instead of slices, whose gradients JAX would pad.
    to_c = jnp.array([1, 1, 1, 0], dgates.dtype)[:, None, None]
    dc = now.forget * dc + jnp.sum(to_c * dgates, axis=0)
    dseen = dc
    if now.cell_normalized is not None:
        dunit = normalize_tangent(dc, now.cell_normalized)
        dseen = norm[2] * dunit + dnorm[2] * now.cell_normalized.unit + dnorm[3]
    return now.to_seen * dseen + jnp.sum((1 - to_c) * dgates, axis=0), dc


def where_counted(mask: jax.Array | None, new: Any, old: Any) -> Any:
    """The new states where the step counts, else the old ones."""
    if mask is None:
        return new
    return jax.tree.map(lambda a, b: jnp.where(mask, a, b), new, old)


def before(first: jax.Array, stack: jax.Array) -> jax.Array:
    """States before each step, from the first one and those after each."""
    return jnp.concatenate([first[None], stack[:-1]], axis=0)
