"""The language model of the adapters task, and the ways to fit it to a domain."""

import keras
from keras import layers

from hyperkeras.layers import DenseHead
from hyperkeras.models import LoRAHypernetwork
from hyperkeras.models.adapters import adaptation

BYTES = 256
ADAPTED = ("query", "value", "feedforward_intermediate_dense", "feedforward_output_dense")
BUCKETS = 4096


def language_model(config):
    """A GPT-2 of KerasHub's on bytes: numbers `[b, t]` → scores of the next byte `[b, t, 256]`."""
    from keras_hub.models import GPT2Backbone

    backbone = GPT2Backbone(
        vocabulary_size=BYTES,
        num_layers=config["layers"],
        num_heads=config["heads"],
        hidden_dim=config["width"],
        intermediate_dim=4 * config["width"],
        max_sequence_length=config["length"],
        dropout=0.0,
    )
    tokens = keras.Input((config["length"],), dtype="int32", name="tokens")
    mask = keras.ops.ones_like(tokens)
    y = backbone({"token_ids": tokens, "padding_mask": mask})
    return keras.Model(tokens, backbone.token_embedding(y, reverse=True))


def with_lora(network, rank):
    """The network, frozen, with one adapter to train."""
    adapted = adaptation.chosen_layers(network, ADAPTED)
    adaptation.enable(adapted, rank, rank)
    adaptation.freeze_all_but(network, adapted)
    return network


def own_adapters(network, rank, count):
    """An adapter for each of `count` domains, trained side by side.

    The head's matrix has a row for each domain, and a condition picks its row. The bias is not
    trained: it is the start that all have in common.
    """
    numbers = layers.Embedding(count, count, "identity", trainable=False)
    body = keras.Sequential([keras.Input((), dtype="int32"), numbers])
    model = LoRAHypernetwork(network, body, rank, target_layer_names=ADAPTED, head=DenseHead())
    model.build([(None,), network.input_shape])
    model.head.bias.trainable = False
    return model


def from_number(network, rank, count, features):
    """A hypernetwork that writes the adapter from a learned embedding of the domain."""
    table = layers.Embedding(count, features, "random_normal")
    body = keras.Sequential([keras.Input((), dtype="int32"), table, layers.LayerNormalization()])
    return LoRAHypernetwork(network, body, rank, target_layer_names=ADAPTED)


def from_text(network, rank, length, features):
    """A hypernetwork that writes the adapter from `length` bytes of the domain.

    The body is the mean of embeddings of triples of bytes, by their hash: which triples a text has
    tells its language.
    """
    text = keras.Input((length,), dtype="int32")
    triples = text[:, :-2] * 7919 + text[:, 1:-1] * 104729 + text[:, 2:] * 1299709
    y = layers.Embedding(BUCKETS, features, "random_normal")(triples % BUCKETS)
    y = layers.LayerNormalization()(layers.GlobalAveragePooling1D()(y))
    y = layers.LayerNormalization()(layers.Dense(features, "gelu")(y))
    return LoRAHypernetwork(network, keras.Model(text, y), rank, target_layer_names=ADAPTED)
