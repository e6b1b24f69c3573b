"""The HyperLSTM over a whole sequence, compiled by XLA, with a gradient written by hand.

The products with the input are taken for all steps before the loop, those with h for both networks
at once. The loop backwards carries the gradients of the states only; those of the weights are one
product over all steps after it.
"""

import tensorflow as tf

from hyperkeras.ops.recurrence_tensorflow import (
    before,
    by_gate,
    differentiable,
    gates_first,
    gates_last,
    lstm_backward,
    lstm_factors,
    lstm_forward,
    norm_gradients,
    pass_masked,
    product,
    scan,
    unmasked,
)


def hyper_lstm(x, states, weights, forget_bias=1.0, sequences=None, remember=True):
    """`hyper_lstm_step` and the small network's over a sequence, with tanh and logistic function.

    Args:
        x: Input of shape `[t, b, x]`.
        states: `(h, c, hyper_h, hyper_c)`.
        weights: Dict of `large` and `small`, each a dict of `kernel`, `recurrent_kernel`, `bias`
            and with layer norm `norm`, and of the arguments of `hyper_lstm_step` by their names.
        forget_bias: Float.
        sequences: Dict that may hold `mask`, booleans of shape `[t, b, 1]`, where False the states
            stay; `noise [t, b, n]` and `hyper_noise [t, b, m]`, factors of tanh(g).
        remember: Boolean, whether to keep for the gradient what it needs, rather than to compute
            it again.

    Returns:
        All h `[t, b, n]`, all ĥ `[t, b, m]`, the last c and ĉ.
    """
    options = (tf.constant(forget_bias, x.dtype), sequences or {})
    return differentiable(_forward, _backward, (x, tuple(states), weights), options, remember)


@tf.function(jit_compile=True, autograph=False)
def _forward(inputs, options, remember):
    x, states, w = inputs
    forget_bias, sequences = options
    large, small = w["large"], w["small"]
    n, e = large["recurrent_kernel"].shape[0], w["scale_kernel"].shape[1]
    kernel, recurrent_kernel = _joined(w, x.shape[-1])
    from_x = tf.matmul(x, kernel)  # [t, b, 4n + 4m]
    given = {
        "from_x": gates_first(from_x[..., : 4 * n]),
        "hyper_from_x": gates_first(from_x[..., 4 * n :] + small["bias"]),
        **sequences,
    }
    embedding_kernel, embedding_bias, row_kernel = _rows(w)
    bias = by_gate(large["bias"])

    def step(states, now):
        h, c, hyper_h, hyper_c = states
        from_h = tf.matmul(h, recurrent_kernel)
        hyper_gates = now["hyper_from_x"] + gates_first(
            from_h[:, 4 * n :] + tf.matmul(hyper_h, small["recurrent_kernel"])
        )
        hyper = lstm_forward(
            hyper_gates, hyper_c, now.get("hyper_noise"), small.get("norm"), forget_bias
        )
        z = tf.matmul(hyper[0], embedding_kernel) + embedding_bias  # [b, 12e]
        z = tf.transpose(tf.reshape(z, (-1, 12, e)), (1, 0, 2))
        rows = tf.matmul(z, row_kernel)  # [12, b, n]
        from_h = gates_first(from_h[:, : 4 * n])
        gates = rows[:4] * now["from_x"] + rows[4:8] * from_h + (rows[8:] + bias)
        main = lstm_forward(gates, c, now.get("noise"), large.get("norm"), forget_bias)
        new = unmasked((*main[:2], *hyper[:2]), states, now)
        outputs = dict(zip(("h", "c", "hyper_h", "hyper_c"), new, strict=True))
        if remember:
            outputs |= {"z": z, "rows": rows[:8], "from_h": from_h, "new_hyper_h": hyper[0]}
            outputs |= {f"main_{name}": value for name, value in main[2].items()}
            outputs |= {f"hyper_{name}": value for name, value in hyper[2].items()}
        return new, outputs

    (_, c, _, hyper_c), memory = scan(step, states, given)
    outputs = (memory["h"], memory["hyper_h"], c, hyper_c)
    return outputs, memory | {"from_x": given["from_x"]} if remember else {}


@tf.function(jit_compile=True, autograph=False)
def _backward(inputs, options, memory, upstream):
    x, states, w = inputs
    _, sequences = options
    large, small = w["large"], w["small"]
    e = w["scale_kernel"].shape[1]
    kernel, recurrent_kernel = _joined(w, x.shape[-1])
    embedding_kernel, _, row_kernel = _rows(w)
    old = {
        name: before(state, memory[name])
        for name, state in zip(("h", "c", "hyper_h", "hyper_c"), states, strict=True)
    }
    main = lstm_factors(_part(memory, "main_"), old["c"], sequences.get("noise"))
    hyper = lstm_factors(_part(memory, "hyper_"), old["hyper_c"], sequences.get("hyper_noise"))
    dh_all, dhyper_h_all, dc, dhyper_c = upstream
    from_x, from_h = memory["from_x"], memory["from_h"]
    given = {"dh": dh_all, "dhyper_h": dhyper_h_all, "from_x": from_x, "from_h": from_h}
    given |= {"scales": memory["rows"][:, 4:]}
    given |= {f"main_{name}": value for name, value in main.items()}
    given |= {f"hyper_{name}": value for name, value in hyper.items()}
    if "mask" in sequences:
        given["mask"] = sequences["mask"]

    def step(carry, now):
        whole = (carry[0] + now["dh"], carry[1], carry[2] + now["dhyper_h"], carry[3])
        dh, dc, dhyper_h, dhyper_c = unmasked(whole, [tf.zeros_like(d) for d in whole], now)
        dpre, dc_new, dc_old = lstm_backward(dh, dc, _part(now, "main_"), large.get("norm"))
        drows = (dpre * now["from_x"], dpre * now["from_h"], dpre)
        dz = [
            tf.matmul(rows, row_kernel[4 * k : 4 * k + 4], transpose_b=True)
            for k, rows in enumerate(drows)
        ]
        dz = tf.transpose(tf.concat(dz, axis=0), (1, 0, 2))  # [b, 12, e]
        dz = tf.reshape(dz, (-1, 12 * e))
        dhyper_h += tf.matmul(dz, embedding_kernel, transpose_b=True)
        dhyper_pre, dhyper_c_new, dhyper_c_old = lstm_backward(
            dhyper_h, dhyper_c, _part(now, "hyper_"), small.get("norm")
        )
        dhyper_pre = gates_last(dhyper_pre)
        dfrom_h = tf.concat([gates_last(dpre * now["scales"]), dhyper_pre], axis=-1)
        dh_old = tf.matmul(dfrom_h, recurrent_kernel, transpose_b=True)
        dhyper_h_old = tf.matmul(dhyper_pre, small["recurrent_kernel"], transpose_b=True)
        outputs = {"dpre": dpre, "dz": dz, "dhyper_pre": dhyper_pre}
        if "norm" in large:
            outputs |= {"dh": dh, "dc": dc_new, "dhyper_h": dhyper_h, "dhyper_c": dhyper_c_new}
        return pass_masked((dh_old, dc_old, dhyper_h_old, dhyper_c_old), whole, now), outputs

    zeros = tf.zeros_like(states[0]), tf.zeros_like(states[2])
    carry, d = scan(step, (zeros[0], dc, zeros[1], dhyper_c), given, reverse=True)
    dpre, dz, dhyper_pre = d["dpre"], d["dz"], d["dhyper_pre"]
    drows = tf.concat([dpre * from_x, dpre * from_h, dpre], axis=1)  # [t, 12, b, n]
    drow_kernel = tf.einsum("trbe,trbn->ren", memory["z"], drows)
    dfrom_x, dfrom_h = (gates_last(dpre * memory["rows"][:, k : k + 4]) for k in (0, 4))
    dembedding = product(memory["new_hyper_h"], dz)
    dlarge = {
        "kernel": product(x, dfrom_x),
        "recurrent_kernel": product(old["h"], dfrom_h),
        "bias": tf.reshape(tf.reduce_sum(dpre, axis=(0, 2)), (-1,)),
    }
    dsmall = {
        "kernel": tf.concat([product(x, dhyper_pre), product(old["h"], dhyper_pre)], axis=0),
        "recurrent_kernel": product(old["hyper_h"], dhyper_pre),
        "bias": tf.reduce_sum(dhyper_pre, axis=(0, 1)),
    }
    if "norm" in large:
        dlarge["norm"] = norm_gradients(main, d["dh"], d["dc"])
        dsmall["norm"] = norm_gradients(hyper, d["dhyper_h"], d["dhyper_c"])
    dw = {
        "large": dlarge,
        "small": dsmall,
        "scale_embedding_kernel": dembedding[:, : 8 * e],
        "scale_embedding_bias": tf.reduce_sum(dz[..., : 8 * e], axis=(0, 1)),
        "shift_embedding_kernel": dembedding[:, 8 * e :],
        "scale_kernel": drow_kernel[:8],
        "shift_kernel": drow_kernel[8:],
    }
    dx = tf.matmul(tf.concat([dfrom_x, dhyper_pre], axis=-1), kernel, transpose_b=True)
    return dx, carry, dw


def _part(values, prefix):
    return {k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix)}


def _joined(w, features):
    """Kernels of x, and of h, for the large network beside the small one's."""
    large, small = w["large"], w["small"]
    return (
        tf.concat([large["kernel"], small["kernel"][:features]], axis=-1),
        tf.concat([large["recurrent_kernel"], small["kernel"][features:]], axis=-1),
    )


def _rows(w):
    """Weights that make scales and shifts, joined: 12 rows of which the first 8 have a bias."""
    bias = w["scale_embedding_bias"]
    return (
        tf.concat([w["scale_embedding_kernel"], w["shift_embedding_kernel"]], axis=-1),
        tf.concat([bias, tf.zeros_like(bias[: bias.shape[0] // 2])], axis=0),
        tf.concat([w["scale_kernel"], w["shift_kernel"]], axis=0),
    )
