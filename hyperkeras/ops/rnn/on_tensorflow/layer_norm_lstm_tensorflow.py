"""The layer-norm LSTM over a whole sequence, compiled by XLA, with a gradient written by hand.

As in `hyper_lstm_tensorflow`: products with the input before the loop, those of the weights'
gradients after it.
"""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from hyperkeras.ops.rnn.on_tensorflow.chunked_loop_tensorflow import ChunkedRecurrence
from hyperkeras.ops.rnn.on_tensorflow.fused_loop_tensorflow import (
    before,
    gates_first,
    gates_last,
    lstm_backward,
    lstm_forward,
    lstm_zeros,
    over_samples,
    pass_masked,
    product,
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
    h, _, c = _recurrence((x, tuple(states), weights), options, remember)
    return h, c


class _LayerNormLSTM(ChunkedRecurrence):
    returned = ("h",)

    def constants(self, w, scalars):
        return {name: w[name] for name in w if name != "kernel"} | {
            "kernel": w["kernel"],
            "forget_bias": scalars,
        }

    def from_input(self, constants, x):
        return {"from_x": gates_first(tf.matmul(x, constants["kernel"]) + constants["bias"])}

    def step(self, constants, states, now, remember):
        h, c = states
        gates = now["from_x"] + gates_first(tf.matmul(h, constants["recurrent_kernel"]))
        norm, forget_bias = constants.get("norm"), constants["forget_bias"]
        new_h, new_c, memory = lstm_forward(gates, c, now.get("noise"), norm, forget_bias)
        states = unmasked((new_h, new_c), states, now)
        return states, {"h": states[0]} | (memory if remember else {})

    def constants_back(self, w):
        transposed = transposed_by_gate(w["recurrent_kernel"])
        return {"recurrent_kernel": transposed} | {k: w[k] for k in w if k == "norm"}

    def step_back(self, constants, dstates, now):
        whole = (dstates[0] + now["dh"], dstates[1])
        dh, dc = unmasked(whole, [tf.zeros_like(d) for d in whole], now)
        dpre, dc_old, dvectors = lstm_backward(dh, dc, now, constants.get("norm"))
        dh_old = tf.reduce_sum(tf.matmul(dpre, constants["recurrent_kernel"]), axis=0)
        return pass_masked((dh_old, dc_old), whole, now), dvectors, {"pre": dpre}

    def zero_sums(self, w, states):
        return lstm_zeros(states[0], w.get("norm"))

    def products(self, w, x, first, memory, d):
        dpre = gates_last(d["pre"])
        old_h = before(first[0], memory["h"])
        dw = {"kernel": product(x, dpre), "recurrent_kernel": product(old_h, dpre)}
        return tf.matmul(dpre, w["kernel"], transpose_b=True), dw

    def gradients(self, _w, products, sums):
        return products | over_samples(sums)


_recurrence = _LayerNormLSTM()
