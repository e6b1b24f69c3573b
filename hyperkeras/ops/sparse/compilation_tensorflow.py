"""Pure functions and their gradients, each compiled by XLA by itself, in a graph that is not.

TensorFlow runs one operation after the other, and each writes its result to memory. Where a
function is dozens of cheap operations on the same long rows, that is most of its time.
"""

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from hyperkeras.ops.internals_tensorflow import (
    in_forward_mode,
    operations_are_watched,
)
from hyperkeras.ops.sparse.contraction_tensorflow import compiles_with_xla


class CompiledFunction:
    """A pure function of tensors, compiled, with a compiled gradient.

    The gradient computes the function again, which is cheap where its operations are fused. Its
    derivative is exact to any order: TensorFlow takes that of the gradient, not compiled, from the
    function itself.

    Args:
        function: Function of tensors, and of hashable keyword arguments, that gives one tensor.

    With `apart` the last tensor's gradient is computed by itself, so that a graph leaves it out
    where it is not asked for, as for the pixels of a first layer.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.forward = tf.function(function, jit_compile=True, autograph=False)
        self.backward = tf.function(self._gradients, jit_compile=True, autograph=False)

    def __call__(self, *given: Any, apart: bool = False, **options: Any) -> Any:
        tensors = [tf.convert_to_tensor(a) for a in given]
        if compiles_with_xla() or operations_are_watched() or in_forward_mode(tensors):
            return self.function(*tensors, **options)
        places = [i for i, a in enumerate(tensors) if a.dtype.is_floating]
        if not places:
            return self.forward(*tensors, **options)

        @tf.custom_gradient
        def run(*tensors):
            y = self.forward(*_hidden(tensors), **options)

            def grad(upstream):
                made = self._first(tensors, places, upstream, apart, options)
                return [made.get(i) for i in range(len(tensors))]

            return y, grad

        return run(*tensors)

    def _first(self, tensors, places, upstream, apart, options):
        """The gradients by place, which can be differentiated themselves."""
        groups = (places[:-1], places[-1:]) if apart else (places,)

        # All that it reads is an argument, as graphs can't reach into each other.
        @tf.custom_gradient
        def run(upstream, *tensors):
            hidden, made = _hidden(tensors), []
            for group in groups:
                made += self.backward(hidden, tuple(group), tf.stop_gradient(upstream), options)

            def second(*dgradients):
                with tf.GradientTape() as tape:
                    tape.watch([upstream, *(tensors[i] for i in places)])
                    again = self._gradients(tensors, places, upstream, options)
                found = tape.gradient(
                    again, [upstream, *(tensors[i] for i in places)], dgradients, "zero"
                )
                by_place = dict(zip(places, found[1:], strict=True))
                return [found[0], *(by_place.get(i) for i in range(len(tensors)))]

            return made, second

        return dict(zip(places, run(upstream, *tensors), strict=True))

    def _gradients(self, tensors, places, upstream, options):
        """For the floats among `tensors` at `places`."""
        floats = [tensors[i] for i in places]
        with tf.GradientTape() as tape:
            tape.watch(floats)
            y = self.function(*tensors, **options)
        return tape.gradient(y, floats, upstream, "zero")


def _hidden(tensors):
    """From tapes, which must not look inside what XLA compiles."""
    return [tf.stop_gradient(a) for a in tensors]


@tf.custom_gradient
def columns(x: tf.Tensor) -> Any:
    """The slices of the last axis, whose gradients are put together in one pass.

    TensorFlow pads each slice's gradient and adds them up.
    """

    def grad(*upstream):
        return tf.stack(upstream, axis=-1)

    return tuple(x[..., r] for r in range(x.shape[-1])), grad


def take(x: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    """Rows of `x`, with a gradient of its own.

    TensorFlow joins the gradients of all that is taken from one tensor, indices and numbers, in
    order to add them up.
    """

    @tf.custom_gradient
    def taken(x):
        def grad(upstream):
            rows = tf.reshape(upstream, tf.concat([[-1], tf.shape(x)[1:]], axis=0))
            return tf.math.unsorted_segment_sum(rows, tf.reshape(index, (-1,)), tf.shape(x)[0])

        return tf.gather(x, index), grad

    return taken(x)


@functools.cache
def compiled(function: Callable[..., Any]) -> CompiledFunction:
    """The compiled form of a function, always the same."""
    return CompiledFunction(function)
