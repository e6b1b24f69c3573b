"""How generated weights start."""

import keras
import numpy as np
import pytest
from keras import layers

from hyperkeras import initializers, ops
from hyperkeras.layers import ChunkedHead, DenseHead
from hyperkeras.models import Hypernetwork

DEPTH, WIDTH = 10, 128


def deep_target(use_bias=True):
    hidden = [layers.Dense(WIDTH, "relu", use_bias=use_bias) for _ in range(DEPTH)]
    return keras.Sequential([keras.Input((WIDTH,)), *hidden])


def chunks_of_4000(initializer):
    return ChunkedHead(4000, initializer=initializer)


def second_moments(initializer, use_bias=True, head=DenseHead):
    """Of each layer's activations, for normal conditions and inputs."""
    keras.utils.set_random_seed(3)
    target = deep_target(use_bias)
    model = Hypernetwork(target, layers.Identity(), head(initializer), per_sample=True)
    rng = np.random.default_rng(0)
    condition = rng.normal(size=(16, 256)).astype("float32")
    x = rng.normal(size=(16, WIDTH)).astype("float32")
    model.build([condition.shape, x.shape])
    values = [np.array(v) for v in model.generate(condition)]
    found, step = [], 2 if use_bias else 1
    for i in range(0, len(values), step):
        x = np.einsum("bi,bio->bo", x, values[i])
        x = np.maximum(x + values[i + 1], 0) if use_bias else np.maximum(x, 0)
        found.append(np.mean(x**2))
    return np.array(found)


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("head", [DenseHead, chunks_of_4000])
def test_hyperfan_in_keeps_activations_through_the_depth(use_bias, head):
    found = second_moments("hyperfan_in", use_bias, head)
    assert 0.5 < found.min() and found.max() < 2, found


def test_a_plain_head_explodes():
    assert second_moments("he_normal")[-1] > 1e12


def test_hyperfan_out_equals_hyperfan_in_between_layers_of_one_width():
    found = second_moments("hyperfan_out", use_bias=False)
    assert 0.5 < found.min() and found.max() < 2, found


def test_sines_get_the_published_start():
    for first, limit in ((True, 1 / 6), (False, 1 / 30)):
        start = initializers.SirenUniform(first=first, seed=0)
        kernel = np.array(start((6, 500)))
        assert 0.98 * limit < np.abs(kernel).max() <= limit
        bias = initializers.SirenUniform(first=first, fan_in=6, seed=0)((500,))
        assert 0.98 * limit < np.abs(np.array(bias)).max() <= limit
    again = initializers.SirenUniform.from_config(start.get_config())
    np.testing.assert_array_equal(again((6, 500)), kernel)
    with pytest.raises(ValueError, match=r"`fan_in`.*shape \(500,\)"):
        start((500,))
    with pytest.raises(ValueError, match="`omega`.*omega=0"):
        initializers.SirenUniform(0)


def test_variances_are_the_papers():
    kernel, bias = ops.hyperfan_in(128, 32, feature_variance=0.5)
    assert kernel == pytest.approx(2 / (2 * 128 * 32 * 0.5)) and bias == 2 / (2 * 32 * 0.5)
    assert ops.hyperfan_in(128, 32, relu=False, biases=False)[0] == pytest.approx(1 / (128 * 32))
    kernel, bias = ops.hyperfan_out(64, 128, 32)
    assert kernel == pytest.approx(2 / (128 * 32)) and bias == pytest.approx(2 * 0.5 / 32)
    assert ops.hyperfan_out(128, 64, 32)[1] == 0


def test_hyperfan_reads_a_heads_shape():
    kernel = np.array(initializers.HyperfanIn(seed=1)((50, 3, 3, 8, 16)))
    assert kernel.var() == pytest.approx(2 / (2 * 72 * 50), rel=0.05)
    kernel = np.array(initializers.HyperfanOut(relu=False, seed=1)((50, 3, 3, 8, 16)))
    assert kernel.var() == pytest.approx(1 / (144 * 50), rel=0.05)
    bias = np.array(initializers.HyperfanIn(seed=1)((50, 1000)))
    assert bias.var() == pytest.approx(2 / (2 * 50), rel=0.05)


@pytest.mark.parametrize("name", ["BiasHyperInit", "HyperfanIn", "HyperfanOut"])
def test_initializers_have_a_configuration(name):
    initializer = getattr(initializers, name)()
    config = keras.initializers.serialize(initializer)
    assert config["registered_name"] == f"hyperkeras>{name}"
    assert type(keras.initializers.deserialize(config)) is type(initializer)


def test_a_feature_variance_of_0():
    with pytest.raises(ValueError, match="feature_variance=0"):
        initializers.HyperfanIn(0)


def test_fans_of_layers_whose_kernels_do_not_show_them():
    attend = layers.MultiHeadAttention(2, 3)
    inputs = keras.Input((5, 6))
    target = keras.Model(inputs, attend(inputs, inputs))
    from hyperkeras.models.hypernetworks import weight_selection

    pieces = weight_selection.choose(target, None).pieces
    fans = {
        g.variable.path.split("/", 1)[1]: g.piece.map_fans for g in pieces if not g.piece.is_bias
    }
    assert fans["query/kernel"] == (6, 6) and fans["attention_output/kernel"] == (6, 6)
    images = keras.Sequential([keras.Input((5, 5, 4)), layers.DepthwiseConv2D(3)])
    (kernel, _) = weight_selection.choose(images, None).pieces
    assert kernel.piece.map_fans == (9, 9)
