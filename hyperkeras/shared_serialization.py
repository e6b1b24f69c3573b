"""Configurations of networks that several layers share: a generator, a body, a source's network.

A shared network has to stay one network in copies of its layers. In a `.keras` file Keras gives an
object that it meets again a `shared_object_id`, by which loading finds it. Copies that leave no
file have no such number: `clone_model` makes layer after layer from its configuration. There, a
copy of a network serves one layer of each name; the second layer of a name belongs to the next
copy.

    def get_config(self):
        return {**super().get_config(), "network": shared_serialization.serialize(self.network)}

    @classmethod
    def from_config(cls, config):
        network = shared_serialization.deserialize(config["network"], config.get("name"))
        return cls(**{**config, "network": network})
"""

import json
import threading
import weakref
from typing import Any

import keras


class _Memory(threading.local):
    """What one thread has written and made: nothing here keeps a network alive."""

    def __init__(self):
        # {configuration: the network of that configuration that was written last}
        self.originals = weakref.WeakValueDictionary()
        # {configuration: the newest copy}
        self.newest = weakref.WeakValueDictionary()
        # {copy: (reference to what it is a copy of, or None; names of the layers it serves)}
        self.copies = weakref.WeakKeyDictionary()


_memory = _Memory()


def serialize(network: Any) -> dict | None:
    """The configuration of `network` within the configuration of a layer that uses it.

    Args:
        network: A Keras layer or model, or None.

    Returns:
        A dictionary for `deserialize`, or None.
    """
    if network is None:
        return None
    # Keras gives an id to an object that it meets a second time, and by then the configuration
    # of the first time may have been copied. So let it meet the network twice at once.
    keras.saving.serialize_keras_object(network)
    config = keras.saving.serialize_keras_object(network)
    if "shared_object_id" not in config:
        # Networks of equal configuration are told apart by which one was written last.
        _memory.originals[_key(config)] = network
    return config


def deserialize(config: Any, layer_name: str | None) -> Any:
    """The network of the layer `layer_name`, shared with the layers that are copied along with it.

    Args:
        config: What `serialize` returned.
        layer_name: The name of the layer that uses the network.

    Returns:
        A Keras layer or model, or None.
    """
    if not isinstance(config, dict) or "shared_object_id" in config:
        return keras.saving.deserialize_keras_object(config)
    key = _key(config)
    original = _memory.originals.get(key)
    newest = _memory.newest.get(key)
    if newest is not None:
        copied, names = _memory.copies[newest]
        if (copied and copied()) is original and layer_name not in names:
            names.add(layer_name)
            return newest
    network = keras.saving.deserialize_keras_object(config)
    _memory.newest[key] = network
    copied = None if original is None else weakref.ref(original)
    _memory.copies[network] = (copied, {layer_name})
    return network


def _key(config):
    return json.dumps(config, sort_keys=True)
