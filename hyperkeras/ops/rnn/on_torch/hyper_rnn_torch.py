"""The HyperRNN that scales rows over a whole sequence on PyTorch, with a gradient by hand."""

from collections.abc import Sequence

import torch

from hyperkeras.ops.rnn.hyper_rnn import hyper_rnn_step
from hyperkeras.ops.rnn.on_torch.fused_loop_torch import (
    FusedRecurrence,
    before,
    by_step,
    keep_masked,
    plain_loop,
    product,
    zero_masked,
)


def hyper_rnn(
    x: torch.Tensor,
    states: Sequence[torch.Tensor],
    weights: dict[str, torch.Tensor],
    sequences: dict[str, torch.Tensor] | None = None,
) -> tuple[torch.Tensor, ...]:
    """`hyper_rnn_step` and the small network's over a sequence, with tanh.

    Args:
        x: Input of shape `[t, b, x]`.
        states: `(h, hyper_h)`.
        weights: Dict of the arguments of `hyper_rnn_step` by their names, and of the small
            network's `hyper_kernel [x + n, m]`, `hyper_recurrent_kernel [m, m]` and
            `hyper_bias [m]`.
        sequences: Dict that may hold `mask`, booleans of shape `[t, b, 1]`, where False the states
            stay.

    Returns:
        All h `[t, b, n]`, and all ĥ `[t, b, m]`.
    """
    return _recurrence((x, tuple(states), weights), sequences or {})


def _forward(inputs, sequences, remember):
    x, (h, hyper_h), w = inputs
    (t, b, features), n, m = x.shape, h.shape[-1], hyper_h.shape[-1]
    embedding_kernel, embedding_bias, row_kernel = _rows(w)
    rows_of_x, hyper_kernel = x.reshape(t * b, features), w["hyper_kernel"][features:]
    from_x = (rows_of_x @ w["kernel"]).view(t, b, n)
    hyper = torch.addmm(w["hyper_bias"], rows_of_x, w["hyper_kernel"][:features]).view(t, b, m)
    all_h, all_from_h, all_z = (
        x.new_empty((t, b, size)) for size in (n, n, embedding_bias.numel())
    )
    for k, mask in enumerate(by_step(sequences, "mask", t)):
        # Where nothing is kept, the same memory serves each step.
        from_h, z = (stack[k if remember else 0] for stack in (all_from_h, all_z))
        torch.mm(h, w["recurrent_kernel"], out=from_h)
        new_hyper_h = hyper[k].addmm_(h, hyper_kernel)
        new_hyper_h.addmm_(hyper_h, w["hyper_recurrent_kernel"]).tanh_()
        torch.addmm(embedding_bias, new_hyper_h, embedding_kernel, out=z)
        parts = z.view(b, 3, z.shape[-1] // 3).transpose(0, 1)
        scale_x, scale_h, shift = torch.bmm(parts, row_kernel)
        new_h = shift.add_(w["bias"]).addcmul_(scale_x, from_x[k]).addcmul_(scale_h, from_h)
        torch.tanh(new_h, out=all_h[k])
        if mask is not None:
            all_h[k] = torch.where(mask, all_h[k], h)
            hyper[k] = torch.where(mask, hyper[k], hyper_h)
        h, hyper_h = all_h[k], hyper[k]
    return (all_h, hyper), [all_h, hyper, from_x, all_from_h, all_z] if remember else []


def _backward(inputs, sequences, memory, upstream, needs_dx):
    x, states, w = inputs
    all_h, hyper, from_x, from_h, z = memory
    (t, b, features), n, m = x.shape, all_h.shape[-1], hyper.shape[-1]
    embedding_kernel, _, row_kernel = _rows(w)
    e = row_kernel.shape[1]
    recurrent_kernel, hyper_kernel, hyper_recurrent_kernel, embedding_kernel = (
        kernel.t().contiguous()
        for kernel in (
            w["recurrent_kernel"],
            w["hyper_kernel"][features:],
            w["hyper_recurrent_kernel"],
            embedding_kernel,
        )
    )
    row_transposed = row_kernel.transpose(1, 2).contiguous()
    z = z.view(t * b, 3, e).transpose(0, 1)
    scale_x, scale_h = torch.bmm(z[:2], row_kernel[:2]).view(2, t, b, n)
    # By row: what the rows are multiplied with, and its gradients.
    factors = torch.stack([from_x, from_h, torch.ones_like(from_h)])
    sums, dfrom_h = x.new_empty((t, b, n)), x.new_empty((t, b, n))
    dhyper, dz = x.new_empty((t, b, m)), x.new_empty((t, b, 3, e))
    dh_all, dhyper_h_all = upstream
    dh, dhyper_h, masks = dh_all[-1], dhyper_h_all[-1], by_step(sequences, "mask", t)
    for k in reversed(range(t)):
        mask, whole = masks[k], (dh, dhyper_h)
        dh, dhyper_h = (zero_masked(mask, d) for d in whole)
        torch.ops.aten.tanh_backward.grad_input(dh, all_h[k], grad_input=sums[k])
        torch.mul(sums[k], scale_h[k], out=dfrom_h[k])
        dz[k] = torch.bmm(factors[:, k] * sums[k], row_transposed).transpose(0, 1)
        dhyper_h = torch.addmm(dhyper_h, dz[k].view(b, 3 * e), embedding_kernel)
        torch.ops.aten.tanh_backward.grad_input(dhyper_h, hyper[k], grad_input=dhyper[k])
        dh = torch.addmm(dhyper[k] @ hyper_kernel, dfrom_h[k], recurrent_kernel)
        dhyper_h = dhyper[k] @ hyper_recurrent_kernel
        dh, dhyper_h = keep_masked(mask, dh, whole[0]), keep_masked(mask, dhyper_h, whole[1])
        if k:
            dh, dhyper_h = dh + dh_all[k - 1], dhyper_h + dhyper_h_all[k - 1]
    old_h, dfrom_x = before(states[0], all_h), sums * scale_x
    drow_kernel = torch.bmm(z.transpose(1, 2), factors.mul_(sums).view(3, t * b, n))
    dz = dz.view(t, b, 3 * e)
    dembedding = product(hyper, dz)
    dw = {
        "kernel": product(x, dfrom_x),
        "recurrent_kernel": product(old_h, dfrom_h),
        "bias": sums.sum((0, 1)),
        "hyper_kernel": torch.cat([product(x, dhyper), product(old_h, dhyper)]),
        "hyper_recurrent_kernel": product(before(states[1], hyper), dhyper),
        "hyper_bias": dhyper.sum((0, 1)),
        "scale_embedding_kernel": dembedding[:, : 2 * e],
        "scale_embedding_bias": dz[..., : 2 * e].sum((0, 1)),
        "shift_embedding_kernel": dembedding[:, 2 * e :],
        "scale_kernel": drow_kernel[:2],
        "shift_kernel": drow_kernel[2:],
    }
    dx = None
    if needs_dx:
        dx = dfrom_x @ w["kernel"].t() + dhyper @ w["hyper_kernel"][:features].t()
    return dx, (dh, dhyper_h), dw


def _rows(w):
    """Weights that make two scales and a shift, joined: the shift has no bias."""
    bias = w["scale_embedding_bias"]
    return (
        torch.cat([w["scale_embedding_kernel"], w["shift_embedding_kernel"]], dim=-1),
        torch.cat([bias, torch.zeros_like(bias[: bias.shape[0] // 2])]),
        torch.cat([w["scale_kernel"], w["shift_kernel"]]),
    )


def _plain(inputs, sequences):
    x, states, w = inputs
    large = {name: weight for name, weight in w.items() if not name.startswith("hyper_")}

    def step(states, now):
        h, hyper_h = states
        from_x_and_h = torch.cat([now["x"], h], dim=-1) @ w["hyper_kernel"] + w["hyper_bias"]
        hyper_h = torch.tanh(from_x_and_h + hyper_h @ w["hyper_recurrent_kernel"])
        return hyper_rnn_step(now["x"], h, hyper_h, **large), hyper_h

    found = plain_loop(step, states, {"x": x, **sequences})
    return tuple(torch.stack(list(stack)) for stack in zip(*found, strict=True))


_recurrence = FusedRecurrence(_forward, _backward, _plain)
