"""Hypernetworks in files of 0.1.0's development, whose head was no layer of its own."""

from typing import Any

import keras

from hyperkeras import shared_serialization
from hyperkeras.annotations import Config
from hyperkeras.layers.heads.base_head import Head

HEAD_ARGUMENTS = (
    "chunk_size",
    "chunk_embedding_dim",
    "chunk_network",
    "chunk_initializer",
    "initializer",
)


def with_head(config: Config) -> Config:
    """A configuration whose arguments of the head, where it has them, have become a head."""
    config = dict(config)
    if "head" in config:
        return config
    given = {name: config.pop(name, None) for name in HEAD_ARGUMENTS}
    own = {"initializer": given["initializer"]}
    kind = "DenseHead"
    if given["chunk_size"] is not None:
        kind = "ChunkedHead"
        own |= {
            "chunk_size": given["chunk_size"],
            "embedding_dim": given["chunk_embedding_dim"],
            "network": given["chunk_network"],
            "embedding_initializer": given["chunk_initializer"],
            "order": "stored",
        }
    config["head"] = {"older": True, "registered_name": f"hyperkeras>{kind}", "config": own}
    return config


def deserialize_head(config: Config) -> Head:
    """The head of a configuration of `with_head`."""
    if "older" not in config:
        return keras.saving.deserialize_keras_object(config)
    cls: Any = keras.saving.get_registered_object(config["registered_name"])
    own = dict(config["config"])
    own["initializer"] = keras.saving.deserialize_keras_object(own["initializer"])
    if "network" in own:
        own["network"] = shared_serialization.deserialize(own["network"], None)
        initializer = keras.saving.deserialize_keras_object(own["embedding_initializer"])
        own["embedding_initializer"] = initializer
    head = cls(**own)
    head.held_by_owner = True
    return head


def load_variables(hypernetwork: Any, store: Any) -> bool:
    """Loads the variables of a file that holds the head's among the hypernetwork's own.

    Whether `store` is of such a file; else nothing is done.
    """
    head = hypernetwork.head
    if not head.held_by_owner:
        return False
    own = [v for v in hypernetwork.weights if not _inside(v, hypernetwork.layers)]
    trained = [v for v in own if v.trainable] + head.trainable_weights
    kept = [v for v in own if not v.trainable] + head.non_trainable_weights
    if len(store.keys()) != len(trained + kept):
        raise ValueError(
            f"Expected the file to hold {len(trained + kept)} variables of '{hypernetwork.name}'. "
            f"Received: {len(store.keys())}"
        )
    for i, variable in enumerate(trained + kept):
        variable.assign(store[str(i)])
    return True


def _inside(variable, layers):
    return any(variable is other for layer in layers for other in layer.weights)
