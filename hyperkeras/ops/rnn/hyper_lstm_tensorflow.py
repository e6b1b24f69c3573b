"""The HyperLSTM over a whole sequence, compiled by XLA, with a gradient written by hand.

The products with the input are taken for all steps before the loop, those with h for both networks
at once. The loop backwards carries the gradients of the states and sums those of vectors and of
what makes the rows; those of the other weights are one product over all steps after it. Backwards,
each gate has a product of its own, with a kernel transposed before the loop.
"""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from hyperkeras.ops.rnn.fused_loop_tensorflow import (
    CompiledRecurrence,
    before,
    by_gate,
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


def hyper_lstm(
    x: tf.Tensor,
    states: Sequence[tf.Tensor],
    weights: dict[str, Any],
    forget_bias: float = 1.0,
    hyper_forget_bias: float = 1.0,
    sequences: dict[str, tf.Tensor] | None = None,
    remember: bool = True,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """`hyper_lstm_step` and the small network's over a sequence, with tanh and logistic function.

    Args:
        x: Input of shape `[t, b, x]`.
        states: `(h, c, hyper_h, hyper_c)`.
        weights: Dict of `large` and `small`, each a dict of `kernel`, `recurrent_kernel`, `bias`
            and with layer norm `norm`, and of the arguments of `hyper_lstm_step` by their names.
        forget_bias: Float, added to the large network's forget gate (default 1).
        hyper_forget_bias: Float, likewise of the small network.
        sequences: Dict that may hold `mask`, booleans of shape `[t, b, 1]`, where False the states
            stay; `noise [t, b, n]` and `hyper_noise [t, b, m]`, factors of tanh(g).
        remember: Boolean, whether to keep for the gradient what it needs, rather than to compute
            it again.

    Returns:
        All h `[t, b, n]`, all ĥ `[t, b, m]`, the last c and ĉ.
    """
    biases = tuple(tf.constant(bias, x.dtype) for bias in (forget_bias, hyper_forget_bias))
    return _recurrence((x, tuple(states), weights), (biases, sequences or {}), remember)


def _forward(inputs, options, remember, steps=None):
    x, states, w = inputs
    (forget_bias, hyper_forget_bias), sequences = options
    large, small = w["large"], w["small"]
    n, e = large["recurrent_kernel"].shape[0], w["scale_kernel"].shape[1]
    kernel, recurrent_kernel = _joined(w, x.shape[-1])
    from_x = gates_first(tf.matmul(x, kernel))  # [t, 4, b, n + m]
    given = {
        "from_x": from_x[..., :n],
        "hyper_from_x": from_x[..., n:] + by_gate(small["bias"]),
        **sequences,
    }
    embedding_kernel, embedding_bias, row_kernel = _rows(w)
    bias = by_gate(large["bias"])

    def step(states, now):
        h, c, hyper_h, hyper_c = states
        from_h = gates_first(tf.matmul(h, recurrent_kernel))  # [4, b, n + m]
        from_hyper_h = gates_first(tf.matmul(hyper_h, small["recurrent_kernel"]))
        hyper_gates = now["hyper_from_x"] + from_h[..., n:] + from_hyper_h
        hyper = lstm_forward(
            hyper_gates, hyper_c, now.get("hyper_noise"), small.get("norm"), hyper_forget_bias
        )
        z = tf.matmul(hyper[0], embedding_kernel) + embedding_bias  # [b, 12e]
        z = tf.transpose(tf.reshape(z, (-1, 12, e)), (1, 0, 2))
        rows = tf.matmul(z, row_kernel)  # [12, b, n]
        from_h = from_h[..., :n]
        gates = rows[:4] * now["from_x"] + rows[4:8] * from_h + (rows[8:] + bias)
        main = lstm_forward(gates, c, now.get("noise"), large.get("norm"), forget_bias)
        new = unmasked((*main[:2], *hyper[:2]), states, now)
        outputs = dict(zip(("h", "c", "hyper_h", "hyper_c"), new, strict=True))
        if remember:
            outputs |= {"z": z, "from_h": from_h, "new_hyper_h": hyper[0]}
            outputs |= {f"main_{name}": value for name, value in main[2].items()}
            outputs |= {f"hyper_{name}": value for name, value in hyper[2].items()}
        return new, outputs

    (_, c, _, hyper_c), memory = scan(step, states, given, steps=steps)
    outputs = (memory["h"], memory["hyper_h"], c, hyper_c)
    return outputs, memory | {"from_x": given["from_x"]} if remember else {}


def _backward(inputs, options, memory, upstream, steps=None):
    x, states, w = inputs
    _, sequences = options
    large, small = w["large"], w["small"]
    e = w["scale_kernel"].shape[1]
    recurrent_kernel = transposed_by_gate(large["recurrent_kernel"])
    hyper_kernel = transposed_by_gate(small["kernel"][x.shape[-1] :])
    hyper_recurrent_kernel = transposed_by_gate(small["recurrent_kernel"])
    embedding_kernel, _, row_kernel = _rows(w)
    old = {
        name: before(state, memory[name])
        for name, state in zip(("h", "c", "hyper_h", "hyper_c"), states, strict=True)
    }
    main = lstm_factors(_part(memory, "main_"), old["c"], sequences.get("noise"))
    hyper = lstm_factors(_part(memory, "hyper_"), old["hyper_c"], sequences.get("hyper_noise"))
    dh_all, dhyper_h_all, dc, dhyper_c = upstream
    given = {"dh": dh_all, "dhyper_h": dhyper_h_all}
    given |= {name: memory[name] for name in ("from_x", "from_h", "z")}
    given |= {f"main_{name}": value for name, value in main.items()}
    given |= {f"hyper_{name}": value for name, value in hyper.items()}
    if "mask" in sequences:
        given["mask"] = sequences["mask"]

    def step(carry, now):
        states, sums = carry
        whole = (states[0] + now["dh"], states[1], states[2] + now["dhyper_h"], states[3])
        dh, dc, dhyper_h, dhyper_c = unmasked(whole, [tf.zeros_like(d) for d in whole], now)
        dpre, dc_old, dvectors = lstm_backward(dh, dc, _part(now, "main_"), large.get("norm"))
        scales = tf.matmul(now["z"][:8], row_kernel[:8])
        dfrom_x, dfrom_h = dpre * scales[:4], dpre * scales[4:]
        drows = tf.concat([dpre * now["from_x"], dpre * now["from_h"], dpre], axis=0)
        drow_kernel = tf.matmul(now["z"], drows, transpose_a=True)
        dz = tf.matmul(drows, row_kernel, transpose_b=True)  # [12, b, e]
        dz = tf.reshape(tf.transpose(dz, (1, 0, 2)), (-1, 12 * e))
        dhyper_h += tf.matmul(dz, embedding_kernel, transpose_b=True)
        dhyper_pre, dhyper_c_old, dhyper_vectors = lstm_backward(
            dhyper_h, dhyper_c, _part(now, "hyper_"), small.get("norm")
        )
        dh_old = tf.matmul(dfrom_h, recurrent_kernel) + tf.matmul(dhyper_pre, hyper_kernel)
        dh_old = tf.reduce_sum(dh_old, axis=0)
        dhyper_h_old = tf.reduce_sum(tf.matmul(dhyper_pre, hyper_recurrent_kernel), axis=0)
        sums = tf.nest.map_structure(tf.add, sums, (dvectors, dhyper_vectors, drow_kernel))
        states = pass_masked((dh_old, dc_old, dhyper_h_old, dhyper_c_old), whole, now)
        outputs = {"from_x": dfrom_x, "from_h": dfrom_h, "hyper_pre": dhyper_pre, "z": dz}
        return (states, sums), outputs

    start = (
        (tf.zeros_like(states[0]), dc, tf.zeros_like(states[2]), dhyper_c),
        (
            lstm_zeros(states[0], large.get("norm")),
            lstm_zeros(states[2], small.get("norm")),
            tf.zeros_like(row_kernel),
        ),
    )
    (dstates, (dvectors, dhyper_vectors, drow_kernel)), d = scan(
        step, start, given, reverse=True, steps=steps
    )
    dfrom_x, dfrom_h, dhyper = (gates_last(d[k]) for k in ("from_x", "from_h", "hyper_pre"))
    dembedding = product(memory["new_hyper_h"], d["z"])
    dw = {
        "large": {
            "kernel": product(x, dfrom_x),
            "recurrent_kernel": product(old["h"], dfrom_h),
            **over_samples(dvectors),
        },
        "small": {
            "kernel": product(tf.concat([x, old["h"]], axis=-1), dhyper),
            "recurrent_kernel": product(old["hyper_h"], dhyper),
            **over_samples(dhyper_vectors),
        },
        "scale_embedding_kernel": dembedding[:, : 8 * e],
        "scale_embedding_bias": tf.reduce_sum(d["z"][..., : 8 * e], axis=(0, 1)),
        "shift_embedding_kernel": dembedding[:, 8 * e :],
        "scale_kernel": drow_kernel[:8],
        "shift_kernel": drow_kernel[8:],
    }
    dx = tf.matmul(dfrom_x, large["kernel"], transpose_b=True)
    dx += tf.matmul(dhyper, small["kernel"][: x.shape[-1]], transpose_b=True)
    return dx, dstates, dw


def _part(values, prefix):
    return {k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix)}


def _joined(w, features):
    """Kernels of x, and of h, for the large network beside the small one's: `[p, 4 (n + m)]`."""
    large, small = w["large"], w["small"]

    def join(a, b):
        parts = [tf.reshape(k, (k.shape[0], 4, -1)) for k in (a, b)]
        return tf.reshape(tf.concat(parts, axis=-1), (a.shape[0], -1))

    return (
        join(large["kernel"], small["kernel"][:features]),
        join(large["recurrent_kernel"], small["kernel"][features:]),
    )


def _rows(w):
    """Weights that make scales and shifts, joined: 12 rows of which the first 8 have a bias."""
    bias = w["scale_embedding_bias"]
    return (
        tf.concat([w["scale_embedding_kernel"], w["shift_embedding_kernel"]], axis=-1),
        tf.concat([bias, tf.zeros_like(bias[: bias.shape[0] // 2])], axis=0),
        tf.concat([w["scale_kernel"], w["shift_kernel"]], axis=0),
    )


_recurrence = CompiledRecurrence(_forward, _backward)
