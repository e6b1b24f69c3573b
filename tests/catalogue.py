"""Every public layer, with arguments and shapes: the conformance tests run all of it."""

import dataclasses
from collections.abc import Callable

import keras
import numpy as np
import reference

from hyperkeras import layers, models

# Bases that users subclass; what stands on them is in the catalogue.
ABSTRACT = {"Generator", "Head", "PHMLayer", "Source"}


@dataclasses.dataclass(frozen=True)
class Case:
    """`make(sampling)` builds the layer; `parameters` is its docstring's formula.

    `draws`: whether the layer draws random numbers in training, unless given `NO_SAMPLING`.
    """

    name: str
    covers: tuple[str, ...]
    make: Callable[..., keras.layers.Layer]
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    parameters: int
    draws: bool = True

    def input(self, batch=3, dtype="float32"):
        return np.random.default_rng(0).normal(size=(batch, *self.input_shape)).astype(dtype)


SAMPLING = {"global_samples": 2, "local_samples": 3, "region": 3}
NO_SAMPLING = {"global_samples": 0, "local_samples": 0, "region": None}
TEMPLATE = np.array([[o, p, 0] for o in range(3) for p in (0, 0, 1, 1)])  # 12 rows of r = 3


def sparse(target_shape, source, **arguments):
    return lambda sampling=SAMPLING: layers.SparseHyperlayer(
        target_shape, source(), seed=1, **{**arguments, **sampling}
    )


def generated(make):
    """A layer that draws nothing in a call, however it is asked to."""
    return lambda sampling=None: make()


def recurrent(layer, *sizes, **arguments):
    """A layer of 4 units; its recurrent dropout is the sampling."""

    def make(sampling=SAMPLING):
        still = sampling is NO_SAMPLING
        kept = {k: v for k, v in arguments.items() if not (still and k.endswith("dropout"))}
        return layer(4, *sizes, **kept)

    return make


def sorted_by_keys(num_samples, **arguments):
    """Elements with their keys, which a dense layer gives them: as one tensor, sorted."""

    def make(sampling=None):
        fixed = sampling is None or num_samples is None
        count = num_samples if fixed else sampling["local_samples"]
        elements = keras.Input((5, 2), dtype=keras.config.dtype_policy().variable_dtype)
        keys = keras.layers.Reshape((5,))(keras.layers.Dense(1, use_bias=False)(elements))
        moved, ranked = layers.Quicksort(count, seed=1, **arguments)(elements, keys)
        ranked = keras.layers.Reshape((5, 1))(ranked)
        return keras.Model(elements, keras.layers.Concatenate()([moved, ranked]))

    return make


def on_graphs(layer, *arguments, **options):
    """A layer on a batch of graphs of 5 nodes, all with the same edges."""

    def make(sampling=SAMPLING):
        x = keras.Input((5, 3), dtype=keras.config.dtype_policy().variable_dtype)
        edges = keras.ops.zeros_like(x[:, :1, :1]) + reference.GRAPH_EDGES.astype("float32")
        edges = keras.ops.cast(edges, "int32")
        y = layer(*arguments, seed=1, **options, **sampling)(x, edges)
        return keras.Model(x, y)

    return make


def on_chains(encoder):
    """An encoder of computational graphs, on chains of 5 nodes."""

    def make(sampling=None):
        nodes = keras.Input((5, 4), dtype=keras.config.dtype_policy().variable_dtype)
        lengths = np.maximum(np.arange(5) - np.arange(5)[:, None], 0)
        distances = keras.ops.zeros_like(nodes[:, :, :1]) + lengths.astype("float32")
        return keras.Model(nodes, encoder()(nodes, keras.ops.cast(distances, "int32")))

    return make


def decoded(sampling=None):
    """Kernels and vectors of a decoder, in a row."""
    features = keras.Input((4,), dtype=keras.config.dtype_policy().variable_dtype)
    parts = layers.MatrixDecoder((3, 2), 1, hidden=(5, 6))(features)
    flat = [keras.layers.Flatten()(part) for part in parts]
    return keras.Model(features, keras.layers.Concatenate()(flat))


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
        draws=False,
    ),
    Case(
        "fixed",
        ("SparseHyperlayer", "FixedSource"),
        sparse((3,), lambda: layers.FixedSource([[0, 3], [2, 1], [0, 0], [2, 1]], "normal")),
        (4,),
        (3,),
        4,
        draws=False,
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
    Case(
        "glimpse_volume",
        ("Glimpse", "BoxSource"),
        lambda sampling=SAMPLING: layers.Glimpse((2, 1, 2), seed=1, **sampling),
        (4, 3, 5, 1),
        (1, 2, 1, 2, 1),
        6 * 4 * 3 * 5 + 1,
    ),
    Case(
        "dilated_conv1d",
        ("DilatedConv1D", "DilationSource"),
        lambda sampling=SAMPLING: layers.DilatedConv1D(
            3, 2, 4, 2.4, "causal", activation="tanh", seed=1, **sampling
        ),
        (7, 2),
        (7, 3),
        2 * 2 * 3 + 3 + 2,
    ),
    Case(
        "dilated_conv2d",
        ("DilatedConv2D", "DilationSource"),
        lambda sampling=SAMPLING: layers.DilatedConv2D(
            2, (3, 1), 3, 1.6, use_bias=False, min_sigma=0.01, seed=1, **sampling
        ),
        (4, 5, 2),
        (4, 5, 2),
        3 * 1 * 2 * 2 + 2,
    ),
    Case(
        "hyper_conv2d",
        ("HyperConv2D", "KernelGenerator"),
        generated(
            lambda: layers.HyperConv2D(
                6, 3, layers.KernelGenerator((3, 3, 2, 3), 5, 4), strides=2, activation="tanh"
            )
        ),
        (5, 6, 4),
        (3, 3, 6),
        4 * 5 + 6 + 4 * (5 + 1) * 2 + 9 * 3 * (4 + 1),
        draws=False,
    ),
    Case(
        "hyper_conv2d_dilated",
        ("HyperConv2D", "KernelGenerator"),
        generated(
            lambda: layers.HyperConv2D(
                2,
                (3, 2),
                layers.KernelGenerator((3, 2, 2, 2), 3),
                padding="valid",
                dilation_rate=2,
                use_bias=False,
                kernel_constraint="non_neg",
            )
        ),
        (6, 5, 2),
        (2, 3, 2),
        3 + 3 * (3 + 1) * 2 + 6 * 2 * (3 + 1),
        draws=False,
    ),
    Case(
        "hyper_dense",
        ("HyperDense", "KernelGenerator"),
        generated(lambda: layers.HyperDense(6, layers.KernelGenerator((2, 1, 2, 3), 4))),
        (3, 8),
        (3, 6),
        4 * 4 + 6 + 4 * (4 + 1) * 2 + 2 * 3 * (4 + 1),
        draws=False,
    ),
    Case(
        "hyper_conv2d_coordinates",
        ("HyperConv2D", "CoordinateGenerator"),
        generated(lambda: layers.HyperConv2D(4, 3, layers.CoordinateGenerator((3, 3, 2, 2), 3, 5))),
        (4, 4, 2),
        (4, 4, 4),
        2 * 3 + 4 + 5 * (3 + 5) + 5 * (5 + 1) + 5 + 1,
        draws=False,
    ),
    Case(
        "hyper_dense_cosines",
        ("HyperDense", "DCTGenerator"),
        generated(lambda: layers.HyperDense(4, layers.DCTGenerator((1, 2, 3, 2), 5))),
        (6,),
        (4,),
        2 * 5 + 4,
        draws=False,
    ),
    Case(
        "layer_norm_lstm",
        ("LayerNormLSTM", "LayerNormLSTMCell"),
        recurrent(layers.LayerNormLSTM, recurrent_dropout=0.5, return_sequences=True),
        (3, 2),
        (3, 4),
        4 * 4 * (2 + 4 + 1) + 10 * 4,
    ),
    Case(
        "hyper_lstm",
        ("HyperLSTM", "HyperLSTMCell"),
        recurrent(layers.HyperLSTM, 3, 2, recurrent_dropout=0.5, return_sequences=True),
        (3, 2),
        (3, 4),
        4 * 4 * (2 + 4 + 1) + 4 * 3 * (2 + 4 + 3 + 1) + 10 * (4 + 3) + 2 * (12 * 3 + 8 + 12 * 4),
    ),
    Case(
        "hyper_lstm_without_layer_norm",
        ("HyperLSTM", "HyperLSTMCell"),
        recurrent(layers.HyperLSTM, 3, 2, False, recurrent_dropout=0.5, use_xla=False),
        (3, 2),
        (4,),
        4 * 4 * (2 + 4 + 1) + 4 * 3 * (2 + 4 + 3 + 1) + 2 * (12 * 3 + 8 + 12 * 4),
    ),
    Case(
        "hyper_rnn_scaled",
        ("HyperRNN", "HyperRNNCell"),
        recurrent(layers.HyperRNN, 3, 2, dropout=0.5),
        (3, 2),
        (4,),
        4 * (2 + 4 + 1) + 3 * (2 + 4 + 3 + 1) + 2 * (3 * 3 + 2 + 4 + 2 * 4),
    ),
    Case(
        "hyper_rnn_full",
        ("HyperRNN", "HyperRNNCell"),
        recurrent(layers.HyperRNN, 3, 2, "full", return_sequences=True),
        (3, 2),
        (3, 4),
        4 * (2 * 2 + 2 * 4 + 1) + 3 * (2 + 4 + 3 + 1) + 2 * (3 * 3 + 2 + 4),
        draws=False,
    ),
    Case(
        "mip_encoding",
        ("MIPEncoding",),
        generated(lambda: layers.MIPEncoding()),
        (2, 3),
        (2, 6),
        0,
        draws=False,
    ),
    Case("sine", ("Sine",), generated(lambda: layers.Sine(3.0)), (2, 3), (2, 3), 0, draws=False),
    Case(
        "phm_dense",
        ("PHMDense",),
        generated(lambda: layers.PHMDense(6, 2, "tanh")),
        (3, 4),
        (3, 6),
        2**3 + 4 * 6 // 2 + 6,
        draws=False,
    ),
    Case(
        "phm_conv2d",
        ("PHMConv2D",),
        generated(lambda: layers.PHMConv2D(4, (3, 2), 2, 2, "same", activation="tanh")),
        (5, 4, 6),
        (3, 2, 4),
        2**3 + 3 * 2 * 6 * 4 // 2 + 4,
        draws=False,
    ),
    Case(
        "phm_conv2d_dilated",
        ("PHMConv2D",),
        generated(lambda: layers.PHMConv2D(3, 2, 3, dilation_rate=2, use_bias=False)),
        (5, 4, 3),
        (3, 2, 3),
        3**3 + 2 * 2 * 3 * 3 // 3,
        draws=False,
    ),
    Case("quicksort", ("Quicksort",), sorted_by_keys(3, certainty=2.0), (5, 2), (5, 3), 2),
    Case(
        "quicksort_mean",
        ("Quicksort",),
        sorted_by_keys(None, certainty=2.0),
        (5, 2),
        (5, 3),
        2,
        False,
    ),
    Case(
        "quicksort_cauchy",
        ("Quicksort",),
        sorted_by_keys(None, certainty=2.0, sigmoid="cauchy"),
        (5, 2),
        (5, 3),
        2,
        False,
    ),
    Case(
        "quicksort_logistic",
        ("Quicksort",),
        sorted_by_keys(2, proposals="logistic", joint=True),
        (5, 2),
        (5, 3),
        2,
    ),
    Case(
        "graph_conv",
        ("SparseGraphConv",),
        on_graphs(layers.SparseGraphConv, 4, 2, 1),
        (5, 3),
        (5, 4),
        4 * 3 * 3 + 3 * 3 + (3 + 1) * 3 * 4 + 4,
    ),
    Case(
        "graph_conv_of_neighbors",
        ("SparseGraphConv",),
        on_graphs(layers.SparseGraphConv, 2, 2, use_bias=False),
        (5, 3),
        (5, 2),
        4 * 3 * 2 + 3 * 2 + (2 + 1) * 3 * 2,
        draws=False,
    ),
    Case(
        "graph_transform",
        ("SparseGraphTransform",),
        on_graphs(layers.SparseGraphTransform, 2, 4, "nodes"),
        (5, 3),
        (5, 3),
        3 * 2 + 2 * 3 * 4 + 4 + 4 * 2 * (4 + 1),
    ),
    Case(
        "gated_graph_encoder",
        ("GatedGraphEncoder",),
        on_chains(lambda: layers.GatedGraphEncoder(4)),
        (5, 4),
        (5, 4),
        2 * (4 * 5 + 2) + 6 * 4 * 5 + 2 * 4,
        draws=False,
    ),
    Case(
        "gated_graph_encoder_without_virtual_edges",
        ("GatedGraphEncoder",),
        on_chains(
            lambda: layers.GatedGraphEncoder(4, rounds=2, virtual_edges=None, normalize=False)
        ),
        (5, 4),
        (5, 4),
        2 * 4 * 5 + 6 * 4 * 5,
        draws=False,
    ),
    Case(
        "flat_encoder",
        ("FlatEncoder",),
        on_chains(lambda: layers.FlatEncoder(4, max_nodes=6, hidden=3)),
        (5, 4),
        (5, 4),
        (6 * 4 + 1) * 3 + (3 + 1) * 6 * 4,
        draws=False,
    ),
    Case(
        "matrix_decoder",
        ("MatrixDecoder",),
        decoded,
        (4,),
        (3 * 2 + 2 * 2,),
        4 * 5 + 5 + 6 * 6 + 7 * 3 * 2 + 5 * 8 + 9 * 4,
        draws=False,
    ),
]


@dataclasses.dataclass(frozen=True)
class ModelCase:
    """`make()` gives a built model, an input, and what `(model, x)` should give, as a function."""

    name: str
    covers: tuple[str, ...]
    make: Callable[[], tuple]


def target():
    return keras.Sequential(
        [
            keras.Input((4, 4, 2)),
            keras.layers.Conv2D(3, 3, activation="tanh"),
            keras.layers.Flatten(),
            keras.layers.LayerNormalization(),
            keras.layers.Dense(2),
        ]
    )


def with_generated_weights(model, inputs, target=target):
    """A hypernetwork's output from its target with the weights that it generates for each row."""
    condition, x = inputs
    rows = [keras.ops.convert_to_numpy(w) for w in model.generate(condition)]
    plain, outputs = target(), []
    for i in range(len(x)):
        plain.set_weights([row[i] for row in rows])
        outputs.append(keras.ops.convert_to_numpy(plain(x[i : i + 1]))[0])
    return np.stack(outputs)


def hypernetwork(kind, same, head=None, **arguments):
    def make():
        rng = np.random.default_rng(0)
        condition = rng.normal(size=(1 if same else 3, 5)).astype("float32")
        condition = np.repeat(condition, 3 // len(condition), axis=0)
        x = rng.normal(size=(3, 4, 4, 2)).astype("float32")
        body = keras.Sequential([keras.Input((5,)), keras.layers.Dense(6, "tanh")])
        extra = {"conditions": condition[:1]} if kind is models.ContinualHypernetwork else {}
        model = kind(target(), body, head=head and head(), **extra, **arguments)
        model([condition, x])
        return model, [condition, x], with_generated_weights

    return make


def on_boxes():
    """A hypernetwork on boxes, called on an embedding."""

    def target():
        parts = [keras.layers.Conv2D(3, 2, activation="relu"), keras.layers.Flatten()]
        return keras.Sequential([keras.Input((4, 4, 2)), *parts, keras.layers.Dense(2)])

    rng = np.random.default_rng(0)
    body = keras.layers.Dense(6, "tanh")
    model = models.IntervalHypernetwork(target(), body, 2, 5, nested=True)
    condition = np.repeat(rng.normal(size=(1, 5)), 3, axis=0).astype("float32")
    inputs = [condition, rng.normal(size=(3, 4, 4, 2)).astype("float32")]
    model(inputs)
    return model, inputs, lambda model, inputs: with_generated_weights(model, inputs, target)


def adapted():
    """An adapter of two dense layers for each row."""
    rng = np.random.default_rng(0)
    network = keras.Sequential(
        [keras.Input((4, 3)), keras.layers.Dense(5, "tanh"), keras.layers.Dense(2)]
    )
    names = [layer.name for layer in network.layers]
    body = keras.Sequential([keras.Input((5,)), keras.layers.Dense(6, "tanh")])
    head = layers.DenseHead("hyperfan_in")
    model = models.LoRAHypernetwork(network, body, 2, 3, names, head)
    inputs = [rng.normal(size=(3, *shape)).astype("float32") for shape in ((5,), (4, 3))]
    model(inputs)

    def merged(model, inputs):
        condition, x = inputs
        outputs = []
        for i in range(len(x)):
            y = x[i].astype("float64")
            for layer, pair in zip(
                model.adapted_layers, model.adapter(condition[i : i + 1]).values(), strict=True
            ):
                a, b = (keras.ops.convert_to_numpy(factor) for factor in pair)
                kernel, bias = (
                    keras.ops.convert_to_numpy(weight)
                    for weight in layer.weights
                    if "lora" not in weight.name
                )
                y = y @ (kernel + 3 / 2 * a @ b) + bias
                y = np.tanh(y) if layer.activation is not None and layer.units == 5 else y
            outputs.append(y)
        return np.stack(outputs)

    return model, inputs, merged


def residual_network():
    model = models.wide_resnet(10, 1, "hyper", (8, 8, 3), 2, embedding_dim=4)
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    frozen = lambda model, x: keras.ops.convert_to_numpy(models.freeze(model)(x))  # noqa: E731
    return model, x, frozen


MODEL_CASES = [
    ModelCase("hypernetwork", ("Hypernetwork",), hypernetwork(models.Hypernetwork, True)),
    ModelCase(
        "hypernetwork_per_sample",
        ("Hypernetwork",),
        hypernetwork(
            models.Hypernetwork,
            False,
            per_sample=True,
            head=lambda: layers.ChunkedHead(7),
            residual=True,
        ),
    ),
    *(
        ModelCase(
            f"hypernetwork_{name}_head",
            (cls,),
            hypernetwork(models.Hypernetwork, False, head, per_sample=True),
        )
        for name, cls, head in (
            ("dense", "DenseHead", lambda: layers.DenseHead("hyperfan_out")),
            ("chunked", "ChunkedHead", lambda: layers.ChunkedHead(9)),
            ("low_rank", "LowRankHead", lambda: layers.LowRankHead(1)),
            ("random", "RandomHead", lambda: layers.RandomHead(3)),
            ("layerwise", "LayerwiseHead", lambda: layers.LayerwiseHead()),
            (
                "recurrent",
                "RecurrentHead",
                lambda: layers.RecurrentHead(keras.layers.GRU(3, return_sequences=True), rank=1),
            ),
        )
    ),
    ModelCase("lora_hypernetwork", ("LoRAHypernetwork",), adapted),
    ModelCase(
        "continual_hypernetwork",
        ("ContinualHypernetwork",),
        hypernetwork(models.ContinualHypernetwork, True),
    ),
    ModelCase("interval_hypernetwork", ("IntervalHypernetwork",), on_boxes),
    ModelCase("wide_resnet", ("wide_resnet", "freeze"), residual_network),
]

# What other backends can't run, by the names of cases, and why.
TENSORFLOW_ONLY = {}
