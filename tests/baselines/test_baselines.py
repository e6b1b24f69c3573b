"""The alternatives that hypernetworks are compared with."""

import itertools

import keras
import numpy as np
import pytest
from keras import layers, ops

from baselines.conv_net import conv_net
from baselines.recurrent_attention import RecurrentAttention, pyramid, reinforce, retina
from baselines.spatial_transformer import (
    SpatialTransformer,
    affine_grid,
    bilinear_sample,
    spatial_transformer_net,
)

rng = np.random.default_rng(0)
only_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="takes gradients by a tape"
)


def uniform(*shape):
    return rng.uniform(size=shape).astype("float32")


def reload(network, tmp_path):
    network.save(tmp_path / "network.keras")
    return keras.saving.load_model(tmp_path / "network.keras")


def compiled(network, optimizer):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(optimizer, loss, metrics=["accuracy"])
    return network


def test_conv_net_gives_scores_and_counts_its_parameters():
    network = conv_net((12, 8, 1), 10, filters=(3, 4), units=5)
    scores = network(np.zeros((2, 12, 8, 1), "float32"))
    assert scores.shape == (2, 10)
    kernels, normalizations = 9 * 1 * 3 + 9 * 3 * 4 + 3 * 2 * 4 * 5, 4 * (3 + 4 + 5)
    assert network.count_params() == kernels + normalizations + (5 + 1) * 10


# Spatial transformer


def reference_crop(image, theta, shape):
    """Jaderberg et al. (2015), equations 1 and 5 to the letter: image [H, W, c] → [h, w, c]."""
    height, width, channels = image.shape
    crop = np.zeros((*shape, channels))
    for i, y in enumerate(np.linspace(-1, 1, shape[0])):
        for j, x in enumerate(np.linspace(-1, 1, shape[1])):
            row, column = (theta @ (y, x, 1) + 1) / 2 * (height - 1, width - 1)
            for n, m in itertools.product(range(height), range(width)):
                weight = max(0, 1 - abs(row - n)) * max(0, 1 - abs(column - m))
                crop[i, j] += weight * image[n, m].astype("float64")
    return crop


# No point lies on a pixel's center, where the slope has no single value.
THETAS = np.array(
    [
        [[0.513, 0.217, -0.294], [-0.131, 0.719, 0.203]],
        [[1.317, 0.423, 0.511], [0.337, -1.619, -0.207]],  # reaches beyond all edges
        [[0.3, 0, 9.0], [0, 0.3, 0]],  # wholly outside
    ],
    "float32",
)


def test_a_crop_is_the_papers_also_outside_the_image():
    images = uniform(3, 6, 9, 2)
    crops = bilinear_sample(images, affine_grid(THETAS, (4, 5)))
    expected = [reference_crop(*pair, (4, 5)) for pair in zip(images, THETAS, strict=True)]
    np.testing.assert_allclose(crops, expected, atol=1e-5)
    assert not np.any(crops[2]) and np.any(crops[1] == 0)


def test_the_identity_keeps_the_image():
    images = uniform(2, 5, 7, 3)
    grid = affine_grid(np.tile(np.eye(2, 3, dtype="float32"), (2, 1, 1)), (5, 7))
    np.testing.assert_allclose(bilinear_sample(images, grid), images, atol=1e-5)


def gradients(function, *tensors):
    import tensorflow as tf

    tensors = [tf.convert_to_tensor(t) for t in tensors]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        y = function(*tensors)
    return [np.array(g) for g in tape.gradient(y, tensors)]


@only_tensorflow
def test_a_crops_gradients_are_those_of_finite_differences():
    images, weights = uniform(2, 6, 9, 2), uniform(2, 4, 5, 2)
    thetas = THETAS[:2]

    def total(images, thetas):
        return ops.sum(bilinear_sample(images, affine_grid(thetas, (4, 5))) * weights)

    def reference(images, thetas):
        crops = [reference_crop(*pair, (4, 5)) for pair in zip(images, thetas, strict=True)]
        return np.sum(crops * weights)

    by_image, by_theta = gradients(total, images, thetas)
    for i in np.ndindex(thetas.shape):
        step = np.zeros(thetas.shape)
        step[i] = 1e-6
        slope = (reference(images, thetas + step) - reference(images, thetas - step)) / 2e-6
        np.testing.assert_allclose(by_theta[i], slope, rtol=1e-3, atol=1e-3)
    for i in [(0, 2, 3, 0), (0, 3, 5, 1), (1, 0, 0, 0), (1, 5, 8, 1)]:
        step = np.zeros(images.shape)
        step[i] = 1
        slope = reference(images.astype("float64") + step, thetas) - reference(images, thetas)
        np.testing.assert_allclose(by_image[i], slope, atol=1e-4)


def test_the_first_crops_are_the_middle_and_corners_tell_where():
    images = uniform(2, 9, 13, 1)
    transformer = SpatialTransformer((5, 7), layers.Flatten(), scale=0.5)
    np.testing.assert_allclose(transformer(images), images[:, 2:7, 3:10], atol=1e-5)
    corners = [[2, 3], [2, 9], [6, 9], [6, 3]]
    np.testing.assert_allclose(transformer.corners(images), [corners, corners], atol=1e-5)
    transformer.head.bias.assign([0, 0.5, 0, 0.25, 0, -0.5])  # turned and moved left
    corners = np.array([[2, 1.5], [6, 1.5], [6, 4.5], [2, 4.5]])
    np.testing.assert_allclose(transformer.corners(images)[0], corners, atol=1e-5)


def test_a_spatial_transformer_is_saved_whole(tmp_path):
    images = uniform(3, 12, 12, 1)
    network = spatial_transformer_net((12, 12, 1), 4, crop=8, scale=0.6)
    head = network.get_layer("spatial_transformer").head
    head.kernel.assign(0.1 * uniform(*head.kernel.shape))
    loaded = reload(network, tmp_path)
    np.testing.assert_array_equal(loaded(images), network(images))
    assert loaded.get_layer("spatial_transformer").scale == 0.6


def test_a_spatial_transformer_takes_given_networks_and_counts_its_parameters():
    localization = keras.Sequential([layers.AveragePooling2D(3)])  # 9 features
    classifier = keras.Sequential([layers.Flatten(), layers.Dense(5)])
    network = spatial_transformer_net((9, 9, 1), 4, 6, localization, classifier)
    assert network(uniform(2, 9, 9, 1)).shape == (2, 4)
    assert network.count_params() == 6 * (9 + 1) + (36 + 1) * 5 + (5 + 1) * 4


def test_a_spatial_transformer_finds_a_bright_spot():
    """The target is the spot's own brightness, the output the crop's mean."""
    keras.utils.set_random_seed(0)
    places, brightness = rng.integers(0, 9, (500, 2)), rng.uniform(0.5, 1, 500)
    images = np.zeros((500, 12, 12, 1), "float32")
    for image, (row, column), value in zip(images, places, brightness, strict=True):
        image[row : row + 4, column : column + 4] = value
    transformer = SpatialTransformer(4, layers.Flatten(), scale=0.5)
    network = keras.Sequential([transformer, layers.GlobalAveragePooling2D()])
    network.compile(keras.optimizers.Adam(0.01), "mse")
    network.build(images.shape)

    def distance():
        return np.abs(np.mean(transformer.corners(images), axis=1) - (places + 1.5)).mean()

    before = distance()
    network.fit(images, brightness, batch_size=32, epochs=10, verbose=0)
    assert distance() < before / 2


# Recurrent attention


def small_ram(**arguments):
    sizes = dict(patch=4, num_scales=2, hidden_units=6, glimpse_units=7, units=8)
    sizes |= dict(num_classes=3, num_glimpses=4, seed=0)
    return RecurrentAttention(**sizes | arguments)


@pytest.mark.parametrize("patch", [3, 4])
def test_a_retina_holds_pooled_patches_around_its_center(patch):
    height, width, scales = 13, 22, 3
    images = uniform(5, height, width, 2)
    centers = np.array([[0, 0], [12, 21], [6.3, 10.2], [2.8, 20.4], [12, 0]], "float32")
    levels, sizes = pyramid(images, patch, scales)
    patches = np.array(retina(levels, sizes, centers, patch))
    assert patches.shape == (5, scales, patch, patch, 2)
    far = 40
    canvas = np.pad(images.astype("float64"), [(0, 0), (far, far), (far, far), (0, 0)])
    for i, s in itertools.product(range(5), range(scales)):
        f = 2**s
        # The multiples of f nearest to where a patch around the center would start.
        starts = np.round((centers[i] - (f * patch - 1) / 2) / f).astype(int) * f
        middle = starts + (f * patch - 1) / 2
        assert (np.abs(middle - centers[i]) <= f / 2).all()
        row, column = starts + far
        view = canvas[i, row : row + f * patch, column : column + f * patch]
        pooled = view.reshape(patch, f, patch, f, 2).mean((1, 3))
        np.testing.assert_allclose(patches[i, s], pooled, atol=1e-6)


def test_recurrent_attention_counts_its_parameters():
    network = small_ram()
    assert network(uniform(2, 9, 8, 3)).shape == (2, 3)
    D, k, g, h = 2 * 4 * 4 * 3, 6, 7, 8
    parts = (D + 1) * k + 3 * k + (2 * k + 1) * g + (g + h + 1) * h + 3 * (h + 1) + (h + 1) * 3
    assert sum(int(np.prod(w.shape)) for w in network.trainable_weights) == parts


def test_inference_is_the_papers_equations_without_chance():
    images = uniform(2, 9, 14, 1)
    network = small_ram()
    scores, places = np.array(network(images)), np.array(network.locations(images))
    np.testing.assert_array_equal(network(images), scores)
    w = {v.path.split("/", 1)[1]: np.array(v, "float64") for v in network.trainable_weights}

    def dense(name, x):
        return x @ w[f"{name}/kernel"] + w.get(f"{name}/bias", 0)

    def relu(x):
        return np.maximum(x, 0)

    place, state = np.zeros((2, 2)), np.zeros((2, 8))
    levels, sizes = pyramid(images, 4, 2)
    for t in range(4):
        if t:
            place = np.tanh(dense("location", state))
        centers = (place + 1) / 2 * (8, 13)
        np.testing.assert_allclose(places[:, t], centers, atol=1e-4)
        seen = np.array(retina(levels, sizes, centers.astype("float32"), 4)).reshape(2, -1)
        glimpse = dense("seen_to_glimpse", relu(dense("seen", seen)))
        glimpse = relu(glimpse + dense("place_to_glimpse", relu(dense("place", place))))
        state = relu(dense("glimpse_to_state", glimpse) + dense("state_to_state", state))
    np.testing.assert_allclose(scores, dense("classifier", state), atol=1e-5)


def test_training_draws_locations():
    images = uniform(2, 9, 8, 1)
    network = small_ram()
    assert np.any(np.array(network(images, training=True)) != network(images, training=True))
    again = small_ram()
    again.build(images.shape)
    again.set_weights(network.get_weights())
    again.seed_generator.state.assign([0, 0])
    network.seed_generator.state.assign([0, 0])
    scores = network(images, training=True)
    np.testing.assert_array_equal(again(images, training=True), scores)


def ram_gradients(network, images, labels, loss=None):
    """Gradients by the name of the layer's weight, of the whole loss or of `loss(scores)`."""
    import tensorflow as tf

    with tf.GradientTape() as tape:
        scores = network(images, training=True)
        kept = network._drawn
        total = network.compute_loss(images, labels, scores) if loss is None else loss(scores)
    weights = network.trainable_weights
    found = tape.gradient(total, [v.value for v in weights])
    names = [v.path.split("/", 1)[1] for v in weights]
    found = [None if g is None else np.array(g) for g in found]
    return dict(zip(names, found, strict=True)), kept


@only_tensorflow
def test_scores_teach_neither_locations_nor_baseline():
    network = small_ram(location_std=0.3)
    found, _ = ram_gradients(network, uniform(4, 9, 8, 1), None, ops.sum)
    untaught = {name for name, gradient in found.items() if gradient is None}
    assert untaught == {f"{n}/{w}" for n in ("location", "baseline") for w in ("kernel", "bias")}
    assert all(np.any(g) for name, g in found.items() if name not in untaught)


def calls(monkeypatch, owner, name):
    """A list that fills with (first argument, result) of each call of `owner.name`."""
    found, original = [], getattr(owner, name)

    def spy(first, *args, **kwargs):
        found.append((first, original(first, *args, **kwargs)))
        return found[-1][1]

    monkeypatch.setattr(owner, name, spy)
    return found


@only_tensorflow
def test_rewards_teach_locations_by_reinforce(monkeypatch):
    """d/dW of −Σ (R − b) log π, worked out by hand from the locations that were drawn."""
    images, labels, b, std = uniform(16, 9, 8, 1), rng.integers(0, 3, 16), 16, 0.2
    network = compiled(small_ram(location_std=std), "sgd")
    network(images)
    means = calls(monkeypatch, network.location, "call")
    places = calls(monkeypatch, network, "_pixels")
    found, (scores, _, baselines) = ram_gradients(network, images, labels)
    rewards = (np.argmax(scores, -1) == labels).astype("float64")
    assert 0 < rewards.mean() < 1
    expected = dict.fromkeys(("location/kernel", "location/bias", "baseline/bias"), 0)
    for t in range(3):
        state, mean, place = (np.array(a, "float64") for a in (*means[t], places[t + 1][0]))
        assert np.abs(place).max() < 1, "a clipped location hides what was drawn: another seed"
        advantage = (rewards - np.array(baselines)[:, t])[:, None]
        # d log π / d mean = (l − mean) / σ², and d tanh = 1 − tanh².
        slope = -advantage * (place - mean) / std**2 * (1 - mean**2) / b
        expected["location/kernel"] += state.T @ slope
        expected["location/bias"] += slope.sum(0)
        expected["baseline/bias"] += (-2 * advantage / b).sum(0)
    for name, gradient in expected.items():
        np.testing.assert_allclose(found[name], gradient, rtol=1e-3, atol=1e-5)


@only_tensorflow
def test_rewards_teach_nothing_else():
    images, labels = uniform(16, 9, 8, 1), rng.integers(0, 3, 16)
    network = compiled(small_ram(location_std=0.3), "sgd")
    whole, _ = ram_gradients(network, images, labels)
    network.seed_generator.state.assign([0, 0])
    alone, _ = ram_gradients(network, images, labels, lambda s: network._compile_loss(labels, s))
    for name, gradient in alone.items():
        if gradient is not None:
            np.testing.assert_allclose(whole[name], gradient, atol=1e-6)


def test_reinforce_is_its_equation():
    log_probs, baselines, rewards = uniform(4, 3), uniform(4, 3), np.array([0, 1, 1, 0], "float32")
    policy, error = reinforce(log_probs, baselines, rewards)
    np.testing.assert_allclose(policy, -(log_probs * (rewards[:, None] - baselines)).sum(1), 1e-5)
    np.testing.assert_allclose(error, ((rewards[:, None] - baselines) ** 2).sum(1), 1e-5)


@pytest.mark.parametrize("looks", [1, 3])
def test_recurrent_attention_learns_and_reports(looks):
    keras.utils.set_random_seed(0)
    labels = rng.integers(0, 3, 96)
    images = (labels[:, None, None, None] / 3 + 0.1 * uniform(96, 9, 8, 1)).astype("float32")
    network = compiled(small_ram(num_glimpses=2, monte_carlo=looks), keras.optimizers.Adam(0.01))
    history = network.fit(images, labels, batch_size=16, epochs=12, verbose=0).history
    assert history["loss"][-1] < history["loss"][0] / 2
    report = network.evaluate(images, labels, verbose=0, return_dict=True)
    assert report["accuracy"] > 0.9 and report["accuracy"] == pytest.approx(
        np.mean(np.argmax(network.predict(images, verbose=0), -1) == labels)
    )
    # Cross-entropy alone: what was kept from training adds nothing.
    network(images, training=True)
    again = network.evaluate(images, labels, verbose=0, return_dict=True)
    assert again["loss"] == pytest.approx(report["loss"], rel=1e-6)


def test_several_looks_give_the_mean_probabilities():
    network = small_ram(monte_carlo=5, location_std=0.5)
    scores = network(10 * uniform(4, 9, 8, 1), training=True)
    each = ops.softmax(ops.reshape(network._drawn[0], (4, 5, 3)))
    assert np.std(np.array(each), axis=1).max() > 1e-3
    np.testing.assert_allclose(ops.softmax(scores), np.mean(each, axis=1), rtol=1e-4)


def test_recurrent_attention_is_saved_whole(tmp_path):
    images = uniform(3, 9, 8, 1)
    network = compiled(small_ram(num_glimpses=2, location_std=0.2, monte_carlo=2), "sgd")
    network.fit(images, np.array([0, 1, 2]), verbose=0)
    loaded = reload(network, tmp_path)
    np.testing.assert_array_equal(loaded(images), network(images))
    assert loaded.get_config() == network.get_config()


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: conv_net((12, 8), 10), r"`input_shape`.*input_shape=\(12, 8\)"),
        (lambda: spatial_transformer_net((12, 8), 10), r"`input_shape`.*input_shape=\(12, 8\)"),
        (lambda: spatial_transformer_net((9, 9, 1), 4, classifier=3), "`classifier`.*=3"),
        (lambda: SpatialTransformer(0, layers.Flatten()), "`output_size`.*output_size=0"),
        (lambda: SpatialTransformer((2, 3, 4), layers.Flatten()), r"`output_size`.*\(2, 3, 4\)"),
        (lambda: SpatialTransformer(4, None), "`network`.*network=None"),
        (lambda: SpatialTransformer(4, layers.Flatten(), scale=0), "`scale`.*scale=0"),
        (lambda: SpatialTransformer(4, layers.Flatten())(uniform(2, 5, 5)), r"images.*\(2, 5, 5\)"),
        (lambda: RecurrentAttention(3, 1), "`num_glimpses`.*at least 2.*num_glimpses=1"),
        (lambda: RecurrentAttention(3, 2, patch=1.5), "`patch`.*patch=1.5"),
        (lambda: RecurrentAttention(3, 2, location_std=0), "`location_std`.*location_std=0"),
        (lambda: RecurrentAttention(3, 2, monte_carlo=0), "`monte_carlo`.*monte_carlo=0"),
        (lambda: small_ram()(uniform(2, 5, 5)), r"images.*\(2, 5, 5\)"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_recurrent_attention_names_labels_that_are_not_integers():
    network = compiled(small_ram(), "sgd")
    with pytest.raises(ValueError, match=r"labels.*integers.*\(.*3\)"):
        network.fit(uniform(4, 9, 8, 1), np.eye(3)[[0, 1, 2, 0]], verbose=0)
