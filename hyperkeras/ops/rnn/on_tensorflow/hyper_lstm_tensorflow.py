"""The HyperLSTM over a whole sequence, compiled by XLA, with a gradient written by hand.

The products with the input are taken for many steps before a loop, those with h for both networks
at once. The loop backwards carries the gradients of the states and sums those of vectors and of
what makes the rows; those of the other weights are one product over many steps after it. Backwards,
each gate has a product of its own, with a kernel transposed before the loop.
"""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from hyperkeras.ops.rnn.on_tensorflow.chunked_loop_tensorflow import ChunkedRecurrence
from hyperkeras.ops.rnn.on_tensorflow.fused_loop_tensorflow import (
    before,
    by_gate,
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
    outputs = _recurrence((x, tuple(states), weights), (biases, sequences or {}), remember)
    h, hyper_h, _, c, _, hyper_c = outputs
    return h, hyper_h, c, hyper_c


class _HyperLSTM(ChunkedRecurrence):
    returned = ("h", "hyper_h")

    def constants(self, w, scalars):
        large, small = w["large"], w["small"]
        kernel, recurrent_kernel = _joined(w)
        embedding_kernel, embedding_bias, row_kernel = _rows(w)
        return {
            "kernel": kernel,
            "recurrent_kernel": recurrent_kernel,
            "hyper_recurrent_kernel": small["recurrent_kernel"],
            "embedding_kernel": embedding_kernel,
            "embedding_bias": embedding_bias,
            "row_kernel": row_kernel,
            "bias": by_gate(large["bias"]),
            "hyper_bias": by_gate(small["bias"]),
            "forget_biases": scalars,
            "norms": (large.get("norm", ()), small.get("norm", ())),
        }

    def from_input(self, constants, x):
        n = constants["bias"].shape[-1]
        from_x = gates_first(tf.matmul(x, constants["kernel"]))  # [t, 4, b, n + m]
        hyper_from_x = from_x[..., n:] + constants["hyper_bias"]
        return {"from_x": from_x[..., :n], "hyper_from_x": hyper_from_x}

    def step(self, constants, states, now, remember):
        h, c, hyper_h, hyper_c = states
        forget_bias, hyper_forget_bias = constants["forget_biases"]
        norm, hyper_norm = (norm or None for norm in constants["norms"])
        n, e = h.shape[-1], constants["row_kernel"].shape[1]
        from_h = gates_first(tf.matmul(h, constants["recurrent_kernel"]))  # [4, b, n + m]
        from_hyper_h = gates_first(tf.matmul(hyper_h, constants["hyper_recurrent_kernel"]))
        hyper_gates = now["hyper_from_x"] + from_h[..., n:] + from_hyper_h
        hyper = lstm_forward(
            hyper_gates, hyper_c, now.get("hyper_noise"), hyper_norm, hyper_forget_bias
        )
        z = tf.matmul(hyper[0], constants["embedding_kernel"]) + constants["embedding_bias"]
        z = tf.transpose(tf.reshape(z, (-1, 12, e)), (1, 0, 2))
        rows = tf.matmul(z, constants["row_kernel"])  # [12, b, n]
        from_h = from_h[..., :n]
        shifts = rows[8:] + constants["bias"]
        gates = rows[:4] * now["from_x"] + rows[4:8] * from_h + shifts
        main = lstm_forward(gates, c, now.get("noise"), norm, forget_bias)
        new = unmasked((*main[:2], *hyper[:2]), states, now)
        outputs = {"h": new[0], "hyper_h": new[2]}
        if remember:
            outputs |= {"z": z, "from_h": from_h, "new_hyper_h": hyper[0]}
            outputs |= {f"main_{name}": value for name, value in main[2].items()}
            outputs |= {f"hyper_{name}": value for name, value in hyper[2].items()}
        return new, outputs

    def constants_back(self, w):
        large, small = w["large"], w["small"]
        embedding_kernel, _, row_kernel = _rows(w)
        return {
            "recurrent_kernel": transposed_by_gate(large["recurrent_kernel"]),
            "hyper_kernel": transposed_by_gate(small["kernel"][_features(w) :]),
            "hyper_recurrent_kernel": transposed_by_gate(small["recurrent_kernel"]),
            "embedding_kernel": embedding_kernel,
            "row_kernel": row_kernel,
            "norms": (large.get("norm", ()), small.get("norm", ())),
        }

    def step_back(self, constants, dstates, now):
        norm, hyper_norm = (norm or None for norm in constants["norms"])
        row_kernel = constants["row_kernel"]
        e = row_kernel.shape[1]
        dh, dc, dhyper_h, dhyper_c = dstates
        whole = (dh + now["dh"], dc, dhyper_h + now["dhyper_h"], dhyper_c)
        dh, dc, dhyper_h, dhyper_c = unmasked(whole, [tf.zeros_like(d) for d in whole], now)
        dpre, dc_old, dvectors = lstm_backward(dh, dc, _part(now, "main_"), norm)
        scales = tf.matmul(now["z"][:8], row_kernel[:8])
        dfrom_x, dfrom_h = dpre * scales[:4], dpre * scales[4:]
        drows = tf.concat([dpre * now["from_x"], dpre * now["from_h"], dpre], axis=0)
        drow_kernel = tf.matmul(now["z"], drows, transpose_a=True)
        dz = tf.matmul(drows, row_kernel, transpose_b=True)  # [12, b, e]
        dz = tf.reshape(tf.transpose(dz, (1, 0, 2)), (-1, 12 * e))
        dhyper_h += tf.matmul(dz, constants["embedding_kernel"], transpose_b=True)
        dhyper_pre, dhyper_c_old, dhyper_vectors = lstm_backward(
            dhyper_h, dhyper_c, _part(now, "hyper_"), hyper_norm
        )
        dh_old = tf.matmul(dfrom_h, constants["recurrent_kernel"])
        dh_old = tf.reduce_sum(dh_old + tf.matmul(dhyper_pre, constants["hyper_kernel"]), axis=0)
        dhyper_h_old = tf.matmul(dhyper_pre, constants["hyper_recurrent_kernel"])
        dhyper_h_old = tf.reduce_sum(dhyper_h_old, axis=0)
        dstates = pass_masked((dh_old, dc_old, dhyper_h_old, dhyper_c_old), whole, now)
        outputs = {"from_x": dfrom_x, "from_h": dfrom_h, "hyper_pre": dhyper_pre, "z": dz}
        return dstates, (dvectors, dhyper_vectors, drow_kernel), outputs

    def zero_sums(self, w, states):
        return (
            lstm_zeros(states[0], w["large"].get("norm")),
            lstm_zeros(states[2], w["small"].get("norm")),
            tf.zeros_like(_rows(w)[2]),
        )

    def products(self, w, x, first, memory, d):
        old_h, old_hyper_h = (
            before(first[k], memory[name]) for k, name in ((0, "h"), (2, "hyper_h"))
        )
        dfrom_x, dfrom_h, dhyper = (gates_last(d[k]) for k in ("from_x", "from_h", "hyper_pre"))
        dx = tf.matmul(dfrom_x, w["large"]["kernel"], transpose_b=True)
        dx += tf.matmul(dhyper, w["small"]["kernel"][: _features(w)], transpose_b=True)
        return dx, {
            "large": {
                "kernel": product(x, dfrom_x),
                "recurrent_kernel": product(old_h, dfrom_h),
            },
            "small": {
                "kernel": product(tf.concat([x, old_h], axis=-1), dhyper),
                "recurrent_kernel": product(old_hyper_h, dhyper),
            },
            "embedding_kernel": product(memory["new_hyper_h"], d["z"]),
            "embedding_bias": tf.reduce_sum(d["z"], axis=(0, 1)),
        }

    def gradients(self, w, products, sums):
        dvectors, dhyper_vectors, drow_kernel = sums
        size = w["scale_embedding_bias"].shape[0]
        return {
            "large": products["large"] | over_samples(dvectors),
            "small": products["small"] | over_samples(dhyper_vectors),
            "scale_embedding_kernel": products["embedding_kernel"][:, :size],
            "scale_embedding_bias": products["embedding_bias"][:size],
            "shift_embedding_kernel": products["embedding_kernel"][:, size:],
            "scale_kernel": drow_kernel[:8],
            "shift_kernel": drow_kernel[8:],
        }


def _features(w):
    return w["large"]["kernel"].shape[0]


def _part(values, prefix):
    return {k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix)}


def _joined(w):
    """Kernels of x, and of h, for the large network beside the small one's: `[p, 4 (n + m)]`."""
    large, small, features = w["large"], w["small"], _features(w)

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


_recurrence = _HyperLSTM()
