"""The recurrent layers beyond their values: behavior, and the fast path beside the cell."""

import keras
import numpy as np
import pytest
import reference
import tensorflow as tf

from hyperkeras import layers, ops

B, T, X, N, M, E = 3, 4, 5, 4, 3, 2
MAKERS = {
    "layer_norm_lstm": lambda **arguments: layers.LayerNormLSTM(N, **arguments),
    "hyper_lstm": lambda **arguments: layers.HyperLSTM(N, M, E, **arguments),
    "hyper_rnn": lambda **arguments: layers.HyperRNN(N, M, E, **arguments),
}
every = pytest.mark.parametrize("name", MAKERS)


@pytest.fixture(autouse=True)
def double(seeded):
    keras.config.set_dtype_policy("float64")


def make(name, **arguments):
    """A built layer, of the same weights each time; step by step unless told otherwise."""
    layer = MAKERS[name](**{"use_xla": False, **arguments})
    layer.build((B, T, X))
    return move(layer)


def move(layer, scale=0.5):
    rng = np.random.default_rng(3)
    for weight in layer.trainable_weights:
        weight.assign(rng.normal(size=weight.shape, scale=scale))
    return layer


def inputs(steps=T, seed=0):
    return np.random.default_rng(seed).normal(size=(B, steps, X))


# Size and start


@pytest.mark.parametrize(
    "embedding_dim, layer_norm, published",
    [(4, False, 4_911_874), (4, True, 4_923_154), (16, True, 5_085_682)],
)
def test_parameters_of_the_paper(embedding_dim, layer_norm, published):
    plain = dict(kernel_initializer="zeros", recurrent_initializer="zeros")
    layer = layers.HyperLSTM(1000, 128, embedding_dim, layer_norm, dtype="float32", **plain)
    softmax = keras.layers.Dense(50)
    model = keras.Sequential([keras.Input((None, 50)), layer, softmax])
    assert model.count_params() == published


def test_scales_start_at_a_tenth_and_shifts_at_zero():
    cell = layers.HyperLSTMCell(N, M, E)
    cell.build((None, X))
    hyper_h = np.random.default_rng(0).normal(size=(B, M))
    bias = cell.scale_embedding_bias
    d = ops.generate_rows(hyper_h, cell.scale_embedding_kernel, cell.scale_kernel, bias)
    beta = ops.generate_rows(hyper_h, cell.shift_embedding_kernel, cell.shift_kernel)
    np.testing.assert_allclose(d, np.full((B, 8, N), 0.1), rtol=1e-6)
    np.testing.assert_array_equal(beta, np.zeros((B, 4, N)))
    assert 0.003 < np.std(cell.shift_embedding_kernel) < 0.03


@pytest.mark.parametrize("seed", [None, 3])
def test_recurrent_kernels_start_orthogonal_gate_by_gate(seed):
    initializer = keras.initializers.Orthogonal(seed=seed)
    cell = layers.HyperLSTMCell(N, M, E, recurrent_initializer=initializer)
    cell.build((None, X))
    for kernel in (cell.recurrent_kernel, cell.hyper_cell.recurrent_kernel):
        gates = np.split(np.array(kernel), 4, axis=1)
        for gate in gates:
            np.testing.assert_allclose(gate.T @ gate, np.eye(len(gate)), atol=1e-9)
        assert not np.allclose(gates[0], gates[1])


@pytest.mark.parametrize("form", ["scaled", "full"])
def test_a_hyper_rnn_starts_as_a_plain_one(form):
    cell = layers.HyperRNNCell(N, M, E, form)
    cell.build((None, X))
    rng = np.random.default_rng(0)
    x, h, hyper_h = (rng.normal(size=(B, n)) for n in (X, N, M))
    output, _ = cell(x, [h, hyper_h])
    kernel, recurrent = np.array(cell.kernel), np.array(cell.recurrent_kernel)
    if form == "full":
        kernel, recurrent = kernel.sum(-1), recurrent.sum(-1)
    np.testing.assert_allclose(output, np.tanh(x @ kernel + h @ recurrent), atol=1e-9)


def test_slices_of_the_full_form_start_apart():
    cell = layers.HyperRNNCell(N, M, E, "full")
    cell.build((None, X))
    assert not np.allclose(cell.kernel[..., 0], cell.kernel[..., 1])


def test_xla_compiles_the_gradient_of_the_full_form():
    layer = layers.HyperRNN(N, M, E, form="full")
    layer.build((None, T, X))
    move(layer)

    def gradients(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(x) ** 2)
        return tape.gradient(loss, layer.trainable_weights)

    any_batch = [tf.TensorSpec((None, T, X), "float64")]
    compiled = tf.function(gradients, input_signature=any_batch, jit_compile=True)
    for found, expected in zip(compiled(inputs()), gradients(inputs()), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


# The fast path: values and gradients of the cell in keras.layers.RNN


def values_and_gradients(layer, arguments, masked=None, compiled=False):
    x, *states = (tf.constant(a) for a in arguments)
    upstream = np.random.default_rng(9)

    def run():
        with tf.GradientTape() as tape:
            tape.watch([x, *states])
            outputs = layer(x, initial_state=states, mask=masked, training=True)
            loss = sum(tf.reduce_sum(y * upstream.normal(size=y.shape)) for y in outputs)
        weights = [v.value for v in layer.trainable_weights]
        return outputs, tape.gradient(loss, [x, *states, *weights])

    return keras.tree.flatten(tf.function(run)() if compiled else run())


FAST = {
    "layer_norm_lstm": (
        dict(recurrent_dropout=0.5, mask=True, go_backwards=True, forget_bias=0.5),
        dict(layer_norm=False, use_bias=False, dropout=0.5, return_sequences=False),
    ),
    "hyper_lstm": (
        dict(recurrent_dropout=0.5, hyper_recurrent_dropout=0.4, mask=True, go_backwards=True),
        dict(mask=True, zero_output_for_mask=True, return_weight_changes=True),
        dict(
            layer_norm=False,
            use_bias=False,
            forget_bias=0.5,
            hyper_forget_bias=2.0,
            return_sequences=False,
        ),
    ),
    "hyper_rnn": (
        dict(mask=True, go_backwards=True),
        dict(use_bias=False, dropout=0.5, return_sequences=False),
    ),
}


@pytest.mark.parametrize("name, options", [(n, o) for n, all_ in FAST.items() for o in all_])
def test_the_fast_path_equals_the_cell(name, options):
    options = {"return_sequences": True, **options}
    masked = None
    if options.pop("mask", False):  # one sample begins masked, one ends masked
        masked = tf.constant([[False, True, True, False], [True] * 4, [True, False, True, True]])
    found = []
    for use_xla in (False, True):
        layer = make(name, return_state=True, seed=1, use_xla=use_xla, **options)
        assert layer.takes_fast_path(T) == use_xla
        rng = np.random.default_rng(5)
        states = [rng.normal(size=(B, n)) for n in layer.cell.state_size]
        arguments = (inputs(), *states)
        found.append(values_and_gradients(layer, arguments, masked, compiled=use_xla))
    for slow, fast in zip(*found, strict=True):
        np.testing.assert_allclose(fast, slow, rtol=1e-8, atol=1e-10)


def test_the_fast_path_takes_unknown_batch_and_time():
    layer = make("hyper_lstm", use_xla=True, return_sequences=True)
    slow = make("hyper_lstm", return_sequences=True)
    unknown = tf.function(layer, input_signature=[tf.TensorSpec((None, None, X), "float64")])
    np.testing.assert_allclose(unknown(inputs(2)), slow(inputs(2)), atol=1e-10)


def test_gradients_without_training_equal_those_with():
    layer, x = make("layer_norm_lstm", use_xla=True), tf.constant(inputs())
    gradients = []
    for training in (False, True):  # the first keeps no memory for it
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(x, training=training) ** 2)
        gradients.append(tape.gradient(loss, layer.trainable_weights))
    for a, b in zip(*gradients, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


def test_gradients_equal_finite_differences():
    layer, x, step = make("hyper_lstm", use_xla=True), tf.constant(inputs()), 1e-5
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(x, training=True) ** 2)
    gradients = tape.gradient(loss, layer.trainable_weights)
    rng = np.random.default_rng(1)
    for weight, gradient in zip(layer.trainable_weights, gradients, strict=True):
        start, direction = weight.numpy(), rng.normal(size=weight.shape)
        losses = []
        for sign in (1, -1):
            weight.assign(start + sign * step * direction)
            losses.append(np.sum(np.array(layer(x, training=True)) ** 2))
        weight.assign(start)
        difference = (losses[0] - losses[1]) / (2 * step)
        np.testing.assert_allclose(np.sum(gradient * direction), difference, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(
    "options",
    [
        {"use_xla": False},
        {"unroll": True},
        {"activation": "relu"},
        {"recurrent_activation": "hard_sigmoid"},
        {"dtype": "mixed_bfloat16"},
    ],
)
def test_the_cell_is_taken_where_the_fast_path_does_not_serve(options):
    layer = MAKERS["hyper_lstm"](**options)
    assert not layer.takes_fast_path(T)
    assert np.isfinite(np.array(layer(inputs()), "float32")).all()
    assert MAKERS["hyper_lstm"]().takes_fast_path(T)


# As keras.layers.LSTM behaves


@every
def test_the_layer_equals_its_cell_in_keras_rnn(name):
    layer = make(name, return_sequences=True)
    rnn = keras.layers.RNN(layer.cell, return_sequences=True)
    np.testing.assert_allclose(layer(inputs()), rnn(inputs()), atol=1e-12)


@every
def test_states_continue_a_sequence(name):
    layer, x = make(name, return_state=True), inputs()
    whole = layer(x)
    _, *states = layer(x[:, :2])
    for a, b in zip(layer(x[:, 2:], initial_state=states), whole, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


@every
def test_stateful_continues_until_reset(name):
    layer, x = MAKERS[name](stateful=True, use_xla=False), inputs()
    layer.build((B, 2, X))
    move(layer)
    whole = make(name)(x)
    first = layer(x[:, :2])
    np.testing.assert_allclose(layer(x[:, 2:]), whole, atol=1e-12)
    layer.reset_state()
    np.testing.assert_allclose(layer(x[:, :2]), first, atol=1e-12)


@every
def test_go_backwards_takes_the_sequence_from_its_end(name):
    forwards, backwards = make(name), make(name, go_backwards=True)
    np.testing.assert_allclose(backwards(inputs()), forwards(inputs()[:, ::-1]), atol=1e-12)


@every
def test_masked_steps_are_as_if_absent(name):
    layer, x = make(name, return_state=True), inputs()
    mask = np.array([[True, False, True, False]] * B)
    for a, b in zip(layer(x, mask=mask), layer(x[:, [0, 2]]), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


@every
def test_reads_a_mask_from_the_layer_before(name):
    layer, x = make(name), inputs()
    x[:, 2:] = 7.0
    model = keras.Sequential([keras.layers.Masking(7.0), layer])
    np.testing.assert_allclose(model(x), layer(x[:, :2]), atol=1e-12)


@every
def test_in_bidirectional_and_time_distributed(name):
    layer = make(name, return_sequences=True)
    both = keras.layers.Bidirectional(layer)
    both.build((B, T, X))
    for one in (both.forward_layer, both.backward_layer):
        one.set_weights(layer.get_weights())
    x = inputs()
    backwards = np.array(layer(x[:, ::-1]))[:, ::-1]
    expected = np.concatenate([layer(x), backwards], axis=-1)
    np.testing.assert_allclose(both(x), expected, atol=1e-12)
    each = keras.layers.TimeDistributed(layer)(np.stack([x, 2 * x], axis=1))
    np.testing.assert_allclose(each, np.stack([layer(x), layer(2 * x)], axis=1), atol=1e-12)


def test_cells_stack():
    cells = [layers.LayerNormLSTMCell(N), layers.HyperLSTMCell(N, M, E), layers.HyperRNNCell(2, M)]
    stack = keras.layers.RNN(cells, return_sequences=True, return_state=True)
    y, *states = stack(inputs())
    assert y.shape == (B, T, 2)
    assert [s.shape[-1] for s in keras.tree.flatten(states)] == [N, N, N, N, M, M, 2, M]


def test_regularizers_and_constraints_reach_both_networks():
    layer = make("hyper_lstm", kernel_regularizer="l2", recurrent_constraint="non_neg")
    layer(inputs())
    assert len(layer.losses) == 2
    constrained = [w.name for w in layer.weights if w.constraint is not None]
    assert constrained == ["recurrent_kernel", "recurrent_kernel"]


# Dropout


def test_recurrent_dropout_loses_no_memory():
    c = np.random.default_rng(0).normal(size=(1, N))
    cell = layers.LayerNormLSTMCell(N)
    cell.build((None, X))
    _, (_, kept) = cell(np.ones((1, X)), [np.zeros((1, N)), c])
    arguments = cell.arguments()
    x, h, noise = np.ones((1, X)), np.zeros((1, N)), np.zeros((1, N))
    _, dropped = ops.layer_norm_lstm_step(x, h, c, noise=noise, **arguments)
    w = reference.cell_weights(cell)
    f = reference.layer_norm(x @ w["kernel"][:, N : 2 * N], 1.0, 0.0)
    np.testing.assert_allclose(dropped, reference.sigmoid(f + 1) * c, atol=1e-12)
    assert not np.allclose(dropped, kept)


@pytest.mark.parametrize("wrap", [lambda layer: layer, lambda layer: keras.layers.RNN(layer.cell)])
def test_recurrent_dropout_is_drawn_anew_at_each_step_in_training_only(wrap):
    layer = layers.LayerNormLSTM(
        1000, False, recurrent_dropout=0.25, forget_bias=-50.0, use_xla=False
    )
    layer.build((1, 2, X))
    layer.cell.recurrent_kernel.assign(0 * layer.cell.recurrent_kernel)
    rnn = wrap(layer)
    rnn.return_sequences = True
    y = np.array(rnn(np.ones((1, 2, X)), training=True))[0]
    dropped = np.abs(y) < 1e-12  # the forget gate is shut: c is nothing but i tanh(g)
    assert np.all((0.2 < dropped.mean(axis=1)) & (dropped.mean(axis=1) < 0.3))
    assert 0.3 < np.mean(dropped[0] != dropped[1]) < 0.45
    assert np.all(np.array(rnn(np.ones((1, 2, X)))) != 0)


def test_dropout_leaves_out_the_same_features_at_each_step():
    layer = layers.LayerNormLSTM(X, False, dropout=0.5, forget_bias=-50.0, use_xla=False)
    layer.build((1, T, X))
    layer.cell.kernel.assign(np.tile(np.eye(X), 4))
    layer.cell.recurrent_kernel.assign(0 * layer.cell.recurrent_kernel)
    layer.return_sequences = True
    patterns = [np.array(layer(np.ones((1, T, X)), training=True))[0] == 0 for _ in range(8)]
    assert all((p == p[0]).all() for p in patterns)
    assert len({tuple(p[0]) for p in patterns}) > 1


def test_on_jax_a_cell_does_not_draw(monkeypatch):
    cell = layers.LayerNormLSTMCell(N, recurrent_dropout=0.5)
    cell.build((None, X))
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ValueError, match="can't draw its recurrent dropout step by step on JAX"):
        cell(inputs()[:, 0], cell.get_initial_state(B), training=True)


# Weight changes


def test_weight_changes_are_norms_of_the_matrices_differences():
    layer = make("hyper_lstm", return_sequences=True, return_weight_changes=True)
    cell, x = layer.cell, inputs(1)
    changes = np.array(layer(x)[1])
    assert changes.shape == (B, 1, 4)
    _, (_, _, hyper_h, _) = cell(x[:, 0], cell.get_initial_state(B))
    w = reference.cell_weights(cell)

    def matrices(hyper_h):
        z = hyper_h @ w["scale_embedding_kernel"] + w["scale_embedding_bias"]
        blocks = np.split(z, 8)[4:]
        scales = [z @ d for z, d in zip(blocks, w["scale_kernel"][4:], strict=True)]
        kernels = np.split(w["recurrent_kernel"], 4, axis=1)
        return [kernel * scale for kernel, scale in zip(kernels, scales, strict=True)]

    for sample in range(B):
        moves = zip(matrices(np.zeros(M)), matrices(np.array(hyper_h[sample])), strict=True)
        expected = [np.linalg.norm(after - before) for before, after in moves]
        np.testing.assert_allclose(changes[sample, 0], expected, atol=1e-10)


def test_weight_changes_of_masked_steps_are_zero():
    layer = make("hyper_lstm", return_sequences=True, return_weight_changes=True)
    x, mask = inputs(), np.array([[True, False, True, False]] * B)
    changes = np.array(layer(x, mask=mask)[1])
    np.testing.assert_array_equal(changes[:, [1, 3]], 0)
    np.testing.assert_allclose(changes[:, [0, 2]], layer(x[:, [0, 2]])[1], atol=1e-12)


def test_weight_changes_come_last_and_have_their_shape_in_a_model():
    layer = MAKERS["hyper_lstm"](
        return_sequences=True, return_state=True, return_weight_changes=True, use_xla=False
    )
    x = keras.Input((None, X))
    outputs = layer(keras.layers.Masking()(x))
    assert [y.shape[1:] for y in outputs] == [(None, N), (N,), (N,), (M,), (M,), (None, 4)]
    assert keras.Model(x, outputs).predict(inputs(), verbose=0)[-1].shape == (B, T, 4)


# Extremes


@pytest.mark.parametrize(
    "name, layer_norm, use_xla",
    [("hyper_lstm", True, True), ("hyper_lstm", False, False), ("layer_norm_lstm", True, True)],
)
def test_long_sequences_and_large_inputs_stay_finite(name, layer_norm, use_xla):
    layer = MAKERS[name](layer_norm=layer_norm, dtype="float32", use_xla=use_xla)
    layer.build((1, None, X))
    move(layer, scale=2.0)
    x = tf.random.normal((1, 300, X)) * tf.constant([0, 1, 1e2, 1e4, 1e6])

    @tf.function
    def run():
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
        return y, tape.gradient(y, [x, *(v.value for v in layer.trainable_weights)])

    for found in keras.tree.flatten(run()):
        assert np.isfinite(found).all()


# Errors


@pytest.mark.parametrize(
    "build, message",
    [
        (lambda: layers.LayerNormLSTM(0), "`units`, expected an integer of at least 1.*units=0"),
        (lambda: layers.LayerNormLSTMCell(2.5), "`units`.*Received: units=2.5"),
        (lambda: layers.HyperLSTM(4, 0), "`hyper_units`.*Received: hyper_units=0"),
        (lambda: layers.HyperLSTMCell(4, 3, 0), "`embedding_dim`.*Received: embedding_dim=0"),
        (lambda: layers.HyperRNN(4, -1), "`hyper_units`.*Received: hyper_units=-1"),
        (
            lambda: layers.HyperRNN(4, 3, 2, "half"),
            "`form`, expected one of 'scaled', 'full'.*'half'",
        ),
        (lambda: layers.HyperLSTM(4, dropout=1.0), "`dropout`.*below 1. Received: dropout=1.0"),
        (lambda: layers.HyperLSTM(4, recurrent_dropout=-0.1), "`recurrent_dropout`.*-0.1"),
        (lambda: layers.HyperLSTM(4, hyper_recurrent_dropout=2), "`hyper_recurrent_dropout`.*=2"),
        (lambda: layers.LayerNormLSTM(4, forget_bias="1"), "`forget_bias`, expected a finite"),
        (
            lambda: layers.HyperLSTM(4, return_weight_changes=True),
            "`return_sequences` with `return_weight_changes`",
        ),
        (lambda: layers.HyperLSTM(4).build((None, 3, None)), "with known features"),
        (lambda: layers.HyperLSTM(4)(np.ones((2, 3))), "expected ndim=3, found ndim=2"),
    ],
)
def test_bad_arguments_are_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()
