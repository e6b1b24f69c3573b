"""Hypernetworks of frozen and quantized networks, and of networks with LoRA."""

import pickle

import keras
import numpy as np
import pytest
from gradients import array
from keras import layers

from hyperkeras.models import Hypernetwork

rng = np.random.default_rng(0)


def normal(*shape):
    return rng.normal(size=shape).astype("float32")


def body(features=7):
    return keras.Sequential([keras.Input((4,)), layers.Dense(features, "tanh")])


def mlp():
    parts = [layers.Dense(6, "relu", name="first"), layers.Dense(5, name="second")]
    return keras.Sequential([keras.Input((5,)), *parts])


def names(weights):
    return [(weight.path.split("/")[-2:], tuple(weight.shape)) for weight in weights]


def saved(model, folder):
    model.save(folder / "model.keras")
    return keras.models.load_model(folder / "model.keras")


def cloned(model, folder):
    twin = keras.models.clone_model(model)
    twin.set_weights(model.get_weights())
    return twin


COPIES = {
    "file": saved,
    "clone": cloned,
    "pickle": lambda model, folder: pickle.loads(pickle.dumps(model)),
}
copies = pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES)


def freeze_itself(model):
    model.trainable = False


def freeze_target(model):
    model.target.trainable = False


def freeze_layer(model):
    model.target.layers[0].trainable = False


def freeze_unselected_then_more(model):
    freeze_layer(model)
    model.target.layers[0].trainable = True


@copies
@pytest.mark.parametrize(
    "freeze, select",
    [
        (freeze_itself, None),
        (freeze_target, "first"),
        (freeze_layer, None),
        (freeze_layer, "second"),
        (freeze_unselected_then_more, "second"),
    ],
)
def test_a_frozen_hypernetwork_is_copied(copy, freeze, select, tmp_path):
    model = Hypernetwork(mlp(), body(), select=select, per_sample=True)
    inputs = [normal(3, 4), normal(3, 5)]
    y = array(model(inputs))
    freeze(model)
    twin = copy(model, tmp_path)
    np.testing.assert_allclose(array(twin(inputs)), y, atol=1e-6)
    assert names(twin.trainable_variables) == names(model.trainable_variables)
    assert len(twin.generated_weights) == len(model.generated_weights)


@copies
def test_a_frozen_model_around_a_hypernetwork_is_copied(copy, tmp_path):
    inputs = keras.Input((4,)), keras.Input((5,))
    model = keras.Model(inputs, Hypernetwork(mlp(), body(), per_sample=True)(list(inputs)))
    model.trainable = False
    values = [normal(3, 4), normal(3, 5)]
    twin = copy(model, tmp_path)
    np.testing.assert_allclose(array(twin(values)), array(model(values)), atol=1e-6)
    assert not twin.trainable_variables


def attention():
    given = keras.Input((5,))
    x = layers.Reshape((5, 1))(given)
    attended = layers.MultiHeadAttention(2, 3, name="attention")(x, x)
    return keras.Model(given, layers.Dense(5)(layers.Flatten()(attended)))


@copies
@pytest.mark.parametrize("residual", [False, True])
def test_lora_inside_other_layers_is_kept(copy, residual, tmp_path):
    target = attention()
    inner = target.get_layer("attention")
    inner.query_dense.enable_lora(2, lora_alpha=3)
    inner.value_dense.enable_lora(1)
    model = Hypernetwork(
        target, body(), select=lambda v: "lora" in v.name, per_sample=True, residual=residual
    )
    inputs = [normal(3, 4), normal(3, 5)]
    y = array(model(inputs))
    twin = copy(model, tmp_path)
    np.testing.assert_allclose(array(twin(inputs)), y, atol=1e-5)
    made = twin.target.get_layer("attention")
    assert (made.query_dense.lora_rank, made.query_dense.lora_alpha) == (2, 3)
    assert made.value_dense.lora_rank == 1 and not made.key_dense.lora_enabled


def test_weights_stay_selected_when_others_come():
    model = Hypernetwork(mlp(), body(), select="second")
    inputs, paths = [normal(1, 4), normal(3, 5)], [w.path for w in model.generated_weights]
    y = array(model(inputs))
    model.target.get_layer("first").enable_lora(2)
    assert [w.path for w in model.generated_weights] == paths
    np.testing.assert_allclose(array(model(inputs)), y, atol=1e-6)
    assert any("lora" in w.name for w in model.trainable_weights)
    twin = type(model).from_config(model.get_config())
    assert names(twin.generated_weights) == names(model.generated_weights)


def test_lora_beside_a_generated_kernel_is_refused():
    model = Hypernetwork(mlp(), body(), select="second")
    model([normal(1, 4), normal(3, 5)])
    model.target.get_layer("second").enable_lora(2)
    with pytest.raises(ValueError, match="no LoRA factors beside a generated kernel"):
        model([normal(1, 4), normal(3, 5)])


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
def test_quantized_layers_run_beside_generated_weights(tmp_path):
    model = Hypernetwork(mlp(), body(), select="second")
    inputs = [normal(1, 4), normal(3, 5)]
    y = array(model(inputs))
    model.quantize("int8")
    assert model.body.layers[0].kernel.dtype == model.target.layers[0].kernel.dtype == "int8"
    assert model.target.layers[1].kernel.dtype == "float32"
    z = array(model(inputs))
    assert 0 < np.abs(y - z).max() < 0.1 * np.abs(y).max()
    np.testing.assert_allclose(array(saved(model, tmp_path)(inputs)), z, atol=1e-5)


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
def test_quantizing_layers_with_generated_weights_is_refused():
    model = Hypernetwork(mlp(), body())
    model.target.quantize("int8")
    with pytest.raises(ValueError, match="Call `quantize` of the hypernetwork"):
        model([normal(1, 4), normal(3, 5)])


def test_configurations_with_positions_are_read():
    model = Hypernetwork(mlp(), body(), select="second")
    config = model.get_config()
    config["select"] = [2, 3]  # as versions before this one wrote them
    del config["lora"]
    twin = Hypernetwork.from_config(config)
    assert names(twin.generated_weights) == names(model.generated_weights)
    config["select"] = [99]
    with pytest.raises(ValueError, match="that the configuration selects"):
        Hypernetwork.from_config({**model.get_config(), "select": [99]})


def test_layers_frozen_inside_a_layer_stay_frozen_in_files(tmp_path):
    inputs = keras.Input((3, 4))
    attention = layers.MultiHeadAttention(2, 2, name="attention")
    target = keras.Model(inputs, layers.Dense(2, name="out")(attention(inputs, inputs)))
    attention.query_dense.trainable = False
    attention.key_dense.kernel.trainable = False
    body = keras.Sequential([keras.Input((2,)), layers.Dense(3)])
    model = Hypernetwork(target, body, select="out")
    model([np.ones((1, 2)), np.ones((2, 3, 4))])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    trained = [[w.shape for w in one.trainable_weights] for one in (model, loaded)]
    assert trained[0] == trained[1]
    flags = [[w.trainable for w in one.target.weights] for one in (model, loaded)]
    assert flags[0] == flags[1] and flags[0].count(False) == 3
