"""Hypernetworks that write adapters: start, values, what is frozen, files."""

import keras
import numpy as np
import pytest
from keras import layers

from hyperkeras.layers import ChunkedHead, DenseHead, LayerwiseHead, LowRankHead
from hyperkeras.models import Hypernetwork, LoRAHypernetwork
from hyperkeras.models.hypernetworks.per_sample import keras_layers

HEADS = {
    "dense": DenseHead,
    "low_rank": lambda: LowRankHead(1),
    "layerwise": LayerwiseHead,
    "chunked": lambda: ChunkedHead(16),
}
rng = np.random.default_rng(0)


def normal(*shape):
    return rng.normal(size=shape).astype("float32")


def array(x):
    return keras.ops.convert_to_numpy(x)


def body(features=5):
    return keras.Sequential([keras.Input((4,)), layers.Dense(features, "tanh")])


def attention():
    x = keras.Input((5, 6))
    y = layers.BatchNormalization()(x + layers.MultiHeadAttention(2, 3)(x, x))
    return keras.Model(x, layers.Dense(3, "relu", name="last")(y))


def moved(model, *inputs):
    """The model, built, with a head that makes an adapter of some effect."""
    model(list(inputs))
    for weight in model.trainable_weights:
        weight.assign(array(weight) + 0.3 * normal(*weight.shape))
    return model


def row(x, i):
    return keras.tree.map_structure(lambda part: part[i : i + 1], x)


def one_by_one(model, condition, x):
    rows = [model([row(condition, i), row(x, i)]) for i in range(len(condition))]
    return np.concatenate([array(output) for output in rows])


# Start


@pytest.mark.parametrize("per_sample", [True, False])
@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_the_adapter_has_no_effect_at_first(head, per_sample):
    target, x = attention(), normal(3, 5, 6)
    plain = array(target(x))
    model = LoRAHypernetwork(target, body(), 2, head=head(), per_sample=per_sample)
    condition = normal(3, 4) if per_sample else np.repeat(normal(1, 4), 3, axis=0)
    assert np.array_equal(array(model([condition, x])), plain)


@pytest.mark.parametrize("head", [DenseHead, LayerwiseHead])
def test_training_moves_the_adapter_and_nothing_of_the_target(head):
    model = LoRAHypernetwork(attention(), body(), 2, head=head())
    condition, x = normal(8, 4), normal(8, 5, 6)
    first = array(model([condition, x]))
    before = [array(weight) for weight in model.target.weights]
    trained = {id(w) for part in (model.body, model.head) for w in part.trainable_weights}
    assert {id(weight) for weight in model.trainable_weights} == trained
    model.compile(keras.optimizers.Adam(0.05), "mse", jit_compile=False)
    model.fit([condition, x], normal(8, 5, 3), epochs=2, verbose=0)
    for weight, value in zip(model.target.weights, before, strict=True):
        assert np.array_equal(array(weight), value), weight.path
    second = array(model([condition, x]))
    assert np.abs(second - first).max() > 1e-3
    assert np.abs(array(model([condition[::-1], x])) - second).max() > 1e-4, "no condition read"


# Values


def lookup():
    table = layers.Embedding(7, 6, name="table")
    return keras.Sequential([keras.Input((5,), dtype="int32"), table])


def einsum(equation, shape, output):
    part = layers.EinsumDense(equation, output, bias_axes=None, activation="tanh", name="part")
    return keras.Sequential([keras.Input(shape), part])


@pytest.mark.parametrize(
    ("target", "name", "x", "equation"),
    [
        (lambda: attention(), "last", normal(3, 5, 6), None),
        (lookup, "table", rng.integers(0, 7, (3, 5)), None),
        (
            lambda: einsum("abc,cde->abde", (5, 6), (None, 2, 3)),
            "part",
            normal(3, 5, 6),
            "bc,cde->bde",
        ),
        (
            lambda: einsum("abc,cde->abed", (5, 6), (None, 3, 2)),
            "part",
            normal(3, 5, 6),
            "bc,cde->bed",
        ),
        (
            lambda: einsum("abcd,cde->abe", (5, 2, 3), (None, 6)),
            "part",
            normal(3, 5, 2, 3),
            "bcd,cde->be",
        ),
    ],
    ids=["dense", "embedding", "heads", "last_axis_elsewhere", "out_of_heads"],
)
def test_each_sample_has_the_kernel_and_its_adapter(target, name, x, equation, monkeypatch):
    target = target()
    layer = target.get_layer(name)
    kernel = array(getattr(layer, "embeddings" if name == "table" else "kernel")).astype("float64")
    condition = normal(3, 4)
    model = moved(LoRAHypernetwork(target, body(), 2, 5, [name]), condition, x)
    monkeypatch.setattr(keras_layers, "generated_kernel", None)  # none is made for a sample
    outputs = array(model([condition, x]))
    inputs = x
    if name == "last":
        inputs = array(keras.Model(target.input, layer.input)(x)).astype("float64")
    for i in range(3):
        ((a, b),) = (map(array, pair) for pair in model.adapter(condition[i : i + 1]).values())
        whole = kernel + 5 / 2 * np.matmul(a.astype("float64"), b.astype("float64"))
        if name == "table":
            wanted = whole[inputs[i]]
        elif name == "last":
            wanted = np.maximum(inputs[i] @ whole + array(layer.bias), 0)
        else:
            wanted = np.tanh(np.einsum(equation, inputs[i].astype("float64"), whole))
        np.testing.assert_allclose(outputs[i], wanted, rtol=2e-5, atol=2e-5)


def stored(layer):
    return next(weight for weight in layer.weights if weight.name == "kernel")


@pytest.mark.parametrize("mode", ["int8", "int4"])
def test_quantized_layers_keep_their_kernel_and_activation(mode, tmp_path):
    target, x, condition = attention(), normal(3, 5, 6), normal(3, 4)
    target.quantize(mode, filters=lambda layer: layer.name in ("last", "value"))
    plain = array(target(x))
    model = LoRAHypernetwork(target, body(), 2, 3, ["last", "value"])
    assert np.array_equal(array(model([condition, x])), plain)
    outputs = array(moved(model, condition, x)([condition, x]))
    assert outputs.min() >= 0 and np.abs(outputs - plain).max() > 0.1
    np.testing.assert_allclose(outputs, one_by_one(model, condition, x), rtol=1e-5, atol=1e-5)
    kernel = stored(target.get_layer("last"))
    assert keras.backend.standardize_dtype(kernel.dtype) == "int8"
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(array(again([condition, x])), outputs, rtol=1e-4, atol=1e-4)


def test_quantized_layers_with_a_generated_bias_stay_quantized():
    """Beside a generated bias, the integers of a quantized kernel are no kernel."""
    target, x, condition = attention(), normal(3, 5, 6), normal(3, 4)
    target.quantize("int8", filters=lambda layer: layer.name == "last")
    select = [target.get_layer("last").bias]
    model = Hypernetwork(target, body(), select=select, per_sample=True)
    outputs = array(model([condition, x]))
    np.testing.assert_allclose(outputs, one_by_one(model, condition, x), rtol=1e-5, atol=1e-5)
    biases = array(model.generate(condition)[0])
    layer = target.get_layer("last")
    inputs = array(keras.Model(target.input, layer.input)(x))
    scaled = array(stored(layer)).astype("float64") / array(layer.kernel_scale)
    wanted = np.maximum(inputs @ scaled + biases[:, None], 0)
    np.testing.assert_allclose(outputs, wanted, rtol=0.05, atol=0.05)


def test_half_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = LoRAHypernetwork(attention(), body(), 2)
    condition, x = normal(3, 4), normal(3, 5, 6)
    outputs = moved(model, condition, x)([condition, x])
    assert keras.backend.standardize_dtype(outputs.dtype) == "bfloat16"
    wanted = one_by_one(model, condition, x).astype("float32")
    np.testing.assert_allclose(array(outputs).astype("float32"), wanted, rtol=0.1, atol=0.1)


# Copies and files


def test_clones_and_files_of_a_path_keep_rank_alpha_and_names(tmp_path):
    target = keras.Sequential([keras.Input((6,)), layers.Dense(4, name="one"), layers.Dense(3)])
    condition, x = normal(3, 4), normal(3, 6)
    model = LoRAHypernetwork(target, body(), 2, 7, ["one"], LayerwiseHead(), name="mine")
    wanted = array(moved(model, condition, x)([condition, x]))
    model.save(tmp_path / "model.keras")
    twin = keras.models.clone_model(model)
    twin([condition, x])
    twin.set_weights(model.get_weights())
    for copy in (keras.models.load_model(tmp_path / "model.keras"), twin):
        assert (copy.rank, copy.alpha, copy.target_layer_names) == (2, 7, ["one"])
        assert copy.target.get_layer("one").lora_alpha == 7
        assert len(copy.trainable_weights) == len(model.trainable_weights)
        np.testing.assert_allclose(array(copy([condition, x])), wanted, rtol=1e-6, atol=1e-6)


def test_alpha_of_a_dense_layer_is_kept_in_files(tmp_path):
    """Keras makes a Dense layer with LoRA anew with alpha = rank."""
    target = keras.Sequential([keras.Input((6,)), layers.Dense(3)])
    target.layers[0].enable_lora(2, lora_alpha=9)
    select = lambda variable: "lora" in variable.name  # noqa: E731
    condition, x = normal(1, 4), normal(3, 6)
    model = moved(Hypernetwork(target, body(), select=select), condition, x)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(
        array(again([condition, x])), array(model([condition, x])), rtol=1e-6
    )


HEADS_OF_GEMMA = {"num_query_heads": 2, "num_key_value_heads": 1, "hidden_dim": 8}
BACKBONES = {
    "BertBackbone": dict(num_heads=2, hidden_dim=8, max_sequence_length=8),
    "GPT2Backbone": dict(num_heads=2, hidden_dim=8, max_sequence_length=8),
    "GemmaBackbone": HEADS_OF_GEMMA | dict(head_dim=4),
    "LlamaBackbone": HEADS_OF_GEMMA,
    "ViTBackbone": dict(num_heads=2, hidden_dim=8, mlp_dim=16, image_shape=(4, 4, 3), patch_size=2),
}


@pytest.fixture
def hub():
    return pytest.importorskip("keras_hub", reason="pip install hyperkeras[adapters]")


def backbone(hub, name):
    text = {} if name == "ViTBackbone" else dict(vocabulary_size=50, intermediate_dim=16)
    return getattr(hub.models, name)(num_layers=1, **text, **BACKBONES[name])


def inputs_of(backbone, count=3):
    shape = (count, 6)
    given = {
        "token_ids": rng.integers(0, 50, shape),
        "padding_mask": np.ones(shape, "int32"),
        "segment_ids": np.zeros(shape, "int32"),
        "images": normal(count, 4, 4, 3),
    }
    found = {part.name: given[part.name] for part in backbone.inputs}
    return found["images"] if "images" in found else found


@pytest.mark.parametrize("name", BACKBONES)
def test_an_exported_adapter_serves_in_a_plain_backbone(name, hub, tmp_path):
    target, fresh = backbone(hub, name), backbone(hub, name)
    fresh.set_weights(target.get_weights())
    condition, x = normal(3, 4), inputs_of(target)
    model = moved(LoRAHypernetwork(target, body(), 2, 3), condition, x)
    model.save_adapter(tmp_path / "second.lora.h5", condition[1:2])
    fresh.load_lora_weights(tmp_path / "second.lora.h5")
    merged = model.materialize(condition[1:2])
    assert not any("lora" in weight.name for weight in merged.weights)
    wanted = keras.tree.flatten(model([condition, x]))
    for plain in (fresh, merged):
        for output, of_all in zip(keras.tree.flatten(plain(row(x, 1))), wanted, strict=True):
            np.testing.assert_allclose(array(output), array(of_all)[1:2], rtol=1e-4, atol=1e-5)


# Arguments


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rank": 0}, "`rank`, expected an integer of at least 1"),
        ({"alpha": -1}, "`alpha`, expected a finite number above 0"),
        ({"target_layer_names": "query"}, "`target_layer_names`, expected a sequence of names"),
        ({"target_layer_names": ["query", "none"]}, r"Received: \['none'\].*'last'"),
        ({"head": layers.Dense(3)}, "`head`, expected a head"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    target = attention()
    with pytest.raises(ValueError, match=message):
        LoRAHypernetwork(target, body(), **arguments)
    assert not any("lora" in weight.name for weight in target.weights), "changed all the same"


def test_a_target_without_attention_needs_names():
    target = keras.Sequential([keras.Input((6,)), layers.Dense(3, name="only")])
    with pytest.raises(ValueError, match=r"names or paths of layers .*with \['only'\]"):
        LoRAHypernetwork(target, body())
    with pytest.raises(TypeError, match="no `select`"):
        LoRAHypernetwork(target, body(), target_layer_names=["only"], select=None)
    target.layers[0].enable_lora(3)
    with pytest.raises(ValueError, match="'only' to have no LoRA yet, or with rank=2 and alpha=2"):
        LoRAHypernetwork(target, body(), 2, target_layer_names=["only"])
    LoRAHypernetwork(target, body(), 3, target_layer_names=["only"])


def test_one_adapter_is_of_one_condition(tmp_path):
    model, condition = LoRAHypernetwork(lookup(), body(), 2, None, ["table"]), normal(2, 4)
    model([condition, np.zeros((2, 5), "int32")])
    with pytest.raises(ValueError, match="`condition` to have one row, for one adapter"):
        model.adapter(condition)
    with pytest.raises(ValueError, match=r"`path`, expected a file name that ends in '.lora.h5'"):
        model.save_adapter(tmp_path / "adapter.h5", condition[:1])
    with pytest.raises(ValueError, match="KerasHub's file has no place for others"):
        model.save_adapter(tmp_path / "adapter.lora.h5", condition[:1])
