"""Heads: values against NumPy, starts, parameters, gradients, saving, on the backend in use."""

import keras
import numpy as np
import pytest
from keras import ops

from hyperkeras import initializers, layers
from hyperkeras.layers.heads.piece import Piece
from hyperkeras.layers.heads.random_head import random_signs
from hyperkeras.layers.heads.unit_order import from_unit_order

F, C = 5, 3  # features, conditions


def array(x):
    return ops.convert_to_numpy(x).astype("float64")


def network():
    return keras.Sequential([keras.Input((6,)), keras.layers.Dense(7), keras.layers.Dense(7)])


def mlp():
    return keras.Sequential([keras.Input((F + 2,)), keras.layers.Dense(4, "tanh")])


def lstm(units=4):
    return keras.layers.LSTM(units, return_sequences=True)


def recurrent(**settings):
    return lambda **k: layers.RecurrentHead(lstm(), embedding_dim=2, **settings, **k)


LSTM = 4 * 4 * (F + 2 + 4 + 1)
# Each with the numbers that it trains for the network above: N = 49 + 56.
N = 6 * 7 + 7 + 7 * 7 + 7
HEADS = {
    "dense": (layers.DenseHead, {}, (F + 1) * N),
    "chunked": (lambda **k: layers.ChunkedHead(16, **k), {}, 7 * F + (F + 1) * 16),
    "chunked_stored": (
        lambda **k: layers.ChunkedHead(16, order="stored", normalize=True, **k),
        {},
        7 * F + (F + 1) * 16,
    ),
    "chunked_network": (
        lambda **k: layers.ChunkedHead(16, 2, mlp(), **k),
        {},
        7 * 2 + (F + 3) * 4 + (4 + 1) * 16,
    ),
    "low_rank": (lambda **k: layers.LowRankHead(2, **k), {}, F * (2 * 13 + 7 + 2 * 14 + 7)),
    "random": (lambda **k: layers.RandomHead(3, **k), {}, 0),
    "layerwise": (layers.LayerwiseHead, {}, 2 * F + F * (42 + 49 + 7)),
    "layerwise_network": (
        lambda **k: layers.LayerwiseHead(2, mlp(), **k),
        {},
        2 * 2 + (F + 3) * 4 + 4 * (42 + 49 + 7),
    ),
    "recurrent": (recurrent(chunk_size=16), {}, 7 * (2 + 4) + LSTM + (4 + 1) * 16),
    "recurrent_reversed": (
        recurrent(chunk_size=16, order="reversed", normalize=False),
        {},
        7 * (2 + 4) + LSTM + (4 + 1) * 16,
    ),
    "recurrent_independent": (
        recurrent(chunk_size=16, independent=True),
        {},
        7 * (2 + 4) + LSTM + (4 + 1) * 16,
    ),
    "recurrent_layers": (recurrent(), {}, 2 * 2 + LSTM + (4 + 1) * N),
    "recurrent_low_rank": (
        recurrent(rank=2),
        {},
        2 * 2 + LSTM + 4 * (2 * 13 + 7 + 2 * 14 + 7),
    ),
}
heads = pytest.mark.parametrize("name", HEADS)


def make(name, **arguments):
    keras.utils.set_random_seed(0)
    head = HEADS[name][0](**arguments)
    head.bind(network().trainable_weights)
    head.build((None, F))
    return head


def features(count=C):
    return np.random.default_rng(0).normal(size=(count, F)).astype("float32")


def scaled(z):
    return z / np.sqrt((z**2).mean(-1, keepdims=True) + 1e-6)


def by_units(row, shapes):
    """A row laid out unit by unit, as Keras stores each weight."""
    parts, at = [], 0
    for shape in shapes:
        part = row[at : at + np.prod(shape)]
        at += np.prod(shape)
        parts.append(part.reshape(shape[::-1]).T.ravel() if len(shape) == 2 else part)
    return np.concatenate(parts)


def products(made):
    """Numbers of the factors of both kernels, and biases, as one row of weights."""
    weights, at = [], 0
    while at < len(made):
        p = 6 if at == 0 else 7
        a, b = made[at : at + 2 * p].reshape(p, 2), made[at + 2 * p : at + 2 * p + 14].reshape(2, 7)
        weights += [(a @ b).ravel(), made[at + 2 * p + 14 : at + 2 * p + 21]]
        at += 2 * p + 21
    return np.concatenate(weights)


def lstm_outputs(weights, steps, cut):
    """h of each step; with `cut` each step is the first."""
    kernel, again, bias = (array(w) for w in weights)
    sigmoid = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
    h, c, outputs = np.zeros(4), np.zeros(4), []
    for x in steps:
        h, c = (np.zeros(4), np.zeros(4)) if cut else (h, c)
        i, f, g, o = np.split(x @ kernel + h @ again + bias, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        outputs.append(h)
    return np.array(outputs)


def recurrent_row(name, head, z):
    """One condition's weights."""
    steps = np.array([np.concatenate([z, e]) for e in array(head.embeddings)])
    back = -1 if name == "recurrent_reversed" else 1
    h = lstm_outputs(head.recurrent.weights, steps[::back], head.independent)[::back]
    h = scaled(h) if head.normalize else h
    if head.chunk_size is None:
        made = [h_i @ array(part.kernel) for h_i, part in zip(h, head.layer_heads, strict=True)]
        if name == "recurrent_low_rank":
            return products(np.concatenate(made))
        return np.concatenate(made) + np.concatenate([array(p.bias) for p in head.layer_heads])
    made = (h * array(head.factors) @ array(head.kernel) + array(head.bias)).ravel()[:N]
    return by_units(made, [(6, 7), (7,), (7, 7), (7,)]) * head._deviations


def expected(name, head, z):
    """The equation of each head, condition by condition, in float64."""
    z = z.astype("float64")
    if name == "dense":
        return z @ array(head.kernel) + array(head.bias)
    if name == "random":
        return head._factors * (z @ random_signs(3, (F, N)))
    if name == "low_rank":
        return np.array([products(row) for row in scaled(z) @ array(head.kernel)])
    if name.startswith("recurrent"):
        return np.array([recurrent_row(name, head, row) for row in z])
    embeddings, rows = array(head.embeddings), []
    for row in z:
        if head.network is None:
            parts = np.array([row * e for e in embeddings])
        else:
            parts = np.array([np.concatenate([row, e]) for e in embeddings])
            kernel, bias = (array(w) for w in head.network.weights)
            parts = np.tanh(parts @ kernel + bias)
        if head.normalize:
            parts = scaled(parts)
        if name.startswith("layerwise"):
            first, bias, second = (array(kernel) for kernel in head.kernels)
            (f, g) = parts
            rows.append(np.concatenate([f @ first, f @ bias, g @ second, g @ bias]))
            continue
        made = (parts @ array(head.kernel) + array(head.bias)).ravel()[:N]
        made = by_units(made, [(6, 7), (7,), (7, 7), (7,)]) if head.order == "units" else made
        rows.append(made * head._deviations)
    return np.array(rows)


@heads
def test_values_are_those_of_the_equation(name):
    head, z = make(name), features()
    rows = head(z)
    assert tuple(rows.shape) == (C, N) == tuple(head.compute_output_shape(z.shape))
    np.testing.assert_allclose(array(rows), expected(name, head, z), rtol=1e-4, atol=1e-6)
    shapes = [tuple(weight.shape) for weight in head.generate(z)]
    assert shapes == [(C, 6, 7), (C, 7), (C, 7, 7), (C, 7)]


@heads
def test_trained_numbers_are_those_of_the_formula(name):
    head = make(name)
    trained = sum(int(np.prod(weight.shape)) for weight in head.trainable_weights)
    assert trained == HEADS[name][2]


# One of those that start alike is enough.
STARTS = [
    name
    for name in HEADS
    if name not in ("chunked_stored", "recurrent_reversed", "recurrent_independent")
]


@pytest.mark.parametrize("name", STARTS)
def test_ten_layers_keep_the_variance_of_activations(name):
    """Of inputs of variance 1, over conditions, with ReLUs and generated biases."""
    keras.utils.set_random_seed(1)
    n, f = 48, 32
    network_ = keras.Sequential([keras.Input((3 * f,)), keras.layers.Dense(64, "tanh")])
    head = {
        "dense": lambda: layers.DenseHead(normalize=True),
        "chunked": lambda: layers.ChunkedHead(256, normalize=True),
        "chunked_network": lambda: layers.ChunkedHead(256, 2 * f, network_, normalize=True),
        "low_rank": lambda: layers.LowRankHead(4),
        "random": lambda: layers.RandomHead(3, normalize=True),
        "layerwise": layers.LayerwiseHead,
        "layerwise_network": lambda: layers.LayerwiseHead(2 * f, network_),
        "recurrent": lambda: layers.RecurrentHead(lstm(64), 256, embedding_dim=2 * f),
        "recurrent_layers": lambda: layers.RecurrentHead(lstm(64), embedding_dim=2 * f),
        "recurrent_low_rank": lambda: layers.RecurrentHead(lstm(64), rank=4, embedding_dim=2 * f),
    }[name]()
    pieces = []
    for i in range(10):
        pieces += [Piece(f"{i}/kernel", (n, n)), Piece(f"{i}/bias", (n,), role="bias")]
    head.bind(pieces)
    rng = np.random.default_rng(0)
    weights = iter(head.generate(rng.normal(size=(60, f)).astype("float32")))
    x = rng.normal(size=(60, 8, n))
    for _ in range(10):
        x = np.maximum(x @ array(next(weights)) + array(next(weights))[:, None], 0)
    assert 0.5 < (x**2).mean() < 2


@pytest.mark.parametrize("name", ["dense", "low_rank", "layerwise", "recurrent_layers"])
def test_named_weights_start_at_zero_and_learn(name):
    head = make(name, zero="bias")
    weights = dict(zip(("kernel", "bias"), head.generate(features()), strict=False))
    assert not array(weights["bias"]).any() and array(weights["kernel"]).any()


@heads
def test_biases_start_around_given_values(name):
    start = np.arange(N, dtype="float64")
    head = HEADS[name][0]()
    head.bind(network().trainable_weights, start)
    head.build((None, F))
    for weight in head.weights:  # what is left is the start
        if weight.name not in ("bias", "offset"):
            weight.assign(ops.zeros(weight.shape))
    start[:42] = start[49:98] = 0
    np.testing.assert_allclose(array(head(features())), np.tile(start, (C, 1)), atol=1e-5)


@pytest.mark.parametrize("name", [name for name in HEADS if name != "random"])
def test_all_weights_start_as_given_with_bias_hyper(name):
    start = np.arange(N, dtype="float64")
    head = HEADS[name][0](initializer="bias_hyper")
    head.bind(network().trainable_weights, start)
    np.testing.assert_allclose(array(head(features())), np.tile(start, (C, 1)), atol=1e-5)


def test_chunks_hold_whole_units():
    pieces = [Piece("a", (2, 3)), Piece("b", (2,), role="bias"), Piece("c", (2, 1, 2, 3))]
    row = np.arange(6 + 2 + 12)[None]
    a, b, c = np.split(array(from_unit_order(row, pieces))[0], [6, 8])
    np.testing.assert_array_equal(a.reshape(2, 3)[:, 0], [0, 1])  # the first unit's inputs
    np.testing.assert_array_equal(b, [6, 7])
    np.testing.assert_array_equal(c.reshape(2, 1, 2, 3)[..., 1].ravel(), [12, 13, 14, 15])
    heads_and_dims = [Piece("q", (2, 3, 4), unit_axes=(1, 2))]
    q = array(from_unit_order(np.arange(24)[None], heads_and_dims)).reshape(2, 3, 4)
    np.testing.assert_array_equal(q[:, 0, 0], [0, 1])
    np.testing.assert_array_equal(q[:, 2, 3], [22, 23])


def test_the_signs_of_a_seed_never_change():
    signs = random_signs(7, (4, 8))
    assert signs.dtype == "int8" and set(signs.ravel()) == {-1, 1}
    assert np.packbits(signs > 0).tolist() == np.packbits(random_signs(7, (4, 8)) > 0).tolist()
    assert (random_signs(8, (4, 8)) != signs).any()
    assert abs(random_signs(0, (100, 100)).mean()) < 0.05


@heads
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_heads_compute_in_full_precision(name, policy):
    whole = make(name)
    keras.config.set_dtype_policy(policy)
    try:
        half = make(name, dtype=policy)
    finally:
        keras.config.set_dtype_policy("float32")
    for a, b in zip(half.weights, whole.weights, strict=True):
        a.assign(b)
    z = features().astype("float16").astype("float32")
    assert keras.backend.standardize_dtype(half(z).dtype) == "float32"
    coarse = hasattr(half, "recurrent") or getattr(half, "network", None) is not None
    tolerance = 0.05 if coarse else 1e-5  # a network follows the policy
    np.testing.assert_allclose(array(half(z)), array(whole(z)), rtol=tolerance, atol=tolerance)


@heads
def test_a_head_comes_back_from_its_configuration(name):
    head = make(name)
    again = type(head).from_config(head.get_config())
    again.bind(network().trainable_weights)
    again.build((None, F))
    again.set_weights(head.get_weights())
    np.testing.assert_array_equal(array(again(features())), array(head(features())))
    assert again.get_config() == head.get_config()


def test_pieces_depend_on_those_before_them():
    """A change of one piece's embedding reaches the pieces that come after it, and no other."""
    for name, reached in (("recurrent", (3, 7)), ("recurrent_reversed", (0, 4))):
        head = make(name)
        before = array(head.piece_features(features()))
        embeddings = array(head.embeddings)
        embeddings[3] += 1
        head.embeddings.assign(embeddings)
        changed = np.abs(array(head.piece_features(features())) - before).max(axis=(0, 2)) > 1e-6
        assert np.flatnonzero(changed).tolist() == list(range(*reached))
    head = make("recurrent_independent")
    before = array(head.piece_features(features()))
    embeddings = array(head.embeddings)
    embeddings[3] += 1
    head.embeddings.assign(embeddings)
    changed = np.abs(array(head.piece_features(features())) - before).max(axis=(0, 2)) > 1e-6
    assert np.flatnonzero(changed).tolist() == [3]


@pytest.mark.parametrize("seed", [None, 3])
@pytest.mark.parametrize("name", sorted(HEADS))
def test_pieces_of_equal_shape_start_different(name, seed):
    make, settings, _ = HEADS[name]
    equal = [keras.layers.Dense(6, name=f"layer_{k}") for k in range(3)]
    network_ = keras.Sequential([keras.Input((6,)), *equal])
    head = make(**{"initializer": initializers.HyperfanIn(seed=seed), **settings})
    head.bind(network_.trainable_weights)
    kernels = [array(w) for w in head.generate(features())][::2]
    for k, kernel in enumerate(kernels):
        for other in kernels[:k]:
            correlation = np.corrcoef(kernel.ravel(), other.ravel())[0, 1]
            assert abs(correlation) < 0.9999


def test_equal_recurrent_pieces_do_not_start_equal():
    network_ = keras.Sequential([keras.Input((6,)), keras.layers.Dense(6), keras.layers.Dense(6)])
    for initializer in ("glorot_uniform", keras.initializers.RandomNormal(seed=3)):
        head = layers.RecurrentHead(lstm(), initializer=initializer)
        head.bind(network_.trainable_weights)
        head.build((None, F))
        first, second = (array(part.kernel) for part in head.layer_heads)
        assert np.abs(first - second).max() > 0.01


@pytest.mark.parametrize(
    "recurrent_",
    [
        lambda: keras.layers.GRUCell(4),
        lambda: layers.HyperLSTM(4, 3, 2, return_sequences=True),
        lambda: keras.layers.Bidirectional(lstm(2)),
    ],
)
def test_any_recurrent_network_makes_pieces(recurrent_):
    head = layers.RecurrentHead(recurrent_(), 16)
    head.bind(network().trainable_weights)
    rows = array(head(features()))
    again = layers.RecurrentHead.from_config(head.get_config())
    again.bind(network().trainable_weights)
    again.build((None, F))
    again.set_weights(head.get_weights())
    np.testing.assert_allclose(array(again(features())), rows, atol=1e-6)


def test_bad_input_of_a_recurrent_head():
    with pytest.raises(ValueError, match="invalid value for `recurrent`.*return_sequences=True"):
        layers.RecurrentHead(keras.layers.LSTM(4), 8)
    with pytest.raises(ValueError, match="invalid value for `recurrent`.*layer or cell"):
        layers.RecurrentHead("lstm", 8)
    with pytest.raises(ValueError, match="`chunk_size` or `rank`, not both.*rank=2"):
        layers.RecurrentHead(lstm(), 8, 2)
    with pytest.raises(ValueError, match=r"invalid value for `order`.*Received: order='back'"):
        layers.RecurrentHead(lstm(), 8, order="back")
    with pytest.raises(ValueError, match="`zero` to be empty"):
        layers.RecurrentHead(lstm(), 8, zero="bias")
    head = layers.RecurrentHead(keras.layers.GlobalAveragePooling1D(), 8)
    head.bind(network().trainable_weights)
    with pytest.raises(ValueError, match=r"sequences of as many steps.*gives shape \(None, 10\)"):
        head.build((None, F))


def test_bad_input():
    with pytest.raises(ValueError, match=r"invalid value for `rank`.*Received: rank=0"):
        layers.LowRankHead(0)
    with pytest.raises(ValueError, match=r"invalid value for `order`.*Received: order='rows'"):
        layers.ChunkedHead(8, order="rows")
    with pytest.raises(ValueError, match="`embedding_dim` and `network` together"):
        layers.LayerwiseHead(embedding_dim=4)
    with pytest.raises(ValueError, match="invalid value for `initializer`.*Zeros"):
        layers.RandomHead(1, initializer="zeros")
    with pytest.raises(ValueError, match="`zero` to be empty"):
        layers.ChunkedHead(8, zero="bias")
    with pytest.raises(ValueError, match="does not know what to make yet"):
        layers.DenseHead()(features())
    head = make("dense")
    with pytest.raises(ValueError, match="one network; it is bound to 4 weights already"):
        head.bind(network().trainable_weights[:2])
    with pytest.raises(ValueError, match="at least one weight"):
        layers.DenseHead().bind([])
    with pytest.raises(ValueError, match="expected ndim=2, found ndim=3"):
        make("dense")(np.zeros((2, 3, F), "float32"))
