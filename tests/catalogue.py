"""Every public layer, with arguments and shapes: the conformance tests run all of it."""

import dataclasses
from collections.abc import Callable

import keras
import numpy as np

from hyperkeras import layers

# Bases that users subclass; the sources that stand on them are in the catalogue.
ABSTRACT = {"Source"}


@dataclasses.dataclass(frozen=True)
class Case:
    """`make(**sampling)` builds the layer; `parameters` is its docstring's formula."""

    name: str
    covers: tuple[str, ...]
    make: Callable[..., keras.layers.Layer]
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    parameters: int

    def input(self, batch=3, dtype="float32"):
        return np.random.default_rng(0).normal(size=(batch, *self.input_shape)).astype(dtype)


SAMPLING = {"global_samples": 2, "local_samples": 3, "region": 3}
NO_SAMPLING = {"global_samples": 0, "local_samples": 0, "region": None}
TEMPLATE = np.array([[o, p, 0] for o in range(3) for p in (0, 0, 1, 1)])  # 12 rows of r = 3


def sparse(target_shape, source, **arguments):
    return lambda sampling=SAMPLING: layers.SparseHyperlayer(
        target_shape, source(), seed=1, **{**arguments, **sampling}
    )


CASES = [
    Case(
        "free",
        ("SparseHyperlayer", "FreeSource"),
        sparse((4,), lambda: layers.FreeSource(6), use_bias=True),
        (5,),
        (4,),
        6 * (2 + 2) + 4,
    ),
    Case(
        "free_fixed_values_in_chunks",
        ("SparseHyperlayer", "FreeSource"),
        sparse(
            (2, 3), lambda: layers.FreeSource(6, fixed_values=True, min_sigma=0.1), chunk_size=2
        ),
        (3, 4),
        (2, 3),
        6 * (4 + 1),
    ),
    Case(
        "free_shared",
        ("SparseHyperlayer", "FreeSource"),
        sparse((4,), lambda: layers.FreeSource(8, shared=True), carried_axes=1),
        (5, 2),
        (4, 2),
        8 * (2 + 2),
    ),
    Case(
        "template",
        ("SparseHyperlayer", "FreeSource"),
        sparse(
            (3, 2),
            lambda: layers.FreeSource(12),
            template=TEMPLATE,
            learned_columns=(2,),
            chunk_size=4,
        ),
        (4,),
        (3, 2),
        12 * (1 + 2),
    ),
    Case(
        "template_in_chunks_of_one",
        ("SparseHyperlayer", "FreeSource"),
        sparse(
            (3, 2),
            lambda: layers.FreeSource(12, shared=True),
            template=TEMPLATE,
            learned_columns=(2,),
            chunk_size=1,
            carried_axes=1,
        ),
        (4, 2),
        (3, 2, 2),
        12 * (1 + 2),
    ),
    Case(
        "dense",
        ("SparseHyperlayer", "DenseSource"),
        sparse((4,), lambda: layers.DenseSource(6), use_bias=True),
        (5,),
        (4,),
        6 * 4 * (5 + 1) + 4,
    ),
    Case(
        "dense_fixed_values",
        ("SparseHyperlayer", "DenseSource"),
        sparse((4,), lambda: layers.DenseSource(6, fixed_values=True), chunk_size=3),
        (2, 3),
        (4,),
        6 * 4 * (6 + 1),
    ),
    Case(
        "top_k",
        ("SparseHyperlayer", "TopKSource"),
        sparse((3,), lambda: layers.TopKSource(6, scores_regularizer="l1"), chunk_size=1),
        (4,),
        (3,),
        3 * 4 * (4 + 1),
    ),
    Case(
        "glimpse_box",
        ("Glimpse", "BoxSource"),
        lambda sampling=SAMPLING: layers.Glimpse((2, 3), num_glimpses=2, seed=1, **sampling),
        (6, 7, 2),
        (2, 2, 3, 2),
        2 * (4 * 6 * 7 * 2 + 1),
    ),
    Case(
        "glimpse_affine",
        ("Glimpse", "AffineSource"),
        lambda sampling=SAMPLING: layers.Glimpse(3, source="affine", seed=1, **sampling),
        (6, 7, 1),
        (1, 3, 3, 1),
        6 * 6 * 7 + 1,
    ),
]
