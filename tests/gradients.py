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
