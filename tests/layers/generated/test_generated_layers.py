"""Generated kernels: their equations, sharing, starts, penalties and errors."""

import json
import zipfile

import h5py
import keras
import numpy as np
import pytest
import reference

from hyperkeras import initializers, layers, models, ops


def generator(**arguments):
    return layers.KernelGenerator(**dict(kernel_shape=(3, 3, 2, 2), embedding_dim=3) | arguments)


def images(*shape, dtype="float32"):
    return np.random.default_rng(0).normal(size=shape or (3, 6, 6, 2)).astype(dtype)


# Equations


def test_generate_kernel_equals_the_papers_loops():
    rng = np.random.default_rng(0)
    shapes = (2, 4, 5), (5, 3, 6), (3, 6), (6, 3, 2, 7), (3, 2, 7)
    z, *weights = (rng.normal(size=shape) for shape in shapes[:1] + shapes[1:])
    got = np.array(ops.generate_kernel(z, *weights))
    assert got.shape == (2, 4, 3, 2, 3, 7)
    for index in np.ndindex(2, 4):
        want = reference.generate_kernel(z[index], *weights)
        np.testing.assert_allclose(got[index], want, atol=1e-12)


def test_tiles_are_joined_input_by_output_channels():
    tiles = np.random.default_rng(0).normal(size=(2, 3, 5, 4, 2, 3))
    kernel = np.array(ops.join_tiles(tiles))
    assert kernel.shape == (5, 4, 4, 9)
    for p, q in np.ndindex(2, 3):
        part = kernel[:, :, 2 * p : 2 * p + 2, 3 * q : 3 * q + 3]
        np.testing.assert_array_equal(part, tiles[p, q])


@pytest.mark.parametrize("shape", [(3, 3, 4, 2), (1, 1, 3, 5)])
def test_all_cosines_make_any_kernel_and_few_the_smooth_ones(shape):
    count = np.prod(shape)
    basis = np.array(ops.dct_kernel(np.eye(count), shape)).reshape(count, count)
    np.testing.assert_allclose(basis @ basis.T, np.eye(count), atol=1e-12)
    few = np.array(ops.dct_kernel(np.eye(count)[:3, :3], shape)).reshape(3, count)
    np.testing.assert_allclose(few, basis[:3], atol=1e-12)
    np.testing.assert_allclose(few[0], count**-0.5, atol=1e-12)
    want = reference.dct_kernel(np.arange(1.0, 4), shape)
    got = np.array(ops.dct_kernel(np.arange(1.0, 4), shape))
    np.testing.assert_allclose(got, want, atol=1e-12)


@pytest.mark.parametrize(
    "kernel_shape, embedding, hidden, count",
    [((3, 3, 16, 16), 64, None, 75920), ((7, 7, 16, 16), 4, None, 4240), ((3, 3, 2, 5), 7, 4, 289)],
)
def test_the_generator_has_the_papers_parameters(kernel_shape, embedding, hidden, count):
    made = layers.KernelGenerator(kernel_shape, embedding, hidden)
    made.build((embedding,))
    f, _, n_in, n_out = kernel_shape
    d = hidden or embedding
    assert made.count_params() == d * (embedding + 1) * n_in + f * f * n_out * (d + 1) == count


def test_any_number_of_embeddings_at_once():
    made = generator()
    z = images(4, 5, 3)
    assert made(z).shape == made.compute_output_shape(z.shape) == (4, 5, 3, 3, 2, 2)
    np.testing.assert_allclose(made(z)[2, 3], made(z[2, 3]), atol=1e-6)


# The layers against Keras's


@pytest.mark.parametrize(
    "arguments",
    [
        dict(strides=2),
        dict(strides=(1, 2), padding="valid"),
        dict(dilation_rate=2, activation="relu"),
        dict(data_format="channels_last", use_bias=False),
    ],
)
def test_the_convolution_is_that_of_keras(arguments):
    layer, x = layers.HyperConv2D(4, 3, generator(), **arguments), images()
    y = layer(x)
    plain = layer.plain()
    plain.build(x.shape)
    plain.set_weights(layer.plain_weights())
    np.testing.assert_allclose(y, plain(x), atol=1e-6)
    assert layer.compute_output_shape((None, 6, 6, 2))[1:] == y.shape[1:]


def test_channels_first_reads_and_gives_the_other_order():
    layer = layers.HyperConv2D(4, 3, generator(), data_format="channels_first")
    layer.build((None, 2, 6, 5))
    assert layer.compute_output_shape((3, 2, 6, 5)) == (3, 4, 6, 5)
    assert layer(keras.Input((2, 6, 5))).shape == (None, 4, 6, 5)


def test_a_generator_serves_convolutions_and_dense_layers():
    shared = generator()
    layers.HyperConv2D(4, 3, shared)(images())
    dense = layers.HyperDense(4, shared)
    assert dense(images(2, 36)).shape == (2, 4)
    assert dense.embeddings.shape == (2, 2, 3) and dense.kernel.shape == (36, 4)


# Regularizers and constraints are of the generated kernel


def test_penalties_are_of_the_generated_kernel():
    layer = layers.HyperConv2D(
        4, 3, generator(), kernel_regularizer="l2", bias_regularizer="l1", bias_initializer="ones"
    )
    layer(images())
    kernel = np.array(layer.kernel)
    penalties = sorted(float(loss) for loss in layer.losses)
    np.testing.assert_allclose(penalties, sorted([0.01 * (kernel**2).sum(), 0.01 * 4]), rtol=1e-5)


def test_a_penalty_trains_embeddings_and_generator():
    layer = layers.HyperDense(2, generator(), kernel_regularizer=keras.regularizers.L2(1.0))
    model = keras.Sequential([keras.Input((18,)), layer])
    model.compile(keras.optimizers.SGD(0.01), loss=lambda y, p: 0 * p, jit_compile=False)
    before = model.get_weights(), float(np.sum(np.square(layer.kernel)))
    model.fit(images(4, 18), np.zeros((4, 2)), verbose=0, epochs=3)
    changed = [np.any(a != b) for a, b in zip(before[0], model.get_weights(), strict=True)]
    assert sum(changed) == len(changed) - 1  # all but the layer's bias
    assert float(np.sum(np.square(layer.kernel))) < before[1]


def test_a_constraint_holds_for_the_kernel_that_is_used():
    layer = layers.HyperConv2D(2, 3, generator(), kernel_constraint="non_neg", use_bias=False)
    assert (np.array(layer(np.ones((1, 6, 6, 2)))) >= 0).all()
    assert (np.array(layer.kernel) >= 0).all() and np.any(layer.kernel)


# Starts


@pytest.mark.parametrize("shape", [(64, 16, 64), (64, 3, 3, 16), (5, 2, 1)])
def test_orthogonal_map_keeps_the_mean_square(shape):
    w = np.array(initializers.OrthogonalMap(gain=3.0, seed=0)(shape)).reshape(shape[0], -1)
    n, m = w.shape
    if n <= m:
        np.testing.assert_allclose(w @ w.T, 9 * m / n * np.eye(n), rtol=1e-4, atol=1e-3)
    else:
        np.testing.assert_allclose(w.T @ w, 9 * np.eye(m), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("make", [layers.KernelGenerator, layers.DCTGenerator])
@pytest.mark.parametrize("tiles_in", [1, 4])
def test_kernels_start_with_hes_variance(make, tiles_in):
    layer = layers.HyperConv2D(16, 3, make((3, 3, 8, 8), 16))
    layer.build((None, 6, 6, 8 * tiles_in))
    variance = float(np.mean(np.square(layer.kernel)))
    np.testing.assert_allclose(variance, 2 / (9 * 8 * tiles_in), rtol=1e-4)


@pytest.mark.parametrize("activation, scale", [("relu", 2.0), (None, 1.0)])
@pytest.mark.parametrize("embedding_dim", [16, 64])
def test_activations_keep_their_variance_through_twelve_layers(activation, scale, embedding_dim):
    shared = layers.KernelGenerator((3, 3, 16, 16), embedding_dim)
    x = keras.random.normal((8, 12, 12, 16), seed=0)
    begin = float(keras.ops.mean(x**2))
    for depth in range(12):
        layer = layers.HyperConv2D(
            32 if depth % 2 == 0 else 16,
            3,
            shared,
            activation=activation,
            embedding_initializer=initializers.TileEmbedding(scale),
        )
        x = layer(x)
        ratio = (float(keras.ops.mean(x**2)) / begin) ** 0.5
        assert 1 / 4 < ratio < 4, f"layer {depth + 1}: {ratio}"


# Sharing


def chain(shared=None):
    """Three convolutions on one generator, in an order that is not that of their making."""
    shared = shared or generator(name="shared")
    made = [layers.HyperConv2D(2, 3, shared, name=f"conv{i}") for i in range(3)]
    inputs = keras.Input((6, 6, 2))
    a, b = made[2](inputs), made[0](inputs)
    return keras.Model(inputs, made[1](keras.layers.add([a, b])), name="chain")


def generators(model):
    found = [layer for layer in model._flatten_layers() if isinstance(layer, layers.Generator)]
    return {id(layer): layer for layer in found}


COPIES = {
    "clone_model": keras.models.clone_model,
    "config": lambda model: type(model).from_config(model.get_config()),
    "json": lambda model: keras.models.model_from_json(model.to_json()),
}


def saved(model, folder):
    model.save(folder / "model.keras")
    return keras.models.load_model(folder / "model.keras")


def assert_same(twin, model):
    """Equal in outputs and in sharing, and without a weight in common."""
    assert len(generators(twin)) == len(generators(model))
    assert not set(generators(twin)) & set(generators(model))
    assert twin.count_params() == model.count_params()
    twin.set_weights(model.get_weights())
    x = images(3, *model.input_shape[1:])
    np.testing.assert_allclose(twin(x), model(x), atol=1e-6)


@pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES)
def test_functional_models_are_copied_with_one_generator(copy):
    model = chain()
    first, second = copy(model), copy(model)  # the first must not lend its generator
    assert_same(first, model)
    assert_same(second, model)
    assert not set(generators(first)) & set(generators(second))
    assert_same(copy(first), first)


@pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("built", [False, True])
def test_sequential_models_are_copied_with_one_generator(copy, built):
    shared = generator()
    stack = [layers.HyperConv2D(2 * n, 3, shared) for n in (1, 2, 3)]
    model = keras.Sequential([keras.Input((6, 6, 2)), *stack] if built else stack)
    twin = copy(model)
    model.build((None, 6, 6, 2))
    twin.build((None, 6, 6, 2))
    assert_same(twin, model)


@pytest.mark.parametrize("copy", [*COPIES.values(), None], ids=[*COPIES, "file"])
def test_two_generators_stay_two(copy, tmp_path):
    inputs = keras.Input((6, 6, 2))
    x, pair = inputs, [generator(name="a"), generator(name="b")]
    for n in range(4):  # taking turns
        x = layers.HyperConv2D(2, 3, pair[n % 2])(x)
    model = keras.Model(inputs, x)
    twin = copy(model) if copy else saved(model, tmp_path)
    assert_same(twin, model)
    made = [layer.generator.name for layer in twin.layers[1:]]
    assert made == ["a", "b", "a", "b"]


def test_two_generators_of_one_name_stay_two_in_a_file(tmp_path):
    inputs = keras.Input((6, 6, 2))
    x, pair = inputs, [generator(name="a"), generator(name="a")]
    for n in range(4):
        x = layers.HyperConv2D(2, 3, pair[n % 2])(x)
    assert_same(saved(keras.Model(inputs, x), tmp_path), keras.Model(inputs, x))


def test_equal_generators_of_two_models_stay_two_in_their_clones():
    clones = []
    for name in ("first", "second"):  # generators alike in all but their weights
        layer = layers.HyperConv2D(2, 3, generator(name="a"), name=name)
        clones.append(keras.models.clone_model(keras.Sequential([keras.Input((6, 6, 2)), layer])))
    assert clones[0].layers[0].generator is not clones[1].layers[0].generator


def test_a_file_holds_the_generator_once_even_across_nested_models(tmp_path):
    shared = generator(name="shared")
    inner, inputs = chain(shared), keras.Input((6, 6, 2))
    model = keras.Model(inputs, layers.HyperConv2D(2, 3, shared, name="outer")(inner(inputs)))
    twin = saved(model, tmp_path)
    assert_same(twin, model)
    with zipfile.ZipFile(tmp_path / "model.keras") as file:
        file.extract("model.weights.h5", tmp_path)
    sizes = []
    with h5py.File(tmp_path / "model.weights.h5") as file:
        visit = lambda name, item: sizes.append(getattr(item, "size", 0))  # noqa: E731
        file.visititems(visit)
    assert sum(sizes) == model.count_params()


def test_training_a_loaded_model_trains_one_generator(tmp_path):
    twin = saved(chain(), tmp_path)
    twin.compile("adam", "mse", jit_compile=False)
    twin.fit(images(), images(), verbose=0)
    (found,) = generators(twin).values()
    for layer in twin.layers:
        if hasattr(layer, "generator"):
            np.testing.assert_array_equal(
                layer.kernel, keras.ops.squeeze(found(layer.embeddings.value), (0, 1))
            )


@keras.saving.register_keras_serializable(package="tests")
class TwoConvolutions(keras.Model):
    """A subclassed model that is given its layers."""

    def __init__(self, first, second, **kwargs):
        super().__init__(**kwargs)
        self.first, self.second = first, second

    def call(self, inputs):
        return self.second(self.first(inputs))

    def get_config(self):
        pair = [keras.saving.serialize_keras_object(layer) for layer in (self.first, self.second)]
        return {**super().get_config(), "first": pair[0], "second": pair[1]}

    @classmethod
    def from_config(cls, config):
        pair = [keras.saving.deserialize_keras_object(config.pop(k)) for k in ("first", "second")]
        return cls(*pair, **config)


@pytest.mark.parametrize("how", ["file", "clone_model", "config"])
def test_subclassed_models_keep_one_generator(how, tmp_path):
    shared = generator()
    model = TwoConvolutions(*(layers.HyperConv2D(2, 3, shared) for _ in range(2)))
    model(images())
    twin = saved(model, tmp_path) if how == "file" else COPIES[how](model)
    twin(images())
    assert twin.first.generator is twin.second.generator is not shared
    twin.set_weights(model.get_weights())
    np.testing.assert_allclose(twin(images()), model(images()), atol=1e-6)


def test_a_layers_configuration_is_json_and_makes_an_equal_layer():
    layer = layers.HyperConv2D(
        4, 3, generator(), kernel_regularizer="l2", activity_regularizer="l1"
    )
    layer(images())
    twin = layers.HyperConv2D.from_config(json.loads(json.dumps(layer.get_config())))
    assert twin.generator is not layer.generator
    assert json.dumps(twin.get_config()) == json.dumps(layer.get_config())


# Frozen models


def outputs_agree(frozen, model):
    x = images(3, *model.input_shape[1:])
    np.testing.assert_allclose(frozen(x), model(x), atol=1e-6)


def test_a_frozen_model_gives_the_same_and_generates_nothing():
    inner, inputs = chain(), keras.Input((6, 6, 2))
    x = keras.layers.BatchNormalization()(inner(inputs))
    dense = layers.HyperDense(4, generator(), activation="relu")
    model = keras.Model(inputs, dense(keras.layers.Reshape((4, 18))(x)))
    model.compile("adam", "mse", jit_compile=False)  # XLA takes minutes to compile
    model.fit(images(), np.ones((3, 4, 4)), verbose=0)  # moves the norm's means, too
    frozen = models.freeze(model)
    outputs_agree(frozen, model)
    assert not generators(frozen) and generators(model)
    modules = {type(layer).__module__.split(".")[0] for layer in frozen._flatten_layers()}
    assert modules == {"keras"}


def test_a_frozen_model_is_a_snapshot_and_the_model_never_stale():
    model, x = chain(), images()
    frozen, before = models.freeze(model), np.array(model(x))
    model.compile("sgd", "mse", jit_compile=False)
    np.testing.assert_allclose(model.predict(x, verbose=0), before, atol=1e-6)
    model.fit(x, 10 * x, verbose=0)
    after = model.predict(x, verbose=0)
    assert np.abs(after - before).max() > 1e-3
    np.testing.assert_allclose(frozen(x), before, atol=1e-6)
    outputs_agree(models.freeze(model), model)
    (shared,) = generators(model).values()
    shared.output_bias.assign_add(np.ones(shared.output_bias.shape))  # as loading weights does
    assert np.abs(model.predict(x, verbose=0) - after).max() > 1e-3


@pytest.mark.parametrize("model", [None, keras.Sequential()])
def test_only_a_built_model_can_be_frozen(model):
    with pytest.raises(ValueError, match="`model`, expected a built Functional or Sequential"):
        models.freeze(model)


# Errors


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: generator(kernel_shape=(3, 3, 2)), r"`kernel_shape`, expected four.*\(3, 3, 2\)"),
        (lambda: generator(kernel_shape=(3, 3, 0, 2)), "`kernel_shape`, expected a sequence"),
        (lambda: generator(embedding_dim=0), "`embedding_dim`, expected an integer of at least 1"),
        (lambda: generator(hidden_dim=-1), "`hidden_dim`, expected .* Received: hidden_dim=-1"),
        (lambda: layers.CoordinateGenerator((1, 1, 2, 2), 2, 0), "`hidden_dim`, expected"),
        (
            lambda: layers.DCTGenerator((1, 1, 2, 2), 5),
            "`embedding_dim`, expected at most the 4 weights.*Received: embedding_dim=5",
        ),
        (lambda: generator()(images(4, 5)), r"embeddings \[..., 3\].*input_shape=\(4, 5\)"),
        (lambda: layers.HyperConv2D(4, 3, "g"), "`generator`, expected a Generator.*'g'"),
        (
            lambda: layers.HyperConv2D(4, 3, keras.layers.Dense(3)),
            "`generator`, expected a Generator such as KernelGenerator",
        ),
        (lambda: layers.HyperConv2D(0, 3, generator()), "`filters`, expected .*filters=0"),
        (
            lambda: layers.HyperConv2D(4, 5, generator()),
            r"`kernel_size`, expected the generator's, \(3, 3\). Received: kernel_size=5",
        ),
        (
            lambda: layers.HyperConv2D(4, 3, generator(), groups=2),
            "`groups`, expected 1: .* Received: groups=2",
        ),
        (lambda: layers.HyperConv2D(4, 3, generator(), padding="wide"), "padding"),
        (lambda: layers.HyperConv2D(4, 3, generator(), strides=2, dilation_rate=2), "dilation"),
        (
            lambda: layers.HyperConv2D(3, 3, generator())(images()),
            r"whole tiles of its `generator`.*\(2, 2\).*another generator.*\(2, 3\) \(in, out\)",
        ),
        (
            lambda: layers.HyperConv2D(4, 3, generator())(images(1, 6, 6, 3)),
            r"whole tiles.*Received: a kernel of \(3, 4\)",
        ),
        (lambda: layers.HyperConv2D(4, 3, generator())(images(6, 6, 2)), r"rank 4.*\(6, 6, 2\)"),
        (lambda: layers.HyperDense(0, generator()), "`units`, expected"),
        (lambda: layers.HyperDense(4, generator())(images(4, 20)), r"whole tiles.*\(20, 4\)"),
        (lambda: layers.HyperDense(4, generator())(images(18)), r"a batch and known features"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_coordinate_kernels_do_not_blow_up_positive_inputs():
    x = np.maximum(np.random.default_rng(0).normal(size=(2, 9, 9, 16)), 0).astype("float32")
    ratios = []
    for seed in range(6):
        keras.utils.set_random_seed(seed)
        generator = layers.CoordinateGenerator((7, 7, 16, 16), 4, 60)
        y = np.array(layers.HyperConv2D(16, 7, generator, padding="same")(x))
        ratios.append(np.mean(y**2) / np.mean(x**2))
    assert 0.01 < np.median(ratios) < 4, ratios
