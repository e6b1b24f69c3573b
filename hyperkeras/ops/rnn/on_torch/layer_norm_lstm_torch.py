"""The layer-norm LSTM over a whole sequence on PyTorch, with a gradient written by hand."""

from collections.abc import Sequence
from typing import Any

import torch

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


def layer_norm_lstm(
    x: torch.Tensor,
    states: Sequence[torch.Tensor],
    weights: dict[str, Any],
    forget_bias: float = 1.0,
    sequences: dict[str, torch.Tensor] | None = None,
) -> tuple[torch.Tensor, ...]:
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
    return _recurrence((x, tuple(states), weights), (forget_bias, sequences or {}))


def _forward(inputs, options, remember):
    x, (h, c), w = inputs
    forget_bias, sequences = options
    (t, b, features), n = x.shape, h.shape[-1]
    lstm, memory = LSTM(w, forget_bias), []
    all_gates = torch.addmm(w["bias"], x.reshape(t * b, features), w["kernel"]).view(t, b, 4 * n)
    all_h = x.new_empty((t, b, n))
    masks, noises = by_step(sequences, "mask", t), by_step(sequences, "noise", t)
    for gates, mask, noise, out in zip(
        all_gates.unbind(0), masks, noises, all_h.unbind(0), strict=True
    ):
        gates.addmm_(h, w["recurrent_kernel"])
        new_c, kept = lstm.forward(gates.view(b, 4, n), c, noise, out, remember)
        memory.append(kept)
        if mask is not None:
            out.copy_(torch.where(mask, out, h))
        h, c = out, keep_masked(mask, new_c, c)
    return (all_h, c), [all_h, *flat(memory)] if remember else []


def _backward(inputs, options, memory, upstream, needs_dx):
    x, (first_h, _), w = inputs
    _, sequences = options
    (t, b, _), n = x.shape, first_h.shape[-1]
    all_h, *memory = memory
    gradient, transposed = LSTMGradient(LSTM(w, 0.0), b), w["recurrent_kernel"].t().contiguous()
    masks, noises = by_step(sequences, "mask", t), by_step(sequences, "noise", t)
    steps = steps_of(memory, t)
    dgates, (dh_all, dc) = x.new_empty((t, b, 4 * n)), upstream
    dh = dh_all[-1]
    for k in reversed(range(t)):
        mask, whole, out = masks[k], (dh, dc), dgates[k]
        dh, dc = (zero_masked(mask, d) for d in whole)
        dc = keep_masked(mask, gradient.step(dh, dc, steps[k], noises[k], out), whole[1])
        dh = keep_masked(mask, out @ transposed, whole[0])
        if k:
            dh = dh + dh_all[k - 1]
    rows = dgates.view(t * b, 4 * n)
    dw = {
        "kernel": product(x, dgates),
        "recurrent_kernel": product(before(first_h, all_h), dgates),
        "bias": rows.sum(0),
        **gradient.vectors(),
    }
    return (rows @ w["kernel"].t()).view(x.shape) if needs_dx else None, (dh, dc), dw


def _plain(inputs, options):
    x, states, w = inputs
    forget_bias, sequences = options

    def step(states, now):
        noise = now.get("noise")
        return layer_norm_lstm_step(now["x"], *states, **w, noise=noise, forget_bias=forget_bias)

    found = plain_loop(step, states, {"x": x, **sequences})
    return torch.stack([h for h, _ in found]), found[-1][1]


_recurrence = FusedRecurrence(_forward, _backward, _plain)
