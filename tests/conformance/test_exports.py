"""Layers written to other formats, read by those formats' own runtimes, and compared.

On TensorFlow one case of each family is exported to every format. `make test-backends` exports
every case of the catalogue, from each backend to the formats of `OFFERED`. The cases that can't be
exported stand in the table of docs/export.md, and nowhere else.
"""

import os
import re
from pathlib import Path

import keras
import numpy as np
import pytest
from catalogue import CASES, MODEL_CASES

BACKEND = keras.backend.backend()
pytestmark = pytest.mark.filterwarnings("ignore")  # of the converters


def in_tensorflow(path, inputs):
    import tensorflow as tf

    loaded = tf.saved_model.load(path)  # its functions live as long as it does
    return loaded.serve(inputs if len(inputs) > 1 else inputs[0])


def in_onnxruntime(path, inputs):
    session = pytest.importorskip("onnxruntime").InferenceSession(path)
    names = [given.name for given in session.get_inputs()]
    return session.run(None, dict(zip(names, inputs, strict=True)))[0]


def in_litert(path, inputs):
    interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter(path)
    details = sorted(interpreter.get_input_details(), key=lambda given: given["name"])
    for given, x in zip(details, inputs, strict=True):
        interpreter.resize_tensor_input(given["index"], x.shape)
    interpreter.allocate_tensors()
    for given, x in zip(details, inputs, strict=True):
        interpreter.set_tensor(given["index"], x)
    interpreter.invoke()
    (made,) = interpreter.get_output_details()
    return interpreter.get_tensor(made["index"])


# {title: (Keras's name, suffix, what runs the file)}
FORMATS = {
    "SavedModel": ("tf_saved_model", "", in_tensorflow),
    "ONNX": ("onnx", ".onnx", in_onnxruntime),
    "LiteRT": ("litert", ".tflite", in_litert),
}
# The formats that are tested from each backend.
OFFERED = {
    "tensorflow": ("TensorFlow", list(FORMATS)),
    "jax": ("JAX", ["SavedModel"]),
    "torch": ("PyTorch", ["ONNX"]),
}


def unrolled(layer):
    """A recurrent layer without a loop, others as they are."""
    config = layer.get_config()
    if "unroll" not in config:
        return layer
    return type(layer).from_config({**config, "unroll": True})


def exported(name, unroll=False):
    """The model of a case and its inputs."""
    for case in MODEL_CASES:
        if case.name == name:
            model, inputs, _ = case.make()
            return model, inputs if isinstance(inputs, list) else [inputs]
    (case,) = (case for case in CASES if case.name == name)
    layer = unrolled(case.make()) if unroll else case.make()
    return keras.Sequential([keras.Input(case.input_shape), layer]), [case.input()]


def check_export(model, inputs, title, folder):
    """Exports the model, runs the file and compares the outputs."""
    form, suffix, run = FORMATS[title]
    path = str(folder / f"{form}{suffix}")
    expected = keras.ops.convert_to_numpy(model(inputs if len(inputs) > 1 else inputs[0]))
    model.export(path, format=form, verbose=False)
    np.testing.assert_allclose(run(path, inputs), expected, atol=1e-5, err_msg=title)


FAMILIES = ["dense", "glimpse_box", "hyper_conv2d", "phm_conv2d", "hyper_lstm", "quicksort"]
FAMILIES += ["graph_conv", "hypernetwork_per_sample"]


@pytest.mark.skipif(BACKEND != "tensorflow", reason="`make test-backends` exports every case")
@pytest.mark.parametrize("name", FAMILIES)
def test_an_exported_layer_of_each_family_gives_the_same_elsewhere(name, tmp_path):
    for title in FORMATS:
        check_export(*exported(name, unroll=title == "LiteRT"), title, tmp_path)


def limits():
    """{(backend, format, case): why}, as the documentation has it."""
    page = (Path(__file__).parents[2] / "docs/export.md").read_text()
    rows = re.findall(r"^\| (\w+) \| (\w+) \| .+? \| (`.+?`) \| (.+) \|$", page, re.M)
    return {
        (backend, title, case): why
        for backend, title, cases, why in rows
        for case in re.findall(r"`(\w+)`", cases)
    }


def matrix():
    """Every case and format from this backend; those of the table have to fail."""
    if "ALL_BACKENDS" not in os.environ:
        return
    backend, titles = OFFERED[BACKEND]
    known = limits()
    for title in titles:
        for case in [*CASES, *MODEL_CASES]:
            why = known.get((backend, title, case.name))
            marks = []
            if why is not None:  # a crash would end the other tests, too
                marks = [pytest.mark.xfail(reason=why, run="crashes" not in why)]
            yield pytest.param(case.name, title, False, id=f"{title}-{case.name}", marks=marks)
            if why and "unroll" in why:
                yield pytest.param(case.name, title, True, id=f"{title}-{case.name}-unrolled")


@pytest.mark.skipif("ALL_BACKENDS" not in os.environ, reason="run by `make test-backends`")
@pytest.mark.parametrize("name, title, unroll", list(matrix()))
def test_every_exported_layer_gives_the_same_elsewhere(name, title, unroll, tmp_path):
    check_export(*exported(name, unroll), title, tmp_path)


def test_the_table_names_cases_of_the_catalogue():
    offered = {
        (backend, title, case.name)
        for backend, titles in OFFERED.values()
        for title in titles
        for case in [*CASES, *MODEL_CASES]
    }
    assert limits() and set(limits()) <= offered
