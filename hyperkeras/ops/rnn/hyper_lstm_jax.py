"""The HyperLSTM over a whole sequence on JAX, with a derivative written by hand."""

import functools

import jax
import jax.numpy as jnp

from hyperkeras.ops.rnn.fused_loop_jax import (
    Weights,
    before,
    blocks_first,
    by_gate,
    gates_first,
    lstm_step,
    lstm_tangent,
    times,
    times_transposed,
    where_counted,
)


@functools.partial(jax.jit, static_argnames=("forget_bias", "hyper_forget_bias"))
def hyper_lstm(
    x: jax.Array,
    states: tuple[jax.Array, jax.Array, jax.Array, jax.Array],
    weights: Weights,
    forget_bias: float = 1.0,
    hyper_forget_bias: float = 1.0,
    sequences: dict[str, jax.Array] | None = None,
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """`hyper_lstm_step` and the small network's over a sequence, with tanh and logistic function.

    Args:
        x: Input of shape `[t, b, x]`.
        states: `(h, c, hyper_h, hyper_c)`.
        weights: Dict of `large` and `small`, each a dict of `kernel`, `recurrent_kernel`, `bias`
            and with layer norm `norm`, and of the arguments of `hyper_lstm_step` by their names.
        forget_bias: Float, added to the large network's forget gate (default 1).
        hyper_forget_bias: Float, likewise of the small network.
        sequences: Dict that may hold `mask`, booleans of shape `[t, b, 1]`, where False the states
            stay; `noise [t, b, n]` and `hyper_noise [t, b, m]`, factors of tanh(g). No gradient
            passes through them.

    Returns:
        All h `[t, b, n]`, all ĥ `[t, b, m]`, the last c and ĉ.
    """
    return _recurrence(
        (x, tuple(states), weights), sequences or {}, (forget_bias, hyper_forget_bias)
    )


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _recurrence(inputs, sequences, forget_biases):
    return _forward(inputs, sequences, forget_biases, remember=False)[0]


def _forward(inputs, sequences, forget_biases, remember):
    """The outputs and, if asked for, what the derivative needs of all steps."""
    x, states, w = inputs
    large, small = w["large"], w["small"]
    features, n = x.shape[-1], states[0].shape[-1]
    embedding_kernel, embedding_bias, row_kernel = _rows(w)
    from_x = x @ large["kernel"]  # [t, b, 4n]
    hyper_from_x = x @ small["kernel"][:features]  # [t, b, 4m]
    recurrent_kernel = _joined(w, features)
    given = {"from_x": from_x, "hyper_from_x": hyper_from_x, **sequences}

    def step(states, now):
        h, c, hyper_h, hyper_c = states
        both = h @ recurrent_kernel
        from_h, hyper_from_h = gates_first(both[:, : 4 * n]), both[:, 4 * n :]
        hyper_gates = hyper_from_h + hyper_h @ small["recurrent_kernel"] + small["bias"]
        hyper_h, hyper_c, hyper_kept = lstm_step(
            gates_first(now["hyper_from_x"] + hyper_gates),
            hyper_c,
            now.get("hyper_noise"),
            small.get("norm"),
            forget_biases[1],
        )
        z = blocks_first(hyper_h @ embedding_kernel + embedding_bias, 12)
        rows = z @ row_kernel  # [12, b, n]
        gates = rows[:4] * gates_first(now["from_x"]) + rows[4:8] * from_h + rows[8:]
        gates = gates + by_gate(large["bias"])
        h, c, main_kept = lstm_step(gates, c, now.get("noise"), large.get("norm"), forget_biases[0])
        new = where_counted(now.get("mask"), (h, c, hyper_h, hyper_c), states)
        kept = (hyper_h, z, from_h, main_kept, hyper_kept) if remember else None
        return new, (new[0], new[2], kept)

    (_, c, _, hyper_c), (h, hyper_h, kept) = jax.lax.scan(step, states, given)
    return (h, hyper_h, c, hyper_c), (from_x, kept)


@_recurrence.defjvp
def _derivative(forget_biases, primals, tangents):
    (inputs, sequences), ((dx, dstates, dw), _) = primals, tangents
    x, states, w = inputs
    large, small, dlarge, dsmall = w["large"], w["small"], dw["large"], dw["small"]
    features, n = x.shape[-1], states[0].shape[-1]
    outputs, (from_x, kept) = _forward(inputs, sequences, forget_biases, remember=True)
    new_hyper_h, z, from_h, main, hyper = kept
    old_h, old_hyper_h = before(states[0], outputs[0]), before(states[2], outputs[1])
    embedding_kernel, _, row_kernel = _rows(w)
    embedding_kernel = embedding_kernel.T
    dembedding_kernel, dembedding_bias, drow_kernel = _rows(dw)
    recurrent_kernel = _joined(w, features).T
    hyper_kernel = small["recurrent_kernel"].T
    hyper_input = jnp.concatenate([x, old_h], axis=-1)
    given = {
        "main": main,
        "hyper": hyper,
        "z": z,
        "from_x": from_x,
        "from_h": from_h,
        "dfrom_x": dx @ large["kernel"] + times(x, dlarge["kernel"]),
        "dfrom_h": times(old_h, dlarge["recurrent_kernel"]),
        "dhyper": dx @ small["kernel"][:features]
        + times(hyper_input, dsmall["kernel"])
        + times(old_hyper_h, dsmall["recurrent_kernel"])
        + dsmall["bias"],
        "dz": times(new_hyper_h, dembedding_kernel) + dembedding_bias,
        **sequences,
    }

    @functools.partial(jax.checkpoint, prevent_cse=False)
    def step(dstates, now):
        dh, dc, dhyper_h, dhyper_c = dstates
        dboth = times_transposed(dh, recurrent_kernel)
        dfrom_h, dhyper_from_h = jnp.split(dboth, [4 * n], axis=-1)
        dfrom_h = gates_first(now["dfrom_h"] + dfrom_h)
        dgates = dhyper_from_h + times_transposed(dhyper_h, hyper_kernel)
        dhyper_h, dhyper_c = lstm_tangent(
            gates_first(now["dhyper"] + dgates),
            dhyper_c,
            now["hyper"],
            now.get("hyper_noise"),
            small.get("norm"),
            dsmall.get("norm"),
            forget_biases[1],
        )
        dz = blocks_first(now["dz"] + times_transposed(dhyper_h, embedding_kernel), 12)
        drows = jnp.split(dz @ row_kernel + now["z"] @ drow_kernel, 3)
        scales = now["z"] @ row_kernel
        dgates = drows[0] * gates_first(now["from_x"]) + drows[1] * now["from_h"] + drows[2]
        dgates = dgates + by_gate(dlarge["bias"])
        dgates = dgates + scales[:4] * gates_first(now["dfrom_x"])
        dgates = dgates + scales[4:8] * dfrom_h
        dh, dc = lstm_tangent(
            dgates,
            dc,
            now["main"],
            now.get("noise"),
            large.get("norm"),
            dlarge.get("norm"),
            forget_biases[0],
        )
        new = where_counted(now.get("mask"), (dh, dc, dhyper_h, dhyper_c), dstates)
        return new, (new[0], new[2])

    (_, dc, _, dhyper_c), (dh, dhyper_h) = jax.lax.scan(step, dstates, given)
    return outputs, (dh, dhyper_h, dc, dhyper_c)


def _joined(w, features):
    """Kernels of h for the large network beside the small one's: `[n, 4n + 4m]`."""
    return jnp.concatenate(
        [w["large"]["recurrent_kernel"], w["small"]["kernel"][features:]], axis=-1
    )


def _rows(w):
    """Weights that make scales and shifts, joined: 12 rows of which the first 8 have a bias."""
    bias = w["scale_embedding_bias"]
    return (
        jnp.concatenate([w["scale_embedding_kernel"], w["shift_embedding_kernel"]], axis=-1),
        jnp.concatenate([bias, jnp.zeros_like(bias[: bias.shape[0] // 2])]),
        jnp.concatenate([w["scale_kernel"], w["shift_kernel"]], axis=0),
    )
