"""The HyperRNN that scales rows over a whole sequence, compiled by XLA, with a gradient by hand."""

from collections.abc import Sequence

import tensorflow as tf

from hyperkeras.ops.rnn.fused_loop_tensorflow import (
    CompiledRecurrence,
    before,
    pass_masked,
    product,
    scan,
    unmasked,
)


def hyper_rnn(
    x: tf.Tensor,
    states: Sequence[tf.Tensor],
    weights: dict[str, tf.Tensor],
    sequences: dict[str, tf.Tensor] | None = None,
    remember: bool = True,
) -> tuple[tf.Tensor, tf.Tensor]:
    """`hyper_rnn_step` and the small network's over a sequence, with tanh.

    Args:
        x: Input of shape `[t, b, x]`.
        states: `(h, hyper_h)`.
        weights: Dict of the arguments of `hyper_rnn_step` by their names, and of the small
            network's `hyper_kernel [x + n, m]`, `hyper_recurrent_kernel [m, m]` and
            `hyper_bias [m]`.
        sequences: Dict that may hold `mask`, booleans of shape `[t, b, 1]`, where False the states
            stay.
        remember: Boolean, whether to keep for the gradient what it needs, rather than to compute
            it again.

    Returns:
        All h `[t, b, n]`, and all ĥ `[t, b, m]`.
    """
    return _recurrence((x, tuple(states), weights), sequences or {}, remember)


def _forward(inputs, sequences, remember, steps=None):
    x, states, w = inputs
    n, features = w["recurrent_kernel"].shape[0], w["kernel"].shape[0]
    embedding_kernel, embedding_bias, row_kernel = _rows(w)
    e = row_kernel.shape[1]
    of_h = tf.concat([w["recurrent_kernel"], w["hyper_kernel"][features:]], axis=-1)
    from_x = tf.matmul(x, w["kernel"])
    hyper_from_x = tf.matmul(x, w["hyper_kernel"][:features]) + w["hyper_bias"]

    def step(states, now):
        h, hyper_h = states
        both = tf.matmul(h, of_h)  # [b, n + m]
        from_h, hyper = both[:, :n], now["hyper_from_x"] + both[:, n:]
        hyper_h = tf.tanh(hyper + tf.matmul(hyper_h, w["hyper_recurrent_kernel"]))
        z = tf.matmul(hyper_h, embedding_kernel) + embedding_bias  # [b, 3e]
        z = tf.transpose(tf.reshape(z, (-1, 3, e)), (1, 0, 2))
        scale_x, scale_h, shift = tf.unstack(tf.matmul(z, row_kernel))
        h = tf.tanh(scale_x * now["from_x"] + scale_h * from_h + shift + w["bias"])
        new = unmasked((h, hyper_h), states, now)
        outputs = {"h": new[0], "hyper_h": new[1]}
        return new, outputs | ({"from_h": from_h, "z": z} if remember else {})

    given = {"from_x": from_x, "hyper_from_x": hyper_from_x, **sequences}
    _, memory = scan(step, states, given, steps=steps)
    outputs = (memory["h"], memory["hyper_h"])
    return outputs, memory | {"from_x": from_x} if remember else {}


def _backward(inputs, sequences, memory, upstream, steps=None):
    x, states, w = inputs
    features, h, hyper_h = w["kernel"].shape[0], memory["h"], memory["hyper_h"]
    embedding_kernel, _, row_kernel = _rows(w)
    e = row_kernel.shape[1]
    recurrent_kernel, hyper_kernel, hyper_recurrent_kernel, embedding_kernel = (
        tf.transpose(kernel)
        for kernel in (
            w["recurrent_kernel"],
            w["hyper_kernel"][features:],
            w["hyper_recurrent_kernel"],
            embedding_kernel,
        )
    )
    row_transposed = tf.transpose(row_kernel, (0, 2, 1))
    z = memory["z"]  # [t, 3, b, e]
    scales = tf.einsum("tybe,yen->ytbn", z[:, :2], row_kernel[:2])
    given = {
        "dh": upstream[0],
        "dhyper_h": upstream[1],
        # Where a step does not count, no gradient meets these.
        "slope": 1 - h * h,
        "hyper_slope": 1 - hyper_h * hyper_h,
        "from_x": memory["from_x"],
        "from_h": memory["from_h"],
        "scale_h": scales[1],
        **sequences,
    }

    def step(carry, now):
        whole = (carry[0] + now["dh"], carry[1] + now["dhyper_h"])
        dh, dhyper_h = unmasked(whole, [tf.zeros_like(d) for d in whole], now)
        dsum = dh * now["slope"]
        drows = tf.stack([dsum * now["from_x"], dsum * now["from_h"], dsum])
        dz = tf.matmul(drows, row_transposed)  # [3, b, e]
        dz = tf.reshape(tf.transpose(dz, (1, 0, 2)), (-1, 3 * e))
        dhyper = (dhyper_h + tf.matmul(dz, embedding_kernel)) * now["hyper_slope"]
        dh_old = tf.matmul(dsum * now["scale_h"], recurrent_kernel)
        dh_old += tf.matmul(dhyper, hyper_kernel)
        old = pass_masked((dh_old, tf.matmul(dhyper, hyper_recurrent_kernel)), whole, now)
        return old, {"sum": dsum, "hyper": dhyper, "z": dz}

    dstates, d = scan(
        step, tuple(tf.zeros_like(a) for a in states), given, reverse=True, steps=steps
    )
    dsum, dhyper, old_h = d["sum"], d["hyper"], before(states[0], h)
    drows = tf.stack([dsum * memory["from_x"], dsum * memory["from_h"], dsum])
    drow_kernel = tf.einsum("tybe,ytbn->yen", z, drows)
    dfrom_x, dembedding = dsum * scales[0], product(hyper_h, d["z"])
    dw = {
        "kernel": product(x, dfrom_x),
        "recurrent_kernel": product(old_h, dsum * scales[1]),
        "bias": tf.reduce_sum(dsum, axis=(0, 1)),
        "hyper_kernel": product(tf.concat([x, old_h], axis=-1), dhyper),
        "hyper_recurrent_kernel": product(before(states[1], hyper_h), dhyper),
        "hyper_bias": tf.reduce_sum(dhyper, axis=(0, 1)),
        "scale_embedding_kernel": dembedding[:, : 2 * e],
        "scale_embedding_bias": tf.reduce_sum(d["z"][..., : 2 * e], axis=(0, 1)),
        "shift_embedding_kernel": dembedding[:, 2 * e :],
        "scale_kernel": drow_kernel[:2],
        "shift_kernel": drow_kernel[2:],
    }
    dx = tf.matmul(dfrom_x, w["kernel"], transpose_b=True)
    dx += tf.matmul(dhyper, w["hyper_kernel"][:features], transpose_b=True)
    return dx, dstates, dw


def _rows(w):
    """Weights that make two scales and a shift, joined: the shift has no bias."""
    bias = w["scale_embedding_bias"]
    return (
        tf.concat([w["scale_embedding_kernel"], w["shift_embedding_kernel"]], axis=-1),
        tf.concat([bias, tf.zeros_like(bias[: bias.shape[0] // 2])], axis=0),
        tf.concat([w["scale_kernel"], w["shift_kernel"]], axis=0),
    )


_recurrence = CompiledRecurrence(_forward, _backward)
