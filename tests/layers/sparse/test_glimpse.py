"""Glimpses: what they look at, in both data formats, and how they learn where to look."""

import keras
import numpy as np
import pytest
import reference

from hyperkeras.layers import Glimpse

rng = np.random.default_rng(0)


def fixed_box(glimpse, images, box):
    """Makes `glimpse` look at `box` (top, bottom, left, right), whatever the image."""
    glimpse.build(images.shape)
    glimpse.source.raw_grids = lambda inputs: keras.ops.broadcast_to(
        keras.ops.convert_to_tensor(
            np.log(box / (1 - np.array(box, "float32")))[None, None].astype("float32")
        ),
        (len(inputs), 1, 4),
    )
    return glimpse


def test_a_glimpse_at_inference_is_a_crop():
    images = rng.uniform(size=(2, 21, 31, 3)).astype("float32")
    glimpse = fixed_box(Glimpse((4, 5)), images, [0.2, 0.6, 0.1, 0.6])  # rows 4–12, columns 3–18
    rows, columns = [4, 6, 8, 10], [3, 6, 9, 12, 15]
    np.testing.assert_allclose(glimpse(images)[:, 0], images[:, rows][:, :, columns])


def test_in_training_a_glimpse_blends_the_neighbors():
    images = rng.uniform(size=(1, 11, 11, 1)).astype("float32")
    glimpse = fixed_box(Glimpse(1, sigma_scale=0.01), images, [0.45, 0.9, 0.45, 0.9])
    # The mean lies in the middle of four pixels, which share its value evenly.
    expected = images[0, 4:6, 4:6, 0].mean()
    np.testing.assert_allclose(glimpse(images, training=True)[0, 0, 0, 0, 0], expected, rtol=1e-4)


def test_data_formats_agree():
    images = rng.uniform(size=(2, 9, 8, 3)).astype("float32")
    outputs = []
    for data_format in ("channels_last", "channels_first"):
        keras.utils.set_random_seed(0)
        pool = keras.layers.GlobalAveragePooling2D(data_format=data_format)
        glimpse = Glimpse((2, 3), pool, 2, local_samples=2, data_format=data_format, seed=0)
        last = data_format == "channels_last"
        x = images if last else images.transpose(0, 3, 1, 2)
        y = np.array(glimpse(x, training=True))
        assert y.shape == glimpse.compute_output_shape(x.shape)
        outputs.append(y if last else y.transpose(0, 1, 3, 4, 2))
    np.testing.assert_allclose(*outputs, rtol=1e-5)


@pytest.mark.parametrize("size", [(10, 12), (21, 17), (8, 30)])
def test_the_same_weights_look_at_images_of_any_size(size, tmp_path):
    keras.utils.set_random_seed(0)
    network = keras.Sequential(
        [keras.Input((None, None, 1)), keras.layers.Conv2D(6, 3, activation="relu")]
    )
    network.add(keras.layers.GlobalAveragePooling2D())
    trained = keras.Sequential([keras.Input((10, 12, 1)), Glimpse((4, 5), network)])
    kernel = trained.layers[0].source.head.kernel
    kernel.assign(rng.normal(size=kernel.shape))
    trained.save_weights(tmp_path / "trained.weights.h5")

    twin = Glimpse.from_config(trained.layers[0].get_config())
    twin.build((None, *size, 1))
    twin.set_weights(trained.layers[0].get_weights())
    loaded = keras.Sequential([keras.Input((*size, 1)), Glimpse.from_config(twin.get_config())])
    loaded.load_weights(tmp_path / "trained.weights.h5")

    images = rng.uniform(size=(3, *size, 1)).astype("float32")
    raw = np.array(network(images)) @ np.array(kernel)
    last = np.repeat(size, 2) - 1
    expected = []
    for image, box in zip(
        images, reference.sigmoid(raw + np.array([-1, 1, -1, 1])) * last, strict=True
    ):
        rows, columns = reference.box_grid(box, (4, 5)).round().astype(int).T
        expected.append(image[rows, columns].reshape(1, 4, 5, 1))
    np.testing.assert_array_equal(twin(images), expected)
    np.testing.assert_array_equal(loaded(images), expected)


def test_learns_to_look_at_a_bright_spot():
    """The target is the spot's own brightness: only a box on the spot can tell it."""
    keras.utils.set_random_seed(0)
    count = 2000
    images = np.zeros((count, 16, 16, 1), "float32")
    places, brightness = rng.integers(0, 13, size=(count, 2)), rng.uniform(0.5, 1, size=count)
    for image, (row, column), value in zip(images, places, brightness, strict=True):
        image[row : row + 4, column : column + 4] = value
    glimpse = Glimpse(2, num_glimpses=1, local_samples=4, region=6, seed=0)
    inputs = keras.Input((16, 16, 1))
    outputs = keras.layers.GlobalAveragePooling2D()(
        keras.layers.Reshape((2, 2, 1))(glimpse(inputs))
    )
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.Adam(0.01), "mse")

    def hits():
        centers = np.array(glimpse.source(images[:500])[0]).mean(1)
        return (np.abs(centers - (places[:500] + 1.5)) < 2).all(1).mean()

    before = hits()
    model.fit(images, brightness, batch_size=32, epochs=8, verbose=0)
    assert before < 0.2 and hits() > 0.8


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Glimpse((2, 3), source="circle"), "`source`.*affine.*box.*'circle'"),
        (lambda: Glimpse((2, 3), data_format="last"), "`data_format`.*'last'"),
        (lambda: Glimpse((2, 3), network=3), "`network`.*network=3"),
        (lambda: Glimpse((2, 3), num_glimpses=0), "`num_glimpses`.*0"),
        (lambda: Glimpse(3)(np.zeros((2, 5, 5))), r"images.*\(2, 5, 5\)"),
        (lambda: Glimpse(3)(keras.Input((None, 5, 1))), r"images.*\(None, None, 5, 1\)"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
