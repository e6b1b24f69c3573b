"""Saved models in a fresh process: one for all, as starting it takes longest."""

import pickle
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from gradients import array
from keras import layers

from hyperkeras.layers import ChunkedHead, DenseHead, HyperConv2D, KernelGenerator
from hyperkeras.models import Hypernetwork, IntervalHypernetwork, LoRAHypernetwork

rng = np.random.default_rng(0)


def normal(*shape):
    return rng.normal(size=shape).astype("float32")


def body():
    return keras.Sequential([keras.Input((4,)), layers.Dense(5, "tanh")])


def stack(shape, *parts, dtype="float32"):
    return keras.Sequential([keras.Input(shape, dtype=dtype), *parts])


def with_lora():
    dense = layers.Dense(3)
    target = stack((5,), dense)
    dense.enable_lora(2)
    return target


def is_lora(variable):
    return "lora" in variable.name


# {name: (target, x, arguments)}
MODELS = {
    "chunks": (
        lambda: stack((5,), layers.Dense(6, "relu"), layers.Dense(3)),
        lambda: normal(2, 5),
        lambda: {"head": ChunkedHead(10)},
    ),
    "residual": (
        lambda: stack((4, 4, 2), layers.Conv2D(3, 2), layers.BatchNormalization()),
        lambda: normal(2, 4, 4, 2),
        lambda: {"residual": True, "per_sample": True},
    ),
    "recurrent": (
        lambda: stack((2,), layers.Embedding(9, 3), layers.LSTM(2), dtype="int32"),
        lambda: rng.integers(0, 9, (2, 2)).astype("int32"),
        lambda: {"head": DenseHead("hyperfan_out"), "per_sample": True},
    ),
    "lora": (with_lora, lambda: normal(2, 5), lambda: {"residual": True}),
}


def tokens(segments=False):
    inputs = {
        "token_ids": rng.integers(0, 9, (2, 3)).astype("int32"),
        "padding_mask": np.array([[1, 1, 1], [1, 1, 0]], "int32"),
    }
    return inputs | {"segment_ids": np.zeros((2, 3), "int32")} if segments else inputs


def backbones():
    """A tiny one of each kind of KerasHub's, with LoRA in all its layers that can have it."""
    models = pytest.importorskip("keras_hub").models
    transformer = {"num_layers": 1, "hidden_dim": 4, "intermediate_dim": 4}
    heads = {"num_query_heads": 2, "num_key_value_heads": 1}
    small = {"vocabulary_size": 9, "max_sequence_length": 3, "num_heads": 2}
    image = {"image_shape": (4, 4, 3), "patch_size": 2, "num_heads": 2, "mlp_dim": 4}
    return {
        "gpt2": (models.GPT2Backbone, transformer | small),
        "bert": (models.BertBackbone, transformer | small),
        "gemma": (
            models.GemmaBackbone,
            transformer | heads | {"vocabulary_size": 9, "head_dim": 2},
        ),
        "llama": (models.LlamaBackbone, transformer | heads | {"vocabulary_size": 9}),
        "vit": (models.ViTBackbone, {"num_layers": 1, "hidden_dim": 4} | image),
    }


def adapters_of_a_language_model():
    models = pytest.importorskip("keras_hub").models
    backbone = models.GPT2Backbone(9, 1, 2, 4, 4, max_sequence_length=3)
    return LoRAHypernetwork(models.GPT2CausalLM(backbone), body(), 2)


def with_one_generator():
    """Models of convolutions that share a generator, called in turn and in another order."""
    shared, other = (KernelGenerator((3, 3, 2, 2), 3) for _ in range(2))
    stack = [HyperConv2D(2, 3, shared) for _ in range(3)]
    inputs = keras.Input((6, 6, 2))
    first, second = HyperConv2D(4, 3, other), HyperConv2D(2, 3, other)
    return {
        "sequential": keras.Sequential([keras.Input((6, 6, 2)), *stack]),
        "functional": keras.Model(inputs, second(first(inputs))),
    }


def run_in_a_fresh_process(folder, *modules):
    script = Path(__file__).with_name("load_and_run.py")
    subprocess.run([sys.executable, str(script), str(folder), *modules], check=True)


def saved(name, model, inputs, folder):
    """The outputs of a saved model, of whose weights none has its start any more."""
    model(inputs)
    for weight in model.trainable_weights:
        weight.assign(array(weight) + 0.1 * normal(*weight.shape))
    model.save(folder / f"{name}.keras")
    (folder / f"{name}.pickle").write_bytes(pickle.dumps(inputs))
    outputs = [array(y) for y in keras.tree.flatten(model(inputs))]
    return [*outputs, np.array(model.count_params())]


def check(folder, expected):
    for name, outputs in expected.items():
        loaded = np.load(folder / f"{name}.npz")
        found = [loaded[f"arr_{i}"] for i in range(len(loaded.files) - 1)]
        found.append(loaded["sizes"][0])
        for a, b in zip(found, outputs, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5, err_msg=name)


def test_files_serve_a_fresh_process(tmp_path):
    """Also LoRA's factors, which Keras merges into kernels as it saves, and KerasHub's models."""
    expected = {}
    for name, (target, x, arguments) in MODELS.items():
        model = Hypernetwork(target(), body(), **arguments())
        condition = normal(2 if model.per_sample else 1, 4)
        expected[name] = saved(name, model, [condition, x()], tmp_path)
    target = stack((5,), layers.Dense(6, "relu"), layers.Dense(3))
    model = IntervalHypernetwork(target, body(), 2, 4, nested=True)
    expected["interval"] = saved("interval", model, [np.array([1, 1]), normal(2, 5)], tmp_path)
    for kind, (backbone, arguments) in backbones().items():
        for per_sample in (True, False) if kind in ("gpt2", "vit") else (True,):
            target = backbone(**arguments)
            target.enable_lora(1)
            model = Hypernetwork(target, body(), select=is_lora, per_sample=per_sample)
            x = normal(2, 4, 4, 3) if kind == "vit" else tokens(segments=kind == "bert")
            name = f"{kind}_{per_sample}"
            condition = normal(2 if per_sample else 1, 4)
            expected[name] = saved(name, model, [condition, x], tmp_path)
            assert len(model.generated_weights) >= 4
    model = adapters_of_a_language_model()
    expected["adapters"] = saved("adapters", model, [normal(2, 4), tokens()], tmp_path)
    assert [path.split("/")[-1] for path in model.adapter(normal(1, 4))] == ["query", "value"]
    shared = with_one_generator()
    for name, model in shared.items():
        expected[name] = saved(name, model, normal(2, 6, 6, 2), tmp_path)
    run_in_a_fresh_process(tmp_path, "keras_hub")
    check(tmp_path, expected)
    assert np.load(tmp_path / "adapters.npz")["sizes"][1] == 4  # the body's and the head's alone
    for name in shared:  # sharing is not lost the second time
        again = keras.models.load_model(tmp_path / f"{name}.again.keras")
        x = pickle.loads((tmp_path / f"{name}.pickle").read_bytes())
        np.testing.assert_allclose(array(again(x)), expected[name][0], atol=1e-5)
        assert again.count_params() == expected[name][-1]
