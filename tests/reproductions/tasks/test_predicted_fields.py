"""The task of predicted fields: its images, its networks, records and pictures."""

import json

import keras
import numpy as np

from reproductions.__main__ import main
from reproductions.tasks import predicted_fields as task
from reproductions.tasks.predicted_fields import networks


def built(model, **changes):
    [config] = task.TASK.settings(model, "smoke", "digits")
    config = config | changes
    images = task.data("digits", config, None)
    keras.utils.set_random_seed(0)
    return task.build(model, config, images), images, config


def test_no_image_is_in_two_parts_and_unseen_classes_are_tested_alone():
    _, _, config = built("scratch")
    x = np.arange(60, dtype="float32").reshape(-1, 1, 1, 1)
    y = np.arange(60) % 10
    splits = {"train": (x, y), "valid": (x + 100, y), "test": (x + 200, y)}
    images = task.Images(splits, config | dict(pretraining=20, fields=15, tested=5))
    parts = (images.pretraining, images.fields, images.valid[0], images.test[0], images.unseen[0])
    assert [len(part) for part in parts] == [20, 15, 5, 5, 5]
    assert len(np.unique(np.concatenate(parts))) == 50
    classes = [set((part.ravel() % 10).astype(int)) for part in parts]
    assert classes[4] == {8, 9} and not set.union(*classes[:4]) & {8, 9}


def test_patches_are_squares_in_rows():
    images = np.arange(2 * 8 * 8, dtype="float32").reshape(2, 8, 8, 1)
    found = np.array(networks.patches(images, 4))
    assert found.shape == (2, 4, 16)
    np.testing.assert_array_equal(found[1, 2], images[1, 4:, :4].ravel())


def test_fields_are_their_formula():
    network, images, _ = built("scratch")
    x = images.test[0][:2]
    kernels = [np.array(kernel) for kernel in network.kernels(x)]
    shown = np.array(network(x))
    for i in range(2):
        h = networks.fourier(16, 8)
        for k, (kernel, bias) in enumerate(zip(kernels, network.biases, strict=True)):
            np.testing.assert_allclose(np.linalg.norm(kernel[i], axis=0), 1, rtol=1e-4)
            h = h @ kernel[i] + np.array(bias)
            h = np.maximum(h, 0) if k < 2 else h + 0.5
        np.testing.assert_allclose(shown[i].reshape(256, -1), h, atol=1e-4)
    assert np.abs(kernels[0][0] - kernels[0][1]).max() > 1e-3  # of another image, other weights
    said = kernels[0] / np.array(network.bases[0])
    pair = [said[..., c] / np.linalg.norm(said[..., c], axis=1, keepdims=True) for c in (3, 11)]
    cosine = np.sum(pair[0] * pair[1], axis=1)
    np.testing.assert_allclose(cosine, 1, atol=1e-4)  # columns 3 and 3 + 8 are of one token


def test_what_is_frozen_and_what_was_trained_before():
    kept = {}
    for model in ("scratch", "frozen"):
        network, images, _ = built(model)
        before = [w.numpy() for w in network.encoder.weights + network.reader.weights]
        network.fit(images.train(0, 0), steps_per_epoch=2, shuffle=False, verbose=0)
        after = [w.numpy() for w in network.encoder.weights + network.reader.weights]
        same = all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
        assert same == model.startswith("frozen"), model
        kept[model] = np.concatenate([a.ravel() for a in before])
    assert np.abs(kept["frozen"] - kept["scratch"]).max() > 1e-4


def test_filling_in_is_learned():
    _, images, config = built("scratch", pretraining=700, pretraining_steps=60)
    reader, encoder = networks.Reader(config), networks.encoder(config)
    reader.build((None, 16, 16, 1))
    start = [w.numpy() for w in encoder.trainable_weights]
    networks.pretrain(reader, encoder, images, config, 0)
    moved = [
        np.abs(w.numpy() - s).max() for w, s in zip(encoder.trainable_weights, start, strict=True)
    ]
    assert np.median(moved) > 5e-3  # the bias of an attention's keys has no gradient


def test_a_run_leaves_records_and_pictures(tmp_path):
    words = ["run", "predicted_fields", "--preset", "smoke", "--models", "frozen"]
    assert main([*words, "--out", str(tmp_path)]) == 0
    folder = tmp_path / "predicted_fields" / "smoke"
    [record] = [json.loads(path.read_text()) for path in folder.glob("*.json")]
    assert record["status"] == "finished"
    assert record["parameters"]["generated"] == 32 * 32 * 2 + 32 * 1
    assert {"psnr", "psnr_unseen"} == set(record["metrics"]["test"])
    assert len(list(folder.glob("*.png"))) == 2
