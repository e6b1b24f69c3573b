"""One generator of many layers stays one in their copies.

In a `.keras` file Keras gives an object that it meets again a `shared_object_id`, by which loading
finds it. Copies that leave no file know nothing of each other: `clone_model` makes layer after
layer from its configuration. There, a copy of a generator serves one layer of each name; the second
layer of a name belongs to the next copy.
"""

import json
import threading
import weakref

import keras

_copies = threading.local()


def serialize(generator):
    """The configuration of `generator` within a layer's."""
    # What Keras first meets gets an id only when met again, in a configuration that may have
    # been copied since. So let it meet the generator twice at once.
    keras.saving.serialize_keras_object(generator)
    return keras.saving.serialize_keras_object(generator)


def deserialize(config, layer_name):
    """The generator of the layer `layer_name`, shared with the layers copied along with it."""
    if not isinstance(config, dict) or "shared_object_id" in config:
        return keras.saving.deserialize_keras_object(config)
    if not hasattr(_copies, "newest"):
        _copies.newest = weakref.WeakValueDictionary()
        _copies.names = weakref.WeakKeyDictionary()
    key = json.dumps(config, sort_keys=True)
    generator = _copies.newest.get(key)
    if generator is None or layer_name in _copies.names[generator]:
        generator = _copies.newest[key] = keras.saving.deserialize_keras_object(config)
        _copies.names[generator] = set()
    _copies.names[generator].add(layer_name)
    return generator
