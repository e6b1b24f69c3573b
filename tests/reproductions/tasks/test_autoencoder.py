"""The autoencoder task: likelihoods, the wiring of canvas and image, matched sizes, records."""

import json
import math

import keras
import numpy as np
import pytest

from reproductions.__main__ import main
from reproductions.likelihoods import diagonal_gaussian
from reproductions.tasks import autoencoder
from reproductions.tasks.autoencoder import generated_decoder, networks, rows

IMAGES = np.random.default_rng(0).random((6, 8, 8, 1)).astype("float32")


def tiny(name, variational=False):
    sizes = dict(hidden=5, side=6, features=4, fine=2) if name == "sparse" else dict(hidden=5)
    return networks.autoencoder(name, variational, (8, 8, 1), latent=3, **sizes)


def test_cross_entropy_equals_the_definition_and_stays_finite():
    logits = np.random.default_rng(1).normal(size=IMAGES.shape, scale=3)
    p = 1 / (1 + np.exp(-logits))
    expected = -np.sum(IMAGES * np.log(p) + (1 - IMAGES) * np.log1p(-p), axis=(1, 2, 3))
    found = networks.cross_entropy(IMAGES, logits.astype("float32"))
    np.testing.assert_allclose(np.array(found), expected, rtol=1e-5)
    extreme = networks.cross_entropy(IMAGES, np.full_like(IMAGES, -1e30))
    assert np.isfinite(np.array(extreme)).all()


def normal(z, mean, deviation):
    log = -(((z - mean) / deviation) ** 2) / 2 - np.log(deviation) - np.log(2 * np.pi) / 2
    return log.sum(-1)


@pytest.mark.parametrize("name", ["dense", "sparse"])
def test_log_weights_equal_the_definition(name):
    network = tiny(name, variational=True)
    found = autoencoder.log_weights(network, IMAGES, 2, seed=5)
    mean, log_deviation = (np.array(t, "float64") for t in network.code(IMAGES))
    deviation = np.exp(log_deviation)
    rng = np.random.default_rng(5)
    for column in found.T:
        z = mean + deviation * rng.standard_normal(mean.shape).astype("float32")
        p = 1 / (1 + np.exp(-np.array(network.decoder(z.astype("float32")), "float64")))
        log_p = np.sum(IMAGES * np.log(p) + (1 - IMAGES) * np.log(1 - p), axis=(1, 2, 3))
        expected = log_p + normal(z, 0.0, np.ones(3)) - normal(z, mean, deviation)
        np.testing.assert_allclose(column, expected, rtol=1e-5)


def test_loss_of_a_variational_model_is_the_bound():
    network = tiny("dense", variational=True)
    network.compile("sgd", networks.cross_entropy)
    found = network.evaluate(IMAGES, IMAGES, verbose=0)
    mean, log_deviation = network.code(IMAGES)
    terms = np.sum(np.array(diagonal_gaussian.kl_to_normal(mean, log_deviation)), axis=-1)
    terms = terms + networks.cross_entropy(IMAGES, network.decoder(mean))
    assert found == pytest.approx(float(np.mean(np.array(terms))), rel=1e-5)


def test_canvas_is_laid_into_the_image_where_the_pose_says():
    network = tiny("sparse")
    write = network.decoder.get_layer("write")
    head = write.source.head.kernel
    head.assign(np.zeros(head.shape))
    canvas = np.random.default_rng(3).normal(size=(1, 7, 6)).astype("float32")
    for shift in (0.0, 2 / 5):  # two fifths of half the canvas: one of its five steps
        pose = np.zeros((1, 1, 6), "float32")
        pose[..., 0] = 1.0
        canvas[:, 6:] = pose
        head.assign(np.eye(6)[2] * shift * (np.arange(6) == 0)[:, None])
        lines = np.linspace(-1, 1, 16) * 1.33
        rows, columns = (
            np.clip(np.rint((line + 1) / 2 * 5), 0, 5).astype(int)
            for line in (lines + shift, lines)
        )
        read = canvas[0][rows][:, columns].reshape(8, 2, 8, 2)
        np.testing.assert_allclose(np.array(write(canvas))[0], read.sum((1, 3)), rtol=1e-5)


def test_encoder_reads_the_middle_first_and_its_tuples_stay_inside():
    network = tiny("sparse")
    sites = networks.places(network, IMAGES)
    assert sites.shape == (6, 36, 2) and sites.min() >= 0 and sites.max() <= 7
    np.testing.assert_allclose(sites.mean((0, 1)), [3.5, 3.5], atol=0.6)
    assert networks.places(tiny("dense"), IMAGES) is None


def test_share_of_tuples_on_ink_is_counted():
    network = tiny("sparse")
    network.title = "sparse"
    images = np.zeros((4, 8, 8, 1), "float32")
    images[:, 2:6, 2:6] = 1  # all sites are in rows and columns 1 to 6
    sites = networks.places(network, images)
    inside = ((sites >= 2) & (sites < 6)).all(-1).mean()

    class Data:
        test = images, images

    found = autoencoder.transfer(network, "sparse", Data, {})
    assert found["ink"] == 0.25 and found["tuples_on_ink"] == pytest.approx(inside)
    assert found["tuples_on_ink"] > 0.25 and found["nats_64"] is None


@pytest.mark.parametrize("preset, data, side", [("quick", "digits", 16), ("full", "mnist", 28)])
def test_models_have_like_numbers_of_parameters_and_weights(preset, data, side):
    class Data:
        valid = (np.zeros((1, side, side, 1)),)

    found = {}
    for model in autoencoder.MODELS:
        (config,) = autoencoder.TASK.settings(model, preset, data)
        network = autoencoder.build(model, config, Data)
        count = sum(math.prod(weight.shape) for weight in network.trainable_weights)
        found[model] = count, networks.weights(network)
    for kind in ("", "_vae"):
        ratio = np.divide(found["dense" + kind], found["sparse" + kind])
        assert (abs(ratio - 1) < 0.03).all(), found
    sizes = [found[model][0] for model in autoencoder.FAMILIES]
    assert max(sizes) / min(sizes) < 1.05, found
    assert found["dense_few"][1] == found["sparse_free"][1]
    latent, hidden = config["latent"], autoencoder.LARGE["dense"]["hidden"]
    if data == "mnist":
        assert found["dense"][1] == 2 * hidden * (784 + latent)


@pytest.mark.parametrize("name, sizes", [("dynamic", (5, 3, 2)), ("recurrent", (5,))])
def test_exact_nats_are_those_of_a_distribution(name, sizes):
    keras.utils.set_random_seed(0)
    network = rows.MODELS[name]((2, 3, 1), *sizes)
    network.left.assign(np.random.default_rng(0).normal(size=(3, 3)))
    images = (np.arange(64)[:, None] >> np.arange(6) & 1).reshape(64, 2, 3, 1).astype("float32")
    logits = np.array(network(images), "float64")
    p = np.exp(-np.array(networks.cross_entropy(images, logits)))
    assert p.sum() == pytest.approx(1, rel=1e-5) and p.std() > 1e-3
    for pixel in range(6):  # what comes later tells nothing
        changed = images.reshape(64, 6).copy()
        changed[:, pixel:] = 1 - changed[:, pixel:]
        same = np.array(network(changed.reshape(images.shape))).reshape(64, 6)[:, : pixel + 1]
        np.testing.assert_allclose(same, logits.reshape(64, 6)[:, : pixel + 1], rtol=1e-4)


def test_images_are_drawn_with_their_probability():
    network = rows.MODELS["recurrent"]((2, 2, 1), 3)
    network.left.assign([[0.0, 2.0], [0.0, 0.0]])
    images = rows.drawn(network, 4000, np.random.default_rng(0))
    every = (np.arange(16)[:, None] >> np.arange(4) & 1).reshape(16, 2, 2, 1).astype("float32")
    p = np.exp(-np.array(networks.cross_entropy(every, network(every))))
    numbers = (images.reshape(-1, 4) @ (2 ** np.arange(4))).astype(int)
    found = np.bincount(numbers, minlength=16) / 4000
    np.testing.assert_allclose(found, p, atol=5 * np.sqrt(p.max() / 4000))


def test_places_are_orthogonal_waves():
    waves = generated_decoder.Places((8, 6), 9)(np.zeros((2, 1)))
    assert waves.shape == (2, 48, 18)
    cosines, sines = np.array(waves)[0, :, :9], np.array(waves)[0, :, 9:]
    np.testing.assert_allclose(cosines**2 + sines**2, 1, rtol=1e-5)
    assert np.linalg.matrix_rank(np.array(waves)[0], tol=1e-3) > 12


def test_a_code_generates_a_decoder_of_its_own():
    keras.utils.set_random_seed(0)
    sizes = dict(hidden=5, body=6, frequencies=4, units=3)
    network = networks.autoencoder("static", True, (8, 8, 1), latent=3, **sizes)
    codes = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    together = np.array(network.decoder(codes))
    alone = [np.array(network.decoder(code[None]))[0] for code in codes]
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5)
    assert np.ptp(together, axis=0).max() > 0.1
    assert autoencoder.generated(network) == 8 * 3 + 3 + 3 + 1
    assert networks.weights(network) == 64 * 5 + 5 * 6 + 8 * 3 + 3


def test_binary_pixels_are_drawn_by_their_values():
    splits = dict.fromkeys(("train", "valid", "test"), (IMAGES, None))
    data = autoencoder.Copies(splits, batch=500, steps=2, binary=True)
    batches = list(data.train(seed=0, epoch=1))
    x = np.concatenate([x for x, _ in batches])
    assert set(np.unique(x)) == {0.0, 1.0} and (batches[0][0] == batches[0][1]).all()
    assert x.mean() == pytest.approx(IMAGES.mean(), abs=0.02)
    again = next(iter(data.train(seed=0, epoch=1)))[0]
    np.testing.assert_array_equal(again, batches[0][0])
    assert (next(iter(data.train(seed=1, epoch=1)))[0] != again).any()


def test_enlarged_images_keep_their_mean():
    found, _ = autoencoder.enlarged({"test": (IMAGES, None)})["test"]
    assert found.shape == (6, 16, 16, 1)
    np.testing.assert_allclose(found.mean((1, 2)), IMAGES.mean((1, 2)), atol=0.05)


def test_gradient_reaches_the_wiring():
    network = tiny("sparse", variational=True)
    network.compile(keras.optimizers.Adam(0.01), networks.cross_entropy, run_eagerly=True)
    watched = [layer.source.head.kernel for layer in networks.sparse_layers(network)]
    before = [np.array(kernel) for kernel in watched]
    network.fit(IMAGES, IMAGES, epochs=2, verbose=0)
    for kernel, old in zip(watched, before, strict=True):
        assert (np.array(kernel) != old).any()


MADE = "sparse_vae,static,dynamic"


def test_a_run_leaves_records_and_pictures(tmp_path):
    words = ["run", "autoencoder", "--preset", "smoke", "--models", MADE]
    assert main([*words, "--out", str(tmp_path)]) == 0
    folder = tmp_path / "autoencoder" / "smoke"
    for path in folder.glob("*.json"):
        record = json.loads(path.read_text())
        assert record["status"] == "finished", record["error"]
        assert set(record["metrics"]["test"]) == set(autoencoder.METRICS)
        assert np.isfinite(record["metrics"]["test"]["nats_64"])
    assert len(list(folder.glob("*.json"))) == 3 and len(list(folder.glob("*.png"))) == 4
