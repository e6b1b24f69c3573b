"""Files that are loaded cannot run code: none of ours does, and Keras's safe mode stays on."""

import ast
import json
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from catalogue import CASES

from hyperkeras import layers
from hyperkeras.models import Hypernetwork

ROOT = Path(__file__).resolve().parents[1]
CODE = sorted(
    p for part in ("hyperkeras", "baselines", "reproductions") for p in ROOT.glob(f"{part}/**/*.py")
)
UNSAFE_MODULES = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
UNSAFE_NAMES = {"eval", "exec", "compile", "__import__", "enable_unsafe_deserialization", "Lambda"}
# Data sets that exist in no other format, which the user names; and the name of an error.
ALLOWED = {
    ("reproductions/data/pen_strokes.py", "pickle.UnpicklingError"),
    ("reproductions/data/pen_strokes.py", "allow_pickle=True"),
}


def unsafe(source):
    """What in `source` could run code out of a file."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
            yield from (name for name in names if name.partition(".")[0] in UNSAFE_MODULES)
        elif isinstance(node, ast.ImportFrom):
            if (node.module or "").partition(".")[0] in UNSAFE_MODULES:
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (alias.name for alias in node.names if alias.name in UNSAFE_NAMES)
        elif isinstance(node, ast.Call):
            # A model's own method `compile` is Keras's; the builtin has no dot.
            if isinstance(node.func, ast.Name) and node.func.id in UNSAFE_NAMES:
                yield node.func.id
            elif isinstance(node.func, ast.Attribute):
                if node.func.attr in UNSAFE_NAMES - {"compile"}:
                    yield node.func.attr
            for one in node.keywords:
                safe = {"allow_pickle": "False", "safe_mode": "True"}.get(one.arg)
                if safe and ast.unparse(one.value) != safe:
                    yield f"{one.arg}={ast.unparse(one.value)}"


@pytest.mark.parametrize(
    "source, expected",
    [
        ("import pickle", ["pickle"]),
        ("def f():\n    from dill import loads", ["dill.loads"]),
        ("eval('1')", ["eval"]),
        ("builtins.exec(x)", ["exec"]),
        ("np.load(f, allow_pickle=flag)", ["allow_pickle=flag"]),
        ("keras.models.load_model(p, safe_mode=False)", ["safe_mode=False"]),
        ("keras.config.enable_unsafe_deserialization()", ["enable_unsafe_deserialization"]),
        ("keras.layers.Lambda(f)", ["Lambda"]),
        ("np.load(f, allow_pickle=False); model.compile('sgd')", []),
    ],
)
def test_unsafe_code_is_found(source, expected):
    assert list(unsafe(source)) == expected


def test_no_code_of_ours_is_unsafe():
    found = {
        (path.relative_to(ROOT).as_posix(), fault)
        for path in CODE
        for fault in unsafe(path.read_text())
    }
    assert found == ALLOWED


def written(layer):
    """The layer's configuration as a file gives it back."""
    return json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_configurations_hold_no_code_and_are_read_in_safe_mode(case):
    made = case.make()
    if isinstance(made, keras.Model):  # around a layer of several inputs
        (made,) = (one for one in made.layers if type(one).__name__ in layers.__all__)
    saved = written(made)
    assert "__lambda__" not in json.dumps(saved)
    again = keras.saving.deserialize_keras_object(saved, safe_mode=True)
    assert written(again)["config"] == saved["config"]


def test_a_saved_model_is_json_and_numbers_alone(tmp_path):
    source = layers.DenseSource(3, network=keras.Sequential([keras.layers.Dense(4)]))
    model = keras.Sequential([keras.Input((4,)), layers.SparseHyperlayer((4,), source)])
    model.save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as opened:
        assert set(opened.namelist()) == {"metadata.json", "config.json", "model.weights.h5"}
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    x = np.ones((2, 4), "float32")
    np.testing.assert_array_equal(loaded(x), model(x))


def network(last):
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(4), last])


def code():
    return keras.layers.Lambda(lambda x: x + 0)


WITH_CODE = {
    "source": lambda: layers.SparseHyperlayer((4,), layers.DenseSource(3, network(code()))),
    "target": lambda: Hypernetwork(network(code()), network(keras.layers.ReLU())),
    "body": lambda: Hypernetwork(network(keras.layers.ReLU()), network(code())),
}


@pytest.mark.filterwarnings("ignore:The object being serialized includes a `lambda`")
@pytest.mark.parametrize("place", WITH_CODE)
def test_code_inside_our_layers_is_refused(place):
    saved = written(WITH_CODE[place]())
    assert "__lambda__" in json.dumps(saved)
    with pytest.raises(ValueError, match="lambda"):
        keras.saving.deserialize_keras_object(saved)
    assert keras.saving.deserialize_keras_object(saved, safe_mode=False)  # the user's own choice
