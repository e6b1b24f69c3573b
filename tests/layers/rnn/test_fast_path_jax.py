"""The fast path on JAX beside the cell: values, gradients, `jvp` and second derivatives."""

import keras
import numpy as np
import pytest

from hyperkeras import layers

if keras.backend.backend() != "jax":
    pytest.skip("needs KERAS_BACKEND=jax", allow_module_level=True)
jax = pytest.importorskip("jax")

B, T, X, N, M, E = 2, 3, 3, 3, 2, 2
LAYERS = {
    "layer_norm_lstm": lambda **arguments: layers.LayerNormLSTM(N, **arguments),
    "hyper_lstm": lambda **arguments: layers.HyperLSTM(N, M, E, **arguments),
    # On JAX Keras's cell of the small network gives float32 from float64, which no scan takes.
    "hyper_rnn": lambda **arguments: layers.HyperRNN(N, M, E, dtype="float32", **arguments),
}
MASK = np.array([[False, True, False], [True, False, True]])  # one begins masked, both skip a step
CASES = [
    ("layer_norm_lstm", dict(recurrent_dropout=0.5, mask=True, go_backwards=True, forget_bias=0.5)),
    ("layer_norm_lstm", dict(layer_norm=False, use_bias=False, dropout=0.5)),
    (
        "hyper_lstm",
        dict(recurrent_dropout=0.5, hyper_recurrent_dropout=0.4, mask=True, hyper_forget_bias=2.0),
    ),
    ("hyper_lstm", dict(layer_norm=False, use_bias=False, return_weight_changes=True)),
    ("hyper_rnn", dict(mask=True, go_backwards=True)),
    ("hyper_rnn", dict(use_bias=False, dropout=0.5)),
]


@pytest.fixture(autouse=True)
def double(seeded):
    jax.config.update("jax_enable_x64", True)
    keras.config.set_dtype_policy("float64")
    yield
    jax.config.update("jax_enable_x64", False)


def make(name, use_xla, steps=T, **options):
    options = {"return_sequences": True, "return_state": True, "seed": 1, **options}
    layer = LAYERS[name](use_xla=use_xla, **options)
    layer.build((None, steps, X))
    rng = np.random.default_rng(3)
    for weight in layer.trainable_weights:
        weight.assign(rng.normal(size=weight.shape, scale=0.5))
    assert layer.takes_fast_path(steps) == use_xla
    return layer


def derivatives(layer, mask):
    """Outputs, gradients, a `jvp`, and the gradient of a sum of squared gradients."""
    rng = np.random.default_rng(5)
    weights = [v.value for v in layer.trainable_variables]
    others = [v.value for v in layer.non_trainable_variables]
    dtype = layer.compute_dtype
    states = [rng.normal(size=(B, n)).astype(dtype) for n in layer.cell.state_size]
    given = (weights, rng.normal(size=(B, T, X)).astype(dtype), states)
    direction = jax.tree.map(lambda a: rng.normal(size=a.shape).astype(a.dtype), given)

    def loss(weights, x, states):
        outputs, _ = layer.stateless_call(
            weights, others, x, initial_state=states, mask=mask, training=True
        )
        factors = np.random.default_rng(9)
        losses = [(y * factors.normal(size=y.shape).astype(y.dtype)).sum() for y in outputs]
        return sum(losses), outputs

    def penalty(*given):
        gradients, outputs = jax.grad(loss, argnums=(0, 1, 2), has_aux=True)(*given)
        return sum((g**2).sum() for g in jax.tree.leaves(gradients)), (gradients, outputs)

    @jax.jit
    def run(given, direction):
        second, first = jax.grad(penalty, argnums=(0, 1, 2), has_aux=True)(*given)
        return first, second, jax.jvp(lambda *a: loss(*a)[0], given, direction)

    return jax.tree.leaves(run(given, direction))


@pytest.mark.parametrize("name, options", CASES)
def test_values_and_derivatives_equal_those_of_the_cell(name, options):
    options = dict(options)
    mask = MASK if options.pop("mask", False) else None
    slow, fast = (derivatives(make(name, xla, **options), mask) for xla in (False, True))
    assert len(slow) == len(fast)
    for a, b in zip(fast, slow, strict=True):
        # On JAX some of Keras's operations round float64 to float32.
        tolerance = 2e-5 if a.dtype == "float64" else 2e-4
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * np.max(np.abs(b)))


@pytest.mark.parametrize("name", LAYERS)
def test_a_model_takes_any_length(name):
    layer, slow = (make(name, xla, steps=None, return_state=False) for xla in (True, False))
    model = keras.Sequential([keras.Input((None, X), dtype="float64"), layer])
    assert model.output_shape == (None, None, N)
    for steps in (1, 4):
        x = np.random.default_rng(0).normal(size=(B, steps, X))
        np.testing.assert_allclose(model.predict(x, verbose=0), slow(x), atol=1e-6)


def test_without_steps_the_cell_is_taken():
    assert not make("layer_norm_lstm", True).takes_fast_path(0)
