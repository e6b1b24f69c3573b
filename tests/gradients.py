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


def slope_of(layer, x, along=None):
    """The squared norm of a gradient for x, as a gradient penalty has it, and its derivative.

    The gradient is that of the sum of sin(layer(x)). The derivative is the one along a direction,
    None without one.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        def slope(x):
            with tf.GradientTape() as tape:
                tape.watch(x)
                loss = tf.reduce_sum(tf.sin(layer(x)))
            return tf.reduce_sum(tape.gradient(loss, x) ** 2)

        x = tf.constant(x)
        if along is None:
            return float(slope(x)), None
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = slope(x)
        second = tape.gradient(value, x)
    elif keras.backend.backend() == "jax":
        import jax

        def slope(x):
            gradient = jax.grad(lambda x: ops.sum(ops.sin(layer(x))))(x)
            return ops.sum(gradient**2)

        if along is None:
            return float(slope(ops.convert_to_tensor(x))), None
        value, second = jax.value_and_grad(slope)(ops.convert_to_tensor(x))
    else:
        import torch

        x = ops.convert_to_tensor(x).requires_grad_(True)
        (gradient,) = torch.autograd.grad(ops.sum(ops.sin(layer(x))), x, create_graph=True)
        value = ops.sum(gradient**2)
        if along is None:
            return float(array(value)), None
        (second,) = torch.autograd.grad(value, x)
    return float(array(value)), float(np.sum(array(second) * along))
