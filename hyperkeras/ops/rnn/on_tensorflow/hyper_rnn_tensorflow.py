"""The HyperRNN that scales rows over a whole sequence, compiled by XLA, with a gradient by hand."""

from collections.abc import Sequence

import tensorflow as tf

from hyperkeras.ops.rnn.on_tensorflow.chunked_loop_tensorflow import ChunkedRecurrence
from hyperkeras.ops.rnn.on_tensorflow.fused_loop_tensorflow import (
    before,
    pass_masked,
    product,
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
    h, hyper_h, _, _ = _recurrence((x, tuple(states), weights), ((), sequences or {}), remember)
    return h, hyper_h


class _HyperRNN(ChunkedRecurrence):
    returned = ("h", "hyper_h")

    def constants(self, w, _scalars):
        features = w["kernel"].shape[0]
        embedding_kernel, embedding_bias, row_kernel = _rows(w)
        return {
            "kernel": w["kernel"],
            "hyper_kernel": w["hyper_kernel"][:features],
            "hyper_bias": w["hyper_bias"],
            "of_h": tf.concat([w["recurrent_kernel"], w["hyper_kernel"][features:]], axis=-1),
            "of_hyper_h": w["hyper_recurrent_kernel"],
            "embedding_kernel": embedding_kernel,
            "embedding_bias": embedding_bias,
            "row_kernel": row_kernel,
            "bias": w["bias"],
        }

    def from_input(self, constants, x):
        hyper = tf.matmul(x, constants["hyper_kernel"]) + constants["hyper_bias"]
        return {"from_x": tf.matmul(x, constants["kernel"]), "hyper_from_x": hyper}

    def step(self, constants, states, now, remember):
        h, hyper_h = states
        n, e = h.shape[-1], constants["row_kernel"].shape[1]
        both = tf.matmul(h, constants["of_h"])  # [b, n + m]
        from_h, hyper = both[:, :n], now["hyper_from_x"] + both[:, n:]
        hyper_h = tf.tanh(hyper + tf.matmul(hyper_h, constants["of_hyper_h"]))
        z = tf.matmul(hyper_h, constants["embedding_kernel"]) + constants["embedding_bias"]
        z = tf.transpose(tf.reshape(z, (-1, 3, e)), (1, 0, 2))
        scale_x, scale_h, shift = tf.unstack(tf.matmul(z, constants["row_kernel"]))
        shift = shift + constants["bias"]
        h = tf.tanh(scale_x * now["from_x"] + scale_h * from_h + shift)
        new = unmasked((h, hyper_h), states, now)
        outputs = {"h": new[0], "hyper_h": new[1]}
        if remember:
            outputs |= {"from_h": from_h, "z": z, "scale_x": scale_x, "scale_h": scale_h}
        return new, outputs

    def constants_back(self, w):
        embedding_kernel, _, row_kernel = _rows(w)
        return {
            "of_h": tf.transpose(w["recurrent_kernel"]),
            "of_h_hyper": tf.transpose(w["hyper_kernel"][w["kernel"].shape[0] :]),
            "of_hyper_h": tf.transpose(w["hyper_recurrent_kernel"]),
            "embedding_kernel": tf.transpose(embedding_kernel),
            "row_kernel": tf.transpose(row_kernel, (0, 2, 1)),
        }

    def step_back(self, constants, dstates, now):
        e = constants["row_kernel"].shape[2]
        whole = (dstates[0] + now["dh"], dstates[1] + now["dhyper_h"])
        dh, dhyper_h = unmasked(whole, [tf.zeros_like(d) for d in whole], now)
        # Where a step does not count, no gradient meets these slopes.
        dsum = dh * (1 - now["h"] * now["h"])
        drows = tf.stack([dsum * now["from_x"], dsum * now["from_h"], dsum])
        dz = tf.matmul(drows, constants["row_kernel"])  # [3, b, e]
        dz = tf.reshape(tf.transpose(dz, (1, 0, 2)), (-1, 3 * e))
        dhyper = dhyper_h + tf.matmul(dz, constants["embedding_kernel"])
        dhyper = dhyper * (1 - now["hyper_h"] * now["hyper_h"])
        dfrom_h = dsum * now["scale_h"]
        dh_old = tf.matmul(dfrom_h, constants["of_h"])
        dh_old += tf.matmul(dhyper, constants["of_h_hyper"])
        old = pass_masked((dh_old, tf.matmul(dhyper, constants["of_hyper_h"])), whole, now)
        drow_kernel = tf.matmul(now["z"], drows, transpose_a=True)
        return old, drow_kernel, {"sum": dsum, "hyper": dhyper, "z": dz, "from_h": dfrom_h}

    def zero_sums(self, w, _states):
        return tf.zeros_like(_rows(w)[2])

    def products(self, w, x, first, memory, d):
        features, hyper_h, dhyper = w["kernel"].shape[0], memory["hyper_h"], d["hyper"]
        old_h, old_hyper_h = before(first[0], memory["h"]), before(first[1], hyper_h)
        dfrom_x = d["sum"] * memory["scale_x"]
        dx = tf.matmul(dfrom_x, w["kernel"], transpose_b=True)
        dx += tf.matmul(dhyper, w["hyper_kernel"][:features], transpose_b=True)
        return dx, {
            "kernel": product(x, dfrom_x),
            "recurrent_kernel": product(old_h, d["from_h"]),
            "bias": tf.reduce_sum(d["sum"], axis=(0, 1)),
            "hyper_kernel": product(tf.concat([x, old_h], axis=-1), dhyper),
            "hyper_recurrent_kernel": product(old_hyper_h, dhyper),
            "hyper_bias": tf.reduce_sum(dhyper, axis=(0, 1)),
            "embedding_kernel": product(hyper_h, d["z"]),
            "embedding_bias": tf.reduce_sum(d["z"], axis=(0, 1)),
        }

    def gradients(self, w, products, sums):
        size = w["scale_embedding_bias"].shape[0]
        embedding_kernel, embedding_bias = (
            products.pop(name) for name in ("embedding_kernel", "embedding_bias")
        )
        return products | {
            "scale_embedding_kernel": embedding_kernel[:, :size],
            "scale_embedding_bias": embedding_bias[:size],
            "shift_embedding_kernel": embedding_kernel[:, size:],
            "scale_kernel": sums[:2],
            "shift_kernel": sums[2:],
        }


def _rows(w):
    """Weights that make two scales and a shift, joined: the shift has no bias."""
    bias = w["scale_embedding_bias"]
    return (
        tf.concat([w["scale_embedding_kernel"], w["shift_embedding_kernel"]], axis=-1),
        tf.concat([bias, tf.zeros_like(bias[: bias.shape[0] // 2])], axis=0),
        tf.concat([w["scale_kernel"], w["shift_kernel"]], axis=0),
    )


_recurrence = _HyperRNN()
