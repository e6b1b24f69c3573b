"""The HyperRNN that scales rows over a whole sequence on JAX, with a derivative by hand."""

import jax
import jax.numpy as jnp

from hyperkeras.ops.rnn.fused_loop_jax import (
    Weights,
    before,
    blocks_first,
    times_transposed,
    where_counted,
)


@jax.jit
def hyper_rnn(
    x: jax.Array,
    states: tuple[jax.Array, jax.Array],
    weights: Weights,
    sequences: dict[str, jax.Array] | None = None,
) -> tuple[jax.Array, jax.Array]:
    """`hyper_rnn_step` and the small network's over a sequence, with tanh.

    Args:
        x: Input of shape `[t, b, x]`.
        states: `(h, hyper_h)`.
        weights: Dict of the arguments of `hyper_rnn_step` by their names, and of the small
            network's `hyper_kernel [x + n, m]`, `hyper_recurrent_kernel [m, m]` and
            `hyper_bias [m]`.
        sequences: Dict that may hold `mask`, booleans of shape `[t, b, 1]`, where False the states
            stay.

    Returns:
        All h `[t, b, n]`, and all ĥ `[t, b, m]`.
    """
    return _recurrence((x, tuple(states), weights), sequences or {})


@jax.custom_jvp
def _recurrence(inputs, sequences):
    return _forward(inputs, sequences, remember=False)[0]


def _forward(inputs, sequences, remember):
    x, states, w = inputs
    features, n = x.shape[-1], states[0].shape[-1]
    embedding_kernel, embedding_bias, row_kernel = _rows(w)
    of_h = jnp.concatenate([w["recurrent_kernel"], w["hyper_kernel"][features:]], axis=-1)
    from_x = x @ w["kernel"]
    given = {
        "from_x": from_x,
        "hyper_from_x": x @ w["hyper_kernel"][:features] + w["hyper_bias"],
        "mask": sequences.get("mask"),
    }

    def step(states, now):
        h, hyper_h = states
        both = h @ of_h
        from_h, hyper = both[:, :n], now["hyper_from_x"] + both[:, n:]
        hyper_h = jnp.tanh(hyper + hyper_h @ w["hyper_recurrent_kernel"])
        z = blocks_first(hyper_h @ embedding_kernel + embedding_bias, 3)
        scale_x, scale_h, shift = z @ row_kernel
        h = jnp.tanh(scale_x * now["from_x"] + scale_h * from_h + shift + w["bias"])
        new = where_counted(now["mask"], (h, hyper_h), states)
        kept = (h, hyper_h, z, from_h) if remember else None
        return new, (*new, kept)

    _, (h, hyper_h, kept) = jax.lax.scan(step, states, given)
    return (h, hyper_h), (from_x, kept)


@_recurrence.defjvp
def _derivative(primals, tangents):
    (inputs, sequences), ((dx, dstates, dw), _) = primals, tangents
    x, states, w = inputs
    features, n = x.shape[-1], states[0].shape[-1]
    outputs, (from_x, (new_h, new_hyper_h, z, from_h)) = _forward(inputs, sequences, remember=True)
    old_h, old_hyper_h = (before(*pair) for pair in zip(states, outputs, strict=True))
    embedding_kernel, _, row_kernel = _rows(w)
    dembedding_kernel, dembedding_bias, drow_kernel = _rows(dw)
    embedding_kernel, hyper_kernel = embedding_kernel.T, w["hyper_recurrent_kernel"].T
    of_h = jnp.concatenate([w["recurrent_kernel"], w["hyper_kernel"][features:]], axis=-1).T
    scales = jnp.einsum("tybe,yen->ytbn", z[:, :2], row_kernel[:2])
    # What the weights' and the input's tangents give at each step, without those of the states.
    dembedding = new_hyper_h @ dembedding_kernel + dembedding_bias
    drows = jnp.einsum("tybe,yen->ytbn", z, drow_kernel)
    dsum = drows[0] * from_x + drows[1] * from_h + drows[2] + dw["bias"]
    dsum = dsum + scales[0] * (dx @ w["kernel"] + x @ dw["kernel"])
    dhyper = dx @ w["hyper_kernel"][:features] + old_hyper_h @ dw["hyper_recurrent_kernel"]
    dhyper = dhyper + jnp.concatenate([x, old_h], axis=-1) @ dw["hyper_kernel"] + dw["hyper_bias"]
    given = {
        "dsum": dsum + scales[1] * (old_h @ dw["recurrent_kernel"]),
        "dhyper": dhyper,
        "dembedding": dembedding,
        "slope": 1 - new_h * new_h,
        "hyper_slope": 1 - new_hyper_h * new_hyper_h,
        "from_x": from_x,
        "from_h": from_h,
        "scale_h": scales[1],
        "mask": sequences.get("mask"),
    }

    def step(dstates, now):
        dh, dhyper_h = dstates
        dboth = times_transposed(dh, of_h)
        dfrom_h, dhyper = jnp.split(dboth, [n], axis=-1)
        dhyper = now["dhyper"] + dhyper + times_transposed(dhyper_h, hyper_kernel)
        dhyper_h = now["hyper_slope"] * dhyper
        dz = now["dembedding"] + times_transposed(dhyper_h, embedding_kernel)
        drow_x, drow_h, dshift = blocks_first(dz, 3) @ row_kernel
        dsum = now["dsum"] + now["scale_h"] * dfrom_h + dshift
        dsum = dsum + drow_x * now["from_x"] + drow_h * now["from_h"]
        new = where_counted(now["mask"], (now["slope"] * dsum, dhyper_h), dstates)
        return new, new

    _, doutputs = jax.lax.scan(step, dstates, given)
    return outputs, doutputs


def _rows(w):
    """Weights that make two scales and a shift, joined: the shift has no bias."""
    bias = w["scale_embedding_bias"]
    return (
        jnp.concatenate([w["scale_embedding_kernel"], w["shift_embedding_kernel"]], axis=-1),
        jnp.concatenate([bias, jnp.zeros_like(bias[: bias.shape[0] // 2])]),
        jnp.concatenate([w["scale_kernel"], w["shift_kernel"]], axis=0),
    )
