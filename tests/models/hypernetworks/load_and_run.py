"""Loads models in a process of its own, and writes their outputs and sizes.

    python load_and_run.py FOLDER [MODULE]

FOLDER has for each model a file NAME.keras, and NAME.pickle of its inputs; NAME.npz is written, and
NAME.again.keras, the loaded model's own file. MODULE is imported first, for the classes in the
files.
"""

import importlib
import pickle
import sys
from pathlib import Path

import keras
import numpy as np

import hyperkeras  # noqa: F401 (registers its classes)

for module in sys.argv[2:]:
    importlib.import_module(module)
for path in sorted(Path(sys.argv[1]).glob("*.keras")):
    model = keras.models.load_model(path)
    inputs = pickle.loads(path.with_suffix(".pickle").read_bytes())
    outputs = keras.tree.flatten(model(inputs))
    arrays = [keras.ops.convert_to_numpy(keras.ops.stop_gradient(a)) for a in outputs]
    sizes = [model.count_params(), len(model.trainable_weights)]
    np.savez(path.with_suffix(".npz"), *arrays, sizes=sizes)
    model.save(path.with_suffix(".again.keras"))
