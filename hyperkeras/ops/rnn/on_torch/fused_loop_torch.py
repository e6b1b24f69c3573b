"""What the fast recurrent paths on PyTorch share: gradients by hand, masks, sums over samples.

The loops run without PyTorch's record of each operation, write into memory that they keep for all
steps, and multiply with the input before the loop and for the weights' gradients after it. All
gates of a step stand side by side: `[b, 4, n]`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from keras import tree

from hyperkeras.ops.internals_torch import is_transformed


class FusedRecurrence:
    """A recurrence and its gradient written by hand.

    Its derivative is exact to any order: that of the gradient is taken by PyTorch from `plain`, as
    is everything in forward mode and under the transformations of `torch.func`.

    Args:
        forward: Function of `inputs`, `options` and `remember` that gives a tuple of outputs, and
            a list of tensors that the gradient needs if `remember` is true. It runs without a
            record of its operations.
        backward: Function of `inputs`, `options`, that list, the outputs' gradients, and whether
            the first input needs one, that gives those of `inputs`, in their structure.
        plain: Function of `inputs` and `options` that gives the same outputs step by step.
    """

    def __init__(
        self,
        forward: Callable[..., Any],
        backward: Callable[..., Any],
        plain: Callable[..., Any],
    ) -> None:
        self.forward = forward
        self.backward = backward
        self.plain = plain

    def __call__(self, inputs: Any, options: Any) -> tuple[torch.Tensor, ...]:
        """The outputs.

        Args:
            inputs: Nested structure of tensors, the first of which is the input of the layer.
            options: Whatever gets no gradient.
        """
        values = tree.flatten(inputs)
        if is_transformed(values) or torch.is_autocast_enabled(values[0].device.type):
            return self.plain(inputs, options)
        if not torch.is_grad_enabled() or not any(a.requires_grad for a in values):
            with torch.no_grad():
                return self.forward(inputs, options, False)[0]
        return _Recurrence.apply(self, inputs, options, *values)


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(ctx, recurrence, structure, options, *values):
        inputs = tree.pack_sequence_as(structure, values)
        outputs, memory = recurrence.forward(inputs, options, True)
        ctx.recurrence, ctx.options, ctx.count = recurrence, options, len(values)
        ctx.structure = tree.map_structure(lambda _: 0, structure)
        ctx.save_for_backward(*values, *memory)
        return outputs

    @staticmethod
    def backward(ctx, *upstream):
        values, memory = ctx.saved_tensors[: ctx.count], ctx.saved_tensors[ctx.count :]
        inputs = tree.pack_sequence_as(ctx.structure, values)
        needed = ctx.needs_input_grad[3:]
        if torch.is_grad_enabled():  # a derivative of this gradient will be asked for
            gradients = _plain_gradient(ctx, values, needed, upstream)
        else:
            gradients = tree.flatten(
                ctx.recurrence.backward(inputs, ctx.options, memory, upstream, needed[0])
            )
        return None, None, None, *gradients


def _plain_gradient(ctx, values, needed, upstream):
    """The gradients by PyTorch, which can be differentiated themselves."""
    # As views, since one input may depend on another.
    views = [a.view_as(a) for a in values]
    outputs = ctx.recurrence.plain(tree.pack_sequence_as(ctx.structure, views), ctx.options)
    wanted = [a for a, need in zip(views, needed, strict=True) if need]
    found = iter(
        torch.autograd.grad(outputs, wanted, upstream, create_graph=True, allow_unused=True)
    )
    return [next(found) if need else None for need in needed]


def plain_loop(
    step: Callable[..., Sequence[torch.Tensor]],
    states: Sequence[torch.Tensor],
    sequences: dict[str, torch.Tensor],
) -> list[tuple[torch.Tensor, ...]]:
    """The states after each step, `states = step(states, slices)` unless masked."""
    found = []
    for t in range(len(next(iter(sequences.values())))):
        now = {name: x[t] for name, x in sequences.items()}
        mask, new = now.get("mask"), step(states, now)
        states = tuple(keep_masked(mask, a, b) for a, b in zip(new, states, strict=True))
        found.append(states)
    return found


def keep_masked(mask: torch.Tensor | None, new: torch.Tensor, old: torch.Tensor) -> torch.Tensor:
    """`new` where the step counts, else `old`."""
    return new if mask is None else torch.where(mask, new, old)


def zero_masked(mask: torch.Tensor | None, d: torch.Tensor) -> torch.Tensor:
    """The part of a state's gradient that goes through the step."""
    return d if mask is None else torch.where(mask, d, d.new_zeros(()))


def by_step(sequences: dict[str, torch.Tensor], name: str, steps: int) -> Sequence[Any]:
    """The slices of a sequence, or for each step None where it is not given."""
    return sequences[name].unbind(0) if name in sequences else (None,) * steps


def product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Of matrices whose rows are all steps and samples: `[t, b, p]` and `[t, b, q]` to `[p, q]`."""
    return a.reshape(-1, a.shape[-1]).t() @ b.reshape(-1, b.shape[-1])


def before(first: torch.Tensor, stack: torch.Tensor) -> torch.Tensor:
    """States before each step, from the first one and those after each."""
    return torch.cat([first[None], stack[:-1]])
