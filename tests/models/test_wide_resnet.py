"""The wide residual networks: the paper's parameter counts, shapes, learning, errors."""

import math

import keras
import numpy as np
import pytest
from gradients import array

from hyperkeras import layers
from hyperkeras.models import wide_resnet


def trainable(model):
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)


def hyper_layers(model):
    return [layer for layer in model.layers if isinstance(layer, layers.HyperConv2D)]


@pytest.mark.parametrize(
    "width, dense, hyper, tiles", [(2, 2_235_498, 147_578, 966), (1, 562_730, 96_570, 242)]
)
def test_the_papers_parameter_counts(width, dense, hyper, tiles):
    assert trainable(wide_resnet(40, width)) == dense
    model = wide_resnet(40, width, kernels="hyper")
    assert trainable(model) == hyper
    made = hyper_layers(model)
    (generator,) = {layer.generator for layer in made}
    assert len(made) == 36 and generator.count_params() == 75_920
    assert sum(math.prod(layer.embeddings.shape) for layer in made) == 64 * tiles


@pytest.mark.parametrize("kernels", ["dense", "hyper"])
def test_shapes_and_a_copy_by_file(kernels, tmp_path):
    model = wide_resnet(10, 2, kernels, (9, 12, 1), 4, embedding_dim=3, hidden_dim=2, name="net")
    x = np.random.default_rng(0).normal(size=(5, 9, 12, 1)).astype("float32")
    y = model(x)
    assert y.shape == (5, 4) and model.name == "net"
    assert model.get_layer("group3_block1_add").output.shape == (None, 3, 3, 128)
    model.save(tmp_path / "net.keras")
    loaded = keras.models.load_model(tmp_path / "net.keras")
    assert trainable(loaded) == trainable(model)
    np.testing.assert_allclose(array(loaded(x)), array(y), atol=1e-6)


def test_shortcuts_take_means_and_pad_with_zeros():
    model = wide_resnet(10, 1, input_shape=(8, 8, 3))
    for layer in model.layers:  # blocks that add nothing leave their shortcuts
        if layer.name.endswith("_conv2"):
            layer.set_weights([0 * w for w in layer.get_weights()])
    inside = keras.Model(
        model.inputs[0],
        [model.get_layer(f"group{g}_block1_add").output for g in (1, 2)],
    )
    before, after = map(array, inside(np.random.default_rng(0).normal(size=(2, 8, 8, 3))))
    want = np.reshape(before, (2, 4, 2, 4, 2, 16)).mean((2, 4))
    np.testing.assert_allclose(after[..., :16], want, atol=1e-5)
    assert not np.any(after[..., 16:])


@pytest.mark.parametrize("kernels", ["dense", "hyper"])
def test_learns_to_tell_two_images_apart(kernels):
    keras.utils.set_random_seed(0)
    model = wide_resnet(10, 1, kernels, (8, 8, 1), 2, embedding_dim=8)
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 1)).repeat(4, axis=0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.003), loss, jit_compile=False)
    losses = model.fit(x, np.repeat([0, 1], 4), epochs=12, verbose=0).history["loss"]
    assert losses[-1] < losses[0] / 4


def test_penalties_are_of_all_kernels_generated_ones_as_generated():
    penalty = keras.regularizers.L2(0.5)
    model = wide_resnet(10, 1, "hyper", (8, 8, 1), embedding_dim=4, kernel_regularizer=penalty)
    model(np.zeros((1, 8, 8, 1)))
    kernels = [layer.kernel for layer in model.layers if hasattr(layer, "kernel")]
    assert len(kernels) == 1 + 6 + 1
    want = sum(0.5 * np.sum(np.square(array(kernel))) for kernel in kernels)
    np.testing.assert_allclose(sum(map(array, model.losses)), want, rtol=1e-5)


def test_another_generator_makes_the_kernels():
    generator = layers.DCTGenerator((3, 3, 16, 16), 6)
    model = wide_resnet(10, 1, "hyper", generator=generator)
    assert {layer.generator for layer in hyper_layers(model)} == {generator}


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(depth=12), r"`depth`, expected 6 n \+ 4.*depth=12"),
        (dict(depth=4), "`depth`, expected an integer of at least 10"),
        (dict(width=0), "`width`, expected an integer of at least 1"),
        (dict(kernels="sparse"), "`kernels`, expected one of 'dense', 'hyper'.*'sparse'"),
        (dict(generator="g"), "`generator`, expected None for kernels='dense'.*'g'"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        wide_resnet(**dict(depth=10, width=1) | arguments)
