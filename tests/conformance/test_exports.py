"""Layers written to other formats, read by those formats' own runtimes, and compared."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from catalogue import CASES

# One case for each layer and generator that every format can hold.
EXPORTED = {"hyper_conv2d", "hyper_conv2d_coordinates", "hyper_dense_cosines"}
EXPORTED |= {"mip_encoding", "phm_conv2d", "phm_dense"}


def in_tensorflow(path, x):
    loaded = tf.saved_model.load(path)
    return loaded.serve(x)


def in_onnxruntime(path, x):
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(path)
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def in_litert(path, x):
    interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter(model_path=path)
    (given,), (made,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.resize_tensor_input(given["index"], x.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(given["index"], x)
    interpreter.invoke()
    return interpreter.get_tensor(made["index"])


RUNTIMES = {
    "tf_saved_model": ("", in_tensorflow),
    "onnx": (".onnx", in_onnxruntime),
    "litert": (".tflite", in_litert),
}


@pytest.mark.filterwarnings("ignore")  # of the converters
@pytest.mark.parametrize("name", sorted(EXPORTED))
def test_an_exported_layer_gives_the_same_elsewhere(name, tmp_path):
    (case,) = (case for case in CASES if case.name == name)
    keras.utils.set_random_seed(0)
    model, x = keras.Sequential([keras.Input(case.input_shape), case.make()]), case.input()
    for form, (suffix, run) in RUNTIMES.items():
        path = str(tmp_path / f"{form}{suffix}")
        model.export(path, format=form, verbose=False)
        np.testing.assert_allclose(run(path, x), model(x), atol=1e-5, err_msg=form)
