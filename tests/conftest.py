"""What holds for every test: the same random numbers in any order, and one dtype policy."""

import gc
import os

# Before TensorFlow or JAX begin, and for processes that tests start. XLA compiles much here, which
# with all its optimizations takes longer than what it compiles.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=1")

import keras
import numpy as np
import pytest

_make_train_function = keras.Model.make_train_function


def _with_a_built_optimizer(self, force=False):
    """`make_train_function`; a step that makes the optimizer's variables would be traced twice."""
    if self.optimizer is not None and self.built and not self.optimizer.built:
        self.optimizer.build(self.trainable_variables)
    return _make_train_function(self, force)


if keras.backend.backend() == "tensorflow":  # tests train for so few steps that tracing counts
    keras.Model.make_train_function = _with_a_built_optimizer


def pytest_make_parametrize_id(val, argname):
    """Bytes are named by their argument: what gzip writes, for one, holds the time it was made."""
    return argname if isinstance(val, bytes) else None


def pytest_collection_finish(session):
    """What is imported by now stays: the garbage collector need not look through it each time."""
    gc.collect()
    gc.freeze()


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
