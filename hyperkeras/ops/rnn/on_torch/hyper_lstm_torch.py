"""The HyperLSTM over a whole sequence on PyTorch, with a gradient written by hand."""

from collections.abc import Sequence
from typing import Any

import torch

from hyperkeras.ops.rnn.hyper_lstm import hyper_lstm_step
from hyperkeras.ops.rnn.layer_norm_lstm import layer_norm_lstm_step
from hyperkeras.ops.rnn.on_torch.fused_loop_torch import (
    FusedRecurrence,
    before,
    by_step,
    keep_masked,
    plain_loop,
    product,
    zero_masked,
)
from hyperkeras.ops.rnn.on_torch.lstm_torch import LSTM, LSTMGradient, flat, steps_of


def hyper_lstm(
    x: torch.Tensor,
    states: Sequence[torch.Tensor],
    weights: dict[str, Any],
    forget_bias: float = 1.0,
    hyper_forget_bias: float = 1.0,
    sequences: dict[str, torch.Tensor] | None = None,
) -> tuple[torch.Tensor, ...]:
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
    biases = (forget_bias, hyper_forget_bias)
    return _recurrence((x, tuple(states), weights), (biases, sequences or {}))


SEQUENCES = ("mask", "noise", "hyper_noise")


def _forward(inputs, options, remember):
    x, (h, c, hyper_h, hyper_c), w = inputs
    forget_biases, sequences = options
    large, small = w["large"], w["small"]
    (t, b, features), n, m = x.shape, h.shape[-1], hyper_h.shape[-1]
    main, hyper = LSTM(large, forget_biases[0]), LSTM(small, forget_biases[1])
    embedding_kernel, embedding_bias, row_kernel = _rows(w)
    bias, hyper_kernel = large["bias"].view(4, n), small["kernel"][features:]
    rows_of_x = x.reshape(t * b, features)
    from_x = (rows_of_x @ large["kernel"]).view(t, b, 4, n)
    hyper_gates = torch.addmm(small["bias"], rows_of_x, small["kernel"][:features])
    hyper_gates = hyper_gates.view(t, b, 4 * m)
    all_h, all_hyper_h = x.new_empty((t, b, n)), x.new_empty((t, b, m))
    memory: list[Any] = []
    for k, (mask, noise, hyper_noise) in enumerate(
        zip(*(by_step(sequences, name, t) for name in SEQUENCES), strict=True)
    ):
        from_h = h @ large["recurrent_kernel"]
        gates = hyper_gates[k].addmm_(h, hyper_kernel).addmm_(hyper_h, small["recurrent_kernel"])
        new_hyper_h = all_hyper_h[k]
        new_hyper_c, hyper_kept = hyper.forward(
            gates.view(b, 4, m), hyper_c, hyper_noise, new_hyper_h, remember
        )
        z = torch.addmm(embedding_bias, new_hyper_h, embedding_kernel)  # [b, 12e]
        z = z.view(b, 12, z.shape[-1] // 12).transpose(0, 1)
        rows = torch.bmm(z, row_kernel)  # [12, b, n]
        gates = (rows[8:].transpose(0, 1) + bias).addcmul_(rows[:4].transpose(0, 1), from_x[k])
        gates.addcmul_(rows[4:8].transpose(0, 1), from_h.view(b, 4, n))
        new_c, kept = main.forward(gates, c, noise, all_h[k], remember)
        if remember:
            memory.append((kept, hyper_kept, (z, from_h)))
        if mask is not None:
            all_h[k] = torch.where(mask, all_h[k], h)
            new_hyper_h.copy_(torch.where(mask, new_hyper_h, hyper_h))
        h, hyper_h = all_h[k], new_hyper_h
        c, hyper_c = keep_masked(mask, new_c, c), keep_masked(mask, new_hyper_c, hyper_c)
    kept = [from_x, *(a for part in zip(*memory, strict=True) for a in flat(part))]
    return (all_h, all_hyper_h, c, hyper_c), [all_h, all_hyper_h, *kept] if remember else []


def _backward(inputs, options, memory, upstream, needs_dx):
    x, states, w = inputs
    _, sequences = options
    large, small = w["large"], w["small"]
    (t, b, features), n, m = x.shape, states[0].shape[-1], states[2].shape[-1]
    all_h, all_hyper_h, from_x, *memory = memory
    width = (len(memory) // t - 2) // 2 * t
    kept, hyper_kept = steps_of(memory[:width], t), steps_of(memory[width : 2 * width], t)
    others = [memory[k : k + 2] for k in range(2 * width, len(memory), 2)]
    main, hyper = LSTMGradient(LSTM(large, 0.0), b), LSTMGradient(LSTM(small, 0.0), b)
    embedding_kernel, _, row_kernel = _rows(w)
    e = row_kernel.shape[1]
    recurrent_kernel, hyper_kernel, hyper_recurrent_kernel, embedding_kernel = (
        kernel.t().contiguous()
        for kernel in (
            large["recurrent_kernel"],
            small["kernel"][features:],
            small["recurrent_kernel"],
            embedding_kernel,
        )
    )
    row_transposed = row_kernel.transpose(1, 2).contiguous()
    masks, noises, hyper_noises = (by_step(sequences, name, t) for name in SEQUENCES)
    dfrom_x, dfrom_h = x.new_empty((t, b, 4, n)), x.new_empty((t, b, 4, n))
    dhyper, dz = x.new_empty((t, b, 4 * m)), x.new_empty((t, b, 12, e))
    dbias, drow_kernel = x.new_zeros((b, 4, n)), torch.zeros_like(row_kernel)
    dgates, drows = x.new_empty((b, 4, n)), x.new_empty((12, b, n))
    dh_all, dhyper_h_all, dc, dhyper_c = upstream
    dh, dhyper_h = dh_all[-1], dhyper_h_all[-1]
    for k in reversed(range(t)):
        z, from_h = others[k]
        mask, whole = masks[k], (dh, dc, dhyper_h, dhyper_c)
        dh, dc, dhyper_h, dhyper_c = (zero_masked(mask, d) for d in whole)
        dc = main.step(dh, dc, kept[k], noises[k], dgates)
        dbias.add_(dgates)
        scales = torch.bmm(z[:8], row_kernel[:8]).transpose(0, 1)
        torch.mul(dgates, scales[:, :4], out=dfrom_x[k])
        torch.mul(dgates, scales[:, 4:], out=dfrom_h[k])
        by_gate = dgates.transpose(0, 1)
        torch.mul(by_gate, from_x[k].transpose(0, 1), out=drows[:4])
        torch.mul(by_gate, from_h.view(b, 4, n).transpose(0, 1), out=drows[4:8])
        drows[8:] = by_gate
        drow_kernel.baddbmm_(z.transpose(1, 2), drows)
        dz[k] = torch.bmm(drows, row_transposed).transpose(0, 1)
        dhyper_h = torch.addmm(dhyper_h, dz[k].view(b, 12 * e), embedding_kernel)
        dhyper_c = hyper.step(dhyper_h, dhyper_c, hyper_kept[k], hyper_noises[k], dhyper[k])
        dh = torch.addmm(dhyper[k] @ hyper_kernel, dfrom_h[k].view(b, 4 * n), recurrent_kernel)
        new = (dh, dc, dhyper[k] @ hyper_recurrent_kernel, dhyper_c)
        dh, dc, dhyper_h, dhyper_c = (
            keep_masked(mask, a, d) for a, d in zip(new, whole, strict=True)
        )
        if k:
            dh, dhyper_h = dh + dh_all[k - 1], dhyper_h + dhyper_h_all[k - 1]
    old_h, old_hyper_h = before(states[0], all_h), before(states[2], all_hyper_h)
    dfrom_x, dfrom_h, dz = (d.flatten(2) for d in (dfrom_x, dfrom_h, dz))
    dembedding = product(all_hyper_h, dz)  # dz is 0 where masked
    dw = {
        "large": {
            "kernel": product(x, dfrom_x),
            "recurrent_kernel": product(old_h, dfrom_h),
            "bias": dbias.sum(0).view(-1),
            **main.vectors(),
        },
        "small": {
            "kernel": torch.cat([product(x, dhyper), product(old_h, dhyper)]),
            "recurrent_kernel": product(old_hyper_h, dhyper),
            "bias": dhyper.sum((0, 1)),
            **hyper.vectors(),
        },
        "scale_embedding_kernel": dembedding[:, : 8 * e],
        "scale_embedding_bias": dz[..., : 8 * e].sum((0, 1)),
        "shift_embedding_kernel": dembedding[:, 8 * e :],
        "scale_kernel": drow_kernel[:8],
        "shift_kernel": drow_kernel[8:],
    }
    dx = None
    if needs_dx:
        dx = dfrom_x @ large["kernel"].t() + dhyper @ small["kernel"][:features].t()
    return dx, (dh, dc, dhyper_h, dhyper_c), dw


def _rows(w):
    """Weights that make scales and shifts, joined: 12 rows of which the first 8 have a bias."""
    bias = w["scale_embedding_bias"]
    return (
        torch.cat([w["scale_embedding_kernel"], w["shift_embedding_kernel"]], dim=-1),
        torch.cat([bias, torch.zeros_like(bias[: bias.shape[0] // 2])]),
        torch.cat([w["scale_kernel"], w["shift_kernel"]]),
    )


def _plain(inputs, options):
    x, states, w = inputs
    forget_biases, sequences = options
    large, small = w["large"], w["small"]
    generation = {name: weight for name, weight in w.items() if name not in ("large", "small")}

    def step(states, now):
        h, c, *hyper = states
        x_and_h = torch.cat([now["x"], h], dim=-1)
        hyper = layer_norm_lstm_step(
            x_and_h, *hyper, **small, noise=now.get("hyper_noise"), forget_bias=forget_biases[1]
        )
        main = hyper_lstm_step(
            now["x"],
            h,
            c,
            hyper[0],
            **generation,
            **large,
            noise=now.get("noise"),
            forget_bias=forget_biases[0],
        )
        return *main, *hyper

    found = plain_loop(step, states, {"x": x, **sequences})
    h, hyper_h = (torch.stack([states[k] for states in found]) for k in (0, 2))
    return h, hyper_h, found[-1][1], found[-1][3]


_recurrence = FusedRecurrence(_forward, _backward, _plain)
