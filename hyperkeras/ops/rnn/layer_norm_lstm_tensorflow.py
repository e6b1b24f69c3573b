"""The layer-norm LSTM over a whole sequence, compiled by XLA, with a gradient written by hand.

As in `hyper_lstm_tensorflow`: products with the input before the loop, those of the weights'
gradients after it.
"""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from hyperkeras.ops.rnn.fused_loop_tensorflow import (
    CompiledRecurrence,
    before,
    gates_first,
    gates_last,
    lstm_backward,
    lstm_factors,
    lstm_forward,
    lstm_zeros,
    over_samples,
    pass_masked,
    product,
    scan,
    transposed_by_gate,
    unmasked,
)


def layer_norm_lstm(
    x: tf.Tensor,
    states: Sequence[tf.Tensor],
    weights: dict[str, Any],
    forget_bias: float = 1.0,
    sequences: dict[str, tf.Tensor] | None = None,
    remember: bool = True,
) -> tuple[tf.Tensor, tf.Tensor]:
    """`layer_norm_lstm_step` over a sequence, with tanh and the logistic function.

    Args:
        x: Input of shape `[t, b, x]`.
        states: `(h, c)`.
        weights: Dict of `kernel`, `recurrent_kernel`, `bias` and with layer norm `norm`, by the
            names of `layer_norm_lstm_step`.
        forget_bias: Float.
        sequences: Dict that may hold `mask`, booleans of shape `[t, b, 1]`, where False the states
            stay, and `noise [t, b, n]`, factors of tanh(g).
        remember: Boolean, whether to keep for the gradient what it needs, rather than to compute
            it again.

    Returns:
        All h `[t, b, n]`, and the last c.
    """
    options = (tf.constant(forget_bias, x.dtype), sequences or {})
    return _recurrence((x, tuple(states), weights), options, remember)


def _forward(inputs, options, remember, steps=None):
    x, states, w = inputs
    forget_bias, sequences = options
    from_x = gates_first(tf.matmul(x, w["kernel"]) + w["bias"])

    def step(states, now):
        h, c = states
        gates = now["from_x"] + gates_first(tf.matmul(h, w["recurrent_kernel"]))
        h, c, memory = lstm_forward(gates, c, now.get("noise"), w.get("norm"), forget_bias)
        states = unmasked((h, c), states, now)
        return states, {"h": states[0], "c": states[1]} | (memory if remember else {})

    (_, c), memory = scan(step, states, {"from_x": from_x, **sequences}, steps=steps)
    return (memory["h"], c), memory if remember else {}


def _backward(inputs, options, memory, upstream, steps=None):
    x, (h, c), w = inputs
    _, sequences = options
    norm = w.get("norm")
    transposed = transposed_by_gate(w["recurrent_kernel"])
    dh_all, dc = upstream
    given = lstm_factors(memory, before(c, memory["c"]), sequences.get("noise")) | {"dh": dh_all}
    if "mask" in sequences:
        given["mask"] = sequences["mask"]

    def step(carry, now):
        (dh, dc), sums = carry
        whole = (dh + now["dh"], dc)
        dh, dc = unmasked(whole, [tf.zeros_like(d) for d in whole], now)
        dpre, dc_old, dvectors = lstm_backward(dh, dc, now, norm)
        dh_old = tf.reduce_sum(tf.matmul(dpre, transposed), axis=0)
        sums = tf.nest.map_structure(tf.add, sums, dvectors)
        return (pass_masked((dh_old, dc_old), whole, now), sums), {"dpre": dpre}

    start = ((tf.zeros_like(h), dc), lstm_zeros(h, norm))
    (dstates, sums), d = scan(step, start, given, reverse=True, steps=steps)
    dproduct = gates_last(d["dpre"])
    dw = {
        "kernel": product(x, dproduct),
        "recurrent_kernel": product(before(h, memory["h"]), dproduct),
        **over_samples(sums),
    }
    return tf.matmul(dproduct, w["kernel"], transpose_b=True), dstates, dw


_recurrence = CompiledRecurrence(_forward, _backward)
