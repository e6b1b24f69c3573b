"""Values and gradients on the backend that KERAS_BACKEND names, as NumPy arrays."""

import keras
import numpy as np
from keras import ops


def array(x, dtype=None):
    """A copy of a tensor or variable as an array, whether or not it has a gradient."""
    return np.array(ops.convert_to_numpy(ops.stop_gradient(ops.convert_to_tensor(x))), dtype)


def gradients(model, inputs, loss, **kwargs):
    """For each trainable variable the gradient of `loss(model(inputs, **kwargs))`.

    None where there is none; JAX gives zeros instead.
    """
    variables = model.trainable_variables
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            value = loss(model(inputs, **kwargs))
        made = tape.gradient(value, [v.value for v in variables])
    elif keras.backend.backend() == "jax":
        import jax

        def value(values):
            rest = [v.value for v in model.non_trainable_variables]
            return loss(model.stateless_call(values, rest, inputs, **kwargs)[0])

        made = jax.grad(value)([v.value for v in variables])
    else:
        import torch

        value, made = loss(model(inputs, **kwargs)), [None] * len(variables)
        if value.requires_grad:
            made = torch.autograd.grad(value, [v.value for v in variables], allow_unused=True)
    return [None if g is None else array(g, np.float64) for g in made]


def slopes_of(layer, inputs, along):
    """The squared norm of a gradient for x, as a gradient penalty has it, for each x of `inputs`.

    The gradient is that of the sum of sin(layer(x)). And the norm's derivative at the first x,
    along a direction. By the backends' own sine, as that of Keras takes float64 for float32.
    """
    inputs = [ops.convert_to_tensor(x) for x in inputs]
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        def slope(x):
            with tf.GradientTape() as tape:
                tape.watch(x)
                loss = tf.reduce_sum(tf.sin(layer(x)))
            return tf.reduce_sum(tape.gradient(loss, x) ** 2)

        with tf.GradientTape() as tape:
            tape.watch(inputs[0])
            first = slope(inputs[0])
        second = tape.gradient(first, inputs[0])
        slopes = [first, *map(slope, inputs[1:])]
    elif keras.backend.backend() == "jax":
        import jax

        def slope(x):
            gradient = jax.grad(lambda x: jax.numpy.sin(layer(x)).sum())(x)
            return (gradient**2).sum()

        pairs = list(map(jax.jit(jax.value_and_grad(slope)), inputs))
        slopes, second = [value for value, _ in pairs], pairs[0][1]
    else:
        import torch

        def slope(x):
            x = x.requires_grad_(True)
            (gradient,) = torch.autograd.grad(torch.sin(layer(x)).sum(), x, create_graph=True)
            return (gradient**2).sum()

        slopes = list(map(slope, inputs))
        (second,) = torch.autograd.grad(slopes[0], inputs[0])
    return [float(array(value)) for value in slopes], float(np.sum(array(second) * along))


def forward_derivative(function, x):
    """The derivative of `function` at x along ones, in forward mode."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        with tf.autodiff.ForwardAccumulator(x, tf.ones_like(x)) as accumulator:
            y = function(x)
        return accumulator.jvp(y)
    if keras.backend.backend() == "jax":
        import jax

        return jax.jvp(function, (x,), (jax.numpy.ones_like(x),))[1]
    import torch

    return torch.func.jvp(function, (x,), (torch.ones_like(x),))[1]
