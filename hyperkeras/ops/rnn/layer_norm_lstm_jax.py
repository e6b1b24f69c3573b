"""The layer-norm LSTM over a whole sequence on JAX, with a derivative written by hand."""

import functools

import jax

from hyperkeras.ops.rnn.fused_loop_jax import (
    Weights,
    before,
    gates_first,
    lstm_step,
    lstm_tangent,
    times,
    times_transposed,
    where_counted,
)


@functools.partial(jax.jit, static_argnames="forget_bias")
def layer_norm_lstm(
    x: jax.Array,
    states: tuple[jax.Array, jax.Array],
    weights: Weights,
    forget_bias: float = 1.0,
    sequences: dict[str, jax.Array] | None = None,
) -> tuple[jax.Array, jax.Array]:
    """`layer_norm_lstm_step` over a sequence, with tanh and the logistic function.

    Args:
        x: Input of shape `[t, b, x]`.
        states: `(h, c)`.
        weights: Dict of `kernel`, `recurrent_kernel`, `bias` and with layer norm `norm`, by the
            names of `layer_norm_lstm_step`.
        forget_bias: Float (default 1).
        sequences: Dict that may hold `mask`, booleans of shape `[t, b, 1]`, where False the states
            stay, and `noise [t, b, n]`, factors of tanh(g). No gradient passes through them.

    Returns:
        All h `[t, b, n]`, and the last c.
    """
    return _recurrence((x, states, weights), sequences or {}, forget_bias)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _recurrence(inputs, sequences, forget_bias):
    return _forward(inputs, sequences, forget_bias, remember=False)[0]


def _forward(inputs, sequences, forget_bias, remember):
    x, states, w = inputs
    from_x = x @ w["kernel"]  # [t, b, 4n]

    def step(states, now):
        h, c = states
        gates = gates_first(now["from_x"] + h @ w["recurrent_kernel"] + w["bias"])
        h, c, kept = lstm_step(gates, c, now.get("noise"), w.get("norm"), forget_bias)
        states = where_counted(now.get("mask"), (h, c), states)
        return states, (states[0], kept if remember else None)

    (_, c), (h, kept) = jax.lax.scan(step, states, {"from_x": from_x, **sequences})
    return (h, c), kept


@_recurrence.defjvp
def _derivative(forget_bias, primals, tangents):
    (inputs, sequences), ((dx, dstates, dw), _) = primals, tangents
    x, (h, _), w = inputs
    outputs, kept = _forward(inputs, sequences, forget_bias, remember=True)
    old_h, transposed = before(h, outputs[0]), w["recurrent_kernel"].T
    dfrom = dx @ w["kernel"] + times(x, dw["kernel"]) + dw["bias"]
    dfrom = dfrom + times(old_h, dw["recurrent_kernel"])

    @functools.partial(jax.checkpoint, prevent_cse=False)
    def step(dstates, now):
        dfrom, kept, noise, mask = now
        dh, dc = dstates
        dgates = gates_first(dfrom + times_transposed(dh, transposed))
        new = lstm_tangent(dgates, dc, kept, noise, w.get("norm"), dw.get("norm"), forget_bias)
        new = where_counted(mask, new, dstates)
        return new, new[0]

    given = (dfrom, kept, sequences.get("noise"), sequences.get("mask"))
    (_, dc), dh = jax.lax.scan(step, dstates, given)
    return outputs, (dh, dc)
