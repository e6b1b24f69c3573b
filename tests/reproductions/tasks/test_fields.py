"""The fields task: how bits are counted, what the networks compute, records and pictures."""

import json

import keras
import numpy as np
import pytest

from reproductions.__main__ import main
from reproductions.tasks import fields
from reproductions.tasks.fields import coding, networks


def test_quantized_numbers_are_steps():
    array = np.array([[1.0, -0.5], [0.26, 0.124]])
    symbols, values, steps = coding.quantized(array, 3, by_column=False)  # −3 … 3
    np.testing.assert_array_equal(symbols, [[3, -2], [1, 0]])
    np.testing.assert_allclose(values, symbols / 3, rtol=1e-3)
    assert steps == 1
    symbols, values, steps = coding.quantized(array, 3, by_column=True)
    np.testing.assert_array_equal(symbols, [[3, -3], [1, 1]])
    assert steps == 2 and coding.quantized(array[0], 3, by_column=True)[2] == 1


def test_the_code_is_as_long_as_an_adaptive_coder_makes_it():
    symbols = np.random.default_rng(0).binomial(30, 0.5, 400) - 15
    bits, counts, length = 5, {}, 0.0
    for n, symbol in enumerate(symbols):
        length -= np.log2((counts.get(symbol, 0) + 0.5) / (n + 31 / 2))
        counts[symbol] = counts.get(symbol, 0) + 1
    np.testing.assert_allclose(coding.code_length(symbols, bits), length + 3, rtol=1e-9)
    assert length < 5 * 400
    even = np.arange(31) - 15  # nothing to gain
    assert coding.code_length(even, bits) == 1 + 31 * 5


def test_bits_of_a_field_are_all_that_a_decoder_reads():
    arrays = [np.zeros((4, 3)) + 0.5, np.array([1.0, -1.0, 0.3])]
    decoded, length = coding.coded(arrays, 16, by_column=False)
    assert length == 16 * 15
    np.testing.assert_allclose(decoded[1], arrays[1], rtol=1e-3)
    for by_column, steps in ((False, 1 + 1), (True, 3 + 1)):
        _, length = coding.coded(arrays, 6, by_column)
        codes = [coding.code_length(coding.quantized(a, 6, by_column)[0], 6) for a in arrays]
        assert length == pytest.approx(sum(codes) + 16 * steps)


def built(model, **changes):
    [config] = fields.TASK.settings(model, "smoke", "photographs")
    config = config | changes
    images = fields.data("photographs", config, None)
    keras.utils.set_random_seed(0)
    return fields.build(model, config, images), images, config


@pytest.mark.parametrize("model", fields.FIELDS)
def test_an_image_has_as_many_numbers_as_asked_for(model):
    network, images, _ = built(model, numbers=500)
    numbers = sum(np.prod(v.shape[1:]) for v in network.stored)
    assert 500 * 0.8 < numbers <= 500 and (numbers == 500 or not model.startswith("doh"))
    x = images.test[0]
    assert network(x).shape == (len(x), 2, 3)
    # The colors of one image follow from its own numbers.
    before = np.array(network(x))
    for variable in network.stored:
        variable.assign(
            variable.numpy() + np.array([0, 0.1]).reshape(-1, *[1] * (variable.ndim - 1))
        )
    after = np.array(network(x))
    np.testing.assert_array_equal(after[:, 0], before[:, 0])
    assert np.abs(after[:, 1] - before[:, 1]).max() > 1e-3


def test_a_plain_field_is_its_formula():
    network, images, _ = built("coin")
    x, values = images.test[0], [v.numpy() for v in network.stored]
    for image in range(2):
        h = x
        for i in range(6):
            h = h @ values[2 * i][image] + values[2 * i + 1][image]
            h = np.sin(30 * h) if i < 5 else h
        np.testing.assert_allclose(network(x)[:, image], h, atol=1e-4)


@pytest.mark.parametrize("model", ["coin", "doh_siren"])
def test_sines_start_with_arguments_of_one_size(model):
    network, _, _ = built(model, numbers=3000)
    seen, activation = [], network.activation
    network.activation = lambda x: seen.append(np.std(30 * np.array(x))) or activation(x)
    network.call(np.random.default_rng(0).uniform(-1, 1, (500, 2)).astype("float32"))
    assert len(seen) == 5 and all(0.6 < one < 1.6 for one in seen[1:]), seen


def test_psnr_is_the_mean_over_images():
    y = np.zeros((10, 2, 3))
    made = y + np.array([0.1, 0.01])[:, None]
    assert fields.psnr(made, y) == pytest.approx((20 + 40) / 2)


def test_training_fits_and_fewer_bits_fit_worse():
    network, images, config = built("coin", numbers=400, steps=100)
    before = fields.evaluate(network, *images.test, config)["psnr"]
    network.fit(images.train(0, 0), steps_per_epoch=100, shuffle=False, verbose=0)
    after = fields.evaluate(network, *images.test, config)["psnr"]
    assert after > before + 5
    found = fields.transfer(network, "coin", images, config)
    assert fields.evaluate(network, *images.test, config)["psnr"] == after  # and is as it was
    assert abs(found["psnr_16"] - after) < 1 and found["psnr_5"] < found["psnr_8"]
    numbers = sum(np.prod(v.shape[1:]) for v in network.stored)
    assert found["bpp_16"] == pytest.approx(16 * numbers / 96)
    assert found["bpp_5"] < found["bpp_6"] < found["bpp_8"] < found["bpp_16"]


def test_a_run_leaves_records_and_pictures(tmp_path):
    words = ["run", "fields", "--preset", "smoke", "--models", "coin,doh,jpeg"]
    assert main([*words, "--out", str(tmp_path)]) == 0
    folder = tmp_path / "fields" / "smoke"
    found = {r["model"]: r for r in map(json.loads, (p.read_text() for p in folder.glob("*.json")))}
    assert set(found) == {"coin", "doh", "jpeg"}
    assert all(record["status"] == "finished" for record in found.values())
    jpeg = found["jpeg"]["metrics"]["test"]
    assert jpeg["psnr"] > 20 and jpeg["bpp"] > 8 * 600 / 192  # a file's tables alone
    shapes = networks.kernel_shapes(22, 40, 4)
    assert found["doh"]["parameters"]["generated"] == sum(a * b for a, b in shapes)
    assert len(list(folder.glob("*.png"))) == 3 + 1
