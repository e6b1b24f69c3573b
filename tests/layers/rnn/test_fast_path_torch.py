"""The fast path on PyTorch beside the cell: values, gradients, `jvp` and second derivatives."""

import keras
import numpy as np
import pytest

from hyperkeras import layers

if keras.backend.backend() != "torch":
    pytest.skip("needs KERAS_BACKEND=torch", allow_module_level=True)
torch = pytest.importorskip("torch")

B, T, X, N, M, E = 2, 3, 3, 3, 2, 2
LAYERS = {
    "layer_norm_lstm": lambda **arguments: layers.LayerNormLSTM(N, **arguments),
    "hyper_lstm": lambda **arguments: layers.HyperLSTM(N, M, E, **arguments),
    "hyper_rnn": lambda **arguments: layers.HyperRNN(N, M, E, **arguments),
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
every = pytest.mark.parametrize("name", LAYERS)


@pytest.fixture(autouse=True)
def double(seeded):
    keras.config.set_dtype_policy("float64")


def make(name, use_xla, steps=T, **options):
    options = {"return_sequences": True, "return_state": True, "seed": 1, **options}
    layer = LAYERS[name](use_xla=use_xla, **options)
    layer.build((B, steps, X))
    rng = np.random.default_rng(3)
    for weight in layer.trainable_weights:
        weight.assign(rng.normal(size=weight.shape, scale=0.5))
    assert layer.takes_fast_path(steps) == use_xla
    return layer


def close(a, b):
    # Some of Keras's operations round float64 to float32.
    np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5 * np.max(np.abs(np.array(b))))


def normal(seed, *shape):
    return torch.tensor(np.random.default_rng(seed).normal(size=shape))


def given(layer):
    """The input and the first states, of which h depends on the input."""
    x = normal(5, B, T, X).requires_grad_()
    states = [normal(k, B, n).requires_grad_() for k, n in enumerate(layer.cell.state_size)]
    return x, [states[0] + x.sum(), *states[1:]], [x, *states]


def loss_of(outputs):
    return sum((y * normal(k, *y.shape)).sum() for k, y in enumerate(outputs))


def derivatives(layer, mask):
    """Outputs, gradients with and without a second derivative, and this one."""
    weights, found = [v.value for v in layer.trainable_variables], []
    for second in (False, True):
        layer.seed_generator.state.assign([1, 0])
        x, states, inputs = given(layer)
        outputs = layer(x, initial_state=states, mask=mask, training=True)
        inputs = [*weights, *inputs]
        gradients = torch.autograd.grad(loss_of(outputs), inputs, create_graph=second)
        found += [*outputs, *gradients]
    penalty = sum((g**2).sum() for g in gradients)
    found += torch.autograd.grad(penalty, inputs)
    return [a.detach().numpy() for a in found]


@pytest.mark.parametrize("name, options", CASES)
def test_values_and_derivatives_equal_those_of_the_cell(name, options):
    options = dict(options)
    mask = torch.tensor(MASK) if options.pop("mask", False) else None
    slow, fast = (derivatives(make(name, xla, **options), mask) for xla in (False, True))
    assert len(slow) == len(fast)
    for a, b in zip(fast, slow, strict=True):
        close(a, b)


@every
def test_without_gradients_nothing_is_kept_and_the_values_are_the_same(name):
    fast, slow = (make(name, xla) for xla in (True, False))
    x, states, _ = given(fast)
    with torch.no_grad():
        found = fast(x, initial_state=states)
    assert not any(y.requires_grad for y in found)
    for a, b in zip(found, slow(x, initial_state=states), strict=True):
        close(a, b.detach())


@every
def test_only_what_needs_a_gradient_gets_one(name):
    fast, slow = (make(name, xla, return_state=False) for xla in (True, False))
    for layer in (fast, slow):
        layer.cell.kernel.trainable = False
        layer.cell.kernel.value.requires_grad_(False)
        loss_of([layer(normal(0, B, T, X))]).backward()
    assert fast.cell.kernel.value.grad is None
    for a, b in zip(fast.trainable_weights, slow.trainable_weights, strict=True):
        close(a.value.grad, b.value.grad)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")  # in torch.func.jvp
@every
def test_forward_mode_and_transformations_equal_those_of_the_cell(name):
    x, direction = normal(0, B, T, X), normal(1, B, T, X)
    found = []
    for layer in (make(name, xla, return_state=False) for xla in (True, False)):
        with torch.autograd.forward_ad.dual_level():
            dual = layer(torch.autograd.forward_ad.make_dual(x, direction))
            forward = torch.autograd.forward_ad.unpack_dual(dual).tangent
        _, jvp = torch.func.jvp(layer, (x,), (direction,))
        mapped = torch.func.vmap(torch.func.grad(lambda x, f=layer: f(x).sum()))(x[:, None])
        np.testing.assert_allclose(forward.detach(), jvp.detach(), rtol=1e-9)
        found.append((jvp, mapped))
    for a, b in zip(*found, strict=True):
        close(a.detach(), b.detach())


@every
def test_a_model_trains_the_same_with_any_length_and_keeps_its_states(name):
    found = []
    for xla in (True, False):
        layer = make(name, xla, steps=None, return_state=False, stateful=True)
        model = keras.Sequential([keras.Input((None, X), batch_size=B, dtype="float64"), layer])
        model.compile(keras.optimizers.SGD(0.1), "mse")
        for steps in (1, 4):
            x = np.random.default_rng(0).normal(size=(B, steps, X))
            model.train_on_batch(x, x)
        found.append([*model.get_weights(), *layer.states])
    for a, b in zip(*found, strict=True):
        a, b = (keras.ops.convert_to_numpy(w) for w in (a, b))
        close(a, b)


def test_without_steps_the_cell_is_taken():
    assert not make("layer_norm_lstm", True).takes_fast_path(0)
