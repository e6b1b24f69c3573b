"""What the fast recurrent paths share: a loop, an LSTM's step and its gradient, and their wrapping.

Everything here is traced into functions that XLA compiles. Gates come first: `[4, b, n]`.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from hyperkeras.annotations import Tensor
from hyperkeras.ops.rnn.internals_tensorflow import in_forward_mode, operations_are_watched

EPSILON = 1e-3
POWERS = 2 ** np.arange(30, dtype="int32")


class CompiledRecurrence:
    """A recurrence and its gradient written by hand, each compiled by XLA by itself.

    Its derivative is exact to any order: that of the gradient is taken by TensorFlow from the
    recurrence itself, not compiled, since XLA can't differentiate loops of an unknown length.

    Args:
        forward: Function of `inputs`, `options`, `remember` and `steps` that gives a tuple of
            outputs, and what the gradient needs if `remember` is true.
        backward: Function of `inputs`, `options`, that memory, the outputs' gradients and `steps`
            that gives those of `inputs`, in their structure.

    `steps` is how many of the steps count, or None for all. XLA compiles for each length anew. From
    the third one on, sequences are padded to lengths of which there are few; no step is computed
    for what is padded. The first of the inputs is a sequence, and so are outputs and options of
    rank 3.
    """

    def __init__(self, forward: Callable[..., Any], backward: Callable[..., Any]) -> None:
        self.forward = forward
        self.compiled_forward = tf.function(forward, jit_compile=True, autograph=False)
        self.compiled_backward = tf.function(backward, jit_compile=True, autograph=False)
        self.lengths: dict[Any, set[int]] = {}  # which are compiled as they are

    def __call__(self, inputs: Any, options: Any, remember: bool) -> Any:
        """The outputs of `forward`.

        Args:
            inputs: Nested structure of tensors and variables' values.
            options: Nested structure of what gets no gradient.
            remember: Boolean: false to compute the memory again where a gradient is taken, so
                that inference keeps none.
        """
        values = [tf.convert_to_tensor(a) for a in tf.nest.flatten(inputs)]
        if in_forward_mode(values):  # to which custom gradients give zeros
            return self.forward(tf.nest.pack_sequence_as(inputs, values), options, False)[0]

        @tf.custom_gradient
        def run(*values):
            padded = self._padded(self._fixed(inputs, values), options)
            outputs, memory = self.compiled_forward(*padded[:2], remember, padded[2])

            def gradient(*upstream):
                return self._gradient(inputs, options, memory, values, upstream)

            return cut(outputs, padded[2], values[0]), gradient

        return run(*values)

    @staticmethod
    def _fixed(inputs, values):
        """`values` in the structure of `inputs`, hidden from tapes.

        No tape may look inside what XLA compiles.
        """
        return tf.nest.pack_sequence_as(inputs, [tf.stop_gradient(a) for a in values])

    def _padded(self, fixed, options):
        """Inputs and options of a length that is compiled already or often, and `steps`."""
        x = fixed[0]
        if x.shape[0] is not None:
            key = str([a.shape[1:] for a in tf.nest.flatten(fixed)])
            lengths = self.lengths.setdefault(key, set())
            if len(lengths) < 2:
                lengths.add(x.shape[0])
            if x.shape[0] in lengths:
                return fixed, options, None
        steps = tf.shape(x)[0]
        return (pad(x, x), *fixed[1:]), pad(options, x), steps

    def _gradient(self, inputs, options, memory, values, upstream):
        """The gradients of `values`, which can be differentiated themselves."""
        count = len(values)

        def plain(*given):
            """The same gradients by TensorFlow."""
            with tf.GradientTape() as tape:
                tape.watch(given[:count])
                outputs, _ = self.forward(
                    tf.nest.pack_sequence_as(inputs, given[:count]), options, False
                )
            return tape.gradient(outputs, given[:count], given[count:], "zero")

        @tf.custom_gradient
        def run(*given):
            padded, padded_options, steps = self._padded(
                self._fixed(inputs, given[:count]), options
            )
            kept = memory or self.compiled_forward(padded, padded_options, True, steps)[1]
            upstream = tuple(tf.stop_gradient(d) for d in given[count:])
            if steps is not None:
                upstream = pad(upstream, given[0])
            gradients = tf.nest.flatten(
                self.compiled_backward(padded, padded_options, kept, upstream, steps)
            )
            gradients[:1] = cut(gradients[:1], steps, given[0])

            def second(*upstream):
                with tf.GradientTape() as tape:
                    tape.watch(given)
                    first = plain(*given)
                return tape.gradient(first, given, upstream, "zero")

            return gradients, second

        return run(*values, *upstream) if can_compile() else plain(*values, *upstream)


def can_compile() -> bool:
    """Whether XLA can compile, as it can't under `tf.debugging.enable_check_numerics()`."""
    return not operations_are_watched()


def pad(structure: Any, x: Tensor) -> Any:
    """Sequences as long as `x`, with zeros behind them up to a length `2 ** k` or `3 * 2 ** k`."""
    length = x.shape[0]
    if length is None:
        length = tf.shape(x)[0]
        power = tf.reduce_min(tf.where(POWERS >= length, POWERS, POWERS[-1]))
        total = tf.where(3 * power // 4 >= length, 3 * power // 4, power)
    else:
        power = 2 ** (length - 1).bit_length()
        total = 3 * power // 4 if 3 * power // 4 >= length else power
    behind = [[0, total - length], [0, 0], [0, 0]]
    return tf.nest.map_structure(lambda a: tf.pad(a, behind) if is_sequence(a) else a, structure)


def is_sequence(x: Tensor) -> bool:
    """Whether the first axis is time."""
    return len(x.shape) == 3


def cut(structure: Any, steps: Any, like: Tensor) -> Any:
    """Sequences without what `pad` has added."""
    if steps is None:
        return structure

    def one(a):
        return tf.ensure_shape(a[:steps], (like.shape[0], *a.shape[1:])) if is_sequence(a) else a

    return tf.nest.map_structure(one, structure)


def scan(
    step: Callable[..., tuple[Any, Any]],
    carry: Any,
    inputs: dict[str, Tensor],
    reverse: bool = False,
    steps: Tensor | None = None,
) -> tuple[Any, Any]:
    """`carry, outputs = step(carry, slices)` over the first axis of `inputs`, a dict of tensors.

    Returns the last carry and the dict of stacked outputs. With `steps` only the first ones count,
    and the outputs behind them are zeros.
    """
    first = next(iter(inputs.values()))
    known = first.shape[0]
    length = tf.shape(first)[0] if known is None else known
    count = length if steps is None else steps
    unstacked = {name: tf.TensorArray(x.dtype, length).unstack(x) for name, x in inputs.items()}
    _, like = step(carry, {name: x[0] for name, x in inputs.items()})  # XLA drops it
    stacks = {
        name: tf.TensorArray(y.dtype, length, element_shape=y.shape) for name, y in like.items()
    }

    def body(k, carry, stacks):
        t = count - 1 - k if reverse else k
        carried, outputs = step(carry, {name: x.read(t) for name, x in unstacked.items()})
        # A step may lose a size that its start knows, as that of a batch of one.
        carry = tf.nest.map_structure(lambda x, y: tf.ensure_shape(x, y.shape), carried, carry)
        return k + 1, carry, {name: stacks[name].write(t, y) for name, y in outputs.items()}

    _, carry, stacks = tf.while_loop(
        lambda k, *_: k < count, body, (0, carry, stacks), maximum_iterations=length
    )
    outputs = {}
    for name, stack in stacks.items():
        outputs[name] = tf.ensure_shape(stack.stack(), (known, *like[name].shape))
    return carry, outputs


def lstm_forward(
    gates: Tensor, c: Tensor, noise: Tensor | None, norm: Any, forget_bias: float
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """h', c' and what the gradient needs, from the gates `[4, b, n]` before their layer norm."""
    memory = {}
    if norm is not None:
        gates, memory["unit"], memory["deviation"] = normalize(
            gates, by_gate(norm[0]), by_gate(norm[1])
        )
    # The logistic function by tanh, so that all gates are one operation.
    scale = tf.constant([0.5, 0.5, 1.0, 0.5], gates.dtype)[:, None, None]
    bias = forget_bias * tf.constant([0.0, 1.0, 0.0, 0.0], gates.dtype)[:, None, None]
    gates = scale * tf.tanh(scale * (gates + bias)) + (1 - scale)
    i, f, g, o = tf.unstack(gates)
    c = f * c + i * (g if noise is None else g * noise)
    seen = c
    if norm is not None:
        seen, memory["cell_unit"], memory["cell_deviation"] = normalize(c, norm[2], norm[3])
    seen = tf.tanh(seen)
    return o * seen, c, memory | {"gates": gates, "seen": seen}


def lstm_factors(memory: dict[str, Tensor], c: Tensor, noise: Tensor | None) -> dict[str, Tensor]:
    """What gradients are multiplied by on their way back, for all steps before the loop.

    `c` is the memory before each step, `[t, b, n]`.
    """
    i, f, g, o = tf.unstack(memory["gates"], axis=1)
    seen, into, added = memory["seen"], i, g
    if noise is not None:
        into, added = i * noise, g * noise
    to_gates = (added * i * (1 - i), c * f * (1 - f), into * (1 - g * g), seen * o * (1 - o))
    factors = {
        "to_seen": o * (1 - seen * seen),
        "to_gates": tf.stack(to_gates, axis=1),
        "to_c": f,
    }
    names = ("unit", "deviation", "cell_unit", "cell_deviation")
    return factors | {name: memory[name] for name in names if name in memory}


def lstm_backward(dh: Tensor, dc: Tensor, factors: dict[str, Tensor], norm: Any) -> tuple[Any, ...]:
    """From the gradients of h' and c': of the gates before layer norm, of c, and of the vectors.

    The last are a dict of `bias` and with layer norm `norm`, each sample's apart: `[4, b, n]` for
    the gates, `[b, n]` for the cell.
    """
    dseen = dh * factors["to_seen"]
    dnorm: tuple[Any, ...] = ()
    if norm is not None:
        dnorm = (dseen * factors["cell_unit"], dseen)
        dseen = normalize_backward(dseen * norm[2], factors["cell_unit"], factors["cell_deviation"])
    dc = dc + dseen
    # The gradient that reaches each gate: of c' for i, f and g, of h' for o.
    reached = tf.where(tf.constant([False, False, False, True])[:, None, None], dh, dc)
    dpre = factors["to_gates"] * reached
    if norm is None:
        return dpre, dc * factors["to_c"], {"bias": dpre}
    dnorm = (dpre * factors["unit"], dpre, *dnorm)
    dpre = normalize_backward(dpre * by_gate(norm[0]), factors["unit"], factors["deviation"])
    return dpre, dc * factors["to_c"], {"bias": dpre, "norm": dnorm}


def lstm_zeros(h: Tensor, norm: Any) -> Any:
    """Where to sum the vectors' gradients of `lstm_backward`."""
    zeros, gates = tf.zeros_like(h), tf.zeros_like(tf.stack([h] * 4))
    return {"bias": gates} | ({} if norm is None else {"norm": (gates, gates, zeros, zeros)})


def over_samples(sums: Any) -> Any:
    """Vectors, the gates' joined, from sums `[4, b, n]` or `[b, n]`."""
    return tf.nest.map_structure(lambda d: tf.reshape(tf.reduce_sum(d, axis=-2), (-1,)), sums)


def unmasked(new: Any, old: Any, now: dict[str, Tensor]) -> Any:
    """The new states where the step counts, else the old ones."""
    if "mask" not in now:
        return tuple(new)
    return tuple(tf.where(now["mask"], a, b) for a, b in zip(new, old, strict=True))


def pass_masked(through: Any, whole: Any, now: dict[str, Tensor]) -> Any:
    """Gradients of the states: what came through the step, and past it where it did not count."""
    if "mask" not in now:
        return tuple(through)
    past = unmasked([tf.zeros_like(d) for d in whole], whole, now)
    return tuple(a + b for a, b in zip(through, past, strict=True))


def normalize(x: Tensor, gamma: Tensor, beta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Layer norm over the last axis; also the normalized x, and its deviation.

    XLA computes a sum or a product again in each operation that takes it, a quotient once.
    """
    x = x - tf.reduce_mean(x, axis=-1, keepdims=True)
    deviation = tf.sqrt(tf.reduce_mean(x * x, axis=-1, keepdims=True) + EPSILON)
    unit = x / deviation
    return gamma * unit + beta, unit, deviation


def normalize_backward(dunit: Tensor, unit: Tensor, deviation: Tensor) -> Tensor:
    """Gradient of a normalization for its input, from that for its result `unit`."""
    mean = tf.reduce_mean(dunit, axis=-1, keepdims=True)
    along = tf.reduce_mean(dunit * unit, axis=-1, keepdims=True)
    return (dunit - mean - unit * along) / deviation


def before(first: Tensor, stack: Tensor) -> Tensor:
    """States before each step, from the first one and those after each."""
    return tf.concat([first[None], stack[:-1]], axis=0)


def by_gate(vector: Tensor) -> Tensor:
    """`[4n]` as `[4, 1, n]`."""
    return tf.reshape(vector, (4, 1, -1))


def gates_first(x: Tensor) -> Tensor:
    """`[..., b, 4n]` as `[..., 4, b, n]`."""
    x = tf.reshape(x, tf.concat([tf.shape(x)[:-1], [4, x.shape[-1] // 4]], axis=0))
    rank = len(x.shape)
    return tf.transpose(x, [*range(rank - 3), rank - 2, rank - 3, rank - 1])


def gates_last(x: Tensor) -> Tensor:
    """`[t, 4, b, n]` as `[t, b, 4n]`."""
    t, _, b, _ = tf.unstack(tf.shape(x))
    return tf.reshape(tf.transpose(x, (0, 2, 1, 3)), (t, b, 4 * x.shape[-1]))


def transposed_by_gate(kernel: Tensor) -> Tensor:
    """`[p, 4n]` as `[4, n, p]`: what gates' gradients are multiplied by."""
    return tf.transpose(tf.reshape(kernel, (kernel.shape[0], 4, -1)), (1, 2, 0))


def product(a: Tensor, b: Tensor) -> Tensor:
    """Of matrices whose rows are all steps and samples: `[t, b, p]` and `[t, b, q]` to `[p, q]`."""
    return tf.matmul(
        tf.reshape(a, (-1, a.shape[-1])), tf.reshape(b, (-1, b.shape[-1])), transpose_a=True
    )
