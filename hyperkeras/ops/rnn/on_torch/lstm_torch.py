"""An LSTM's step and its gradient on PyTorch, as few operations, without matrix products."""

from typing import Any, NamedTuple

import torch

from hyperkeras.ops.rnn.layer_norm_lstm import EPSILON

native_layer_norm_backward = torch.ops.aten.native_layer_norm_backward


class StepMemory(NamedTuple):
    """What a step's gradient needs; the last four only with layer norm."""

    c: torch.Tensor  # before the step
    gates: torch.Tensor  # after their activations, [b, 4, n]
    seen: torch.Tensor  # tanh of the new memory
    unit: torch.Tensor | None = None  # the gates' layer norm before gain and offset
    deviation: torch.Tensor | None = None  # one over it
    cell_unit: torch.Tensor | None = None
    cell_deviation: torch.Tensor | None = None


class LSTM:
    """The constants of all steps.

    Args:
        weights: Dict of `recurrent_kernel` and with layer norm `norm`, by the names of
            `layer_norm_lstm_step`.
        forget_bias: Float.
    """

    def __init__(self, weights: dict[str, Any], forget_bias: float) -> None:
        kernel, self.norm = weights["recurrent_kernel"], weights.get("norm")
        self.n = kernel.shape[0]
        # The logistic function by tanh, so that all gates are one operation.
        self.scale = kernel.new_tensor([[0.5], [0.5], [1.0], [0.5]])
        self.offset = 1 - self.scale
        bias = kernel.new_tensor([[0.0], [forget_bias], [0.0], [0.0]])
        self.gain, self.shift = self.scale, self.scale * bias
        if self.norm is not None:
            gamma, beta = (vector.view(4, self.n) for vector in self.norm[:2])
            self.gamma = gamma.contiguous()
            self.gain, self.shift = self.scale * gamma, self.scale * (beta + bias)

    def forward(
        self,
        gates: torch.Tensor,
        c: torch.Tensor,
        noise: torch.Tensor | None,
        out: torch.Tensor,
        remember: bool,
    ) -> tuple[torch.Tensor, StepMemory | None]:
        """The new c and what the gradient needs, from the gates before their layer norm.

        Writes h' into `out`.
        """
        unit = deviation = cell_unit = cell_deviation = None
        if self.norm is not None:
            unit, _, deviation = torch.native_layer_norm(gates, (self.n,), None, None, EPSILON)
        gates = torch.addcmul(self.shift, gates if unit is None else unit, self.gain).tanh_()
        torch.addcmul(self.offset, gates, self.scale, out=gates)
        i, f, g, o = gates.unbind(1)
        added = i * g
        if noise is not None:
            added.mul_(noise)
        new_c = torch.addcmul(added, f, c)
        if self.norm is None:
            seen = new_c.tanh()
        else:
            cell_unit, _, cell_deviation = torch.native_layer_norm(
                new_c, (self.n,), None, None, EPSILON
            )
            seen = torch.addcmul(self.norm[3], cell_unit, self.norm[2]).tanh_()
        torch.mul(o, seen, out=out)
        if not remember:
            return new_c, None
        return new_c, StepMemory(c, gates, seen, unit, deviation, cell_unit, cell_deviation)


class LSTMGradient:
    """The gradient of an `LSTM`'s steps, from the last one to the first, and its vectors' sums."""

    def __init__(self, lstm: LSTM, batch: int) -> None:
        self.lstm = lstm
        like, n = lstm.scale, lstm.n
        self.room = like.new_empty((batch, 4, n))
        self.zeros, self.ones = like.new_zeros((batch, 4, 1)), like.new_ones((batch, 4, 1))
        if lstm.norm is not None:
            self.sums = [like.new_zeros((batch, k * n)) for k in (4, 4, 1, 1)]

    def step(
        self,
        dh: torch.Tensor,
        dc: torch.Tensor,
        memory: StepMemory,
        noise: torch.Tensor | None,
        out: torch.Tensor,
    ) -> torch.Tensor:
        """The gradient of c before the step, from those of h' and c'.

        Writes that of the gates before layer norm into `out`.
        """
        lstm, d = self.lstm, self.room
        i, f, g, o = memory.gates.unbind(1)
        dseen = torch.ops.aten.tanh_backward(dh * o, memory.seen)
        if lstm.norm is not None:
            self.sums[2].addcmul_(dseen, memory.cell_unit)
            self.sums[3].add_(dseen)
            dseen = self._normalized(dseen * lstm.norm[2], memory.cell_unit)
            dc = torch.addcmul(dc, dseen, memory.cell_deviation)
        else:
            dc = dc + dseen
        into = dc if noise is None else dc * noise
        torch.mul(into, g, out=d[:, 0])
        torch.mul(dc, memory.c, out=d[:, 1])
        torch.mul(into, i, out=d[:, 2])
        torch.mul(dh, memory.seen, out=d[:, 3])
        dgates = out.view(d.shape) if lstm.norm is None else torch.empty_like(d)
        torch.ops.aten.sigmoid_backward.grad_input(d, memory.gates, grad_input=dgates)
        torch.ops.aten.tanh_backward.grad_input(d[:, 2], g, grad_input=dgates[:, 2])
        if lstm.norm is not None:
            self.sums[0].view(d.shape).addcmul_(dgates, memory.unit)
            self.sums[1].view(d.shape).add_(dgates)
            dunit = self._normalized(dgates.mul_(lstm.gamma), memory.unit)
            torch.mul(dunit, memory.deviation, out=out.view(d.shape))
        return dc * f

    def _normalized(self, dunit, unit):
        """The gradient through a layer norm, still to be divided by the deviation."""
        lead = len(unit.shape) == 3
        zeros, ones = (a if lead else a[:, 0] for a in (self.zeros, self.ones))
        return native_layer_norm_backward(
            dunit, unit, (self.lstm.n,), zeros, ones, None, None, [True, False, False]
        )[0]

    def vectors(self) -> dict[str, Any]:
        """The gradients of `norm`, where there is one."""
        if self.lstm.norm is None:
            return {}
        return {"norm": tuple(total.sum(0) for total in self.sums)}


def flat(memory: list[StepMemory]) -> list[torch.Tensor]:
    """What all steps keep, as a list of tensors."""
    return [a for step in memory for a in step if a is not None]


def steps_of(memory: list[torch.Tensor], steps: int) -> list[StepMemory]:
    """The inverse of `flat`."""
    width = len(memory) // steps
    return [StepMemory(*memory[k : k + width]) for k in range(0, len(memory), width)]
