"""A hypernetwork around any Keras model."""

import keras
import numpy as np
import pytest
from gradients import array, gradients
from keras import layers, ops

from hyperkeras.layers import ChunkedHead, DenseHead
from hyperkeras.models import ContinualHypernetwork, Hypernetwork

rng = np.random.default_rng(0)
BACKEND = keras.backend.backend()


def normal(*shape):
    return rng.normal(size=shape).astype("float32")


def stack(shape, *parts, dtype="float32"):
    return keras.Sequential([keras.Input(shape, dtype=dtype), *parts])


def mlp(inputs=5, outputs=3):
    return stack((inputs,), layers.Dense(6, "relu"), layers.Dense(outputs))


def body(inputs=4, features=7):
    return stack((inputs,), layers.Dense(features, "tanh"))


@keras.saving.register_keras_serializable(package="tests")
class Subclassed(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.first, self.dropout = layers.Dense(6, "relu"), layers.Dropout(0.3)
        self.second = layers.Dense(3)

    def build(self, input_shape):
        self.first.build(input_shape)
        self.second.build((None, 6))

    def call(self, inputs, training=None):
        return self.second(self.dropout(self.first(inputs), training=training))


def subclassed():
    model = Subclassed()
    model.build((None, 5))
    return model


def attention():
    inputs = keras.Input((5, 6))
    attended = layers.MultiHeadAttention(2, 3, dropout=0.2)(inputs, inputs)
    return keras.Model(inputs, layers.LayerNormalization()(attended + inputs))


def lora():
    target = mlp()
    target.layers[0].enable_lora(2)
    return target


def lora_attention():
    target = attention()
    attend = next(a for a in target.layers if isinstance(a, layers.MultiHeadAttention))
    attend.query_dense.enable_lora(2)
    return target


TARGETS = {
    "mlp": lambda: stack(
        (5,),
        layers.Dense(6, "relu"),
        layers.LayerNormalization(),
        layers.Dropout(0.3),
        layers.Dense(3),
    ),
    "time": lambda: stack(
        (4, 5),
        layers.Dense(6),
        layers.EinsumDense("abc,cd->abd", (None, 7), bias_axes="d"),
        layers.EinsumDense("...x,xy->...y", 2, "tanh"),
    ),
    "conv": lambda: stack(
        (7, 8, 4),
        layers.Conv2D(6, 3, strides=2, padding="same", groups=2),
        layers.BatchNormalization(),
        layers.DepthwiseConv2D((2, 3), padding="same", depth_multiplier=2, activation="relu"),
        layers.Conv2D(3, 2, dilation_rate=2),
    ),
    "conv1d": lambda: stack(
        (7, 4),
        layers.Conv1D(6, 3, padding="causal", dilation_rate=2),
        layers.GroupNormalization(2),
        layers.Conv1D(4, 2, use_bias=False),
    ),
    "recurrent": lambda: stack(
        (3,),
        layers.Embedding(9, 4, mask_zero=True),
        layers.LSTM(3, return_sequences=True),
        layers.GRU(4),
        dtype="int32",
    ),
    "wrapped": lambda: stack(
        (2, 3),
        layers.Bidirectional(layers.LSTM(3, return_sequences=True)),
        layers.TimeDistributed(layers.Dense(2)),
    ),
    "mapped": lambda: stack((5,), layers.Dense(4), layers.PReLU()),
    "transposed": lambda: stack((3, 3, 2), layers.Conv2DTranspose(3, 2, strides=2)),
    "subclassed": subclassed,
    "attention": attention,
    "lora": lora,
    "lora_attention": lora_attention,
}
targets = pytest.mark.parametrize("name", TARGETS)


def data(name, target, rows=4):
    shape = target_shape(name, target)
    if name == "recurrent":
        return rng.integers(0, 9, (rows, *shape)).astype("int32")
    return normal(rows, *shape)


def target_shape(name, target):
    return (5,) if name == "subclassed" else tuple(target.input_shape[1:])


def row_by_row(model, condition, x):
    """What the target gives with each row's weights assigned to it."""
    values = [array(v) for v in model.generate(condition)]
    kept, outputs = [array(w) for w in model.generated_weights], []
    for i in range(len(x)):
        for weight, value in zip(model.generated_weights, values, strict=True):
            weight.assign(value[i])
        outputs.append(array(model.target(x[i : i + 1], training=False)))
    for weight, value in zip(model.generated_weights, kept, strict=True):
        weight.assign(value)
    return np.concatenate(outputs)


@targets
def test_per_sample_equals_a_loop_over_samples(name):
    target = TARGETS[name]()
    model = Hypernetwork(target, body(), per_sample=True)
    condition, x = normal(4, 4), data(name, target)
    y = model([condition, x])
    np.testing.assert_allclose(array(y), row_by_row(model, condition, x), atol=1e-5)
    symbolic = model([keras.Input((4,)), keras.Input(x.shape[1:], dtype=x.dtype)])
    assert len(symbolic.shape) == len(y.shape)


@targets
def test_one_condition_serves_the_batch(name):
    target = TARGETS[name]()
    model = Hypernetwork(target, body())
    condition, x = normal(1, 4), data(name, target)
    y = model([condition, x])
    expected = row_by_row(model, np.repeat(condition, 4, 0), x)
    np.testing.assert_allclose(array(y), expected, atol=1e-5)
    repeated = model([np.repeat(condition, 4, 0), x])
    np.testing.assert_allclose(array(repeated), array(y), atol=1e-6)


@pytest.mark.parametrize(
    "name, per_sample",
    [*((name, True) for name in TARGETS), ("conv", False), ("lora_attention", False)],
)
def test_every_weight_learns(name, per_sample):
    target = TARGETS[name]()
    model = Hypernetwork(target, body(), per_sample=per_sample)
    inputs = [normal(4 if per_sample else 1, 4), data(name, target)]
    model(inputs)
    made = gradients(model, inputs, lambda y: ops.sum(y**2))
    for weight, gradient in zip(model.trainable_weights, made, strict=True):
        assert gradient is not None and np.isfinite(gradient).all(), weight.path
        if weight is model.head.kernel:
            assert np.any(gradient != 0)


@pytest.mark.parametrize("name", ["conv", "lora_attention"])
def test_compiled_code_gives_the_same(name):
    target = TARGETS[name]()
    model = Hypernetwork(target, body(), per_sample=True)
    inputs = [normal(4, 4), data(name, target)]
    eager = array(model(inputs))
    assert model.supports_jit
    model.compile(jit_compile=BACKEND != "torch")
    np.testing.assert_allclose(model.predict(inputs, verbose=0), eager, atol=1e-4)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="other backends compile mapped layers")
def test_xla_is_left_alone_where_a_layer_is_mapped():
    assert not Hypernetwork(TARGETS["mapped"](), body(), per_sample=True).supports_jit
    assert Hypernetwork(TARGETS["mapped"](), body()).supports_jit


# What is generated


def test_selection_by_layer_name_path_position_and_predicate():
    target = mlp()
    last = target.layers[1]
    for select in (
        [last],
        last,
        [last.name],
        [last.kernel, last.bias],
        [last.kernel.path, last.bias.path],
        [2, 3],
        lambda variable: variable.path.startswith(last.kernel.path.rsplit("/", 1)[0]),
    ):
        model = Hypernetwork(target, body(), select=select)
        assert [w.path for w in model.generated_weights] == [last.kernel.path, last.bias.path]
        del model


def test_weights_that_are_not_selected_stay_the_targets_and_train():
    target = mlp()
    first = target.layers[0]
    model = Hypernetwork(target, body(), select=[target.layers[1]])
    model.compile("sgd", "mse")
    before = array(first.kernel)
    model.fit([np.repeat(normal(1, 4), 8, 0), normal(8, 5)], normal(8, 3), verbose=0)
    assert np.any(array(first.kernel) != before)
    assert any(w is first.kernel for w in model.trainable_weights)
    assert not any(w is target.layers[1].kernel for w in model.variables)


def test_parameter_counts():
    n, f = 6 * 6 + 7 * 3, 7
    for arguments, count in (
        ({}, (f + 1) * n),
        ({"residual": True}, (f + 2) * n),
        ({"head": ChunkedHead(10)}, 6 * f + (f + 1) * 10),
    ):
        model = Hypernetwork(mlp(), body(), **arguments)
        model([normal(1, 4), normal(2, 5)])
        assert model.num_generated == n
        assert model.count_params() == 5 * 7 + count


def test_a_chunked_head_makes_the_weights_piece_by_piece():
    head = ChunkedHead(10, initializer="glorot_uniform", order="stored")
    model = Hypernetwork(mlp(), body(), head)
    model([normal(1, 4), normal(2, 5)])
    condition = normal(3, 4)
    z, e = array(model.body(condition)), array(head.embeddings)
    chunks = [(z * e[i]) @ array(head.kernel) + array(head.bias) for i in range(6)]
    expected = np.concatenate(chunks, axis=1)[:, :57]
    np.testing.assert_allclose(array(model.generate_flat(condition)), expected, atol=1e-5)


def test_residual_starts_as_the_target():
    target, x = TARGETS["conv"](), normal(3, 7, 8, 4)
    expected = array(target(x))
    model = Hypernetwork(target, body(), per_sample=True, residual=True)
    np.testing.assert_allclose(array(model([normal(3, 4), x])), expected, atol=1e-5)
    assert any(w is model.base for w in model.trainable_weights)


def test_bias_hyper_init_starts_as_the_target():
    target, x = mlp(), normal(3, 5)
    expected = array(target(x))
    model = Hypernetwork(target, body(), per_sample=True, head=DenseHead("bias_hyper"))
    np.testing.assert_allclose(array(model([normal(3, 4), x])), expected, atol=1e-6)


# Conditions


def test_a_tasks_number_through_an_embedding():
    tasks = stack((), layers.Embedding(3, 4), dtype="int32")
    model = Hypernetwork(mlp(), tasks)
    x = normal(2, 5)
    outputs = [array(model([np.array([t], "int32"), x])) for t in range(3)]
    assert np.abs(outputs[0] - outputs[1]).max() > 1e-3 < np.abs(outputs[1] - outputs[2]).max()


def test_an_image_as_condition():
    images = stack((6, 6, 1), layers.Conv2D(2, 3), layers.Flatten())
    model = Hypernetwork(mlp(), images, per_sample=True)
    assert model([normal(2, 6, 6, 1), normal(2, 5)]).shape == (2, 3)


def test_a_target_of_two_inputs():
    a, b = keras.Input((3,)), keras.Input((2,))
    target = keras.Model([a, b], layers.Dense(4)(a) + layers.Dense(4)(b))
    model = Hypernetwork(target, body(), per_sample=True)
    assert model([normal(5, 4), [normal(5, 3), normal(5, 2)]]).shape == (5, 4)


def test_inside_a_functional_model():
    inputs = keras.Input((4,)), keras.Input((5,))
    model = Hypernetwork(mlp(), body(), per_sample=True)
    outer = keras.Model(inputs, layers.Softmax()(model(list(inputs))))
    outer.compile("sgd", "mse")
    outer.fit([normal(8, 4), normal(8, 5)], normal(8, 3), verbose=0)
    generated = {id(w) for w in model.generated_weights}
    assert not generated & {id(w) for w in outer.variables}


def test_rows_that_differ_are_no_condition_for_the_batch():
    model = Hypernetwork(mlp(), body())
    condition, x = normal(2, 4), normal(2, 5)
    with pytest.raises(ValueError, match="rows that differ"):
        model([condition, x])
    model.compile()
    if BACKEND != "torch":  # which compiles nothing here
        assert np.isnan(model.predict([condition, x], verbose=0)).all()


# State of the target


@pytest.mark.parametrize("per_sample", [False, True])
def test_moving_statistics_and_seeds_advance(per_sample):
    target = stack((5,), layers.Dense(6), layers.BatchNormalization(), layers.Dropout(0.5, seed=1))
    _, norm, dropout = target.layers
    model = Hypernetwork(target, body(), per_sample=per_sample)
    model.compile("sgd", "mse")
    mean, seed = array(norm.moving_mean), array(dropout.seed_generator.state)
    condition = np.repeat(normal(1, 4), 8, 0)
    model.fit([condition, normal(8, 5)], np.zeros((8, 6)), verbose=0)
    assert np.any(array(norm.moving_mean) != mean)
    assert np.any(array(dropout.seed_generator.state) != seed)
    x = normal(8, 5)
    first, second = (array(model([condition, x])) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    first, second = (array(model([condition, x], training=True)) for _ in range(2))
    assert np.any(first != second) and np.any(first == 0)


def test_regularizers_and_constraints_act_on_the_generated_weights():
    target = stack(
        (5,),
        layers.Dense(3, kernel_regularizer="l2", kernel_constraint="non_neg", use_bias=False),
        layers.ActivityRegularization(l2=0.1),
    )
    model = Hypernetwork(target, body(), per_sample=True)
    condition, x = normal(2, 4), normal(2, 5)
    y = array(model([condition, x], training=True))
    kernel = np.maximum(array(model.generate(condition)[0]), 0)
    expected = 0.01 * (kernel**2).sum((1, 2)).mean() + 0.1 * (y**2).sum() / 2
    np.testing.assert_allclose(y, np.einsum("bi,bio->bo", x, kernel), atol=1e-5)
    np.testing.assert_allclose(array(sum(model.losses)), expected, rtol=1e-4)


def test_recurrent_dropout_per_sample():
    for kind in (layers.LSTM, layers.GRU, layers.SimpleRNN):
        target = stack((2, 3), kind(4, dropout=0.3, recurrent_dropout=0.3))
        model = Hypernetwork(target, body(), per_sample=True)
        inputs = [normal(2, 4), normal(2, 2, 3)]
        first, second = (array(model(inputs, training=True)) for _ in range(2))
        assert np.isfinite(first).all() and np.any(first != second)


def test_mixed_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = Hypernetwork(TARGETS["conv"](), body(), per_sample=True)
    y = model([normal(2, 4), normal(2, 7, 8, 4)], training=True)
    assert keras.backend.standardize_dtype(y.dtype) == "bfloat16" and {
        w.dtype for w in model.trainable_weights
    } == {"float32"}


# Bad input


def test_bad_arguments():
    cases = [
        (lambda: Hypernetwork(keras.Sequential([layers.Dense(2)]), body()), "`target`, expected a"),
        (lambda: Hypernetwork("mlp", body()), "`target`, expected a Keras"),
        (lambda: Hypernetwork(mlp(), None), "`body`, expected a Keras"),
        (lambda: Hypernetwork(mlp(), body(), "dense"), "`head`, expected a head.*head='dense'"),
        (lambda: Hypernetwork(mlp(), body(), select=["nothing"]), "'nothing', which chooses no"),
        (lambda: Hypernetwork(mlp(), body(), select=[99]), "99, which chooses no"),
        (lambda: Hypernetwork(mlp(), body(), select=lambda variable: False), "at least one weight"),
        (
            lambda: Hypernetwork(TARGETS["conv"](), body(), select=lambda v: "moving" in v.path),
            "to choose trainable weights",
        ),
        (lambda: Hypernetwork(lora(), body(), select=["lora_kernel_a"]), "both LoRA factors"),
    ]
    for make, message in cases:
        with pytest.raises(ValueError, match=message):
            make()


def test_bad_conditions():
    model = Hypernetwork(mlp(), body(), per_sample=True)
    with pytest.raises(ValueError, match=r"`condition` of shape \(None, 4\)"):
        model([normal(2, 3), normal(2, 5)])
    model = Hypernetwork(mlp(), stack_later(), per_sample=True)
    model([normal(2, 4), normal(2, 5)])
    with pytest.raises(ValueError, match=r"`condition` of shape \(None, 4\)"):
        model([normal(2, 3), normal(2, 5)])
    with pytest.raises(ValueError, match="one row for each of x"):
        model([normal(3, 4), normal(2, 5)])
    with pytest.raises(ValueError, match="one row, or as many as x"):
        Hypernetwork(mlp(), body())([normal(3, 4), normal(2, 5)])
    with pytest.raises(ValueError, match=r"list \[condition, x\]"):
        model(normal(2, 5))


def stack_later():
    return keras.Sequential([layers.Dense(3)])


def test_a_target_serves_one_hypernetwork():
    target = mlp()
    model = Hypernetwork(target, body())
    with pytest.raises(ValueError, match="serves no other hypernetwork"):
        Hypernetwork(target, body())
    with pytest.raises(ValueError, match="share no weights"):
        Hypernetwork(mlp_inside := mlp(), keras.Sequential([keras.Input((5,)), mlp_inside]))
    del model


def test_a_target_that_another_model_trains():
    target = mlp()
    condition, x = keras.Input((4,)), keras.Input((5,))
    model = Hypernetwork(target, body(), per_sample=True)
    outer = keras.Model([condition, x], model([condition, x]) + target(x))
    outer.compile("sgd", "mse")
    with pytest.raises(ValueError, match="only its hypernetwork calls"):
        outer.fit([normal(2, 4), normal(2, 5)], normal(2, 3), verbose=0)


# Tasks one after the other


def tasks_model(**arguments):
    tasks = stack((), layers.Embedding(3, 4), dtype="int32")
    return ContinualHypernetwork(mlp(), tasks, range(3), **arguments)


def test_the_regularizer_holds_finished_tasks_in_place():
    model = tasks_model(beta=0.5)
    inputs = [np.array([0], "int32"), normal(2, 5)]
    model(inputs, training=True)
    assert float(array(sum(model.losses))) == 0
    before = array(model.generate_flat(np.arange(3)))
    model.finish_task()
    model.finish_task()
    model.head.kernel.assign(array(model.head.kernel) * 1.1)
    after = array(model.generate_flat(np.arange(3)))
    expected = 0.5 * ((after - before)[:2] ** 2).sum(1).mean()
    model(inputs, training=True)
    np.testing.assert_allclose(array(sum(model.losses)), expected, rtol=1e-4)
    model(inputs, training=False)
    assert not model.losses


def test_a_random_subset_of_tasks_estimates_all():
    model = tasks_model(beta=0.5, num_sampled=1, seed=1)
    inputs = [np.array([0], "int32"), normal(2, 5)]
    model(inputs)
    before = array(model.generate_flat(np.arange(3)))
    model.finish_task()
    model.finish_task()
    model.head.kernel.assign(array(model.head.kernel) * 1.1)
    after = array(model.generate_flat(np.arange(3)))
    each = 0.5 * ((after - before)[:2] ** 2).sum(1)
    found = set()
    for _ in range(12):
        model(inputs, training=True)
        found.add(round(float(array(sum(model.losses))), 4))
    assert found == {round(float(one), 4) for one in each}


def test_a_continual_hypernetwork_keeps_its_memory_in_its_file(tmp_path):
    model = tasks_model()
    inputs = [np.array([1], "int32"), normal(2, 5)]
    y = array(model(inputs))
    model.finish_task()
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(array(loaded(inputs)), y, atol=1e-6)
    np.testing.assert_array_equal(array(loaded.realizations), array(model.realizations))
    assert int(loaded.finished) == 1
    for _ in range(2):
        loaded.finish_task()
    with pytest.raises(ValueError, match="at most 3 finished tasks"):
        loaded.finish_task()
