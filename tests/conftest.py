"""What holds for every test: the same random numbers in any order, and one dtype policy."""

import os

# Before TensorFlow or JAX begin, and for processes that tests start. XLA compiles much here, which
# with all its optimizations takes longer than what it compiles.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=1")

import keras
import numpy as np
import pytest


@pytest.fixture(autouse=True)
def seeded(request):
    """Seeds Keras, and gives a file's `rng` its first state again; resets the dtype policy."""
    keras.utils.set_random_seed(0)
    if isinstance(getattr(request.module, "rng", None), np.random.Generator):
        request.module.rng = np.random.default_rng(1)
    yield
    keras.config.set_dtype_policy("float32")


@pytest.fixture
def policy():
    """Sets Keras's dtype policy, for this test."""
    return keras.config.set_dtype_policy
