"""The file of one adapter, as KerasHub's `load_lora_weights` reads it.

It holds `lora/vars/rank`, and for the layer at place i, among those that have weights,
`lora/i/vars/lora_kernel_a` and `lora_kernel_b`. Alpha has no place in it: it is a part of B.
"""

from collections.abc import Mapping
from os import PathLike

import h5py
import numpy as np
from keras import layers

from hyperkeras.keras_internals import sublayers
from hyperkeras.ops.argument_validation import invalid_value

SUFFIX = ".lora.h5"


def check_path(path: str | PathLike) -> str:
    """`path` as a string, which has to end as KerasHub wants it."""
    if not isinstance(path, str | PathLike) or not str(path).endswith(SUFFIX):
        raise invalid_value("path", f"a file name that ends in {SUFFIX!r}", path)
    return str(path)


def write(
    path: str, target: layers.Layer, rank: int, scale: float, factors: Mapping[int, tuple]
) -> None:
    """Writes an adapter.

    Args:
        path: File name.
        target: The network, or a KerasHub task with a `backbone`.
        rank: Integer r.
        scale: Float, alpha / rank, by which B is multiplied.
        factors: {id of a layer: its arrays (A, B)}.
    """
    backbone = getattr(target, "backbone", target)
    inside = [part for part in sublayers(backbone) if part is not backbone and part.weights]
    places = {i: factors[id(part)] for i, part in enumerate(inside) if id(part) in factors}
    embeddings = [part.path for part in inside if hasattr(part, "lora_embeddings_a")]
    if embeddings or len(places) != len(factors):
        raise ValueError(
            "Expected the adapted layers to be Dense, EinsumDense or convolutional ones of the "
            "backbone: KerasHub's file has no place for others. Received: "
            f"{embeddings or 'layers outside of the backbone'}"
        )
    with h5py.File(path, "w") as file:
        file["lora/vars/rank"] = rank
        for i, (a, b) in places.items():
            file[f"lora/{i}/vars/lora_kernel_a"] = a
            file[f"lora/{i}/vars/lora_kernel_b"] = np.asarray(scale * b, b.dtype)
