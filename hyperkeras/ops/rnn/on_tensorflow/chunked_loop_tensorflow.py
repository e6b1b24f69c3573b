"""A recurrence on TensorFlow in chunks of steps that XLA compiles once for sequences of any length.

Compiling is slow: it takes about as long as a hundred steps for each operation that XLA fuses. So
XLA gets the loop over a chunk's steps and nothing else, of a size that is always the same. What
stands before and after the loop are few large operations, which TensorFlow does as fast.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import tensorflow as tf

from hyperkeras.annotations import Tensor
from hyperkeras.ops.internals_tensorflow import (
    in_forward_mode,
    operations_are_watched,
)

CHUNK = 32  # steps


class ChunkedRecurrence:
    """Base class of the recurrences whose gradient is written by hand, over sequences `[t, ...]`.

    Its derivative is exact to any order: that of the gradient is taken by TensorFlow from the
    recurrence itself, not compiled, since XLA can't differentiate loops of an unknown length.

    Subclasses tell one step, one step back, and what is computed for many steps at once. All
    structures are nested tuples and dicts of tensors. Time comes first in sequences.
    """

    returned: tuple[str, ...]  # names of a step's outputs that are outputs of the recurrence

    def __init__(self) -> None:
        compiled = dict(jit_compile=True, autograph=False)
        self.compiled_forward = tf.function(self._forward_chunk, **compiled)
        self.compiled_backward = tf.function(self._backward_chunk, **compiled)

    def constants(self, w: Any, scalars: Any) -> Any:
        """What a step needs beside its inputs: from the weights, and what gets no gradient."""
        raise NotImplementedError

    def from_input(self, constants: Any, x: Tensor) -> dict[str, Tensor]:
        """What of `x` goes into the steps: its products with the weights."""
        raise NotImplementedError

    def step(
        self, constants: Any, states: Any, now: dict[str, Tensor], remember: bool
    ) -> tuple[Any, dict[str, Tensor]]:
        """The new states, and outputs: those `returned`, and what the step back needs if asked."""
        raise NotImplementedError

    def constants_back(self, w: Any) -> Any:
        """What a step back needs beside its inputs."""
        raise NotImplementedError

    def step_back(
        self, constants: Any, dstates: Any, now: dict[str, Tensor]
    ) -> tuple[Any, Any, dict[str, Tensor]]:
        """The gradients of the states before a step from those after it.

        Args:
            constants: What `constants_back` gives.
            dstates: Gradients of the states behind the step.
            now: Dict of the step's inputs, outputs and memory, and the outputs' gradients with a d
                before their names.

        Returns:
            The gradients of the states, what is summed over the steps, and a dict of sequences.
        """
        raise NotImplementedError

    def zero_sums(self, w: Any, states: Any) -> Any:
        """Where to sum the second result of `step_back`."""
        raise NotImplementedError

    def products(
        self, w: Any, x: Tensor, first: Any, memory: dict[str, Tensor], d: dict[str, Tensor]
    ) -> tuple[Tensor, Any]:
        """The gradient of x, and what adds up to those of the weights, for many steps at once.

        Args:
            w: Weights.
            x: Input.
            first: States before the first of the steps.
            memory: Dict of the steps' inputs and outputs.
            d: Dict of sequences that `step_back` gives.
        """
        raise NotImplementedError

    def gradients(self, w: Any, products: Any, sums: Any) -> Any:
        """The gradients of the weights."""
        raise NotImplementedError

    def __call__(self, inputs: Any, options: Any, remember: bool) -> tuple[Tensor, ...]:
        """All outputs `returned`, and the last states.

        Args:
            inputs: Tuple of x, the first states and the weights.
            options: Tuple of scalars and of a dict of sequences, which get no gradient.
            remember: Boolean: false to compute the memory again where a gradient is taken, so
                that inference keeps none.
        """
        values = [tf.convert_to_tensor(a) for a in tf.nest.flatten(inputs)]
        if in_forward_mode(values):  # to which custom gradients give zeros
            return self.plain(tf.nest.pack_sequence_as(inputs, values), options)

        @tf.custom_gradient
        def run(*values):
            outputs, memory = self._forward(_fixed(inputs, values), options, remember)

            def gradient(*upstream):
                return self._gradient(inputs, options, memory, values, upstream)

            return outputs, gradient

        return run(*values)

    def plain(self, inputs: Any, options: Any) -> tuple[Tensor, ...]:
        """The same, as TensorFlow runs and differentiates it."""
        x, states, w = inputs
        scalars, sequences = options
        constants = self.constants(w, scalars)
        given = self.from_input(constants, x) | sequences
        states, outputs = scan(partial(self.step, remember=False), constants, states, given)
        return (*(outputs[name] for name in self.returned), *states)

    def _forward_chunk(self, constants, states, given, remember, steps):
        step = partial(self.step, remember=remember)
        return scan(step, constants, states, given, steps=steps)

    def _backward_chunk(self, constants, dstates, sums, given, steps):
        def step(constants, carry, now):
            dstates, more, outputs = self.step_back(constants, carry[0], now)
            return (dstates, tf.nest.map_structure(tf.add, carry[1], more)), outputs

        carry = (dstates, sums)
        (dstates, sums), d = scan(step, constants, carry, given, reverse=True, steps=steps)
        return dstates, sums, d

    def _forward(self, inputs, options, remember):
        """Outputs and memory: what the gradient needs of each chunk, if asked for."""
        x, states, w = inputs
        scalars, sequences = options
        constants = self.constants(w, scalars)
        chunks = Chunks(x)
        given = {"x": chunks.split(x)}
        given |= {name: chunks.split(a) for name, a in sequences.items()}

        def one(k, states):
            now = {name: a[k] for name, a in given.items()}
            now |= self.from_input(constants, now.pop("x"))
            new, outputs = self.compiled_forward(constants, states, now, remember, chunks.steps(k))
            kept = now | {"first": states} if remember else {}
            return new, outputs | kept

        states, memory = chunks.loop(one, states)
        outputs = (*(chunks.join(memory[name]) for name in self.returned), *states)
        return outputs, memory if remember else None

    def _backward(self, inputs, memory, upstream):
        """The gradients of `inputs`."""
        x, first, w = inputs
        constants = self.constants_back(w)
        chunks = Chunks(x)
        count = len(self.returned)
        dstates = upstream[count:]
        given = {
            f"d{name}": chunks.split(a)
            for name, a in zip(self.returned, upstream[:count], strict=True)
        }
        given["x"] = chunks.split(x)

        def one(k, carry):
            dstates, sums, products = carry
            now = {name: a[k] for name, a in given.items()}
            x, kept = now.pop("x"), at(memory, k)
            first = kept.pop("first")
            dstates, sums, d = self.compiled_backward(
                constants, dstates, sums, now | kept, chunks.steps(k)
            )
            x, kept, d = (chunks.counted(a, k) for a in (x, kept, d))
            dx, more = self.products(w, x, first, kept, d)
            if products is not None:
                more = tf.nest.map_structure(tf.add, products, more)
            return (dstates, sums, more), {"x": chunks.padded(dx)}

        carry = (dstates, self.zero_sums(w, first), None)
        (dstates, sums, products), d = chunks.loop(one, carry, reverse=True)
        return chunks.join(d["x"]), dstates, self.gradients(w, products, sums)

    def _gradient(self, inputs, options, memory, values, upstream):
        """The gradients of `values`, which can be differentiated themselves."""
        count = len(values)

        def plain(*given):
            """The same gradients by TensorFlow."""
            with tf.GradientTape() as tape:
                tape.watch(given[:count])
                outputs = self.plain(tf.nest.pack_sequence_as(inputs, given[:count]), options)
            return tape.gradient(outputs, given[:count], given[count:], "zero")

        @tf.custom_gradient
        def run(*given):
            fixed = _fixed(inputs, given[:count])
            kept = memory or self._forward(fixed, options, True)[1]
            upstream = tuple(tf.stop_gradient(d) for d in given[count:])
            gradients = tf.nest.flatten(self._backward(fixed, kept, upstream))

            def second(*upstream):
                with tf.GradientTape() as tape:
                    tape.watch(given)
                    first = plain(*given)
                return tape.gradient(first, given, upstream, "zero")

            return gradients, second

        return run(*values, *upstream) if can_compile() else plain(*values, *upstream)


def _fixed(inputs, values):
    """`values` in the structure of `inputs`, hidden from tapes.

    No tape may look inside what XLA compiles.
    """
    return tf.nest.pack_sequence_as(inputs, [tf.stop_gradient(a) for a in values])


def can_compile() -> bool:
    """Whether XLA can compile, as it can't under `tf.debugging.enable_check_numerics()`."""
    return not operations_are_watched()


class Chunks:
    """A sequence of steps in chunks of the same size, of which the last may be filled up.

    Args:
        x: Sequence that tells the length.
    """

    def __init__(self, x: Tensor) -> None:
        self.known = x.shape[0]
        self.length = tf.shape(x)[0] if self.known is None else self.known
        # One of an empty sequence too, of which no step counts.
        self.count = -(-self.length // CHUNK)
        if self.known is None:
            self.count = tf.maximum(self.count, 1)

    def split(self, x: Tensor) -> Tensor:
        """`[t, ...]` as `[chunks, CHUNK, ...]`, with zeros behind the end."""
        x = tf.pad(x, [[0, self.count * CHUNK - self.length], *([[0, 0]] * (len(x.shape) - 1))])
        shape = tf.concat([[self.count, CHUNK], tf.shape(x)[1:]], axis=0)
        known = None if self.known is None else self.count
        return tf.ensure_shape(tf.reshape(x, shape), (known, CHUNK, *x.shape[1:]))

    def join(self, chunks: Any) -> Tensor:
        """The sequence of the chunks that `loop` has collected."""
        if isinstance(chunks, tf.TensorArray):
            chunks = chunks.concat()
        return tf.ensure_shape(chunks[: self.length], (self.known, *chunks.shape[1:]))

    def steps(self, k: Any) -> Tensor:
        """How many steps of chunk k count."""
        return tf.minimum(CHUNK, self.length - CHUNK * k)

    def counted(self, structure: Any, k: Any) -> Any:
        """Those steps of sequences, if it is known how many; else with the zeros behind them."""
        if not isinstance(k, int) or self.known is None:
            return structure
        return tf.nest.map_structure(lambda a: a[: self.known - CHUNK * k], structure)

    def padded(self, x: Tensor) -> Tensor:
        """Steps of a chunk with zeros up to its end."""
        missing = CHUNK - x.shape[0]
        return tf.pad(x, [[0, missing], *([[0, 0]] * (len(x.shape) - 1))]) if missing else x

    def loop(self, one: Callable[..., Any], carry: Any, reverse: bool = False) -> tuple[Any, Any]:
        """`carry, outputs = one(k, carry)` for each chunk k.

        Returns the last carry and the outputs: of a single chunk as they are, of more in
        structures of `tf.TensorArray`.
        """
        single = self.known is not None and self.count == 1
        # The first one tells the outputs' shapes. It is not in the loop.
        first = self.count - 1 if reverse else 0
        carry, outputs = one(first, carry)
        if single:
            return carry, outputs
        arrays = tf.nest.map_structure(
            lambda a: tf.TensorArray(
                a.dtype, self.count, element_shape=a.shape, clear_after_read=False
            ).write(first, a),
            outputs,
        )

        def body(k, carry, arrays):
            place = self.count - 1 - k if reverse else k
            carried, outputs = one(place, carry)
            carry = tf.nest.map_structure(lambda x, y: tf.ensure_shape(x, y.shape), carried, carry)
            arrays = tf.nest.map_structure(lambda a, x: a.write(place, x), arrays, outputs)
            return k + 1, carry, arrays

        _, carry, arrays = tf.while_loop(
            lambda k, *_: k < self.count,
            body,
            (tf.constant(1), carry, arrays),
            maximum_iterations=self.count,
        )
        return carry, arrays


def at(structure: Any, k: Any) -> Any:
    """What `Chunks.loop` has collected of chunk k."""
    return tf.nest.map_structure(
        lambda a: a.read(k) if isinstance(a, tf.TensorArray) else a, structure
    )


def scan(
    step: Callable[..., tuple[Any, Any]],
    constants: Any,
    carry: Any,
    inputs: dict[str, Tensor],
    reverse: bool = False,
    steps: Tensor | None = None,
) -> tuple[Any, Any]:
    """`carry, outputs = step(constants, carry, slices)` over the first axis of a dict `inputs`.

    Returns the last carry and the dict of stacked outputs. With `steps` only the first ones count,
    and the outputs behind them are zeros.
    """
    first = next(iter(inputs.values()))
    known = first.shape[0]
    length = tf.shape(first)[0] if known is None else known
    count = length if steps is None else steps
    unstacked = {name: tf.TensorArray(x.dtype, length).unstack(x) for name, x in inputs.items()}
    _, like = step(constants, carry, {name: x[0] for name, x in inputs.items()})  # XLA drops it
    stacks = {
        name: tf.TensorArray(y.dtype, length, element_shape=y.shape) for name, y in like.items()
    }

    def body(k, carry, stacks):
        t = count - 1 - k if reverse else k
        now = {name: x.read(t) for name, x in unstacked.items()}
        carried, outputs = step(constants, carry, now)
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
